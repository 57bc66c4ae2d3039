"""The limits of PROTOCOL section 2.2, as the core and the edges are given them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on connections and on what they send. Durations are seconds; 0 connections means no limit."""

    outbox: int = 256
    message_bytes: int = 524_288
    fragments: int = 64
    rate: float = 20
    burst: int = 40
    bad_messages: int = 20
    connections_per_user: int = 10
    connections_per_ip: int = 200
    connections_per_tenant: int = 0
    connections: int = 0
    handshake_timeout: float = 10
    auth_timeout: float = 10
    ping_interval: float = 54
    ping_timeout: float = 6
    slow_timeout: float = 30
    presence_grace: float = 10
    drain_timeout: float = 30
