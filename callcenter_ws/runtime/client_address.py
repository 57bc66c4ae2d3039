"""The client's address of a connection that may come through trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from twisted.logger import Logger

from callcenter_ws.runtime.network import parse_address

UNIX_SOCKET = "unix"
"""The address of a peer on a unix socket."""

MAX_HOPS = 20
"""Addresses of ``X-Forwarded-For`` that are read, from the right."""

_log = Logger("callcenter_ws")


class TrustedProxies:
    """The networks of proxies whose ``X-Forwarded-For`` headers are trusted.

    Attributes:
        unreadable: how many values of trusted proxies were no address, by kind.
    """

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]
        self.unreadable: dict[str, int] = {}

    def replace_with(self, other: TrustedProxies) -> None:
        """Trust the networks of another object from now on, and no others."""
        self._networks = other._networks

    def client_ip(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the client's address: the first address from the right that is not a trusted proxy.

        The entries to the left of it are ignored: the client can forge them. If a trusted proxy sent a value that is
        no address, the result is the address of that proxy, and the value is counted; the first of its kind is logged.

        Args:
            peer: the address of the TCP connection; None on a unix socket.
            forwarded_for: the values of the ``X-Forwarded-For`` headers, in order.
        """
        current = UNIX_SOCKET if peer is None else _plain(peer)
        if not self._networks or not forwarded_for or not self.trusts(current):
            return current
        for hop in _hops(forwarded_for):
            address = parse_address(hop)
            if address is None:
                self._count_unreadable(hop, current)
                break
            current = address
            if not self.trusts(current):
                break
        return current

    def trusts(self, address: str) -> bool:
        """Return whether an address is that of a trusted proxy. Unix sockets are, if there is any trusted proxy."""
        if address == UNIX_SOCKET:
            return bool(self._networks)
        if not self._networks:
            return False
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks)

    def _count_unreadable(self, value: str, proxy: str) -> None:
        kind = _kind_of_unreadable(value)
        if kind not in self.unreadable:
            _log.warn(
                "X-Forwarded-For from the trusted proxy {proxy} is not read, and its clients count as the proxy: "
                "{kind}: {value!r} (logged once for each kind)",
                proxy=proxy,
                kind=kind,
                value=value[:64],
            )
        self.unreadable[kind] = self.unreadable.get(kind, 0) + 1


def _hops(forwarded_for: Sequence[str]) -> list[str]:
    """Return the addresses of the headers from right to left, at most ``MAX_HOPS``."""
    hops: list[str] = []
    for value in reversed(forwarded_for):
        room = MAX_HOPS - len(hops)
        parts = value.rsplit(",", room)[-room:]
        hops += [hop.strip(" \t") for hop in reversed(parts)]
        if len(hops) >= MAX_HOPS:
            break
    return hops


def _kind_of_unreadable(value: str) -> str:
    if not value:
        return "empty"
    if '"' in value:
        return "quoted"
    if value.lower() == "unknown":
        return "unknown"
    if value.startswith("_"):
        return "obfuscated"
    return "name" if value.isascii() and value.replace("-", "").replace(".", "").isalnum() else "malformed"


def _plain(peer: str) -> str:
    """Return the address of a TCP connection in its usual spelling.

    The operating system spells all addresses in one way except IPv4 addresses of IPv6 sockets.
    """
    return (parse_address(peer) or peer) if ":" in peer else peer
