"""StaticFiles: the files of the pages, read once, and the digest over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

_CONTENT_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
    "woff2": "font/woff2",
    "toml": "text/plain; charset=utf-8",
}
_TEXT = "text/plain; charset=utf-8"

_BUILD_DIGITS = 16
_BUILD_MARK = b"{build}"


@dataclass(frozen=True, slots=True)
class StaticFile:
    """One file, as it is served."""

    body: bytes
    content_type: str
    etag: str


def _static_file(name: str, body: bytes) -> StaticFile:
    content_type = _CONTENT_TYPES.get(name.rpartition(".")[2], _TEXT)
    return StaticFile(body, content_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


@dataclass(frozen=True, slots=True)
class StaticFiles:
    """All files of the pages.

    Attributes:
        build: the first digits of the SHA-256 over all files. URLs contain it, so that a browser may keep what they
            name for ever.
        pages: the HTML files by name, without their extension; they contain the build.
        assets: all others by path.
    """

    build: str
    pages: dict[str, StaticFile]
    assets: dict[str, StaticFile]

    @classmethod
    def load(cls) -> StaticFiles:
        """Read the files of the package."""
        contents = dict(_contents(files("callcenter_ws.pages").joinpath("static"), ""))
        digest = hashlib.sha256()
        for path in sorted(contents):
            for part in (path.encode(), contents[path]):
                digest.update(len(part).to_bytes(8, "big") + part)
        build = digest.hexdigest()[:_BUILD_DIGITS]
        pages, assets = {}, {}
        for path, body in contents.items():
            if path.endswith(".html"):
                pages[path.removesuffix(".html")] = _static_file(path, body.replace(_BUILD_MARK, build.encode()))
            else:
                assets[path] = _static_file(path, body)
        return cls(build, pages, assets)


def _contents(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _contents(entry, f"{prefix}{entry.name}/")
        else:
            yield prefix + entry.name, entry.read_bytes()
