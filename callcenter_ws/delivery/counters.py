"""What the Hub and its clients count. The metrics and ``/ws/stats`` read it when somebody asks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar

Name = TypeVar("Name", str, tuple[str, str])


def add(counts: dict[Name, int], name: Name, amount: int = 1) -> None:
    """Count ``amount`` more of ``name``."""
    counts[name] = counts.get(name, 0) + amount


@dataclass(slots=True)
class TenantCounters:
    """Messages of one tenant."""

    received: int = 0
    delivered: int = 0
    dropped: int = 0


@dataclass(slots=True)
class HubCounters:
    """Connections and messages of this node; the dictionaries' keys are few and known.

    Attributes:
        connections_by: open connections by role and endpoint.
        closed: closed connections by the name of their close code.
        dropped: messages that a client was told it does not get, by reason.
        handshakes_refused: refused handshakes by error code.
    """

    connections_by: dict[tuple[str, str], int] = field(default_factory=dict)
    opened: int = 0
    closed: dict[str, int] = field(default_factory=dict)
    received: int = 0
    delivered: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    handshakes_refused: dict[str, int] = field(default_factory=dict)
    lagging: int = 0
