"""What the cases ask of the gateway and of its peers alike."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from bench.event import Event
from bench.loader import Crowd


class Transport(StrEnum):
    """How clients connect."""

    PLAIN = "plain"
    TLS = "TLS"


class Contestant(Protocol):
    """A server that runs, on ports of the loopback interface, and hands each event to each of its clients.

    Attributes:
        name: as the tables have it.
        pids: all its processes.
    """

    name: str
    pids: Sequence[int]

    def crowd(self, count: int) -> Crowd:
        """Clients that are not connected yet."""

    def await_open(self, crowd: Crowd) -> None:
        """Wait until each of them is connected and known to the server.

        Raises:
            Broken: it does not come to that.
        """

    def subscribe(self, crowd: Crowd) -> None:
        """Wait until each of them gets whatever is published from now on; they are open."""

    def publish(self, events: Sequence[Event]) -> None:
        """Send events, stamped with this instant, in the cheapest way that the server has for it."""

    def take(self) -> None:
        """Take what the server has answered, without waiting for more."""

    def settle(self) -> int:
        """Wait for what the server owes for the events; return the ``seq`` of the last."""

    def dropped(self) -> int:
        """Messages that the server says it has dropped for clients, so far."""

    def close(self) -> None:
        """End it.

        Raises:
            Broken: it had ended before.
        """
