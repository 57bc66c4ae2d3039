"""Origins of web pages and of apps (RFC 6454): parsed, compared, and found on allow-lists.

The settings are checked and handshakes are compared with the same functions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_WEB = re.compile(r"(https?)://(\*\.)?([a-z0-9_.-]+|\[[0-9a-f:.]+\])(?::([0-9]{1,5}))?", re.ASCII | re.IGNORECASE)
_APP = re.compile(r"([a-z][a-z0-9+.-]*)://([!-~]*)", re.ASCII | re.IGNORECASE)
_NOT_IN_APPS = frozenset("/\\?#@*,;\"'<>[]{}|^`%")
_LABELS = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*", re.ASCII)
_NO_APPS = frozenset({"about", "blob", "data", "ftp", "ftps", "javascript", "mailto", "ws", "wss"})
MAX_ORIGIN_LENGTH = 300
"""A longer text is no origin: a host name has at most 253 characters."""


def shown_origin(text: str) -> str:
    """Return an origin that a peer sent, quoted and shortened, as a log line may show it."""
    return ascii(text if len(text) <= 100 else text[:97] + "...")


@dataclass(frozen=True, slots=True)
class WebOrigin:
    """A scheme, a host and a port. In a pattern, a host that begins with ``*.`` matches all its subdomains.

    The origin of an app, as ``capacitor://localhost`` or ``chrome-extension://…``, has the port 0. Its host is compared
    exactly, because its spelling is up to the app, and is empty in ``file://``.
    """

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        port = "" if self.port == _DEFAULT_PORTS.get(self.scheme, 0) else f":{self.port}"
        return f"{self.scheme}://{self.host}{port}"

    @classmethod
    def parse(cls, text: str) -> WebOrigin:
        """Parse an origin or a pattern.

        Raises:
            ValueError: not ``scheme://host[:port]``; also for ``null`` and for schemes that no page has.
        """
        if len(text) > MAX_ORIGIN_LENGTH:
            raise _not_an_origin(text)
        web = _WEB.fullmatch(text)
        if web is None:
            return cls._parse_app(text)
        scheme, wildcard, host, port = web[1].lower(), web[2] or "", web[3].lower(), web[4]
        _check_host(host, text)
        if port and not 0 < int(port) <= 65_535:
            raise ValueError(f"{shown_origin(text)} is not an origin: there is no such port")
        return cls(scheme, wildcard + host, int(port) if port else _DEFAULT_PORTS[scheme])

    @classmethod
    def _parse_app(cls, text: str) -> WebOrigin:
        app = _APP.fullmatch(text)
        if app is None or not _NOT_IN_APPS.isdisjoint(app[2]):
            raise _not_an_origin(text)
        scheme, host = app[1].lower(), app[2]
        if scheme in _DEFAULT_PORTS or scheme in _NO_APPS or not (host or scheme == "file"):
            raise _not_an_origin(text)
        return cls(scheme, host, 0)

    def matches(self, other: WebOrigin) -> bool:
        """Return whether ``other`` equals this origin or matches this pattern."""
        if (self.scheme, self.port) != (other.scheme, other.port):
            return False
        if self.host.startswith("*."):
            return other.host.endswith(self.host[1:]) and not other.host.startswith("*")
        return self.host == other.host


def _not_an_origin(text: str) -> ValueError:
    return ValueError(
        f"{shown_origin(text)} is not an origin: write scheme://host or scheme://host:port, with nothing after it"
    )


def _check_host(host: str, text: str) -> None:
    if host.startswith("["):
        try:
            ip_address(host[1:-1])
        except ValueError:
            raise _not_an_origin(text) from None
    elif not _LABELS.fullmatch(host):
        raise ValueError(f"{shown_origin(text)} is not an origin: {shown_origin(host)} is not a host name")


def allowed_origin(text: str) -> str:
    """Return an entry of an allow-list as browsers send it (RFC 6454 section 6.2), or ``https://*.`` before a domain.

    Raises:
        ValueError: not an origin, an origin that matches every site, or a wildcard in another place.
    """
    if text in ("*", "null") or text.endswith("://*"):
        raise ValueError(f"{text!r} would let every web site act as your users; list the sites one by one")
    origin = WebOrigin.parse(text)
    domain = origin.host.removeprefix("*.")
    is_own_domain = origin.scheme == "https" and "." in domain and not domain[-1].isdecimal() and domain[0] != "["
    if domain != origin.host and not is_own_domain:
        raise ValueError(
            f"{shown_origin(text)}: a wildcard stands before a domain of your own, as https://*.example.com"
        )
    return str(origin)


class OriginList:
    """An allow-list of origins."""

    def __init__(self, allowed: Iterable[str]) -> None:
        parsed = [WebOrigin.parse(text) for text in allowed]
        self._patterns = [origin for origin in parsed if origin.host.startswith("*.")]
        self._exact = frozenset([str(origin) for origin in parsed if origin not in self._patterns])

    def allows(self, origin: str) -> bool:
        """Return whether ``origin`` is on the list."""
        # As browsers send it, it is on the list or matches a pattern.
        if origin in self._exact:
            return True
        try:
            parsed = WebOrigin.parse(origin)
        except ValueError:
            return False
        if parsed.host.startswith("*"):
            return False
        return str(parsed) in self._exact or any(pattern.matches(parsed) for pattern in self._patterns)


OWN_PAGES = "pages of the gateway itself"
"""What ``is_own_origin`` permits beside the origins of the settings, for people."""


def is_own_origin(origin: str, host: str, *, is_encrypted: bool) -> bool:
    """Return whether a page of ``origin`` was served by the host that a request names.

    A page that was served without encryption is not of an encrypted site: on the way it may have been changed.

    Args:
        host: the ``Host`` header, which a page cannot choose, or what a trusted proxy says in its place.
        is_encrypted: whether the client has connected by TLS, as far as is known. A page of ``https`` is accepted in
            any case: a proxy that ends TLS may not say so.
    """
    try:
        page = WebOrigin.parse(origin)
        own = WebOrigin.parse(f"{page.scheme}://{host.strip()}")
    except ValueError:
        return False
    if page.scheme not in _DEFAULT_PORTS or page.host.startswith("*"):
        return False
    return page == own and (page.scheme == "https" or not is_encrypted)
