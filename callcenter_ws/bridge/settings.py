"""The typed settings of a bridge: every key with its type, its range and its default (docs/bridge.rst)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from callcenter_ws.runtime.endpoints import EndpointDescription

ExchangeKind = Literal["asterisk"]
"""The kinds of exchanges that a bridge can connect to."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class GatewaySettings(_Table, frozen=True):
    """Where the events are sent.

    Attributes:
        endpoint: a Twisted client endpoint.
        token_file: the file with the shared secret, or a JWT of role ``service``; None: a unix socket that needs none.
        spool: the folder of the spools; one file for each source. It is made if its parent folder exists.
        buffer: events that a source's spool may hold while the gateway is away. When it is full, the bridge leaves that
            exchange until the gateway has taken a half.
        stop_timeout: seconds that a stop waits for the gateway to take the last events; the rest stays in the spool.
    """

    endpoint: EndpointDescription
    token_file: Path | None = None
    spool: Path = Path("spool")
    buffer: Annotated[int, Meta(ge=1_000, le=1_000_000)] = 100_000
    stop_timeout: Annotated[float, Meta(ge=0, le=60)] = 5


class AgentEntry(_Table, frozen=True):
    """The user of a device.

    Attributes:
        username: the name for people; empty: that of the member in its queue, else ``user_id``.
    """

    user_id: str
    username: str = ""
    extension: str = ""


class TenantRule(_Table, frozen=True):
    """One rule that gives a call, a queue or a device its tenant. Each key that is set must match; the first rule wins.

    Attributes:
        variable: ``NAME=PATTERN``: a variable of the caller's channel.
        account_code, context: patterns of the caller's channel, which match the whole value.
        queue: a pattern of the queue's name, which matches its beginning.
        domain: the part of a queue's name behind ``@``.
        device: a pattern of a device, which matches the whole name.
    """

    tenant: str
    variable: str = ""
    account_code: str = ""
    context: str = ""
    queue: str = ""
    domain: str = ""
    device: str = ""


class Directions(_Table, frozen=True):
    """Patterns of the contexts in which calls begin. Each matches the whole name.

    A call that begins in no context of these is outbound if it dials a trunk.
    """

    inbound: tuple[str, ...] = ()
    internal: tuple[str, ...] = ()


class CommandSettings(_Table, frozen=True):
    """What commands may do at an exchange: ``[sources.commands]``.

    Attributes:
        enabled: whether the bridge carries out commands at all.
        context: the context of the dialplan in which destinations of transfers and consultations are dialed; empty:
            there are none.
        originate_context: the same for calls that agents begin; empty: ``context``.
        monitor_context: the context whose extensions let a supervisor listen; empty: there is none.
        destinations: a pattern of destinations, which matches the whole; empty: an optional ``+`` and up to 32 digits,
            ``*`` and ``#``.
        check_destinations: whether the exchange is asked first if its dialplan has the destination.
        device: the device of an extension, with ``{extension}`` in its place; empty: only devices that are known from
            ``agents`` and queues are called.
        member, state_interface: with which interfaces an agent becomes a member of a queue, with ``{extension}`` in
            them; empty: with its device, and without a state interface.
        hot_desks: the extensions of phones that agents may sign in at.
        queues: patterns of the queues whose members commands may add and remove; each matches the whole name.
        login_queues: the queues that an agent joins who is in none and becomes available.
        consult: whether the feature codes for attended transfers may be used.
        record_folder: the folder of the exchange for recordings; empty: nothing is recorded.
        record_format: the ending of their names, by which Asterisk chooses the format.
    """

    enabled: bool = False
    context: str = ""
    originate_context: str = ""
    monitor_context: str = ""
    destinations: str = ""
    check_destinations: bool = True
    device: str = ""
    member: str = ""
    state_interface: str = ""
    hot_desks: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    login_queues: tuple[str, ...] = ()
    consult: bool = False
    record_folder: str = ""
    record_format: Literal["wav", "wav49", "gsm", "ulaw", "alaw", "sln"] = "wav"


class SourceSettings(_Table, frozen=True):
    """One exchange.

    Attributes:
        tenant: the tenant of what no rule matches; empty: that is dropped and counted.
        agent_pattern: a pattern of devices with the group ``user_id``, which matches the whole name; empty: none.
        agents: devices and their users; they precede the pattern.
        tenants: the rules; the first that matches wins.
        allow_plain_login: whether the secret may be sent as it is where the exchange offers no MD5 challenge; over TLS
            and to this machine it may in any case.
        ping_interval: seconds between pings of a silent exchange.
        audit_interval: seconds between comparisons with the exchange's own lists.
        commands: what commands may do there.
    """

    name: str
    kind: ExchangeKind
    endpoint: EndpointDescription
    username: str
    secret_file: Path
    tenant: str = ""
    agent_pattern: str = ""
    agents: dict[str, AgentEntry] = {}
    directions: Directions = Directions()
    tenants: tuple[TenantRule, ...] = ()
    allow_plain_login: bool = False
    ping_interval: Annotated[float, Meta(ge=1, le=600)] = 15
    audit_interval: Annotated[float, Meta(ge=60, le=86_400)] = 3_600
    commands: CommandSettings = CommandSettings()


class MetricsSettings(_Table, frozen=True):
    """The metrics of the bridge, over HTTP.

    Attributes:
        listen: a Twisted server endpoint for ``/metrics``; None: there is none.
    """

    listen: EndpointDescription | None = None


class LogSettings(_Table, frozen=True):
    """The log of the process. It has no effect with twistd's ``--syslog`` and ``--logger``.

    Attributes:
        level: the lowest level that is written.
        format: ``text``, or ``json`` for one object a line.
        summary_interval: seconds between two lines with the counters of each source.
    """

    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    format: Literal["text", "json"] = "text"
    summary_interval: Annotated[float, Meta(ge=60, le=86_400)] = 3_600


class BridgeSettings(_Table, frozen=True):
    """The settings of one bridge process.

    Attributes:
        warnings: valid but unwise settings, one line of text each.
    """

    gateway: GatewaySettings
    sources: tuple[SourceSettings, ...]
    log: LogSettings = LogSettings()
    metrics: MetricsSettings = MetricsSettings()
    warnings: tuple[str, ...] = ()
