"""A model of a small call center.

It uses no clock and no network, and one injected source of randomness: the same seed produces the same events.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

from callcenter_ws.demo.agents import Agent, AgentPool
from callcenter_ws.demo.calls import CallDistributor
from callcenter_ws.demo.chats import ChatSessions
from callcenter_ws.demo.commands import ModelCommands
from callcenter_ws.demo.sample_data import AGENTS, CALLERS, DEMO_AGENT, NOTIFICATIONS, QUEUES
from callcenter_ws.demo.scheduler import ModelEvent, Scheduler, ShuffleBag
from callcenter_ws.demo.simulated_call import Queue
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
        self._commands = ModelCommands(self._agents, self._distributor, queues)
        self._chats = ChatSessions(self._scheduler, self._agents, prefix)
        self._chats.open()
        self._scheduler.call_later(10, self._notify)
        self._scheduler.call_later(45, self._announce)

    @property
    def next_at(self) -> float:
        """Model time of the next step, in seconds since the start."""
        return self._scheduler.next_at

    def step(self) -> list[ModelEvent]:
        """Advance to the next scheduled call, make it, and return the events that it produced; often none."""
        return self._scheduler.step()

    @property
    def command_names(self) -> Sequence[str]:
        """The commands that ``carry_out`` knows."""
        return self._commands.names

    def carry_out(self, at: float, name: str, payload: JsonObject, user_id: str) -> list[ModelEvent]:
        """Carry out a command, and return the events that it produced.

        Args:
            at: the present model time; not after ``next_at``.
            user_id: of the person that asks.

        Raises:
            CommandFailed: it was not carried out; there are no events.
        """
        self._scheduler.advance(at)
        self._commands.carry_out(name, payload, user_id)
        return self._scheduler.take_events()

    def chat_changed(self, type_: str, payload: JsonObject) -> None:
        """Learn of an event of a chat that others have sent, as the gateway does for commands."""
        session_id = str(payload["session_id"])
        if type_ == "chat.session.ended":
            self._chats.ended_by_others(session_id)
        elif type_ == "chat.transferred":
            self._chats.transferred_by_others(session_id, str(payload["to_agent_id"]))

    def _agent_changed(self, agent: Agent) -> None:
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
