"""TLS handshakes of incoming connections, a few in each turn of the reactor.

A full handshake takes one to three milliseconds of computing, by the kind of the key. A hundred peers that each send a
ClientHello would hold a turn for a quarter of a second.
"""

from __future__ import annotations

from twisted.internet.interfaces import IOpenSSLContextFactory, IProtocolFactory, IReactorTime
from twisted.internet.protocol import connectionDone
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure

from callcenter_ws.runtime.client_address import UNIX_SOCKET
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.transports import TwistedTransport
from callcenter_ws.runtime.turns import Turns

HANDSHAKE_UNITS = 12
"""Units of a turn for the first data of a handshake, which causes the expensive operations."""

STEP_UNITS = 1
"""Units of a turn for further data of a handshake."""


class TurnTLSTransport(BufferingTLSTransport):
    """A TLS connection whose handshake is computed when there is a turn for it.

    It waits for turns as its network, like what the peer sends after it.
    """

    factory: TurnTLSFactory
    transport: TwistedTransport
    _units = HANDSHAKE_UNITS
    _held = b""
    _waits = False
    _share = UNIX_SOCKET

    def dataReceived(self, data: bytes) -> None:
        """Pass data to OpenSSL, during the handshake in a turn that has room for it."""
        if self._handshakeDone:
            super().dataReceived(data)
        elif self._waits:
            self._held += data
        elif self.factory.turns.take(self._units):
            self._units = STEP_UNITS
            super().dataReceived(data)
        else:
            self._held, self._waits = data, True
            self._share = network_of(getattr(self.getPeer(), "host", None) or UNIX_SOCKET)
            self.transport.pauseProducing()
            self.factory.turns.wait(self._share, self)

    def take_turn(self) -> None:
        """Pass on what has waited."""
        self._waits = False
        self.factory.turns.spend(self._units)
        self._units = STEP_UNITS
        data, self._held = self._held, b""
        # Before the data, whose receiver may pause the transport.
        self.transport.resumeProducing()
        super().dataReceived(data)

    def evict(self) -> None:
        """Abort the connection: its data cannot be handled."""
        self.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Wait no longer."""
        if self._waits:
            self._waits = False
            self.factory.turns.cancel(self._share, self)
        # Everything that OpenSSL could decrypt has been passed on. Reading once more would only raise an exception.
        self._lostTLSConnection = True
        super().connectionLost(reason)

    def _tlsShutdownFinished(self, reason: Failure | None) -> None:  # noqa: N802 - Twisted's name
        # The frame in which a failure was created refers to it: both would stay until a garbage collection.
        if reason is not None:
            reason.cleanFailure()
        super()._tlsShutdownFinished(reason)


class TurnTLSFactory(TLSMemoryBIOFactory):
    """Wraps the connections of a server in TLS.

    Args:
        turns: the turns of the process.
        reactor: writes what was written in one turn at its end; None: the installed one.
    """

    protocol = TurnTLSTransport

    def __init__(
        self,
        contexts: IOpenSSLContextFactory,
        factory: IProtocolFactory,
        turns: Turns,
        reactor: IReactorTime | None = None,
    ) -> None:
        super().__init__(contexts, False, factory, reactor)
        self.turns = turns
