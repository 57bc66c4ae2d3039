"""The ``limits`` section of the settings (docs/configuration.rst, "limits"), for delivery and the edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

PositiveCount = Annotated[int, Meta(ge=1, le=1_000_000)]
ConnectionCount = Annotated[int, Meta(ge=0, le=10_000_000)]
Timeout = Annotated[float, Meta(ge=0.1, le=3_600)]
GracePeriod = Annotated[float, Meta(ge=0, le=3_600)]

PingTime = Annotated[float, Meta(ge=3, le=3_600)]
"""At least 3 s: Autobahn rounds its timers down to whole seconds, so that shorter ones may fire at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on connections and on what they send. Durations are seconds; 0 connections means no limit.

    The ranges are checked by ``config.load``, not here.
    """

    outbox: Annotated[int, Meta(ge=1, le=65_536)] = 256
    message_bytes: Annotated[int, Meta(ge=1_024, le=16_777_216)] = 524_288
    fragments: Annotated[int, Meta(ge=1, le=65_536)] = 64
    rate: Annotated[float, Meta(ge=0.01, le=1_000_000)] = 20
    burst: PositiveCount = 40
    bad_messages: PositiveCount = 20
    connections_per_user: ConnectionCount = 10
    connections_per_ip: ConnectionCount = 200
    connections_per_tenant: ConnectionCount = 0
    connections: ConnectionCount = 0
    handshake_timeout: Timeout = 10
    auth_timeout: Timeout = 10
    ping_interval: PingTime = 54
    ping_timeout: PingTime = 6
    slow_timeout: Timeout = 30
    presence_grace: GracePeriod = 10
    drain_timeout: GracePeriod = 30
