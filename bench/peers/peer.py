"""The base of all peers. They assign no positions, so that the sender numbers the events."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.event import Event, agent_event
from bench.failure import InvalidRun
from bench.gateway import DEADLINE
from bench.loader import ClientGroup, Handshake, Loader
from bench.peers.server import Transport
from bench.peers.server_process import Process

_PAUSE_SECONDS = 0.05


class Peer(ABC):
    """A running peer; subclasses start the server and feed it.

    Args:
        path: the path of the WebSocket endpoint.
        options: options of the loader's client groups.

    Attributes:
        process: the server's process.
    """

    name = ""

    def __init__(
        self, process: Process, loader: Loader, transport: Transport, port: int, path: str, *options: str
    ) -> None:
        self.process = process
        self.pids: Sequence[int] = (process.pid,)
        self._loader = loader
        self._port = port
        self._handshake = Handshake(path, ())
        self._options = (*options, "reset", *(("tls",) if transport is Transport.TLS else ()))
        self._seq = 0

    def client_group(self, count: int) -> ClientGroup:
        """Return clients, not yet connected."""
        return self._loader.client_group(self._port, [self._handshake] * count, *self._options)

    def await_open(self, group: ClientGroup) -> None:
        """Wait until each client has completed its handshake."""
        group.wait("open", 1)

    def subscribe(self, group: ClientGroup) -> None:
        """Publish until each client receives events: some peers answer the handshake before they register the client.

        Raises:
            InvalidRun: if a client has received nothing after ``DEADLINE``.
        """
        end = time.monotonic() + DEADLINE
        while not group.stats().events.low:
            if time.monotonic() > end:
                raise InvalidRun(f"{self.name}: not every client receives events: {group.stats()}")
            self.publish([agent_event(0, "available")])
            self.read_answers()
            time.sleep(_PAUSE_SECONDS)
        group.wait_for_seq(self._seq)

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events, stamped with the current time."""
        now = time.monotonic_ns()
        messages = [event.stamped(now).message(seq) for seq, event in enumerate(events, self._seq + 1)]
        self._seq += len(messages)
        self.feed(messages)

    @abstractmethod
    def feed(self, messages: Sequence[bytes]) -> None:
        """Send messages to the server in one write."""

    def read_answers(self) -> None:  # noqa: B027 - most peers do not answer
        """Do nothing: most peers do not answer."""

    def await_answers(self) -> int:
        """Return the ``seq`` of the last event; there are no answers to wait for."""
        return self._seq

    def dropped(self) -> int:
        """Return 0: the peer does not drop messages, or does not report it."""
        return 0

    def close(self) -> None:
        """End the server."""
        self.process.stop()
