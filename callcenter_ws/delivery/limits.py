"""The ``limits`` section of the settings, for delivery and the edges.

Each field says what it protects and what a peer sees that exceeds it; ``docs/limits.rst`` has the table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, NamedTuple, Protocol, get_type_hints

from msgspec import Meta


class Scope(StrEnum):
    """What a limit is counted for; the value is the heading of the table in ``docs/limits.rst``."""

    NETWORK = "Before authentication, per network"
    CONNECTION = "Per connection"
    USER = "Per user or session"
    TENANT = "Per tenant"
    VISITORS = "Of all visitors together, per network or tenant"
    PROCESS = "For the whole process"


class Limit(NamedTuple):
    """What a limit is for; a part of the annotation of each field of Limits.

    Attributes:
        scope: what it is counted for.
        protects: what would happen without it, or what it keeps available.
        exceeded: what the peer sees when it is exceeded.
    """

    scope: Scope
    protects: str
    exceeded: str


PositiveCount = Annotated[int, Meta(ge=1, le=1_000_000)]
ConnectionCount = Annotated[int, Meta(ge=0, le=10_000_000)]
MessageRate = Annotated[float, Meta(ge=0.01, le=1_000_000)]
Bytes = Annotated[int, Meta(ge=1_024, le=2**40)]
Timeout = Annotated[float, Meta(ge=0.1, le=3_600)]
GracePeriod = Annotated[float, Meta(ge=0, le=3_600)]

OverUserLimit = Literal["refuse", "replace_oldest"]
"""What happens to a user's connection over ``connections_per_user``: it is refused, or it replaces the oldest one."""

PingTime = Annotated[float, Meta(ge=3, le=3_600)]
"""At least 3 s: Autobahn rounds its timers down to whole seconds, so that shorter ones may fire at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Limits on connections and on what they send. Durations are seconds; 0 connections means no limit.

    The ranges are checked by ``config.load``, not here. Every field has a ``Limit`` in its annotation.
    """

    outbox: Annotated[
        int,
        Meta(ge=1, le=65_536),
        Limit(
            Scope.CONNECTION,
            "memory: messages that wait for one client",
            "nothing: the client is sent the missed events from the history, or gap and a snapshot",
        ),
    ] = 256
    message_bytes: Annotated[
        int,
        Meta(ge=1_024, le=16_777_216),
        Limit(Scope.CONNECTION, "memory: one message of a client, after inflation", "close 1009"),
    ] = 524_288
    fragments: Annotated[
        int, Meta(ge=1, le=65_536), Limit(Scope.CONNECTION, "time: frames of one message", "close 1009")
    ] = 64
    rate: Annotated[
        float,
        Meta(ge=0.01, le=1_000_000),
        Limit(
            Scope.CONNECTION,
            "time: messages per second, continuously",
            "error rate_limited with retry_after_ms; close 4004 if it goes on",
        ),
    ] = 20
    burst: Annotated[
        PositiveCount,
        Limit(Scope.CONNECTION, "time: messages at once, after a pause", "as limits.rate"),
    ] = 40
    byte_rate: Annotated[
        Bytes,
        Limit(
            Scope.CONNECTION,
            "time and disk: bytes of messages per second, continuously; those of 16 s at once, after a pause",
            "as limits.rate",
        ),
    ] = 131_072
    bad_messages: Annotated[
        PositiveCount, Limit(Scope.CONNECTION, "time: invalid messages per minute", "close 4501")
    ] = 20
    connections_per_user: Annotated[
        ConnectionCount,
        Limit(
            Scope.USER,
            "other users: open connections of one user, over all nodes",
            "429 with Retry-After; with callcenter.v1 an error, then close 4006 or 4504",
        ),
    ] = 10
    user_rate: Annotated[
        MessageRate,
        Limit(
            Scope.USER,
            "time: messages per second of all connections of a user; those of 16 s at once, after a pause",
            "as limits.rate",
        ),
    ] = 40
    user_byte_rate: Annotated[
        Bytes,
        Limit(
            Scope.USER,
            "time and disk: bytes of these messages per second; those of 16 s at once, after a pause",
            "as limits.rate",
        ),
    ] = 262_144
    connections_per_ip: Annotated[
        ConnectionCount,
        Limit(
            Scope.NETWORK,
            "other networks: open WebSockets of one network, authenticated or not",
            "429 with Retry-After; with callcenter.v1 an error, then close 4006",
        ),
    ] = 200
    tenant_rate: Annotated[
        MessageRate,
        Limit(
            Scope.TENANT,
            "other tenants: messages per second of all clients but visitors; those of 4 s at once, after a pause",
            "error rate_limited with retry_after_ms",
        ),
    ] = 5_000
    tenant_byte_rate: Annotated[
        Bytes,
        Limit(
            Scope.TENANT,
            "other tenants and the disk: bytes of these messages per second; those of 4 s at once, after a pause",
            "as limits.tenant_rate",
        ),
    ] = 2_097_152
    visitor_message_bytes: Annotated[
        int,
        Meta(ge=1_024, le=16_777_216),
        Limit(Scope.CONNECTION, "disk and staff: one message of a visitor, after inflation", "close 1009"),
    ] = 16_384
    visitor_rate: Annotated[
        MessageRate,
        Limit(
            Scope.USER,
            "disk and staff: messages per second of a visitor, over all connections of the chat session",
            "error rate_limited with retry_after_ms; close 4004 above limits.rate",
        ),
    ] = 2
    visitor_burst: Annotated[
        PositiveCount,
        Limit(Scope.USER, "disk and staff: these messages at once, after a pause", "as limits.visitor_rate"),
    ] = 10
    visitor_byte_rate: Annotated[
        Bytes,
        Limit(
            Scope.USER,
            "disk and staff: bytes of these messages per second; those of 4 s at once, after a pause",
            "as limits.visitor_rate; close 4004 above twice as many",
        ),
    ] = 8_192
    visitor_sessions: Annotated[
        PositiveCount,
        Limit(
            Scope.NETWORK,
            "staff: chat sessions that anonymous visitors of one network open per minute",
            "429 with Retry-After",
        ),
    ] = 30
    visitor_network_rate: Annotated[
        MessageRate,
        Limit(
            Scope.VISITORS,
            "staff and other visitors: messages per second of all visitors of one network; those of 4 s at once",
            "error rate_limited with retry_after_ms",
        ),
    ] = 20
    visitor_network_byte_rate: Annotated[
        Bytes,
        Limit(Scope.VISITORS, "the same in bytes per second", "error rate_limited with retry_after_ms"),
    ] = 65_536
    visitor_tenant_rate: Annotated[
        MessageRate,
        Limit(
            Scope.VISITORS,
            "staff: messages per second of all visitors of one tenant; those of 4 s at once, after a pause",
            "error rate_limited with retry_after_ms",
        ),
    ] = 100
    visitor_tenant_byte_rate: Annotated[
        Bytes,
        Limit(Scope.VISITORS, "the same in bytes per second", "error rate_limited with retry_after_ms"),
    ] = 262_144
    visitor_history_share: Annotated[
        float,
        Meta(ge=0.001, le=1),
        Limit(
            Scope.VISITORS,
            "resuming after a lost connection: the part of store.history_events, and of store.history_bytes, that all"
            " visitors of one tenant add to the history in 10 minutes, and as much at once",
            "error rate_limited with retry_after_ms; chat.typing and chat.delivered from half of it on",
        ),
    ] = 0.25
    connections_per_tenant: Annotated[
        ConnectionCount,
        Limit(
            Scope.TENANT,
            "other tenants: open connections of one tenant",
            "429 with Retry-After; with callcenter.v1 an error, then close 4006",
        ),
    ] = 0
    connections: Annotated[
        ConnectionCount,
        Limit(
            Scope.PROCESS,
            "memory and file descriptors: open WebSockets; 0: as many as the descriptors of the process allow",
            "429 with Retry-After; with callcenter.v1 an error, then close 4006",
        ),
    ] = 0
    unauthenticated: Annotated[
        int,
        Meta(ge=10, le=9_000),
        Limit(
            Scope.PROCESS,
            "file descriptors: open sockets of HTTP, WebSocket and AMP whose peers have not authenticated; never more "
            "than a quarter of the process's descriptors",
            "the oldest such socket of the network that has most is aborted",
        ),
    ] = 2_000
    unauthenticated_per_network: Annotated[
        int,
        Meta(ge=10, le=9_000),
        Limit(
            Scope.NETWORK,
            "other networks: such sockets of one network, trusted proxies excepted",
            "the oldest of them is aborted",
        ),
    ] = 400
    requests_per_network: Annotated[
        float,
        Meta(ge=1, le=1_000_000),
        Limit(
            Scope.NETWORK,
            "time: HTTP requests and handshakes without a valid token, per second, continuously",
            "429 with Retry-After, and the connection ends; with callcenter.v1 an error, then close 4004",
        ),
    ] = 100
    request_burst_per_network: Annotated[
        PositiveCount,
        Limit(Scope.NETWORK, "time: the same at once, after a pause", "as limits.requests_per_network"),
    ] = 1_000
    requests_per_connection: Annotated[
        PositiveCount,
        Limit(Scope.CONNECTION, "time: requests of one HTTP connection", "the last response has Connection: close"),
    ] = 1_000
    bytes_per_network: Annotated[
        int,
        Meta(ge=1_024, le=2**30),
        Limit(
            Scope.NETWORK,
            "time: bytes received before authentication, per second; eight times as many at once",
            "the gateway reads no more for some seconds; through a trusted proxy 429 with Retry-After",
        ),
    ] = 1_048_576
    failed_tokens_per_network: Annotated[
        PositiveCount,
        Limit(
            Scope.NETWORK,
            "time: refused tokens over HTTP and WebSocket, per minute",
            "429 with Retry-After before a token is verified; with callcenter.v1 an error, then close 4004",
        ),
    ] = 300
    failed_secrets_per_network: Annotated[
        PositiveCount,
        Limit(
            Scope.NETWORK,
            "the shared secret: refused Authenticate commands over AMP, per minute",
            "answers after 3 s; OVERLOADED at once while 4 tries of the network wait, and the connection ends",
        ),
    ] = 10
    failed_sign_ins_per_network: Annotated[
        int,
        Meta(ge=1, le=1_000),
        Limit(
            Scope.NETWORK,
            "passwords: refused ones, and pairing codes that were asked for, per minute",
            "429 with Retry-After before a password is checked",
        ),
    ] = 10
    failed_sign_ins_per_name: Annotated[
        int,
        Meta(ge=1, le=1_000),
        Limit(
            Scope.USER,
            "passwords: refused ones of one name, per 15 minutes: of each known network, and of all others",
            "429 with Retry-After before a password is checked, the right one included; open sessions go on",
        ),
    ] = 10
    log_lines_per_network: Annotated[
        PositiveCount,
        Limit(
            Scope.NETWORK,
            "the log: lines about refusals, per minute; ten times as many about a user or an AMP peer",
            "nothing; what is left out is counted",
        ),
    ] = 20
    log_lines: Annotated[
        PositiveCount,
        Limit(
            Scope.PROCESS,
            "the log: lines about refusals of all networks, per minute; ten times as many about clients that are "
            "refused or closed, about connections that begin and end, and about AMP commands",
            "nothing; what is left out is counted",
        ),
    ] = 120
    handshake_timeout: Annotated[
        Timeout,
        Limit(Scope.CONNECTION, "sockets: seconds until the head of a request is complete", "the connection ends"),
    ] = 10
    auth_timeout: Annotated[
        Timeout, Limit(Scope.CONNECTION, "sockets: seconds until the first frame with a token", "close 4502")
    ] = 10
    ping_interval: Annotated[
        PingTime, Limit(Scope.CONNECTION, "sockets: seconds without data until a ping", "a ping")
    ] = 54
    ping_timeout: Annotated[
        PingTime, Limit(Scope.CONNECTION, "sockets: seconds without an answer to a ping", "close 4002")
    ] = 6
    slow_timeout: Annotated[
        Timeout,
        Limit(Scope.CONNECTION, "memory: seconds in which a blocked client must read enough", "close 4001"),
    ] = 30
    min_rate: Annotated[
        float,
        Meta(ge=0, le=1_000_000_000),
        Limit(
            Scope.CONNECTION,
            "memory: bytes per second that a client must read while bytes wait for it; less if it reads all",
            "close 4001 after slow_timeout; an HTTP connection ends",
        ),
    ] = 4_096
    incoming_bytes: Annotated[
        int,
        Meta(ge=16_777_216, le=1_099_511_627_776),
        Limit(
            Scope.PROCESS,
            "memory: bytes of HTTP bodies, AMP boxes and messages that are being received, and of bodies in process",
            "503 with Retry-After, then the connection ends; an AMP connection ends; close 4006; of who has most",
        ),
    ] = 67_108_864
    outgoing_bytes: Annotated[
        int,
        Meta(ge=16_777_216, le=1_099_511_627_776),
        Limit(
            Scope.PROCESS,
            "memory: bytes that wait to be read by all peers together",
            "close clients with 4001 in order of waiting bytes times waiting time, visitors first",
        ),
    ] = 268_435_456
    presence_grace: Annotated[
        GracePeriod,
        Limit(
            Scope.USER,
            "the other clients: seconds after the last disconnection until a user is announced offline",
            "nothing",
        ),
    ] = 10
    drain_timeout: Annotated[
        GracePeriod,
        Limit(
            Scope.PROCESS,
            "nodes that take over: seconds over which a node that stops spreads its N clients; at most "
            "N / (8 * drain_timeout) + 1 of them are asked to connect within 100 ms",
            "drain, then close 4003",
        ),
    ] = 30


class HasLimits(Protocol):
    """What has limits that may be replaced while it is in use; they are read when they are needed."""

    @property
    def limits(self) -> Limits:
        """The limits that apply now."""


def limit_of(annotation: object) -> Limit | None:
    """Return the Limit in a type annotation; None if there is none."""
    for meta in getattr(annotation, "__metadata__", ()):
        if isinstance(meta, Limit):
            return meta
    return None


def limits_by_name() -> dict[str, Limit]:
    """Return the Limit of each field of Limits, in their order.

    Raises:
        ValueError: a field has none.
    """
    found = {name: limit_of(hint) for name, hint in get_type_hints(Limits, include_extras=True).items()}
    missing = [name for name, limit in found.items() if limit is None]
    if missing:
        raise ValueError(f"without a Limit in their annotation: {', '.join(missing)}")
    return {name: limit for name, limit in found.items() if limit is not None}
