"""What the settings must fulfil: each for itself (``RANGES``, ``TEXTS``), and together (``RULES``)."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path

from callcenter_ws.auth.keys import HMAC_BYTES, KeyRing, UnusableKey, hmac_key, read_public_key
from callcenter_ws.config import validators
from callcenter_ws.config.settings import Jwt, Settings
from callcenter_ws.runtime.endpoints import endpoint_options

_COUNT = (0, 10_000_000)
_SOME = (1, 1_000_000)
_TIMEOUT = (0.1, 3_600)
# Autobahn rounds its timers down to whole seconds, so that shorter ones may fire at once.
_PING = (3, 3_600)

RANGES: Mapping[str, tuple[float, float]] = {
    "jwt.jwks_refresh": (1, 604_800),
    "jwt.leeway": (0, 300),
    "store.history_events": (1, 10_000_000),
    "store.history_seconds": (1, 31_536_000),
    "store.memory_events": _SOME,
    "store.memory_bytes": (65_536, 2**50),
    "store.timeout": (0.5, 60),
    "cluster.lease": (3, 300),
    "limits.outbox": (1, 65_536),
    "limits.message_bytes": (1_024, 16_777_216),
    "limits.fragments": (1, 65_536),
    "limits.rate": (0.01, 1_000_000),
    "limits.burst": _SOME,
    "limits.bad_messages": _SOME,
    "limits.connections_per_user": _COUNT,
    "limits.connections_per_ip": _COUNT,
    "limits.connections_per_tenant": _COUNT,
    "limits.connections": _COUNT,
    "limits.handshake_timeout": _TIMEOUT,
    "limits.auth_timeout": _TIMEOUT,
    "limits.ping_interval": _PING,
    "limits.ping_timeout": _PING,
    "limits.slow_timeout": _TIMEOUT,
    "limits.presence_grace": (0, 3_600),
    "limits.drain_timeout": (0, 3_600),
    "compression.level": (1, 9),
    "compression.threshold": (0, 16_777_216),
}
"""The smallest and the largest value of every number."""

TEXTS: Mapping[str, Callable[[str], str]] = {
    "web.listen": validators.endpoint,
    "web.metrics_listen": validators.endpoint,
    "web.allowed_origins": validators.origin,
    "web.trusted_proxies": validators.network,
    "amp.listen": validators.endpoint,
    "jwt.algorithms": validators.algorithm,
    "jwt.jwks_url": validators.jwks_url,
    "jwt.cookie": validators.cookie_name,
    "store.url": validators.store_url,
    "store.key_prefix": validators.key_prefix,
    "public.tenants.*.origins": validators.origin,
    "cluster.node_id": validators.node_id,
}
"""How the text under a key, or each text of its list, is checked and normalised."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule found: the key to change, the reason, and the keys that it ``also`` depends on."""

    key: str
    reason: str
    also: tuple[str, ...] = ()


Rule = Callable[[Settings], Iterator[Finding]]

_LEAST_BYTES = {"amp.token_file": 16, "public.session_key_file": 32, "store.password_file": 1}
_KEY_SOURCES = ("jwt.secret_file", "jwt.public_key_files", "jwt.jwks_url")


def listens_somewhere(settings: Settings) -> Iterator[Finding]:
    """There is a port, and no endpoint is listed twice."""
    if not settings.web.listen:
        yield Finding("web.listen", "lists no endpoint, so nobody could connect")
    taken = set(settings.web.listen)
    others = [("web.metrics_listen", settings.web.metrics_listen)] if settings.web.metrics_listen else []
    for key, description in [*others, *(("amp.listen", description) for description in settings.amp.listen)]:
        if description in taken and not description.startswith("tcp:0"):
            yield Finding(
                key, f"{validators.shown(description)} is in use by another listener of this file", ("web.listen",)
            )
        taken.add(description)


def keys_match_algorithms(settings: Settings) -> Iterator[Finding]:
    """Every algorithm has a key of its family, and every key an algorithm."""
    jwt = settings.jwt
    hmac, public = _families(jwt)
    has_public_keys = bool(jwt.public_key_files or jwt.jwks_url)
    if not jwt.algorithms:
        yield Finding("jwt.algorithms", "lists no algorithm, so no token could be accepted")
    elif jwt.secret_file or has_public_keys:
        related = ("jwt.algorithms", *_KEY_SOURCES)
        if hmac and not jwt.secret_file:
            reason = f'{hmac[0]} needs secret_file; list what your public keys are for, as ["RS256"]'
            yield Finding("jwt.algorithms", reason, related)
        if public and not has_public_keys:
            yield Finding("jwt.algorithms", f"{public[0]} needs public_key_files or jwks_url", related)
        if jwt.secret_file and not hmac:
            yield Finding("jwt.secret_file", "is for HS256, HS384 and HS512, and jwt.algorithms lists none", related)
        if has_public_keys and not public:
            key = "jwt.public_key_files" if jwt.public_key_files else "jwt.jwks_url"
            yield Finding(key, 'jwt.algorithms lists none for public keys, as "RS256" or "ES256"', related)


def public_keys_are_of_use(settings: Settings) -> Iterator[Finding]:
    """Each key of a file is for an algorithm that is accepted, and each such algorithm has a key."""
    files = {path: read_public_key(path) for path in settings.jwt.public_key_files}
    _, public = _families(settings.jwt)
    if not files or not public:
        return
    for path, key in files.items():
        if key.algorithms.isdisjoint(public):
            reason = f"{path} is for {' or '.join(sorted(key.algorithms))}, and jwt.algorithms lists none of these"
            yield Finding("jwt.public_key_files", reason, ("jwt.algorithms",))
    for name in public:
        if not settings.jwt.jwks_url and not any(name in key.algorithms for key in files.values()):
            reason = f"no file of public_key_files has a key for {name}"
            yield Finding("jwt.algorithms", reason, ("jwt.public_key_files", "jwt.jwks_url"))
    try:
        KeyRing(files.values())
    except UnusableKey as error:
        yield Finding("jwt.public_key_files", str(error))


def secrets_are_kept(settings: Settings) -> Iterator[Finding]:
    """Files with secrets can be read, written by nobody else, and hold enough."""
    for key, path in _secret_files(settings):
        try:
            secret = validators.secret(path)
            if key == "jwt.secret_file":
                hmac, _ = _families(settings.jwt)
                # Which is the strictest is unknown while the algorithms make no sense; the least holds anyway.
                hmac_key(secret, hmac or ("HS256",))
            elif len(secret.strip()) < _LEAST_BYTES[key]:
                yield Finding(key, f"the secret has {len(secret.strip())} bytes, it needs at least {_LEAST_BYTES[key]}")
        except ValueError as error:
            yield Finding(key, str(error))


def tokens_can_be_verified(settings: Settings) -> Iterator[Finding]:
    """There is a key to verify tokens with."""
    if not settings.jwt.has_keys:
        file = shlex.quote(str(settings.folder / "jwt.secret"))
        reason = (
            "there is no key to verify tokens with, so everybody is refused. Make a secret:\n"
            f"        (umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe(48))' > {file})\n"
            f"    and set secret_file to that file. Or set public_key_files or jwks_url, with their algorithms.\n"
            "    Only to look around: start with --demo, which brings a secret of its own."
        )
        yield Finding("jwt.secret_file", reason, _KEY_SOURCES)


def amp_peers_can_authenticate(settings: Settings) -> Iterator[Finding]:
    """A daemon that comes over the network has something to authenticate with (PROTOCOL section 6)."""
    on_network = [description for description in settings.amp.listen if not _is_unix(description)]
    if on_network and not settings.amp.token_file and not settings.jwt.has_keys:
        reason = (
            f"daemons that connect to {validators.shown(on_network[0])} must authenticate, and have nothing to do it "
            "with. Set token_file, or jwt.secret_file: then tokens of role service will do"
        )
        yield Finding("amp.token_file", reason, ("amp.listen", *_KEY_SOURCES))


def store_has_a_folder(settings: Settings) -> Iterator[Finding]:
    """The folder of the store's file exists. The file itself is made where it does not."""
    file = settings.store_file
    if file is None:
        return
    if not file.parent.is_dir():
        yield Finding("store.url", f"there is no folder {file.parent}; make it, for the gateway's user alone")
    elif file.is_dir():
        yield Finding("store.url", f"{file} is a folder; name a file in it")


def redis_is_described(settings: Settings) -> Iterator[Finding]:
    """What is said of a Redis is of use."""
    store = settings.store
    is_redis = settings.redis_is_used
    for name in ("password_file", "ca_file"):
        if getattr(store, name) is not None and not is_redis:
            yield Finding(f"store.{name}", "is for a Redis, and store.url names none", ("store.url",))
    if store.ca_file is not None and is_redis:
        if not store.url.startswith("rediss"):
            yield Finding("store.ca_file", "is for rediss://, and store.url is not encrypted", ("store.url",))
        elif b"-----BEGIN CERTIFICATE-----" not in store.ca_file.read_bytes():
            yield Finding("store.ca_file", f"{store.ca_file} holds no PEM certificate")


RULES: tuple[Rule, ...] = (
    listens_somewhere,
    keys_match_algorithms,
    public_keys_are_of_use,
    secrets_are_kept,
    store_has_a_folder,
    redis_is_described,
)
"""Always."""

SOMEBODY_IS_LET_IN: tuple[Rule, ...] = (tokens_can_be_verified, amp_peers_can_authenticate)
"""A gateway without keys runs, safely: it lets nobody in, and says so. The demo brings its own."""


def secrets_are_private(settings: Settings) -> Iterator[Finding]:
    """Files with secrets and private keys are for one user."""
    for key, path in _secret_files(settings):
        if validators.readable_by_others(path):
            yield Finding(key, f"every user of this machine can read {path}; run: chmod o-r {path}")
    for key, description in _listeners(settings):
        if description.startswith("ssl:"):
            path = validators.private_key_file(description)
            if validators.readable_by_others(path):
                yield Finding(key, f"every user of this machine can read the key {path}; run: chmod o-r {path}")


def little_is_left_open(settings: Settings) -> Iterator[Finding]:
    """Nothing is wider open than most sites need."""
    if settings.jwt.allow_query_token:
        yield Finding("jwt.allow_query_token", "tokens in URLs end up in the logs of proxies and browsers")
    for text in settings.web.trusted_proxies:
        if ip_network(text).prefixlen == 0:
            yield Finding(
                "web.trusted_proxies", f"{text} lets every client choose the address that it is counted under"
            )
    for description in settings.amp.listen:
        if description.startswith("unix:") and int(endpoint_options(description).get("mode", "660"), 8) & 0o002:
            yield Finding("amp.listen", f"{validators.shown(description)}: every user of this machine may publish")


WARNINGS: tuple[Rule, ...] = (secrets_are_private, little_is_left_open)
"""Legal, but unwise."""


def _families(jwt: Jwt) -> tuple[list[str], list[str]]:
    hmac = [name for name in jwt.algorithms if name in HMAC_BYTES]
    return hmac, [name for name in jwt.algorithms if name not in HMAC_BYTES]


def _is_unix(description: str) -> bool:
    return description.startswith("unix:") or endpoint_options(description).get("domain") == "UNIX"


def _listeners(settings: Settings) -> Iterator[tuple[str, str]]:
    yield from (("web.listen", description) for description in settings.web.listen)
    if settings.web.metrics_listen:
        yield "web.metrics_listen", settings.web.metrics_listen
    yield from (("amp.listen", description) for description in settings.amp.listen)


def _secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    files = (
        ("jwt.secret_file", settings.jwt.secret_file),
        ("amp.token_file", settings.amp.token_file),
        ("public.session_key_file", settings.public.session_key_file),
        ("store.password_file", settings.store.password_file),
    )
    yield from ((key, path) for key, path in files if path is not None)
