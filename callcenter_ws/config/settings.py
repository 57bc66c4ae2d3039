"""The typed settings: every key with its type, its range and its default (docs/configuration.rst).

The values are checked and normalised by ``callcenter_ws.config.load``, which reads them. ``etc/callcenter-ws.toml``
lists the same keys with comments for operators.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import msgspec
from msgspec import Meta

from callcenter_ws.config.command_settings import AuditSettings, CommandSettings
from callcenter_ws.config.tenant_settings import ArchiveSettings, StatisticsSettings, TenantsSettings
from callcenter_ws.delivery.limits import Limits, OverUserLimit
from callcenter_ws.events.visibility import AgentCalls, AgentChats
from callcenter_ws.redis.address import SCHEMES, redis_address
from callcenter_ws.runtime.endpoints import EndpointDescription

Synchronous = Literal["normal", "full"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class WebSettings(Section, frozen=True):
    """The ports of the WebSocket endpoints and the HTTP resources.

    Attributes:
        allowed_origins: the origins whose pages may connect and read HTTP responses, as ``https://host[:port]`` or
            ``https://*.domain``, in lower case and without default ports, as browsers send them; those of apps, as
            ``capacitor://localhost``, exactly.
        demo: serve the pages for people, also without ``pages``; ``--demo`` sets it.
        pages: serve the pages for people: signing in, the wallboard and the live view.
        embedders: exact origins of the sites that may show the pages in a frame, and give them a token.
        metrics_listen: the endpoint of a listener for ``/metrics`` only; None: it is served on ``listen``.
        trusted_proxies: networks in CIDR notation whose ``X-Forwarded-For`` header is used.
    """

    listen: tuple[EndpointDescription, ...] = (EndpointDescription.parse("tcp:8080:interface=127.0.0.1"),)
    allowed_origins: tuple[str, ...] = ()
    demo: bool = False
    pages: bool = True
    embedders: tuple[str, ...] = ()
    metrics_listen: EndpointDescription | None = None
    trusted_proxies: tuple[str, ...] = ()


class AmpSettings(Section, frozen=True):
    """The ports to which daemons send their events.

    Attributes:
        token_file: the file with the shared secret that the command ``Authenticate`` accepts.
        source_lease: seconds for which a source may be disconnected before ``source.down`` is published.
    """

    listen: tuple[EndpointDescription, ...] = (EndpointDescription.parse("tcp:8081:interface=127.0.0.1"),)
    token_file: Path | None = None
    source_lease: Annotated[float, Meta(ge=1, le=3_600)] = 30


class JwtSettings(Section, frozen=True):
    """How tokens are verified.

    Attributes:
        algorithms: JWS algorithms that are accepted (RFC 7518 section 3.1, RFC 8037).
        secret_file: the file with the HMAC secret, for the HS algorithms.
        public_key_files: files with PEM public keys, for the other algorithms.
        jwks_url: the URL of a JWK set (RFC 7517) with public keys.
        jwks_refresh: seconds between two fetches of ``jwks_url``.
        leeway: seconds by which the clock of the issuer may differ from the gateway's.
        cookie: name of the cookie that holds a browser's token; None: no cookie is read.
        allow_query_token: accept ``?access_token=``; URLs are logged by proxies and browsers.
    """

    algorithms: tuple[str, ...] = ("HS256",)
    secret_file: Path | None = None
    public_key_files: tuple[Path, ...] = ()
    jwks_url: str | None = None
    jwks_refresh: Annotated[float, Meta(ge=1, le=604_800)] = 300
    issuer: str | None = None
    audience: str | None = None
    leeway: Annotated[float, Meta(ge=0, le=300)] = 0
    cookie: str | None = None
    allow_query_token: bool = False

    @property
    def has_keys(self) -> bool:
        """Whether there is a source of keys. Without keys the gateway refuses every token."""
        return bool(self.secret_file or self.public_key_files or self.jwks_url)


class SessionSettings(Section, frozen=True):
    """Signing in at the pages that the gateway serves.

    Attributes:
        key_file: the file with the keys of their tokens, one a line: the first signs, the others verify; None: beside
            a file store the gateway makes one, with memory it takes a new key at each start.
        lifetime: seconds for which a person stays signed in after the last use.
        screen_lifetime: seconds for which a paired screen stays signed in after the last use.
    """

    key_file: Path | None = None
    lifetime: Annotated[float, Meta(ge=600, le=2_592_000)] = 43_200
    screen_lifetime: Annotated[float, Meta(ge=3_600, le=34_560_000)] = 7_776_000


class StoreSettings(Section, frozen=True):
    """The store of events.

    Attributes:
        url: ``sqlite:PATH``, ``memory:`` or the address of a Redis (``redis.address``). A relative path starts in the
            folder of the settings.
        synchronous: ``PRAGMA synchronous`` of ``sqlite:`` (https://www.sqlite.org/pragma.html#pragma_synchronous).
        history_events: events kept for each tenant; ``memory:`` keeps at most ``memory_events``.
        history_bytes: bytes of payload kept for each tenant.
        history_seconds: age in seconds at which an event is deleted.
        memory_events: events of each tenant held in memory.
        memory_bytes: bytes of memory for the events of all tenants.
        key_prefix: the prefix of the names of all keys in Redis.
        password_file: the file with the password for Redis; it overrides one in ``url``.
        ca_file: the file with the PEM certificates of the authorities that may issue the certificate of a ``rediss:``
            server; None: those of the system.
        timeout: seconds after which a Redis that does not answer counts as disconnected.
    """

    url: str = "sqlite:callcenter-ws.sqlite"
    synchronous: Synchronous = "normal"
    history_events: Annotated[int, Meta(ge=1, le=10_000_000)] = 10_000
    history_bytes: Annotated[int, Meta(ge=1_048_576, le=2**50)] = 268_435_456
    history_seconds: Annotated[float, Meta(ge=1, le=31_536_000)] = 86_400
    memory_events: Annotated[int, Meta(ge=1, le=1_000_000)] = 1_000
    memory_bytes: Annotated[int, Meta(ge=65_536, le=2**50)] = 268_435_456
    key_prefix: str = "callcenter-ws"
    password_file: Path | None = None
    ca_file: Path | None = None
    timeout: Annotated[float, Meta(ge=0.5, le=60)] = 3


class PublicTenantSettings(Section, frozen=True):
    """A tenant whose visitors use ``/ws/public``.

    Attributes:
        origins: the origins whose pages carry its chat widget, written like ``web.allowed_origins``.
        anonymous: accept visitors without a token.
    """

    origins: tuple[str, ...] = ()
    anonymous: bool = False


class PublicSettings(Section, frozen=True):
    """The endpoint of chat-widget visitors.

    Attributes:
        session_key_file: the file with the key that signs the session tokens of anonymous visitors; None: a new key
            at each start, so that their sessions end with the process.
        open_sessions: accept messages of chat sessions that are not open.
        history: messages of an open chat that its snapshot holds.
        chat_idle: seconds after its last event at which the gateway ends a chat that it has opened; 0: never.
        tenants: the tenants, by tenant id.
    """

    enabled: bool = True
    session_key_file: Path | None = None
    open_sessions: bool = False
    history: Annotated[int, Meta(ge=0, le=1_000)] = 50
    chat_idle: Annotated[float, Meta(ge=0, le=86_400)] = 3_600
    tenants: Mapping[str, PublicTenantSettings] = msgspec.field(default_factory=dict)


class PolicySettings(Section, frozen=True):
    """The rules that an operator may choose.

    Attributes:
        agent_calls: the calls that agents see.
        agent_chats: the chats that agents see and write into.
        over_user_limit: what happens to a user's connection over ``limits.connections_per_user``.
    """

    agent_calls: AgentCalls = "all"
    agent_chats: AgentChats = "own"
    over_user_limit: OverUserLimit = "refuse"


class CompressionSettings(Section, frozen=True):
    """permessage-deflate, for clients that offer it.

    Attributes:
        level: the compression level of zlib, from 1 (fastest) to 9 (smallest).
        threshold: messages of fewer bytes are sent uncompressed.
    """

    enabled: bool = True
    level: Annotated[int, Meta(ge=1, le=9)] = 1
    threshold: Annotated[int, Meta(ge=0, le=16_777_216)] = 256


class ClusterSettings(Section, frozen=True):
    """This node of a cluster.

    Attributes:
        node_id: the name of the node in statistics and in answers to ``Ping``.
        lease: seconds after which a node that has not renewed its lease counts as dead, and its users as offline.
    """

    node_id: str = msgspec.field(default_factory=socket.gethostname)
    lease: Annotated[float, Meta(ge=3, le=300)] = 10


class ControlSettings(Section, frozen=True):
    """The unix socket of operators' commands, such as ``callcenter-ws reload``.

    Attributes:
        socket: its path, which only the gateway's user may use; a relative path starts in the folder of the settings.
            Empty: there is none.
    """

    socket: str = "callcenter-ws.control"


class LogSettings(Section, frozen=True):
    """The log of the process. ``level`` and ``format`` have no effect with twistd's ``--syslog`` and ``--logger``.

    Attributes:
        level: the lowest level that is written.
        format: ``text``, or ``json`` for one object a line.
        connections: log each connection that is opened or ended by its peer, at the level info.
    """

    level: Literal["debug", "info", "warn", "error", "critical"] = "info"
    format: Literal["text", "json"] = "text"
    connections: bool = True


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings.

    Attributes:
        folder: the folder of the TOML file; without a file the current folder of the process.
        warnings: valid but unwise settings, one line of text each.
    """

    web: WebSettings = msgspec.field(default_factory=WebSettings)
    amp: AmpSettings = msgspec.field(default_factory=AmpSettings)
    jwt: JwtSettings = msgspec.field(default_factory=JwtSettings)
    session: SessionSettings = msgspec.field(default_factory=SessionSettings)
    store: StoreSettings = msgspec.field(default_factory=StoreSettings)
    limits: Limits = msgspec.field(default_factory=Limits)
    public: PublicSettings = msgspec.field(default_factory=PublicSettings)
    policy: PolicySettings = msgspec.field(default_factory=PolicySettings)
    compression: CompressionSettings = msgspec.field(default_factory=CompressionSettings)
    cluster: ClusterSettings = msgspec.field(default_factory=ClusterSettings)
    statistics: StatisticsSettings = msgspec.field(default_factory=StatisticsSettings)
    archive: ArchiveSettings = msgspec.field(default_factory=ArchiveSettings)
    commands: CommandSettings = msgspec.field(default_factory=CommandSettings)
    audit: AuditSettings = msgspec.field(default_factory=AuditSettings)
    tenants: TenantsSettings = msgspec.field(default_factory=TenantsSettings)
    control: ControlSettings = msgspec.field(default_factory=ControlSettings)
    log: LogSettings = msgspec.field(default_factory=LogSettings)
    folder: Path = msgspec.field(default_factory=Path.cwd)
    warnings: tuple[str, ...] = ()

    @property
    def store_file(self) -> Path | None:
        """The file of a ``sqlite:`` store; None for any other."""
        scheme, _, path = self.store.url.partition(":")
        return self.folder / path if scheme == "sqlite" else None

    @property
    def session_key_file(self) -> Path | None:
        """The file with the keys of the pages' tokens: the one of the settings, or the one beside the store's file."""
        if self.session.key_file is not None:
            return self.session.key_file
        file = self.store_file
        return None if file is None else file.with_name(f"{file.name}.session-key")

    @property
    def control_socket(self) -> Path | None:
        """The path of the control socket; None if there is none."""
        return self.folder / self.control.socket if self.control.socket else None

    @property
    def store_name(self) -> str:
        """The store, for messages: without a password."""
        return f"Redis, {redis_address(self.store.url)}" if self.redis_is_used else self.store.url

    @property
    def redis_is_used(self) -> bool:
        """Whether the store is a Redis."""
        return self.store.url.partition(":")[0] in SCHEMES


SECTIONS: Mapping[str, type[Any]] = {  # each section has its own class
    name: hint for name, hint in get_type_hints(Settings).items() if name not in ("folder", "warnings")
}
"""The sections by name. Calling one without arguments gives its defaults."""

KEYS: Mapping[str, object] = {
    f"{section}.{name}": hint
    for section, cls in SECTIONS.items()
    for name, hint in get_type_hints(cls, include_extras=True).items()
}
"""Every key as ``section.key``, with its type annotation; that of a number has its range."""
