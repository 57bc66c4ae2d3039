"""Whether a request was made by a page that this gateway serves, and whether its browser may be given a cookie."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.peer_address import PeerAddress
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.network import parse_address
from callcenter_ws.runtime.web_origin import WebOrigin, is_own_origin, shown_origin


@dataclass(frozen=True, slots=True)
class Site:
    """The site of a page of the gateway, as its browser knows it.

    Attributes:
        origin: its origin.
        is_encrypted: whether the page was served by https.
        is_local: whether browser and gateway are on one machine, and the site has a name of that machine.
    """

    origin: WebOrigin
    is_encrypted: bool
    is_local: bool

    @property
    def host(self) -> str:
        """The host with its port, unless it is the default, as in a ``Host`` header."""
        return str(self.origin).partition("://")[2]


def own_site(request: Request, proxies: TrustedProxies) -> Site:
    """Return the site of the page that has made a request.

    Raises:
        Refusal: ``forbidden`` unless the request names exactly one ``Origin``, which is that of this gateway, behind
            trusted proxies too; and unless the browser says that the page is of the same origin (Fetch Metadata), which
            it does not say over plain http.
    """
    origin = _only(request, b"Origin")
    if origin is None:
        raise Refusal(ErrorCode.FORBIDDEN, "exactly one Origin header is required: this is for pages of the gateway")
    host, is_encrypted = _requested(request, proxies)
    if host is None or not is_own_origin(origin, host, is_encrypted=is_encrypted):
        raise Refusal(ErrorCode.FORBIDDEN, f"the Origin {shown_origin(origin)} is not that of this gateway")
    parsed = WebOrigin.parse(origin)
    fetch_site = request.requestHeaders.getRawHeaders(b"Sec-Fetch-Site") or []
    if fetch_site != [b"same-origin"] and (fetch_site or parsed.scheme == "https"):
        text = "the browser does not say that the page is of this site (Sec-Fetch-Site); it may be too old"
        raise Refusal(ErrorCode.FORBIDDEN, text)
    return Site(parsed, parsed.scheme == "https", _is_loopback(parsed.host) and _is_local(request, proxies))


def signing_in_site(request: Request, proxies: TrustedProxies) -> Site:
    """Return the site of a page whose browser may be given a cookie.

    Raises:
        Refusal: as for ``own_site``; ``needs_https`` for a page of plain http from another machine.
    """
    site = own_site(request, proxies)
    if not site.is_encrypted and not site.is_local:
        raise Refusal(ErrorCode.NEEDS_HTTPS)
    return site


def _requested(request: Request, proxies: TrustedProxies) -> tuple[str | None, bool]:
    """Return the host that the client has asked, and whether by TLS, as a trusted proxy says."""
    hosts, is_encrypted = _values(request, b"Host"), request.isSecure()
    if proxies.trusts(proxies.client_ip(_peer(request).host, ())):
        hosts = _last_forwarded(request, b"X-Forwarded-Host") or hosts
        is_encrypted = "https" in _last_forwarded(request, b"X-Forwarded-Proto")
    return hosts[0] if len(hosts) == 1 else None, is_encrypted


def _is_local(request: Request, proxies: TrustedProxies) -> bool:
    return _is_loopback(proxies.client_ip(_peer(request).host, _values(request, b"X-Forwarded-For")))


def _is_loopback(host: str) -> bool:
    address = parse_address(host.strip("[]"))
    return host == "localhost" or (address is not None and ip_address(address).is_loopback)


def _peer(request: Request) -> PeerAddress:
    channel: Any = request.channel  # a GatewayChannel, which twisted.web declares as its own
    peer: PeerAddress = channel.peer_address
    return peer


def _only(request: Request, name: bytes) -> str | None:
    values = _values(request, name)
    return values[0] if len(values) == 1 else None


def _values(request: Request, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for value in request.requestHeaders.getRawHeaders(name) or ()]


def _last_forwarded(request: Request, name: bytes) -> list[str]:
    """Return the last value of a list, which the nearest proxy has appended; none if there is none."""
    values = _values(request, name)
    return [values[-1].rpartition(",")[2].strip()] if values else []
