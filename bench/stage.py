"""A gateway with its sender and its clients."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cpu import Stopwatch
from bench.event import Event
from bench.gateway import Gateway
from bench.loader import Crowd, Dial, Loader
from bench.question import publish_batch
from bench.sender import Sender
from bench.store import Store

RAISED: Mapping[str, Any] = {"limits.connections_per_ip": 0, "limits.presence_grace": 3_600}
"""All clients come from one address, and are away for a moment only: nobody is told that they left."""

_BATCH = 250


class Stage:
    """What the cases play on.

    Attributes:
        sent: events published so far.
        head: the position of the last.
    """

    def __init__(self, store: Store, folder: Path, loader: Loader, settings: Mapping[str, Any] | None = None) -> None:
        self.gateway = Gateway(folder, {**store.settings(folder), **RAISED, **(settings or {})})
        self.store = store
        self.sender = Sender(self.gateway.amp_path)
        self.head = self.sent = 0
        self._loader = loader
        self._tokens: dict[str, str] = {}

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events, some batches at a time."""
        batches = [publish_batch(events[at : at + _BATCH]) for at in range(0, len(events), _BATCH)]
        self.sender.post(batches)
        self.settle()

    def settle(self) -> int:
        """Wait for the answers to everything that was published; return the position of the last event."""
        seqs = self.sender.settle()
        self.sent += len(seqs)
        self.head = seqs[-1]
        return self.head

    def crowd(self, dials: Iterable[Dial]) -> Crowd:
        """Clients that are not connected yet."""
        return self._loader.crowd(self.gateway.port, dials)

    def dial(self, user: str, query: str = "", first: int = 0) -> Dial:
        """How an agent connects."""
        token = self._tokens.get(user)
        if token is None:
            token = self._tokens[user] = self.gateway.token(user)
        return Dial(f"/ws{query}", (f"Authorization: Bearer {token}",), first)

    def resuming(self, user: str, position: int) -> Dial:
        """How an agent comes back."""
        return self.dial(user, f"?epoch={self.sender.epoch}&seq={position}", position + 1)

    def watch(self) -> Stopwatch:
        """A stopwatch over everybody who takes part."""
        return Stopwatch(server=self.gateway.pid, clients=self._loader.pid, sender=os.getpid())

    def close(self) -> None:
        """Hang up, and end the gateway."""
        self.sender.close()
        self.gateway.stop()
