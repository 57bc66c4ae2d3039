"""The data of the demo: agents, queues, callers, visitors and their messages."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.config.command_settings import DEFAULT_DISPOSITIONS


@dataclass(frozen=True, slots=True)
class Person:
    """An agent: the user id, the name, the extension, and the queues that the agent serves."""

    user_id: str
    name: str
    extension: str
    queues: tuple[str, ...]


QUEUES = {"sales": "+12025550110", "support": "+12025550120", "billing": "+12025550130"}
"""The queues, and the telephone number of each."""

_NAMES = (
    "Amara Okafor",
    "Bruno Keller",
    "Chiara Conti",
    "Dmitri Volkov",
    "Elif Demir",
    "Farid Haddad",
    "Grace Lindqvist",
    "Hiro Tanaka",
    "Ines Carvalho",
    "Jonas Meyer",
    "Kavya Nair",
    "Liam Byrne",
    "Mei Chen",
    "Noah Dubois",
    "Olga Nowak",
    "Pablo Ruiz",
    "Quinn Walker",
    "Rosa Jimenez",
    "Samir Aziz",
    "Tove Hansen",
)
_QUEUES_SERVED = (("sales",), ("support",), ("billing", "support"), ("sales", "billing"), ("support", "sales"))

AGENTS = tuple(
    Person(f"agent-{number:02d}", name, str(1000 + number), _QUEUES_SERVED[number % len(_QUEUES_SERVED)])
    for number, name in enumerate(_NAMES, start=1)
)

DEMO_AGENT = AGENTS[0]
"""The agent whose ready-made token the demo prints."""

DEMO_SESSION = "chat-demo"
"""The chat session of the ready-made visitor token. A new chat with this id starts each time it has ended."""

DISPOSITIONS = {one.code: one.label for one in DEFAULT_DISPOSITIONS}
"""What may come of a call, as the settings list it unless they are changed."""

CALLERS = (
    "Ada Price",
    "Ben Ortiz",
    "Clara Vogel",
    "Daniel Osei",
    "Eva Lund",
    "Felix Roy",
    "Gina Moretti",
    "Hassan Ali",
    "Ida Berg",
    "Jack Murphy",
    "Karin Wolf",
    "Luis Vega",
    "Marta Silva",
    "Nils Holm",
    "Petra Novak",
    "Rahul Mehta",
)

DIALOGUE = (
    ("Hello, I have a question about my order.", "Good morning! Of course, what is the order number?"),
    ("It is 48213. It should have come on Friday.", "Thank you. I can see it left our warehouse this morning."),
    ("Can I still change the address?", "Yes, I am changing it for you now. Which street?"),
    ("Harbour Road 12, please.", "Done. You will get a confirmation in a minute."),
    ("Does that cost extra?", "No, not at all."),
    ("Great, and the invoice?", "A copy is on its way to you."),
)

PRIVATE_NOTES = ("Customer since 2019, be generous.", "Second contact this week.", "Address changed, please check.")

NOTIFICATIONS = (
    ("callback_due", "Callback due", "You promised {caller} a call in five minutes."),
    ("mention", "You were mentioned", "A colleague asked you about the ticket of {caller}."),
    ("coaching", "Feedback is ready", "Your supervisor commented on the call with {caller}."),
)

SMALL_TALK = (
    "Hello, this is {agent}. I am simulated: sign in as the agent of the demo, and you answer here yourself.",
    "Of course. Tell me a little more, please.",
    "Thank you, I have written that down.",
    "I see. One moment, I am looking it up.",
    "That is in order now. Is there anything else?",
    "Gladly. Take your time.",
)
"""What an agent of the model answers to a visitor of the widget."""
