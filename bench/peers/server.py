"""The interface of every measured server, the gateway and its peers alike."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

from bench.event import Event
from bench.loader import ClientGroup


class Transport(StrEnum):
    """How clients connect."""

    PLAIN = "plain"
    TLS = "TLS"


class Server(Protocol):
    """A running server on the loopback interface that delivers each event to each of its clients.

    Attributes:
        name: its label in the tables.
        pids: all its processes.
    """

    name: str
    pids: Sequence[int]

    def client_group(self, count: int) -> ClientGroup:
        """Return clients for this server, not yet connected."""

    def await_open(self, group: ClientGroup) -> None:
        """Wait until each client is connected and registered at the server.

        Raises:
            InvalidRun: if a client fails to connect.
        """

    def subscribe(self, group: ClientGroup) -> None:
        """Wait until each of the connected clients receives every event that is published from now on."""

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events, stamped with the current time, in the way that costs this server least."""

    def read_answers(self) -> None:
        """Read the server's answers that have arrived, without waiting."""

    def await_answers(self) -> int:
        """Wait for the server's answers to all events; return the ``seq`` of the last event."""

    def dropped(self) -> int:
        """Return how many messages the server reports to have dropped so far."""

    def close(self) -> None:
        """End the server.

        Raises:
            InvalidRun: if it had ended before.
        """
