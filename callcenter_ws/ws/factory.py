"""The factory of GatewayProtocol: Autobahn's options, and what all connections share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory

from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.requests.admission import Admission
from callcenter_ws.requests.context import Context
from callcenter_ws.runtime.timers import CoarseTimers
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.autobahn import INITIAL_ATTRIBUTES
from callcenter_ws.ws.protocol import CLOSE_TIMEOUT, GatewayProtocol

txaio.use_twisted()


def autobahn_options(limits: Limits) -> dict[str, Any]:
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
        # False, or the peer sees 1006 in place of 1002, 1007 and 1009.
        "failByDrop": False,
        "echoCloseCodeReason": False,
        # The site has its own deadline for the handshake, which is over when Autobahn begins.
        "openHandshakeTimeout": 0,
        "closeHandshakeTimeout": CLOSE_TIMEOUT,
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
    """Makes the protocol of each upgraded connection.

    Attributes:
        deflater: compresses for the clients that want it; None: nothing is compressed.
        unheard: the connections whose first frame has yet to say who they are.
    """

    def __init__(
        self,
        reactor: Any,
        gateway: Context,
        admission: Admission,
        handshake_authenticator: HandshakeAuthenticator,
        new_id: Callable[[], str],
        note_refused: Callable[[str, Refusal], None],
        deflater: Deflater | None = None,
    ) -> None:
        super().__init__(reactor=reactor, server="callcenter-ws")
        # Autobahn's own searches all timers of a second for the one that is cancelled.
        self._batched_timer = CoarseTimers(reactor)
        self.gateway = gateway
        self.admission = admission
        self.handshake_authenticator = handshake_authenticator
        self.new_id = new_id
        self._note_refused = note_refused
        self.deflater = deflater
        self.unauthenticated: set[GatewayProtocol] = set()
        self._configured: type[GatewayProtocol] = type(
            "ConfiguredProtocol", (GatewayProtocol,), {**INITIAL_ATTRIBUTES, **autobahn_options(gateway.limits)}
        )

    def build(self) -> GatewayProtocol:
        """Return a protocol that is not connected yet."""
        protocol = self._configured()
        protocol.factory = self
        return protocol

    def drain(self) -> None:
        """Send away who has not authenticated; the Hub does so with its clients."""
        for protocol in list(self.unauthenticated):
            protocol.close(CloseCode.DRAINING)

    def note_refused(self, ip: str, refusal: Refusal) -> None:
        """Count and log a handshake that was refused."""
        add(self.gateway.hub.counters.handshakes_refused, refusal.code.value)
        self._note_refused(ip, refusal)
