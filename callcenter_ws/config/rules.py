"""The rules of the settings: checks of single texts (``TEXT_CHECKS``) and of settings together (``RULES``)."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from callcenter_ws.auth.keys import MIN_HMAC_BYTES, KeyRing, UnusableKey, hmac_key, read_public_key
from callcenter_ws.auth.page_tokens import page_keys
from callcenter_ws.config import validators
from callcenter_ws.config.command_rules import (
    check_audit_file,
    check_commands,
    check_destinations,
    warn_of_audit_mode,
    warn_of_commands,
)
from callcenter_ws.config.command_settings import pattern_text, pause_reason
from callcenter_ws.config.findings import Finding, Rule
from callcenter_ws.config.settings import JwtSettings, Settings
from callcenter_ws.config.tables import named
from callcenter_ws.config.tenants import is_enabled, time_zone
from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.secret_files import checked_secret, readable_by_others, writable_by_others
from callcenter_ws.runtime.setting_values import shown

TEXT_CHECKS: Mapping[str, Callable[[str], str | EndpointDescription]] = {
    "web.listen": validators.endpoint,
    "web.metrics_listen": validators.endpoint,
    "web.allowed_origins": validators.origin,
    "web.embedders": validators.exact_origin,
    "web.trusted_proxies": validators.network,
    "amp.listen": validators.endpoint,
    "jwt.algorithms": validators.algorithm,
    "jwt.jwks_url": validators.jwks_url,
    "jwt.cookie": validators.cookie_name,
    "store.url": validators.store_url,
    "store.key_prefix": validators.key_prefix,
    "public.tenants.*.origins": validators.origin,
    "cluster.node_id": validators.node_id,
    "statistics.time_zone": time_zone,
    "commands.destination_pattern": pattern_text,
    "commands.pause_reasons": pause_reason,
}
"""The functions that check and normalise the text of a key, or each text of its list."""


_MIN_SECRET_BYTES = {
    "amp.token_file": 16,
    "public.session_key_file": 32,
    "session.key_file": 32,
    "store.password_file": 1,
}
_MIN_WEBHOOK_SECRET_BYTES = 32
_KEY_SOURCES = ("jwt.secret_file", "jwt.public_key_files", "jwt.jwks_url")


def check_listeners(settings: Settings) -> Iterator[Finding]:
    """Require an endpoint for clients, and that no endpoint is listed twice."""
    if not settings.web.listen:
        yield Finding("web.listen", "lists no endpoint, so no client could connect")
    used = {endpoint.socket for endpoint in settings.web.listen}
    for key, endpoint in listeners(settings):
        if endpoint.is_proxied and not settings.web.trusted_proxies:
            reason = f"{shown(endpoint.text)} accepts proxies only, and web.trusted_proxies lists none"
            yield Finding(key, reason, ("web.trusted_proxies",))
        if key == "web.listen":
            continue
        if endpoint.socket in used and not endpoint.socket.text.startswith("tcp:0"):
            yield Finding(key, f"{shown(endpoint.text)} is in use by another listener of this file", ("web.listen",))
        used.add(endpoint.socket)


def check_key_families(settings: Settings) -> Iterator[Finding]:
    """Require a key of its family for every algorithm, and an algorithm for every key."""
    jwt = settings.jwt
    hmac, public = _families(jwt)
    has_public_keys = bool(jwt.public_key_files or jwt.jwks_url)
    if not jwt.algorithms:
        yield Finding("jwt.algorithms", "lists no algorithm, so no token could be accepted")
    elif jwt.secret_file or has_public_keys:
        related = ("jwt.algorithms", *_KEY_SOURCES)
        if hmac and not jwt.secret_file:
            reason = f'{hmac[0]} needs secret_file; list the algorithms of your public keys, as in ["RS256"]'
            yield Finding("jwt.algorithms", reason, related)
        if public and not has_public_keys:
            yield Finding("jwt.algorithms", f"{public[0]} needs public_key_files or jwks_url", related)
        if jwt.secret_file and not hmac:
            yield Finding("jwt.secret_file", "is for HS256, HS384 and HS512, and jwt.algorithms lists none", related)
        if has_public_keys and not public:
            key = "jwt.public_key_files" if jwt.public_key_files else "jwt.jwks_url"
            yield Finding(key, 'jwt.algorithms lists none for public keys, such as "RS256" or "ES256"', related)


def check_public_keys(settings: Settings) -> Iterator[Finding]:
    """Require an accepted algorithm for the key of each file, and a key for each accepted algorithm."""
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


def check_secret_files(settings: Settings) -> Iterator[Finding]:
    """Require that files with secrets are readable, writable by their owner only, and long enough."""
    for key, path in _secret_files(settings):
        try:
            secret = checked_secret(path)
            if key == "jwt.secret_file":
                hmac, _ = _families(settings.jwt)
                # Without a valid algorithm the strictest one is unknown; the shortest minimum applies in any case.
                _check_hmac(path, secret, hmac or ["HS256"])
            elif len(secret.strip()) < (smallest := _MIN_SECRET_BYTES.get(key, _MIN_WEBHOOK_SECRET_BYTES)):
                yield Finding(
                    key,
                    f"{path}: the secret has {len(secret.strip())} bytes; it requires at least {smallest}",
                )
            elif key == "session.key_file":
                page_keys(path)
        except ValueError as error:
            yield Finding(key, str(error))


def _check_hmac(path: Path, secret: bytes, algorithms: list[str]) -> None:
    try:
        hmac_key(secret, algorithms)
    except UnusableKey as error:
        # The file exists, so that its path is not the secret itself.
        raise UnusableKey(f"{path}: {error}") from None


def check_verification_keys(settings: Settings) -> Iterator[Finding]:
    """Require a key to verify tokens with."""
    if not settings.jwt.has_keys:
        file = shlex.quote(str(settings.folder / "jwt.secret"))
        reason = (
            "there is no key to verify tokens with, so every connection is refused. Make a secret:\n"
            f"        (umask 077; python3 -c 'import secrets; print(secrets.token_urlsafe(48))' > {file})\n"
            f"    and set secret_file to that file. Or set public_key_files or jwks_url, with their algorithms.\n"
            "    To try the gateway out, start it with --demo, which has a secret of its own."
        )
        yield Finding("jwt.secret_file", reason, _KEY_SOURCES)


def check_amp_authentication(settings: Settings) -> Iterator[Finding]:
    """Require a way to authenticate for daemons that connect over the network (docs/senders.rst)."""
    on_network = [endpoint for endpoint in settings.amp.listen if not _is_unix(endpoint)]
    if on_network and not settings.amp.token_file and not settings.jwt.has_keys:
        reason = (
            f"daemons that connect to {shown(on_network[0].text)} must authenticate, and no secret or key "
            "is set. Set token_file, or jwt.secret_file to accept tokens with the role service"
        )
        yield Finding("amp.token_file", reason, ("amp.listen", *_KEY_SOURCES))


def check_store_folder(settings: Settings) -> Iterator[Finding]:
    """Require the folder of the store's file. The file itself is created if it does not exist."""
    file = settings.store_file
    if file is None:
        return
    try:
        # Not Path.is_dir: whether it raises for an inaccessible folder depends on the version of Python.
        is_folder = stat.S_ISDIR(file.parent.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        is_folder = False
    except OSError as error:
        yield Finding("store.url", f"{file.parent} cannot be reached: {error.strerror}")
        return
    if not is_folder:
        yield Finding("store.url", f"there is no folder {file.parent}; make it, for the gateway's user only")
    elif os.path.isdir(file):
        yield Finding("store.url", f"{file} is a folder; name a file in it")


def check_redis_settings(settings: Settings) -> Iterator[Finding]:
    """Require that settings for Redis apply to the store that ``store.url`` names."""
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


TYPICAL_EVENT_BYTES = 350
"""Bytes of the payload of an ordinary call event."""

RULES: tuple[Rule, ...] = (
    check_listeners,
    check_key_families,
    check_public_keys,
    check_secret_files,
    check_store_folder,
    check_redis_settings,
    check_commands,
    check_destinations,
    check_destinations,
    check_audit_file,
)
"""The rules without which the gateway does not start."""

ACCESS_WARNINGS: tuple[Rule, ...] = (check_verification_keys, check_amp_authentication)
"""A gateway without keys starts, refuses every connection and logs these warnings. The demo has its own keys."""


def check_file_modes(settings: Settings) -> Iterator[Finding]:
    """Warn of files with secrets and private keys that every user can read, and of keys that others can replace."""
    for key, path in _secret_files(settings):
        if readable_by_others(path):
            yield Finding(key, f"every user of this machine can read {path}; run: chmod o-r {path}")
    if (file := settings.store_file) is not None and file.exists() and readable_by_others(file):
        reason = f"every user of this machine can read {file}, with the hashes of passwords; run: chmod o-r {file}*"
        yield Finding("store.url", reason)
    for key, endpoint in listeners(settings):
        if endpoint.kind == "ssl":
            path = endpoint.private_key_file
            if readable_by_others(path):
                yield Finding(key, f"every user of this machine can read the key {path}; run: chmod o-r {path}")
    for key, path in _key_files(settings):
        if writable_by_others(path):
            yield Finding(key, f"users other than its owner may write to {path}; run: chmod go-w {path}")


def check_exposure(settings: Settings) -> Iterator[Finding]:
    """Warn of settings that permit more than most sites need."""
    if settings.jwt.allow_query_token:
        yield Finding("jwt.allow_query_token", "tokens in URLs end up in the logs of proxies and browsers")
    if "file://" in settings.web.allowed_origins:
        yield Finding(
            "web.allowed_origins", "file:// is every local file that a user opens; an app:// of your own is not"
        )
    for text in settings.web.trusted_proxies:
        if ip_network(text).prefixlen == 0:
            yield Finding(
                "web.trusted_proxies", f"{text} permits every client to choose the address that it is counted under"
            )
    for endpoint in settings.amp.listen:
        if endpoint.kind == "unix" and int(endpoint.options.get("mode", "660"), 8) & 0o002:
            yield Finding("amp.listen", f"{shown(endpoint.text)}: every user of this machine may publish")


def check_signing_in(settings: Settings) -> Iterator[Finding]:
    """Warn if signing in at the pages fails: with a Redis without keys, or from another machine without https."""
    web = settings.web
    if not web.pages:
        return
    if settings.redis_is_used and settings.session.key_file is None:
        reason = (
            "is not set, so signing in at the pages is off. With a Redis it names a file with the keys of their "
            "tokens, the same at all nodes; or set web.pages = false"
        )
        yield Finding("session.key_file", reason, ("store.url", "web.pages"))
        return
    if web.trusted_proxies or any(endpoint.kind == "ssl" for endpoint in web.listen):
        return
    if any(_is_open_to_network(endpoint) for endpoint in web.listen):
        reason = (
            "signing in at the pages works on this machine only: other browsers need https, no endpoint of web.listen "
            "has TLS, and no proxy is trusted"
        )
        yield Finding("web.pages", reason, ("web.listen", "web.trusted_proxies"))


def _is_open_to_network(endpoint: EndpointDescription) -> bool:
    return endpoint.kind == "tcp" and not validators.is_loopback(endpoint.interface)


def check_history(settings: Settings) -> Iterator[Finding]:
    """Warn of a number of events that the bytes of the history do not allow."""
    store = settings.store
    expected = store.history_events * TYPICAL_EVENT_BYTES
    if expected > store.history_bytes:
        text = f"{store.history_events:,} events take about {expected:,} bytes, and store.history_bytes allows fewer"
        yield Finding("store.history_events", text, ("store.history_bytes",))


def check_statistics(settings: Settings) -> Iterator[Finding]:
    """Warn of statistics that end with the process, and of alerts and webhooks that have no effect without them."""
    with_statistics = settings.statistics.enabled
    for name, tenant in settings.tenants.by_name.items():
        enabled = is_enabled(settings.statistics, tenant)
        with_statistics |= enabled
        path = named("tenants", name)
        for field, entries in (("alerts", tenant.alerts), ("webhooks", tenant.webhooks)):
            if entries and not enabled:
                yield Finding(f"{path}.{field}", "have no effect: the statistics of this tenant are not enabled")
        if tenant.wallboards and not enabled:
            reason = "show no service levels, rates and charts: the statistics of this tenant are not enabled"
            yield Finding(f"{path}.wallboards", reason)
        is_waiting = any(pattern.startswith("queue.") for hook in tenant.webhooks for pattern in hook.events)
        if is_waiting and enabled and not tenant.alerts:
            yield Finding(f"{path}.webhooks", f"send no alerts: the tenant has none; add [[{path}.alerts]]")
    if with_statistics and settings.store.url == "memory:":
        yield Finding("statistics.enabled", "with the store memory: all figures end with the process", ("store.url",))
    if settings.archive.folder is not None and not with_statistics:
        yield Finding("archive.folder", "has no effect: no tenant has statistics, whose process writes the archive")


def check_webhook_hosts(settings: Settings) -> Iterator[Finding]:
    """Warn of a URL whose host is an inner address that is not allowed, as far as this needs no look-up of a name."""
    for name, tenant in settings.tenants.by_name.items():
        for number, hook in enumerate(tenant.webhooks, 1):
            host = urlsplit(hook.url).hostname or ""
            if host not in hook.allow_hosts and _is_inner(host):
                key = f'{named("tenants", name)}.webhooks[{number}] "{hook.name}".url'
                reason = "its host has an address that is not of the internet, and every request will be refused"
                yield Finding(key, f"{reason}; if that is intended, list the host in allow_hosts")


def _is_inner(host: str) -> bool:
    try:
        return not ip_address(host).is_global
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


WARNINGS: tuple[Rule, ...] = (
    check_file_modes,
    check_exposure,
    check_signing_in,
    check_history,
    check_statistics,
    check_webhook_hosts,
    warn_of_commands,
    warn_of_audit_mode,
)
"""Valid, but unwise settings."""


def _families(jwt: JwtSettings) -> tuple[list[str], list[str]]:
    """Return the HMAC algorithms and the public-key algorithms."""
    hmac = [name for name in jwt.algorithms if name in MIN_HMAC_BYTES]
    return hmac, [name for name in jwt.algorithms if name not in MIN_HMAC_BYTES]


def _is_unix(endpoint: EndpointDescription) -> bool:
    return endpoint.kind == "unix" or endpoint.options.get("domain") == "UNIX"


def listeners(settings: Settings) -> Iterator[tuple[str, EndpointDescription]]:
    """Yield each endpoint that the gateway opens, with its key."""
    yield from (("web.listen", endpoint) for endpoint in settings.web.listen)
    if settings.web.metrics_listen:
        yield "web.metrics_listen", settings.web.metrics_listen
    yield from (("amp.listen", endpoint) for endpoint in settings.amp.listen)


def _secret_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    files = (
        ("jwt.secret_file", settings.jwt.secret_file),
        ("amp.token_file", settings.amp.token_file),
        ("public.session_key_file", settings.public.session_key_file),
        ("session.key_file", settings.session.key_file),
        ("store.password_file", settings.store.password_file),
    )
    yield from ((key, path) for key, path in files if path is not None)
    for name, tenant in settings.tenants.by_name.items():
        for number, webhook in enumerate(tenant.webhooks, 1):
            yield f'{named("tenants", name)}.webhooks[{number}] "{webhook.name}".secret_file', webhook.secret_file


def _key_files(settings: Settings) -> Iterator[tuple[str, Path]]:
    """Yield the files of keys and certificates, which are no secrets or are checked as such elsewhere."""
    yield from (("jwt.public_key_files", path) for path in settings.jwt.public_key_files)
    for key, endpoint in listeners(settings):
        if endpoint.kind == "ssl":
            yield from ((key, path) for path in (endpoint.private_key_file, endpoint.certificate_file))
    if settings.store.ca_file is not None:
        yield "store.ca_file", settings.store.ca_file
