"""Random events of call centers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Any

from checker import Offer

QUEUES = ("sales", "support")
AGENTS = ("a1", "a2", "a3")
SESSIONS = ("chat-1", "chat-2")
QUEUE_STATS = {"calls_waiting": 1, "available_agents": 2, "logged_in_agents": 3}


class EventGenerator:
    """An endless sequence of the events of one publisher.

    Args:
        name: the prefix of the event ids.
        users: by tenant, the users that receive mail.
        whole: include calls. A publisher that may lose events of a call does not know who may see the others.
        sizes: bytes of the messages of alerts.
    """

    def __init__(
        self,
        name: str,
        users: dict[str, tuple[str, ...]],
        rng: random.Random,
        *,
        whole: bool = True,
        sizes: Sequence[int] = (1, 10, 100, 5000),
    ) -> None:
        self._name = name
        self._users = users
        self._rng = rng
        self._sizes = sizes
        self._numbers = itertools.count(1)
        self._sequences = [self._alert, self._queue, self._agent, self._chat, self._mail, *[self._call] * 2 * whole]

    def __iter__(self) -> Iterator[Offer]:
        while True:
            tenant = self._rng.choice(list(self._users))
            yield from self._rng.choice(self._sequences)(tenant)

    def _offer(self, tenant: str, type_: str, payload: dict[str, Any], **facts: Any) -> Offer:
        event_id = f"{self._name}-{next(self._numbers)}"
        return Offer(tenant, type_, {**payload, "mark": event_id}, event_id, **facts)

    def _alert(self, tenant: str) -> Iterator[Offer]:
        text = "x" * self._rng.choice(self._sizes)
        yield self._offer(tenant, "alert", {"title": "Fire drill", "message": text})

    def _queue(self, tenant: str) -> Iterator[Offer]:
        queue = self._rng.choice(QUEUES)
        yield self._offer(tenant, "queue.stats", {"queue_name": queue, **QUEUE_STATS}, queue=queue)

    def _agent(self, tenant: str) -> Iterator[Offer]:
        agent = self._rng.choice(AGENTS)
        state = self._rng.choice(["available", "busy", "break"])
        yield self._offer(tenant, "agent.state.changed", {"user_id": agent, "username": agent, "state": state})

    def _chat(self, tenant: str) -> Iterator[Offer]:
        session = self._rng.choice(SESSIONS)
        started = {"session_id": session, "visitor_name": "Zoe", "visitor_email": "zoe@customers.example"}
        yield self._offer(tenant, "chat.session.started", started)
        for private in (False, True):
            sent = {"session_id": session, "message_id": f"{private}", "sender_id": "a1", "sender_type": "agent"}
            yield self._offer(tenant, "chat.message", {**sent, "body": "Hi", "private": private})

    def _mail(self, tenant: str) -> Iterator[Offer]:
        user_id = self._rng.choice(self._users[tenant])
        text = {"title": "Call back", "message": "in five minutes"}
        if self._rng.random() < 0.8:
            yield self._offer(tenant, "notification", {"type": "callback", **text}, user_id=user_id)
        else:
            yield self._offer(tenant, "alert", text, user_id=user_id, persist=True)

    def _call(self, tenant: str) -> Iterator[Offer]:
        """A call whose later events omit queue and agent; who may see them follows from the earlier ones."""
        queue, agent = self._rng.choice(QUEUES), self._rng.choice(AGENTS)
        call = {"unique_id": f"{self._name}-{next(self._numbers)}"}
        caller = {"caller_id": "+3225550101", "caller_name": "Zoe Dupont", "destination": "100"}
        yield self._offer(tenant, "call.incoming", {**call, **caller}, queue=None)
        yield self._offer(tenant, "queue.joined", {**call, "queue_name": queue}, queue=queue)
        facts = {"queue": queue, "agents": frozenset([agent])}
        yield self._offer(tenant, "call.answered", {**call, "agent_id": agent}, **facts)
        yield self._offer(tenant, "call.hold", call, **facts)
        yield self._offer(tenant, "call.unhold", call, **facts)
        yield self._offer(tenant, "call.ended", {**call, "duration": 3}, **facts)
