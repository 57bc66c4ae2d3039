"""Random events of a call center that fill and empty every kind of state, and the thread that publishes them."""

from __future__ import annotations

import itertools
import random
import threading
import time
import urllib.error
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any

from restartable import RestartableGateway

TENANT = "acme"
QUEUES = ("sales", "support", "café, bar")
AGENTS = ("a1", "a2", "a3", "a4")
MAX_RUNNING = 12
MAX_BATCH = 30
TIMEOUT_SECONDS = 5.0

Event = dict[str, Any]


class TabEvents:
    """An endless sequence of the events of calls, chats, agents, queues and sources that go on at the same time.

    Args:
        users: those who are sent messages of their own.
    """

    def __init__(self, rng: random.Random, users: tuple[str, ...]) -> None:
        self._rng = rng
        self._users = users
        self._numbers = itertools.count(1)
        self._calls = itertools.count(1)
        self._running: list[Iterator[Event]] = []

    def __iter__(self) -> Iterator[Event]:
        kinds = [self._agent, self._member, self._alert, self._mail, self._own, self._chat, *[self._call] * 3]
        while True:
            while len(self._running) < MAX_RUNNING:
                self._running.append(self._rng.choice(kinds)())
            sequence = self._rng.choice(self._running)
            event = next(sequence, None)
            if event is None:
                self._running.remove(sequence)
            else:
                yield event

    def _event(self, type_: str, payload: dict[str, Any], **fields: Any) -> Event:
        event_id = f"e{next(self._numbers)}"
        return {"tenant_id": TENANT, "type": type_, "event_id": event_id, "payload": payload, **fields}

    def _maybe(self, chance: float = 0.5) -> bool:
        return self._rng.random() < chance

    def _agent(self) -> Iterator[Event]:
        agent = self._rng.choice(AGENTS)
        who = {"user_id": agent, "username": f"Agent <{agent}>"}
        yield self._event("agent.login", {**who, "extension": "100", "queues": [self._rng.choice(QUEUES)]})
        for _ in range(self._rng.randint(0, 5)):
            state = self._rng.choice(["available", "busy", "break"])
            yield self._event("agent.state.changed", {**who, "state": state})
        if self._maybe(0.3):
            yield self._event("agent.logout", who)

    def _member(self) -> Iterator[Event]:
        member = {"queue_name": self._rng.choice(QUEUES), "user_id": self._rng.choice(AGENTS)}
        for what in self._rng.choices(["added", "paused", "unpaused", "removed"], k=self._rng.randint(1, 4)):
            yield self._event(f"queue.member.{what}", member)

    def _alert(self) -> Iterator[Event]:
        size = self._rng.choice([1, 100, 5000])
        yield self._event("alert", {"title": "Fire drill", "message": "x" * size})

    def _mail(self) -> Iterator[Event]:
        user = self._rng.choice(self._users)
        text = {"title": "Call back", "message": "in five minutes"}
        if self._maybe(0.8):
            yield self._event("notification", {"type": "callback", **text}, user_id=user)
        else:
            yield self._event("alert", text, user_id=user, persist=True)

    def _own(self) -> Iterator[Event]:
        """A state that one user alone sees."""
        user = self._rng.choice(self._users)
        who = {"user_id": self._rng.choice(AGENTS), "username": "x"}
        yield self._event("agent.state.changed", {**who, "state": "busy"}, user_id=user, persist=self._maybe())
        if self._maybe():
            yield self._event("agent.logout", who, user_id=user)

    def _call(self) -> Iterator[Event]:
        call: dict[str, Any] = {"unique_id": f"c{next(self._calls)}"}
        queue, agent = self._rng.choice(QUEUES), self._rng.choice(AGENTS)
        caller = {"caller_id": "+3225550101", "caller_name": "Zoé", "destination": "100"}
        yield self._event("call.incoming", {**call, **caller})
        if self._maybe(0.9):
            yield self._event("queue.joined", {**call, "queue_name": queue, "position": 1})
            if self._maybe(0.2):
                yield self._event("queue.left", {**call, "queue_name": queue, "reason": "abandoned"})
                yield self._event("call.abandoned", {**call, "queue_name": queue})
                return
        if self._maybe(0.8):
            yield self._event("call.ringing", {**call, "agent_id": agent})
        yield self._event("call.answered", {**call, "agent_id": agent})
        yield self._event("queue.left", {**call, "queue_name": queue, "reason": "answered"})
        for _ in range(self._rng.randint(0, 2)):
            yield self._event("call.hold", call)
            yield self._event("call.unhold", call)
        if self._maybe(0.3):
            to = self._rng.choice(AGENTS)
            yield self._event("call.transferred", {**call, "destination": "200", "to_agent_id": to})
        yield self._event("call.ended", {**call, "duration": 3})

    def _chat(self) -> Iterator[Event]:
        chat = {"session_id": f"s{next(self._calls)}"}
        started: dict[str, Any] = {**chat, "visitor_name": "Zoé"}
        if self._maybe():
            started["queue_name"] = self._rng.choice(QUEUES)
        if self._maybe():
            started["agent_id"] = self._rng.choice(AGENTS)
        yield self._event("chat.session.started", started)
        for number in range(self._rng.randint(0, 12)):
            if self._maybe(0.1):
                yield self._event("chat.transferred", {**chat, "to_agent_id": self._rng.choice(AGENTS)})
            sent = {**chat, "message_id": f"m{number}", "sender_id": "x", "sender_type": "visitor", "body": "Hi <b>"}
            yield self._event("chat.message", {**sent, "private": self._maybe(0.2)})
        yield self._event("chat.session.ended", chat)


class TabSender(threading.Thread):
    """Publishes events over HTTP, in lists, and again until they are acknowledged.

    Attributes:
        acknowledged: ids and users of the published events, by epoch and position.
        refused: what was refused for good.
    """

    def __init__(self, gateway: RestartableGateway, events: Iterator[Event], rng: random.Random, rate: float) -> None:
        super().__init__(daemon=True)
        self.acknowledged: dict[tuple[str, int], tuple[str, str | None]] = {}
        self.refused: list[Any] = []
        self.published = 0
        self._gateway = gateway
        self._events = events
        self._rng = rng
        self._rate = rate
        self._goes_on = threading.Event()
        self._idle = threading.Event()
        self._stopped = threading.Event()
        self._idle.set()

    def go_on(self) -> None:
        """Publish."""
        self._idle.clear()
        self._goes_on.set()

    def pause(self) -> None:
        """Cease to publish, and wait until all events are acknowledged."""
        self._goes_on.clear()
        assert self._idle.wait(60), "events are not acknowledged"

    def end(self) -> None:
        """End the thread."""
        self._stopped.set()
        self._goes_on.set()
        self.join(30)

    def run(self) -> None:
        while not self._stopped.is_set():
            if not self._goes_on.is_set():
                self._idle.set()
                self._goes_on.wait()
                continue
            begun = time.monotonic()
            count = self._rng.randint(1, MAX_BATCH)
            self._publish([next(self._events) for _ in range(count)])
            self._stopped.wait(max(0.0, count / self._rate - (time.monotonic() - begun)))

    def _publish(self, batch: list[Event]) -> None:
        while batch and not self._stopped.is_set():
            try:
                status, answer = self._gateway.publish(batch, TIMEOUT_SECONDS)
            except (OSError, HTTPException, urllib.error.URLError):
                status, answer = 0, None
            if status != 200:
                self._stopped.wait(0.1)
                continue
            results = list(zip(batch, answer["results"], strict=True))
            batch = []
            for event, result in results:
                if "error" not in result:
                    position = result["epoch"], result["seq"]
                    self.acknowledged[position] = result["event_id"], event.get("user_id")
                    self.published += 1
                elif result["error"]["code"] in ("unavailable", "try_later"):
                    batch.append(event)
                else:
                    self.refused.append((event, result))
