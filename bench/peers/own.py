"""The gateway itself, with everything on: agents with tokens, subscriptions, a durable store, metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.certificate import Certificate
from bench.event import Event
from bench.gateway import Gateway
from bench.loader import Crowd, Dial, Loader
from bench.question import Question, publish_batch, publish_one
from bench.sender import Sender
from bench.stage import RAISED
from bench.store import Store

SUBSCRIPTION = ("call.*", "agent.*")


class OwnGateway:
    """A gateway that runs.

    Args:
        settings: what differs from the defaults, and from ``RAISED``.
        workers: processes that share the port; 0: it is one.
    """

    name = "gateway"

    def __init__(
        self,
        folder: Path,
        loader: Loader,
        certificate: Certificate | None,
        settings: Mapping[str, Any] | None = None,
        workers: int = 0,
    ) -> None:
        listen = {}
        if certificate:
            chain, key = certificate
            listen["web.listen"] = [f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={chain}"]
        given = settings or {}
        self.gateway = Gateway(folder, {**Store.NORMAL.settings(folder), **RAISED, **listen, **given}, workers)
        self.pids: Sequence[int] = self.gateway.pids
        self.sender = Sender(self.gateway.amp_path)
        self._loader = loader
        self._options = ("reset", *(("tls",) if certificate else ()))
        self._tokens: list[str] = []
        self._seq = 0

    def crowd(self, count: int, *headers: str) -> Crowd:
        """Agents that are not connected yet, each a user of its own."""
        while len(self._tokens) < count:
            self._tokens.append(self.gateway.token(f"agent-{len(self._tokens)}"))
        dials = [Dial("/ws", (f"Authorization: Bearer {token}", *headers)) for token in self._tokens[:count]]
        return self.crowd_of(dials)

    def crowd_of(self, dials: Sequence[Dial]) -> Crowd:
        """Clients that are not connected yet."""
        return self._loader.crowd(self.gateway.port, dials, *self._options)

    def await_open(self, crowd: Crowd) -> None:
        """Wait until each has been welcomed."""
        crowd.wait("welcome", 1)

    def subscribe(self, crowd: Crowd) -> None:
        """Have each say what it wants to see."""
        crowd.send(json.dumps({"type": "subscribe", "payload": {"events": SUBSCRIPTION}}))
        crowd.wait("subscribed", 1)

    def publish(self, events: Sequence[Event]) -> None:
        """Send one event by a single call, several as a batch."""
        now = time.monotonic_ns()
        stamped = [event.stamped(now) for event in events]
        self.ask(publish_one(stamped[0]) if len(stamped) == 1 else publish_batch(stamped))

    def ask(self, question: Question) -> None:
        """Send what publishes something."""
        self.sender.post([question])

    def take(self) -> None:
        """Take the answers."""
        self.sender.take()

    def settle(self) -> int:
        """Wait for all answers, and check them; return the position of the last event."""
        if self.sender.asked:
            self._seq = self.sender.settle()[-1]
        return self._seq

    def dropped(self) -> int:
        """None: it never drops in silence."""
        return 0

    def close(self) -> None:
        """Hang up, and end it."""
        self.sender.close()
        self.gateway.stop()
