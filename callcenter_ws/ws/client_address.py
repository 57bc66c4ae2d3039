"""The address that a connection really comes from, behind proxies that we trust."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

UNIX_SOCKET = "unix"
"""Stands for the address of a peer on a unix socket."""


class TrustedProxies:
    """Networks whose ``X-Forwarded-For`` is believed."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]

    def client_ip(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the client's address.

        Args:
            peer: the address of the TCP connection; None on a unix socket.
            forwarded_for: the values of the ``X-Forwarded-For`` headers, in order.

        From the right, each proxy that is trusted vouches for the address before it; the first that is not
        trusted is the client. Left of it anybody may have written anything.
        """
        current = UNIX_SOCKET if peer is None else _plain(peer)
        if not self._networks:
            return current
        hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
        while hops and self._trusts(current):
            address = _parsed(hops.pop())
            if address is None:
                break
            current = address
        return current

    def _trusts(self, address: str) -> bool:
        if address == UNIX_SOCKET:
            return bool(self._networks)
        parsed = ip_address(address)
        return any(parsed in network for network in self._networks)


def _plain(peer: str) -> str:
    """The address of a connection, which the operating system spells in one way: only IPv4 within IPv6 has another."""
    return (_parsed(peer) or peer) if ":" in peer else peer


def _parsed(address: str) -> str | None:
    """An address in its usual spelling: an IPv4 peer of an IPv6 socket is an IPv4 peer."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
