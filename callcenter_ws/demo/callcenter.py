"""A model of a small call center.

It uses no clock and no network, and one injected source of randomness: the same seed produces the same events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.calls import CallDistributor
from callcenter_ws.demo.chats import ChatSessions
from callcenter_ws.demo.commands import ModelCommands, Result
from callcenter_ws.demo.consultations import Consultations
from callcenter_ws.demo.persons import Persons
from callcenter_ws.demo.sample_data import AGENTS, CALLERS, DEMO_AGENT, NOTIFICATIONS, QUEUES
from callcenter_ws.demo.scheduler import ModelEvent, Scheduler, ShuffleBag
from callcenter_ws.demo.simulated_call import Queue
from callcenter_ws.demo.visitors import VisitorChats
from callcenter_ws.runtime.json import JsonObject


class CallCenter:
    """Twenty agents, three queues, calls and chats, as events of the catalogue.

    The events are consistent: only calls that rang are answered, an agent has one call at a time, and every call and
    chat ends. Each event type of senders occurs within a few minutes of model time, except ``presence.changed`` and
    ``queue.stats``, which the gateway makes.

    Args:
        random: the only source of randomness.
        unix_time: converts a model time to Unix time, both in seconds, for the timestamps in payloads.
        prefix: is part of the ids of calls and chats, so that they differ from those of earlier runs.
    """

    def __init__(self, random: Random, unix_time: Callable[[float], float], prefix: str) -> None:
        self._scheduler = Scheduler(random, unix_time)
        self._agents = AgentPool(self._scheduler, AGENTS, self._agent_changed)
        queues = [Queue(self._scheduler, name) for name in QUEUES]
        self._distributor = CallDistributor(self._scheduler, self._agents, queues, prefix)
        self._recipients = ShuffleBag(random, [DEMO_AGENT.user_id, *[person.user_id for person in AGENTS[1:4]]])
        self._agents.open()
        self._distributor.open()
        self._consultations = Consultations(self._scheduler, self._agents, self._distributor)
        self._commands = ModelCommands(self._agents, self._distributor, self._consultations, queues)
        self._chats = ChatSessions(self._scheduler, self._agents, prefix)
        self._visitors = VisitorChats(self._scheduler, self._agents, prefix)
        self._persons = Persons(self._scheduler, self._agents, self._distributor, self._chats, self._visitors)
        self._chats.open()
        self._scheduler.call_later(10, self._notify)
        self._scheduler.call_later(45, self._announce)

    @property
    def next_at(self) -> float:
        """Model time of the next step, in seconds since the start."""
        return self._scheduler.next_at

    def step(self) -> list[ModelEvent]:
        """Advance to the next scheduled call, make it, and return the events that it produced; often none."""
        events = self._scheduler.step()
        self._consultations.take_ended()
        return events

    @property
    def command_names(self) -> Sequence[str]:
        """The commands that ``carry_out`` knows."""
        return self._commands.names

    def carry_out(self, at: float, name: str, payload: JsonObject, user_id: str) -> tuple[list[ModelEvent], Result]:
        """Carry out a command; return the events that it produced, and what the asker is told.

        Args:
            at: the present model time; not after ``next_at``.
            user_id: of the person that asks.

        Raises:
            CommandFailed: it was not carried out; there are no events.
        """
        self._scheduler.advance(at)
        result = self._commands.carry_out(name, payload, user_id)
        self._consultations.take_ended()
        return self._scheduler.take_events(), result

    def set_present(self, at: float, user_id: str, *, is_present: bool) -> list[ModelEvent]:
        """Learn whether a person is at the desk of an agent, and return the events that this produced.

        Args:
            at: the present model time; not after ``next_at``.
        """
        self._scheduler.advance(at)
        self._persons.set_present(user_id, is_present=is_present)
        self._consultations.take_ended()
        return self._scheduler.take_events()

    def chat_changed(self, at: float, type_: str, payload: JsonObject) -> list[ModelEvent]:
        """Learn of an event of a chat that others have sent, and return the events that this produced.

        Args:
            at: the present model time; not after ``next_at``.
        """
        self._scheduler.advance(at)
        session_id = str(payload["session_id"])
        is_of_model = self._chats.has(session_id)
        if type_ == "chat.session.ended":
            self._chats.ended_by_others(session_id)
            self._visitors.ended(session_id)
        elif type_ == "chat.transferred":
            agent_id = str(payload["to_agent_id"])
            if is_of_model:
                self._chats.transferred_by_others(session_id, agent_id)
            else:
                self._visitors.assigned(session_id, agent_id)
        elif type_ == "chat.message":
            if not is_of_model:
                self._visitors.written(payload)
            elif payload.get("sender_type") == "agent" and not payload.get("private"):
                self._chats.person_wrote(session_id, str(payload["message_id"]))
        return self._scheduler.take_events()

    def _agent_changed(self, agent: Agent) -> None:
        self._persons.changed(agent)
        if agent.state == "available":
            self._distributor.distribute()

    def _notify(self) -> None:
        scheduler = self._scheduler
        scheduler.call_later(scheduler.random_seconds(15, 30), self._notify)
        kind, title, message = scheduler.random.choice(NOTIFICATIONS)
        payload = {
            "type": kind,
            "title": title,
            "message": message.format(caller=scheduler.random.choice(CALLERS)),
            "severity": "info",
        }
        scheduler.emit("notification", payload, self._recipients.draw())

    def _announce(self) -> None:
        self._scheduler.call_later(self._scheduler.random_seconds(80, 120), self._announce)
        working = sum(agent.logged_in for agent in self._agents.agents)
        message = f"{working} of {len(self._agents.agents)} agents are at work."
        self._scheduler.emit("alert", {"title": "Shift report", "message": message, "severity": "info"})
