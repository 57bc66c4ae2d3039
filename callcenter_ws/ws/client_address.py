"""The client's address of a connection that may come through trusted proxies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

UNIX_SOCKET = "unix"
"""The address of a peer on a unix socket."""


class TrustedProxies:
    """The networks of proxies whose ``X-Forwarded-For`` headers are trusted."""

    def __init__(self, networks: Iterable[str]) -> None:
        self._networks = [ip_network(network, strict=False) for network in networks]

    def client_ip(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the client's address: the first address from the right that is not a trusted proxy.

        The entries to the left of it are ignored: the client can forge them.

        Args:
            peer: the address of the TCP connection; None on a unix socket.
            forwarded_for: the values of the ``X-Forwarded-For`` headers, in order.
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
    """Return the address of a TCP connection in its usual spelling.

    The operating system spells all addresses in one way except IPv4 addresses of IPv6 sockets.
    """
    return (_parsed(peer) or peer) if ":" in peer else peer


def _parsed(address: str) -> str | None:
    """Return an address in its usual spelling, IPv4-mapped IPv6 addresses as IPv4; None if it is malformed."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)
