"""The gateway as a measured server: agents with tokens and subscriptions, a durable store, metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.certificate import Certificate
from bench.event import Event
from bench.gateway import Gateway
from bench.gateway_setup import RAISED_LIMITS
from bench.loader import ClientGroup, Handshake, Loader
from bench.request import publish_batch, publish_one
from bench.sender import Sender
from bench.store import Store

SUBSCRIPTION = ("call.*", "agent.*")


class GatewayServer:
    """A running gateway.

    Args:
        settings: the settings that differ from the defaults and from ``RAISED_LIMITS``.
        workers: the value of ``--workers``; 0 for a single process without a supervisor.
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
        defaults = {**Store.NORMAL.settings(folder), **RAISED_LIMITS, **listen}
        self.gateway = Gateway(folder, {**defaults, **(settings or {})}, workers)
        self.pids: Sequence[int] = self.gateway.pids
        self.sender = Sender(self.gateway.amp_path)
        self._loader = loader
        self._options = ("reset", *(("tls",) if certificate else ()))
        self._tokens: list[str] = []
        self._seq = 0

    def client_group(self, count: int, *headers: str) -> ClientGroup:
        """Return agents, not yet connected, each a different user; ``headers`` are added to each handshake."""
        while len(self._tokens) < count:
            self._tokens.append(self.gateway.token(f"agent-{len(self._tokens)}"))
        handshakes = [Handshake("/ws", (f"Authorization: Bearer {token}", *headers)) for token in self._tokens[:count]]
        return self.client_group_of(handshakes)

    def client_group_of(self, handshakes: Sequence[Handshake]) -> ClientGroup:
        """Return clients with these handshakes, not yet connected."""
        return self._loader.client_group(self.gateway.port, handshakes, *self._options)

    def await_open(self, group: ClientGroup) -> None:
        """Wait until each client has received ``welcome``."""
        group.wait("welcome", 1)

    def subscribe(self, group: ClientGroup) -> None:
        """Subscribe each client, and wait for the answers."""
        group.send(json.dumps({"type": "subscribe", "payload": {"events": SUBSCRIPTION}}))
        group.wait("subscribed", 1)

    def publish(self, events: Sequence[Event]) -> None:
        """Publish one event by ``PublishEvent``, several by ``PublishBatch``."""
        now = time.monotonic_ns()
        stamped = [event.stamped(now) for event in events]
        self.sender.send([publish_one(stamped[0]) if len(stamped) == 1 else publish_batch(stamped)])

    def read_answers(self) -> None:
        """Read the answers that have arrived."""
        self.sender.read_answers()

    def await_answers(self) -> int:
        """Wait for all answers and check them; return the position of the last event."""
        if self.sender.sent:
            self._seq = self.sender.contiguous_positions()[-1]
        return self._seq

    def dropped(self) -> int:
        """Return 0: the gateway reports every dropped message to the client, which counts it as a gap."""
        return 0

    def close(self) -> None:
        """Close the sender, and stop the gateway."""
        self.sender.close()
        self.gateway.stop()
