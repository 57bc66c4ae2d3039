"""A gateway with one store, its sender and its agents."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.cpu import Stopwatch
from bench.event import Event
from bench.gateway import Gateway
from bench.loader import ClientGroup, Handshake, Loader
from bench.request import publish_batch
from bench.sender import Sender
from bench.store import Store

RAISED_LIMITS: Mapping[str, Any] = {"limits.connections_per_ip": 0, "limits.presence_grace": 3_600}
"""All clients share one address, and a client that reconnects within the hour is not announced offline."""

_BATCH_EVENTS = 250


class GatewaySetup:
    """A running gateway for the cases that measure one store at a time.

    Attributes:
        sent: the number of events published so far.
        head: the position of the last event.
    """

    def __init__(self, store: Store, folder: Path, loader: Loader, settings: Mapping[str, Any] | None = None) -> None:
        self.gateway = Gateway(folder, {**store.settings(folder), **RAISED_LIMITS, **(settings or {})})
        self.store = store
        self.sender = Sender(self.gateway.amp_path)
        self.head = self.sent = 0
        self._loader = loader
        self._tokens: dict[str, str] = {}

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events in batches, and wait for the answers."""
        starts = range(0, len(events), _BATCH_EVENTS)
        self.sender.send([publish_batch(events[start : start + _BATCH_EVENTS]) for start in starts])
        self.await_answers()

    def await_answers(self) -> int:
        """Wait for the answers to all requests; return the position of the last event."""
        seqs = self.sender.contiguous_positions()
        self.sent += len(seqs)
        self.head = seqs[-1]
        return self.head

    def client_group(self, handshakes: Iterable[Handshake]) -> ClientGroup:
        """Return a group of clients, not yet connected."""
        return self._loader.client_group(self.gateway.port, handshakes)

    def handshake(self, user: str, query: str = "", first: int = 0) -> Handshake:
        """Return the handshake of an agent; ``first`` is the ``seq`` that its first event must have, 0 for any."""
        token = self._tokens.get(user)
        if token is None:
            token = self._tokens[user] = self.gateway.token(user)
        return Handshake(f"/ws{query}", (f"Authorization: Bearer {token}",), first)

    def resume_handshake(self, user: str, position: int) -> Handshake:
        """Return the handshake of an agent that resumes after ``position``."""
        return self.handshake(user, f"?epoch={self.sender.epoch}&seq={position}", position + 1)

    def watch(self) -> Stopwatch:
        """Return a stopwatch for the gateway, the clients and the sender."""
        return Stopwatch(server=self.gateway.pid, clients=self._loader.pid, sender=os.getpid())

    def close(self) -> None:
        """Close the sender, and stop the gateway."""
        self.sender.close()
        self.gateway.stop()
