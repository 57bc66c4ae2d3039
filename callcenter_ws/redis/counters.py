"""Counters of the connections to Redis, which the metrics read on request."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.runtime.histogram import Histogram


@dataclass(slots=True)
class RedisCounters:
    """What a RedisClient has seen.

    Attributes:
        round_trip_seconds: from sending a command to its reply.
        connected: whether commands can be sent.
        connections: connections for commands that were made; all but the first are reconnects.
        clock_difference: seconds by which Redis's clock was ahead of this machine's at the last connect.
    """

    round_trip_seconds: Histogram = field(default_factory=Histogram)
    connected: bool = False
    connections: int = 0
    clock_difference: float = 0.0
