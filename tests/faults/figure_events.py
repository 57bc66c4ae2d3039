"""Random events of calls, agents and queues, as figures depend on them: some late, repeated, or out of order."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

QUEUES = ("sales", "support", "night", 300)
AGENTS = ("a1", "a2", "a3", "a4", 5, "a6")
STATES = ("available", "busy", "away", "break", "offline", "ringing", "talking", "hold", "wrap_up")
LEFT = ("abandoned", "timeout", "empty", "key", "withdrawn", "transferred", "other", "unknown", None)
CODES = ("sale", "callback", "complaint", "other", "a" * 64)
LATE = (0.5, 7, 65, 1_000, 5_000, 40_000, 100_000, 300_000, -1, -700)
"""Seconds by which some events are late; -1 and -700: their clock runs ahead."""

Fields = dict[str, Any]


class FigureEvents:
    """An endless sequence of the events of one sender.

    Args:
        name: the prefix of the ids of events and calls, so that senders have calls of their own.
    """

    def __init__(self, name: str, tenants: tuple[str, ...], rng: random.Random) -> None:
        self._name = name
        self._tenants = tenants
        self._rng = rng
        self._numbers = itertools.count(1)
        self._recent: deque[Fields] = deque(maxlen=40)

    def __iter__(self) -> Iterator[Fields]:
        """Yield the fields of events of several calls at a time; now and then events change places."""
        under_way: list[Iterator[Fields]] = []
        delayed: list[Fields] = []
        while True:
            if len(under_way) < 8:
                under_way.append(self._sequence(self._rng.choice(self._tenants)))
            one = self._rng.choice(under_way)
            event = next(one, None)
            if event is None:
                under_way.remove(one)
                continue
            if self._rng.random() < 0.1:
                delayed.append(event)
                continue
            yield from self._sent(event)
            while delayed and self._rng.random() < 0.3:
                yield from self._sent(delayed.pop(self._rng.randrange(len(delayed))))

    def _sent(self, event: Fields) -> Iterator[Fields]:
        """Yield an event; at times also one that was sent before, with its id or a new one."""
        yield event
        self._recent.append(event)
        if self._rng.random() < 0.1:
            again = self._rng.choice(self._recent)
            yield again if self._rng.random() < 0.5 else {**again, "event_id": self._id()}

    def _id(self) -> str:
        return f"{self._name}-{next(self._numbers)}"

    def _event(self, tenant: str, type_: str, **payload: Any) -> Fields:
        late = self._rng.choice(LATE) if self._rng.random() < 0.15 else 0
        at = datetime.now(UTC) - timedelta(seconds=late)
        fields = {"tenant_id": tenant, "type": type_, "payload": payload, "event_id": self._id()}
        return {**fields, "timestamp": at.isoformat(timespec="milliseconds")}

    def _sequence(self, tenant: str) -> Iterator[Fields]:
        return self._rng.choice((self._agent, self._member, self._call, self._call, self._call))(tenant)

    def _agent(self, tenant: str) -> Iterator[Fields]:
        agent = self._rng.choice(AGENTS)
        who = {"user_id": agent, "username": str(agent)}
        if self._rng.random() < 0.3:
            queues = self._rng.choice((None, [self._rng.choice(QUEUES)], list(QUEUES)))
            yield self._event(tenant, "agent.login", **who, queues=queues)
        for _ in range(self._rng.randint(1, 3)):
            yield self._event(tenant, "agent.state.changed", **who, state=self._rng.choice(STATES))
        if self._rng.random() < 0.1:
            yield self._event(tenant, "agent.logout", **who)

    def _member(self, tenant: str) -> Iterator[Fields]:
        what = self._rng.choice(("added", "added", "paused", "unpaused", "removed"))
        names = {"queue_name": self._rng.choice(QUEUES), "user_id": self._rng.choice(AGENTS)}
        yield self._event(tenant, f"queue.member.{what}", **names)

    def _wait(self) -> float | None:
        return self._rng.choice((None, None, 0, 4.8, 5, 20, 20.001, 300, -2))

    def _call(self, tenant: str) -> Iterator[Fields]:
        """A call through one queue or two, which some agents miss and one may answer."""
        call = {"unique_id": f"{self._name}-c{next(self._numbers)}"}
        yield self._event(tenant, "call.incoming", **call, caller_id="+3225550101", destination="100")
        for queue in self._rng.sample(QUEUES, self._rng.randint(1, 2)):
            yield self._event(tenant, "queue.joined", **call, queue_name=queue)
            for _ in range(self._rng.randint(0, 2)):
                agent = self._rng.choice(AGENTS)
                yield self._event(tenant, "call.ringing", **call, queue_name=queue, agent_id=agent)
                if self._rng.random() < 0.5:
                    yield self._event(tenant, "call.missed", **call, queue_name=queue, agent_id=agent)
            if self._rng.random() < 0.6:
                yield from self._answered(tenant, call, queue)
                return
            if self._rng.random() < 0.8:
                reason, wait = self._rng.choice(LEFT), self._wait()
                if reason == "abandoned" and self._rng.random() < 0.5:
                    yield self._event(tenant, "call.abandoned", **call, queue_name=queue, wait_seconds=wait)
                yield self._event(tenant, "queue.left", **call, queue_name=queue, reason=reason, wait_seconds=wait)
        if self._rng.random() < 0.9:
            yield self._event(tenant, "call.ended", **call, duration=1, ended_by=self._ended_by())

    def _ended_by(self) -> str | None:
        return self._rng.choice((None, "caller", "agent", "unknown"))

    def _answered(self, tenant: str, call: Fields, queue: str | int) -> Iterator[Fields]:
        agent = self._rng.choice(AGENTS)
        yield self._event(tenant, "call.answered", **call, queue_name=queue, agent_id=agent)
        if self._rng.random() < 0.8:
            left = {"queue_name": queue, "reason": "answered", "wait_seconds": self._wait()}
            yield self._event(tenant, "queue.left", **call, **left)
        if self._rng.random() < 0.3:
            for name in ("call.hold", "call.unhold"):
                yield self._event(tenant, name, **call, held_by=agent)
        if self._rng.random() < 0.3:
            more = {"destination": "200", "from_agent_id": agent}
            yield self._event(tenant, "call.transferred", **call, **more)
            yield self._event(tenant, "call.answered", **call, agent_id=self._rng.choice(AGENTS))
        if self._rng.random() < 0.9:
            yield self._event(tenant, "call.ended", **call, duration=30, ended_by=self._ended_by())
        for _ in range(self._rng.choice((0, 0, 1, 2))):
            of_call = {"call_id": call["unique_id"], "agent_id": agent, "code": self._rng.choice(CODES)}
            yield self._event(tenant, "call.disposition", **of_call, queue_name=self._rng.choice((None, queue)))


ORDERLY_REASONS = ("answered", *(reason for reason in LEFT if reason is not None))


def orderly_events(tenant: str, rng: random.Random) -> Iterator[Fields]:
    """Yield the events of calls and agents each once and in order, as the second implementation knows them."""
    waiting: list[Fields] = []
    last = datetime.now(UTC)
    for number in itertools.count(1):
        # Of two states of an agent at one instant, which one lasts would be open.
        last = max(datetime.now(UTC), last + timedelta(milliseconds=1))
        kind = rng.choice(("joined", "left", "left", "state"))
        if kind == "joined" or not waiting:
            payload = {"unique_id": f"o{number}", "queue_name": rng.choice(("sales", "support"))}
            waiting.append(payload)
            type_ = "queue.joined"
        elif kind == "left":
            payload = {**waiting.pop(rng.randrange(len(waiting))), "reason": rng.choice(ORDERLY_REASONS)}
            type_ = "queue.left"
        else:
            agent = rng.choice(("a1", "a2"))
            payload = {"user_id": agent, "username": agent, "state": rng.choice(STATES)}
            type_ = "agent.state.changed"
        fields = {"tenant_id": tenant, "type": type_, "payload": payload, "event_id": f"orderly-{number}"}
        yield {**fields, "timestamp": last.isoformat(timespec="milliseconds")}
