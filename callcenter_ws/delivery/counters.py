"""Counters of the Hub and its clients, which the metrics and ``/ws/stats`` read on request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

CounterName = TypeVar("CounterName", str, tuple[str, str])


def add(counts: dict[CounterName, int], name: CounterName, amount: int = 1) -> None:
    """Add ``amount`` to the count of ``name``."""
    counts[name] = counts.get(name, 0) + amount


@dataclass(slots=True)
class TenantCounters:
    """Messages of one tenant."""

    received: int = 0
    delivered: int = 0
    dropped: int = 0

    def add(self, other: TenantCounters) -> None:
        """Add the counts of another tenant."""
        self.received += other.received
        self.delivered += other.delivered
        self.dropped += other.dropped


@dataclass(slots=True)
class HubCounters:
    """Connections and messages of this node. The keys of the dictionaries are few and known.

    Attributes:
        connections_by: open connections by role and endpoint.
        closed: closed connections by the name of their close code.
        dropped: publications that a client was informed it will not be sent, by reason.
        handshakes_refused: refused handshakes by error code.
        closed_for_outgoing_bytes: connections that were closed because too much waited for all together.
        lags: how often a client fell behind, because its outbox had no room.
        from_history: messages that were queued from the history, by what for: ``replay``, ``lag`` or ``connect``.
        conflated: messages that lagging clients were not sent, because a newer one replaces them.
        replays: replays that were asked for, by outcome: ``resumed`` or the reason of the reset.
        resets: resets that were sent, by reason.
        snapshots: snapshots that were sent, by what for: ``request``, ``reset`` or ``gap``.
        requests_refused: messages of clients that were answered with an error, by error code.
    """

    connections_by: dict[tuple[str, str], int] = field(default_factory=dict)
    opened: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    received: int = 0
    delivered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    handshakes_refused: dict[str, int] = field(default_factory=dict)
    lagging: int = 0
    closed_for_outgoing_bytes: int = 0
    lags: int = 0
    from_history: dict[str, int] = field(default_factory=dict)
    conflated: int = 0
    replays: dict[str, int] = field(default_factory=dict)
    resets: dict[str, int] = field(default_factory=dict)
    snapshots: dict[str, int] = field(default_factory=dict)
    requests_refused: dict[str, int] = field(default_factory=dict)
