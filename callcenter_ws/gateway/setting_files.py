"""The files that settings name: whether their contents have changed since they were read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from callcenter_ws.config.settings import Settings
from callcenter_ws.runtime.endpoints import EndpointDescription

LISTEN_KEYS = ("web.listen", "web.metrics_listen", "amp.listen")
"""The keys of endpoints, whose descriptions may name the files of certificates."""


def file_digests(settings: Settings) -> Mapping[str, bytes]:
    """Return a digest of the contents of all files of each key that names any. A file that cannot be read is empty."""
    digests: dict[str, bytes] = {}
    for key, paths in _files(settings):
        digest = hashlib.blake2b(digest_size=16)
        for path in paths:
            content = b""
            # Whether it can be used is decided where it is used.
            with suppress(OSError):
                content = path.read_bytes()
            digest.update(b"%d:%b" % (len(content), content))
        digests[key] = digest.digest()
    return digests


def certificate_files(endpoint: EndpointDescription) -> list[Path]:
    """Return the files of an ``ssl:`` endpoint; none for another."""
    if endpoint.kind != "ssl":
        return []
    more = [endpoint.options[name] for name in ("extraCertChain", "dhParameters") if name in endpoint.options]
    return [endpoint.certificate_file, endpoint.private_key_file, *map(Path, more)]


def _files(settings: Settings) -> Iterator[tuple[str, list[Path]]]:
    web, metrics = settings.web.listen, settings.web.metrics_listen
    found = {
        "web.listen": [path for endpoint in web for path in certificate_files(endpoint)],
        "web.metrics_listen": [] if metrics is None else certificate_files(metrics),
        "amp.listen": [path for endpoint in settings.amp.listen for path in certificate_files(endpoint)],
        "amp.token_file": _one(settings.amp.token_file),
        "jwt.secret_file": _one(settings.jwt.secret_file),
        "jwt.public_key_files": list(settings.jwt.public_key_files),
        "store.password_file": _one(settings.store.password_file),
        "store.ca_file": _one(settings.store.ca_file),
        "public.session_key_file": _one(settings.public.session_key_file),
        "session.key_file": _one(settings.session.key_file),
        "tenants.by_name": [hook.secret_file for one in settings.tenants.by_name.values() for hook in one.webhooks],
    }
    return ((key, paths) for key, paths in found.items() if paths)


def _one(path: Path | None) -> list[Path]:
    return [] if path is None else [path]
