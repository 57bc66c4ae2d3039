"""What the peers have in common: none gives positions, so they are counted here."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence

from bench.event import Event, agent_event
from bench.failure import Broken
from bench.gateway import DEADLINE
from bench.loader import Crowd, Dial, Loader
from bench.peers.contestant import Transport
from bench.peers.process import Process

_PAUSE = 0.05


class Peer(ABC):
    """A peer that runs; those of one kind say how they are started and fed.

    Args:
        path: where clients connect.
        options: of the clients' group.

    Attributes:
        process: the server.
    """

    name = ""

    def __init__(
        self, process: Process, loader: Loader, transport: Transport, port: int, path: str, *options: str
    ) -> None:
        self.process = process
        self.pids: Sequence[int] = (process.pid,)
        self._loader = loader
        self._port = port
        self._dial = Dial(path, ())
        self._options = (*options, "reset", *(("tls",) if transport is Transport.TLS else ()))
        self._seq = 0

    def crowd(self, count: int) -> Crowd:
        """Clients that are not connected yet."""
        return self._loader.crowd(self._port, [self._dial] * count, *self._options)

    def await_open(self, crowd: Crowd) -> None:
        """Wait until each has been let in."""
        crowd.wait("open", 1)

    def subscribe(self, crowd: Crowd) -> None:
        """Whoever is let in gets everything, soon: some answer the handshake before they count the client in.

        Raises:
            Broken: not everybody gets something.
        """
        end = time.monotonic() + DEADLINE
        while not crowd.catch().events.low:
            if time.monotonic() > end:
                raise Broken(f"{self.name}: not everybody gets what is published: {crowd.catch()}")
            self.publish([agent_event(0, "available")])
            self.take()
            time.sleep(_PAUSE)
        crowd.reach(self._seq)

    def publish(self, events: Sequence[Event]) -> None:
        """Send events, stamped with this instant."""
        now = time.monotonic_ns()
        messages = [event.stamped(now).message(self._seq + place) for place, event in enumerate(events, 1)]
        self._seq += len(messages)
        self.feed(messages)

    @abstractmethod
    def feed(self, messages: Sequence[bytes]) -> None:
        """Hand messages to the server, all at once."""

    def take(self) -> None:  # noqa: B027 - most have nothing to take, and need not say so
        """There is nothing to take."""

    def settle(self) -> int:
        """Nothing is owed; return the ``seq`` of the last event."""
        return self._seq

    def dropped(self) -> int:
        """It does not drop, or does not tell."""
        return 0

    def close(self) -> None:
        """End it."""
        self.process.stop()
