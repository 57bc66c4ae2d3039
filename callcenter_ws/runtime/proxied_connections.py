"""Connections from proxies that speak the PROXY protocol: the header is read, then the peer is the proxy's client."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol, IProtocolFactory, IReactorTime
from twisted.internet.protocol import Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure

from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.proxy_header import MalformedHeader, ProxyHeader, parse_header
from callcenter_ws.runtime.transports import TwistedTransport, switch_protocol


class ProxiedConnection(Protocol):
    """A connection of a trusted proxy whose header has not arrived completely.

    It counts as a socket without authentication (``limits.unauthenticated``) until its header is there. The protocol of
    the client is built then, for the client's address, so that all limits and log lines are about the client.

    Args:
        address: the proxy's address.
        timeout: seconds for the header, ``limits.handshake_timeout``.
    """

    transport: TwistedTransport

    def __init__(
        self,
        address: IAddress,
        factory: IProtocolFactory,
        limits: PeerLimits,
        reactor: IReactorTime,
        timeout: float,
    ) -> None:
        self._address = address
        self._factory = factory
        self._limits = limits
        self._reactor = reactor
        self._timeout = timeout
        self._deadline: IDelayedCall | None = None
        self._received = b""

    @property
    def _proxy(self) -> str:
        return network_of(str(getattr(self._address, "host", "")))

    def connectionMade(self) -> None:
        """Count the socket, and start the deadline."""
        self._limits.budget.open(self, self._proxy, is_proxy=True)
        self._deadline = self._reactor.callLater(self._timeout, self._refuse, "it sent no header in time")

    def dataReceived(self, data: bytes) -> None:
        """Read the header; what follows it goes to the client's protocol."""
        if self._deadline is None:
            return
        self._received += data
        try:
            header = parse_header(self._received)
        except MalformedHeader as malformed:
            self._refuse(str(malformed))
            return
        if header is not None:
            self._connect(header)

    def _connect(self, header: ProxyHeader) -> None:
        """Build the protocol of the client, and give it the connection."""
        self._end_waiting()
        address = self._address
        if header.host is not None:
            kind = IPv6Address if ":" in header.host else IPv4Address
            address = kind("TCP", header.host, header.port)
        protocol: IProtocol | None = self._factory.buildProtocol(address)
        transport, rest = self.transport, self._received[header.size :]
        if protocol is None:
            transport.abortConnection()
            return
        # What asks the transport, as the log of a WebSocket does, is told the client.
        transport.getPeer = lambda: address
        switch_protocol(transport, protocol)
        if rest:
            protocol.dataReceived(rest)

    def _refuse(self, reason: str) -> None:
        self._end_waiting()
        self._limits.log.write(
            self._proxy,
            "refused a connection of the proxy {proxy} to the port {port}: {reason}",
            is_warning=True,
            proxy=self._proxy,
            port=self.transport.getHost().port,
            reason=reason,
        )
        self.transport.abortConnection()

    def evict(self) -> None:
        """Abort the connection: its place is needed."""
        self._end_waiting()
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Do not wait any longer."""
        self._end_waiting()

    def _end_waiting(self) -> None:
        self._limits.budget.close(self)
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()


class ProxiedFactory(ServerFactory):
    """Accepts connections of ``web.trusted_proxies`` only, and builds the protocols of their clients.

    Args:
        factory: builds the protocol of a client, for the client's address.

    Attributes:
        timeout: seconds for the header; may be changed, for new connections.
    """

    noisy = False

    def __init__(self, factory: IProtocolFactory, limits: PeerLimits, reactor: IReactorTime, timeout: float) -> None:
        self._factory = factory
        self._limits = limits
        self._reactor = reactor
        self.timeout = timeout

    def buildProtocol(self, addr: IAddress | None) -> ProxiedConnection | None:
        """Return the protocol that reads the header; None, which closes the connection, for any other peer."""
        limits, host = self._limits, str(getattr(addr, "host", ""))
        if addr is None or not host or not limits.proxies.trusts(limits.proxies.client_ip(host, ())):
            limits.log.write(
                network_of(host),
                "refused a connection from {peer}: the port is for proxies (haproxy:), and web.trusted_proxies does "
                "not list this one",
                is_warning=True,
                peer=host,
            )
            return None
        return ProxiedConnection(addr, self._factory, limits, self._reactor, self.timeout)

    def doStart(self) -> None:
        """Start the factory of the clients' protocols, as a port does; its own log line names that one."""
        self._factory.doStart()

    def doStop(self) -> None:
        """Stop the factory of the clients' protocols."""
        self._factory.doStop()

    def logPrefix(self) -> str:
        """Return the name for Twisted's log lines about the port."""
        of_clients = getattr(self._factory, "logPrefix", None)
        name = of_clients() if of_clients is not None else type(self._factory).__name__
        return f"{name} (PROXY protocol)"
