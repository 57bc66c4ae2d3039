"""FirstBytesProtocol: the protocol of a new connection until its first bytes arrive.

Most connections open a WebSocket with a handshake of the usual shape in one segment. They go to an UpgradeHandler
directly. All others go to twisted.web, which parses everything that HTTP allows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from callcenter_ws.errors import Refusal
from callcenter_ws.http.peer_address import PeerAddress
from callcenter_ws.http.shared_deadline import SharedDeadline
from callcenter_ws.runtime.http_head import RequestHead, parse_simple_head
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.transports import TwistedTransport, switch_protocol

UpgradeHandler = Callable[[RequestHead, TwistedTransport], Refusal | None]
"""Opens a WebSocket on the transport of a request; returns None on success.

If it returns a refusal, it has not used the transport, and the resource of the path must send the refusal.
"""

_TLS_HANDSHAKE = b"\x16\x03"
"""The first bytes of every TLS connection (RFC 8446 section 5.1), and of no HTTP request."""

HEAD_UNITS = 3
"""Units of a turn for the first bytes of a connection, which are most often a WebSocket handshake."""

MakeHttpConnection = Callable[[IAddress | None, float, Refusal | None], IProtocol]
"""Returns an HTTP protocol for an address.

Takes the address, the seconds left for the head of the first request, and the refusal of an UpgradeHandler to which
this request was passed.
"""


class FirstBytesProtocol(Protocol):
    """A connection that has received no data, or whose first bytes wait for a turn.

    Args:
        address: the peer's address.
        limits: the limits of unauthenticated peers.
        deadline: limits the time until the first bytes.
        upgrade_handlers: the handlers of WebSocket handshakes, by path.
        make_http_connection: returns the protocol for all other requests.
    """

    transport: TwistedTransport

    def __init__(
        self,
        address: IAddress | None,
        limits: PeerLimits,
        deadline: SharedDeadline,
        upgrade_handlers: Mapping[bytes, UpgradeHandler],
        make_http_connection: MakeHttpConnection,
    ) -> None:
        self._address = address
        self._limits = limits
        self._peer = PeerAddress(address, limits.proxies)
        self._first_bytes = b""
        self._waits = False
        self._deadline = deadline
        self._upgrade_handlers = upgrade_handlers
        self._make_http_connection = make_http_connection

    def connectionMade(self) -> None:
        """Count the socket, and start the deadline for the first bytes, TLS handshake included."""
        self._limits.budget.open(self, self._peer.network, is_proxy=self._peer.is_proxy)
        self._deadline.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Parse the first bytes, now or in a later turn."""
        if self._waits:
            self._first_bytes += data
        elif self._limits.turns.take(HEAD_UNITS, self):
            self._receive(data)
        else:
            self._first_bytes, self._waits = data, True
            self.transport.pauseProducing()
            self._limits.turns.wait(self._peer.network, self)

    def take_turn(self) -> None:
        """Parse the bytes that have waited."""
        self._waits = False
        self._limits.turns.spend(HEAD_UNITS)
        transport, data, self._first_bytes = self.transport, self._first_bytes, b""
        # Before the next protocol is connected, which may pause the transport.
        transport.resumeProducing()
        self._receive(data)

    def evict(self) -> None:
        """Abort the connection: its place is needed."""
        self.transport.abortConnection()

    def _receive(self, data: bytes) -> None:
        """Pass the connection to the handler of its path, or to an HTTP connection."""
        self._limits.budget.close(self)
        seconds_left = self._deadline.cancel(self)
        if data.startswith(_TLS_HANDSHAKE):
            self._refuse_tls()
            return
        head = parse_simple_head(data)
        handler = None if head is None else self._upgrade_handlers.get(head.path)
        refusal = None
        if head is not None and handler is not None:
            refusal = handler(head, self.transport)
            if refusal is None:
                return
        connection = self._make_http_connection(self._address, seconds_left, refusal)
        switch_protocol(self.transport, connection)
        connection.dataReceived(data)

    def _refuse_tls(self) -> None:
        """Close the connection: it would wait for an answer that cannot come."""
        self._limits.log.write(
            self._peer.network,
            "refused a TLS connection from {peer}: the port {port} has no TLS; use http:// or ws://",
            peer=self._peer.network,
            port=getattr(self.transport.getHost(), "port", "of the socket"),
        )
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the deadline: the peer has closed before its first bytes were parsed."""
        self._limits.budget.close(self)
        self._deadline.cancel(self)
        if self._waits:
            self._limits.turns.cancel(self._peer.network, self)

    def deadline_passed(self) -> None:
        """Abort the connection: no data arrived in time."""
        self.transport.abortConnection()
