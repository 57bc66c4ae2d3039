"""PeerAddress: who is at the other end of an HTTP connection: a client, or a proxy with many clients."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from twisted.internet.interfaces import IAddress

from callcenter_ws.runtime.client_address import UNIX_SOCKET, TrustedProxies
from callcenter_ws.runtime.network import network_of, parse_address


class PeerAddress:
    """The address of the peer of a connection.

    Attributes:
        host: the IP address; None on a unix socket.
        network: the network that the peer is counted by.
        is_proxy: whether the peer may speak for many clients: a trusted proxy, or a peer on a unix socket.
    """

    __slots__ = ("_proxies", "host", "is_proxy", "network")

    def __init__(self, address: IAddress | None, proxies: TrustedProxies) -> None:
        self.host: str | None = getattr(address, "host", None)
        self._proxies = proxies
        self.network = network_of(self.host or UNIX_SOCKET)
        self.is_proxy = self.host is None or proxies.trusts(proxies.client_ip(self.host, ()))

    def network_of_client(self, forwarded_for: Sequence[str]) -> str:
        """Return the network of the client of a request."""
        if not self.is_proxy:
            return self.network
        return network_of(self._proxies.client_ip(self.host, forwarded_for))

    @property
    def is_local(self) -> bool:
        """Whether the peer is on this machine or a trusted proxy."""
        return self.is_proxy or ipaddress.ip_address(parse_address(self.host or "") or "::").is_loopback
