"""CallCenter: a small call center that exists only as a model.

It is pure: no clock, no network, one injected source of chance. The same seed tells the same story.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from callcenter_ws.demo.agents import Agent, Floor
from callcenter_ws.demo.calls import Switchboard
from callcenter_ws.demo.chats import ChatDesk
from callcenter_ws.demo.queues import Queue
from callcenter_ws.demo.sample_data import AGENTS, CALLERS, DEMO_AGENT, NOTIFICATIONS, QUEUES
from callcenter_ws.demo.scheduler import Deck, Happening, Story


class CallCenter:
    """Twenty agents, three queues, calls and chats, told as events of the catalogue.

    The story is consistent: only a call that rang is answered, an agent is on one call at a time, and all
    that begins ends. Every event type but ``presence.changed`` comes up within a few minutes of model time.

    Args:
        random: the only source of chance.
        unix_time: Unix time in seconds of a model time, for the instants in payloads.
        prefix: begins the ids of calls and chats, to keep apart the runs that one gateway has seen.
    """

    def __init__(self, random: Random, unix_time: Callable[[float], float], prefix: str) -> None:
        self._story = Story(random, unix_time)
        self._floor = Floor(self._story, AGENTS, self._agent_changed)
        self._queues = {
            name: Queue(self._story, name, [agent for agent in self._floor.agents if name in agent.person.queues])
            for name in QUEUES
        }
        self._switchboard = Switchboard(self._story, self._floor, list(self._queues.values()), prefix)
        self._recipients = Deck(random, [DEMO_AGENT.user_id, *[person.user_id for person in AGENTS[1:4]]])
        self._floor.open()
        self._switchboard.open()
        ChatDesk(self._story, self._floor, prefix).open()
        self._story.later(10, self._notify)
        self._story.later(45, self._announce)

    @property
    def next_at(self) -> float:
        """Model time of the next step, in seconds since the start."""
        return self._story.next_at

    def step(self) -> list[Happening]:
        """Go on to the next moment at which something may happen; return what did, often nothing."""
        return self._story.step()

    def _agent_changed(self, agent: Agent) -> None:
        for name in agent.person.queues:
            self._queues[name].touch()
        if agent.state == "available":
            self._switchboard.dispatch()

    def _notify(self) -> None:
        story = self._story
        story.later(story.between(15, 30), self._notify)
        kind, title, message = story.random.choice(NOTIFICATIONS)
        payload = {
            "type": kind,
            "title": title,
            "message": message.format(caller=story.random.choice(CALLERS)),
            "severity": "info",
        }
        story.tell("notification", payload, self._recipients.deal())

    def _announce(self) -> None:
        self._story.later(self._story.between(80, 120), self._announce)
        working = sum(agent.logged_in for agent in self._floor.agents)
        message = f"{working} of {len(self._floor.agents)} agents are at work."
        self._story.tell("alert", {"title": "Shift report", "message": message, "severity": "info"})
