"""GatewayFactory: builds the protocol of each WebSocket connection with Autobahn's options."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory
from twisted.internet.interfaces import IReactorTime

from callcenter_ws.delivery.hub import CLOSED_PER_STEP
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.requests.admission import Admission
from callcenter_ws.requests.context import Context
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.timers import CoarseTimers
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.autobahn import INITIAL_ATTRIBUTES
from callcenter_ws.ws.connection_context import ConnectionContext
from callcenter_ws.ws.protocol import CLOSE_TIMEOUT_SECONDS, GatewayProtocol

txaio.use_twisted()


def autobahn_options(limits: Limits) -> dict[str, object]:
    """Return the options of Autobahn's server protocol, by the names of its class attributes."""
    return {
        "logOctets": False,
        "logFrames": False,
        "trackTimings": False,
        "utf8validateIncoming": True,
        "applyMask": True,
        "maxFramePayloadSize": 0,
        "maxMessagePayloadSize": limits.message_bytes,
        "autoFragmentSize": 0,
        # True would drop the connection: the peer would see 1006 in place of 1002, 1007 and 1009.
        "failByDrop": False,
        "echoCloseCodeReason": False,
        # The HTTP site limits the time for the handshake, which is complete before Autobahn is used.
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": CLOSE_TIMEOUT_SECONDS,
        "tcpNoDelay": True,
        "autoPingInterval": limits.ping_interval,
        "autoPingTimeout": limits.ping_timeout,
        "autoPingSize": 12,
        "autoPingRestartOnAnyTraffic": True,
        "requireMaskedClientFrames": True,
        "maskServerFrames": False,
        "perMessageCompressionAccept": staticmethod(lambda offers: None),
    }


class GatewayFactory(WebSocketServerFactory):
    """Builds the protocol of each upgraded connection.

    Args:
        requests: the collaborators of clients and of the handlers of their requests.
        new_id: returns a new connection id.
        log_refusal: logs a refused handshake; called with the client's address, the endpoint and the refusal.
        deflater: compresses messages for clients that negotiate it; None disables compression.
        peer_limits: the limits of peers that have not authenticated; None for limits of this factory alone.

    Attributes:
        context: what the protocols share.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        requests: Context,
        admission: Admission,
        authenticator: HandshakeAuthenticator,
        new_id: Callable[[], str],
        log_refusal: Callable[[str, str, Refusal], None],
        deflater: Deflater | None = None,
        peer_limits: PeerLimits | None = None,
    ) -> None:
        super().__init__(reactor=reactor, server="callcenter-ws")
        # Replaces Autobahn's batched timer, where cancelling a call searches all calls of the same second.
        self._batched_timer = CoarseTimers(reactor)
        self.context = ConnectionContext(
            requests,
            admission,
            authenticator,
            new_id,
            log_refusal,
            peer_limits or PeerLimits.create(requests.clock),
            deflater,
        )
        self._protocol_class = self._configured_class(requests.limits)

    def _configured_class(self, limits: Limits) -> type[GatewayProtocol]:
        # Class attributes: copying them to each connection would be most of the cost of accepting it.
        attributes = {**INITIAL_ATTRIBUTES, **autobahn_options(limits), "context": self.context}
        configured: type[GatewayProtocol] = type("ConfiguredProtocol", (GatewayProtocol,), attributes)
        return configured

    def change_limits(self, limits: Limits) -> None:
        """Use other limits from now on.

        Those of Autobahn are for new connections: a client relies on the interval of pings that its welcome named.
        """
        self.context.limits = self.context.requests.limits = limits
        self._protocol_class = self._configured_class(limits)

    def build(self) -> GatewayProtocol:
        """Return a protocol that is not connected to a transport yet."""
        protocol = self._protocol_class()
        protocol.factory = self
        return protocol

    def drain(self) -> None:
        """Close the connections that have not authenticated, within the next turns. The Hub drains the others."""
        self.context.requests.hub.slicer.run(self._close_unauthenticated())

    def _close_unauthenticated(self) -> Iterator[None]:
        hub = self.context.requests.hub
        for number, protocol in enumerate(list(self.context.unauthenticated), 1):
            if protocol in self.context.unauthenticated:
                hub.attempt(partial(protocol.close, CloseCode.DRAINING), protocol)
            if number % CLOSED_PER_STEP == 0:
                yield
