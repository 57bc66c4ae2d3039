"""The typed settings (PROTOCOL section 8): which keys exist, what each means and what it is by default.

Values in here are checked and normalised; ``callcenter_ws.config.load`` says where they come from.
``etc/callcenter-ws.toml`` lists the same keys for the person who fills them in.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_type_hints

import msgspec

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.redis.address import SCHEMES, redis_address

Synchronous = Literal["normal", "full"]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""


class Web(Section, frozen=True):
    """The port of the WebSocket endpoints and the HTTP resources.

    Attributes:
        listen: Twisted server endpoint descriptions.
        allowed_origins: sites whose pages may connect, as ``https://host[:port]`` or ``https://*.domain``, in
            lower case and without default ports, just as browsers send them.
        demo: serve the demo page at ``/``.
        metrics_listen: endpoint of a listener for ``/metrics`` alone; None: it is served with the rest.
        trusted_proxies: networks in CIDR notation whose ``X-Forwarded-For`` is believed.
    """

    listen: tuple[str, ...] = ("tcp:8080:interface=127.0.0.1",)
    allowed_origins: tuple[str, ...] = ()
    demo: bool = False
    metrics_listen: str | None = None
    trusted_proxies: tuple[str, ...] = ()


class Amp(Section, frozen=True):
    """Where daemons send their events.

    Attributes:
        listen: Twisted server endpoint descriptions.
        token_file: holds the shared secret that ``Authenticate`` takes.
    """

    listen: tuple[str, ...] = ("tcp:8081:interface=127.0.0.1",)
    token_file: Path | None = None


class Jwt(Section, frozen=True):
    """How tokens are verified.

    Attributes:
        algorithms: JWS algorithms that are accepted (RFC 7518 section 3.1, RFC 8037).
        secret_file: the HMAC secret, for the HS algorithms.
        public_key_files: PEM public keys, for the others.
        jwks_url: a JWK set (RFC 7517) with public keys.
        jwks_refresh: seconds between two fetches of ``jwks_url``.
        leeway: seconds by which the issuer's clock may differ from ours.
        cookie: name of the cookie that holds a browser's token; None: no cookie is read.
        allow_query_token: accept ``?access_token=``, which ends up in other people's logs.
    """

    algorithms: tuple[str, ...] = ("HS256",)
    secret_file: Path | None = None
    public_key_files: tuple[Path, ...] = ()
    jwks_url: str | None = None
    jwks_refresh: float = 300
    issuer: str | None = None
    audience: str | None = None
    leeway: float = 0
    cookie: str | None = None
    allow_query_token: bool = False

    @property
    def has_keys(self) -> bool:
        """Whether there is anything to verify tokens with. Without, the gateway lets nobody in."""
        return bool(self.secret_file or self.public_key_files or self.jwks_url)


class Store(Section, frozen=True):
    """Where events are kept.

    Attributes:
        url: ``sqlite:PATH``, ``memory:`` or the address of a Redis (``redis.address``). A relative path begins
            in the folder of the settings.
        synchronous: how durable a write of ``sqlite:`` is.
        history_events: events kept for each tenant; ``memory:`` keeps no more than ``memory_events``.
        history_seconds: age at which an event is forgotten.
        memory_events: events of each tenant held in memory.
        memory_bytes: memory for the events of all tenants.
        key_prefix: what the names of all keys in Redis begin with.
        password_file: holds the password for Redis; it takes the place of one in ``url``.
        ca_file: PEM certificates that the certificate of a ``rediss:`` server has to come from; None: the system's.
        timeout: seconds after which a Redis that does not answer counts as gone.
    """

    url: str = "sqlite:callcenter-ws.sqlite"
    synchronous: Synchronous = "normal"
    history_events: int = 10_000
    history_seconds: float = 86_400
    memory_events: int = 1_000
    memory_bytes: int = 268_435_456
    key_prefix: str = "callcenter-ws"
    password_file: Path | None = None
    ca_file: Path | None = None
    timeout: float = 3


class PublicTenant(Section, frozen=True):
    """A tenant whose visitors use ``/ws/public``.

    Attributes:
        origins: sites that carry its chat widget, written like ``web.allowed_origins``.
        anonymous: let visitors in without a token.
    """

    origins: tuple[str, ...] = ()
    anonymous: bool = False


class Public(Section, frozen=True):
    """The endpoint of chat-widget visitors.

    Attributes:
        tenants: by tenant id.
        session_key_file: key that signs the session tokens of anonymous visitors; None: a new key at each
            start, so that their sessions end with the process.
    """

    enabled: bool = True
    session_key_file: Path | None = None
    tenants: Mapping[str, PublicTenant] = msgspec.field(default_factory=dict)


class Policy(Section, frozen=True):
    """Who sees what, where a site may choose."""

    agent_calls: AgentCalls = "all"


class Compression(Section, frozen=True):
    """permessage-deflate, for clients that offer it.

    Attributes:
        level: of zlib: 1 is the fastest, 9 makes the smallest.
        threshold: messages of fewer bytes are sent as they are.
    """

    enabled: bool = True
    level: int = 1
    threshold: int = 256


class Cluster(Section, frozen=True):
    """This node among others.

    Attributes:
        node_id: names it in statistics and in answers to ``Ping``.
        lease: seconds after which a node that was not heard of counts as dead, and its users as gone.
    """

    node_id: str = msgspec.field(default_factory=socket.gethostname)
    lease: float = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings.

    Attributes:
        folder: where the file is, or else where the process was started.
        warnings: what is legal but unwise, one line of text each.
    """

    web: Web = msgspec.field(default_factory=Web)
    amp: Amp = msgspec.field(default_factory=Amp)
    jwt: Jwt = msgspec.field(default_factory=Jwt)
    store: Store = msgspec.field(default_factory=Store)
    limits: Limits = msgspec.field(default_factory=Limits)
    public: Public = msgspec.field(default_factory=Public)
    policy: Policy = msgspec.field(default_factory=Policy)
    compression: Compression = msgspec.field(default_factory=Compression)
    cluster: Cluster = msgspec.field(default_factory=Cluster)
    folder: Path = msgspec.field(default_factory=Path.cwd)
    warnings: tuple[str, ...] = ()

    @property
    def store_file(self) -> Path | None:
        """The file of a ``sqlite:`` store; None for any other."""
        scheme, _, path = self.store.url.partition(":")
        return self.folder / path if scheme == "sqlite" else None

    @property
    def store_name(self) -> str:
        """The store as a person may be shown it: without a password."""
        return f"Redis, {redis_address(self.store.url)}" if self.redis_is_used else self.store.url

    @property
    def redis_is_used(self) -> bool:
        """Whether the store is a Redis."""
        return self.store.url.partition(":")[0] in SCHEMES


SECTIONS: Mapping[str, type[Any]] = {
    name: hint for name, hint in get_type_hints(Settings).items() if name not in ("folder", "warnings")
}
"""The sections by name. Each can be called without arguments, which gives the defaults."""

KEYS: Mapping[str, Any] = {
    f"{section}.{name}": hint for section, cls in SECTIONS.items() for name, hint in get_type_hints(cls).items()
}
"""Every key as ``section.key``, with its type."""
