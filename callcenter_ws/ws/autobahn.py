"""Autobahn's server protocol, reduced to what the gateway uses of it.

Autobahn sets some fifty attributes on each new connection, most of which never change. Here they are class attributes:
a connection stores only those that differ. ``tests/ws/test_ws_autobahn.py`` compares them with the attributes that the
installed Autobahn sets (last checked with 26.10.2).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator
from twisted.logger import Logger

from callcenter_ws.runtime.transports import TwistedTransport

_LAST_DATA_OPCODE = 7

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""

_log = Logger("callcenter_ws.autobahn")


class AutobahnLogFilter:
    """Replaces the ``log`` of Autobahn's protocol classes; passes on errors only.

    Autobahn's debug lines cost time on every frame. Its warnings about protocol violations repeat, with text chosen
    by the peer, what the gateway's own connection log reports.
    """

    def trace(self, *args: object, **kwargs: object) -> None:
        """Discard the line."""

    debug = info = warn = trace

    def error(self, format: str | None = None, **kwargs: object) -> None:  # noqa: A002 - the name that Autobahn uses
        """Log an error, without what Autobahn would insert into its text: that may be data of the peer."""
        _log.error("Autobahn reports an error: {text}", text=format)

    def failure(self, format: str | None = None, **kwargs: Any) -> None:  # noqa: A002 - Autobahn's name; any fields
        """Log an exception that Autobahn caught."""
        _log.failure("unhandled error in Autobahn: {text}", kwargs.get("failure"), text=format)


class _UnusedDeferred:
    """Replaces a Deferred of Autobahn's that has no callbacks."""

    def callback(self, result: object) -> None:
        """Do nothing."""

    errback = callback


INITIAL_ATTRIBUTES: Mapping[str, object] = {
    # Not used by the gateway.
    **dict.fromkeys(("is_open", "is_closed"), _UnusedDeferred()),
    "trafficStats": TrafficStats(),
    "trackedTimings": None,
    "_transport_details": None,
    "_valid_events": ("message",),
    "_results": {"message": None},
    "websocket_version": 13,
    **dict.fromkeys(("websocket_protocols", "websocket_extensions", "websocket_extensions_in_use"), ()),
    **dict.fromkeys(("websocket_protocol_in_use", "http_response_data")),
    # Used only by Autobahn's methods for sending messages, which the gateway does not call.
    "send_queue": (),
    "triggered": False,
    "send_state": WebSocketServerProtocol.SEND_STATE_GROUND,
    # The initial state of a connection.
    "state": WebSocketServerProtocol.STATE_CONNECTING,
    "data": b"",
    "inside_message": False,
    "autoPingPendingSeq": 0,
    **dict.fromkeys(
        ("current_frame", "_perMessageCompress", "autoPingPending", "autoPingPendingCall", "autoPingPendingSent")
    ),
    **dict.fromkeys(("openHandshakeTimeoutCall", "closeHandshakeTimeoutCall", "autoPingTimeoutCall")),
    **dict.fromkeys(("localCloseCode", "localCloseReason", "remoteCloseCode", "remoteCloseReason")),
    **dict.fromkeys(("closedByMe", "failedByMe", "droppedByMe", "wasClean"), False),
    "wasNotCleanReason": None,
    **dict.fromkeys(("wasMaxFramePayloadSizeExceeded", "wasMaxMessagePayloadSizeExceeded"), False),
    **dict.fromkeys(("wasServerConnectionDropTimeout", "wasOpenHandshakeTimeout", "wasCloseHandshakeTimeout"), False),
    "wasServingFlashSocketPolicyFile": False,
}
"""The initial attributes of a connection, by Autobahn's names. GatewayFactory makes them class attributes."""


class TunedServerProtocol(WebSocketServerProtocol):
    """Autobahn's server protocol for a connection whose opening handshake was parsed elsewhere."""

    log = AutobahnLogFilter()
    factory: Any  # the protocol uses attributes of it that Autobahn does not declare
    transport: TwistedTransport
    _perMessageCompress: Any  # noqa: N815 - Autobahn's name, and it declares no type
    current_frame: Any  # declared without None, which it is between two frames
    CONFIG_ATTRS: list[str] = []  # noqa: RUF012 - Autobahn's name for the options that it would copy

    def __init__(self) -> None:
        """Do not call Autobahn's initializer: its attributes are class attributes here."""

    def _connectionMade(self) -> None:  # noqa: N802 - Autobahn's name
        self.factory.countConnections += 1

    def onFrameBegin(self) -> None:
        """Begin a frame. The UTF-8 validator is created with the first data frame: most clients never send one."""
        if self.current_frame.opcode <= _LAST_DATA_OPCODE and "utf8validator" not in self.__dict__:
            self.utf8validator = Utf8Validator()
        super().onFrameBegin()

    def onFrameEnd(self) -> bool | None:
        """End a frame, and release its masker.

        Autobahn keeps the last frame of a message whose end it refuses. It is ended here too: the frames after it are
        parsed for the peer's close frame.
        """
        result = super().onFrameEnd()
        if self.current_frame is not None:
            self.current_frame, self.inside_message, result = None, False, None
        self.current_frame_masker = None
        return result

    def mark_open(self) -> None:
        """Accept frames from now on: the opening handshake is complete."""
        self.state = self.STATE_OPEN


def handshake_response(key: str, *, server: str, subprotocol: str | None, extension: str | None) -> bytes:
    """Return the server's opening handshake, a 101 response (RFC 6455 section 4.2.2).

    Args:
        key: the value of ``Sec-WebSocket-Key``.
        server: the value of ``Server``.
        subprotocol: the value of ``Sec-WebSocket-Protocol``; None omits the header.
        extension: the value of ``Sec-WebSocket-Extensions``; None omits the header.
    """
    accept = base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest())
    optional = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    if extension is not None:
        optional += f"Sec-WebSocket-Extensions: {extension}\r\n"
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nServer: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept.decode()}\r\n{optional}\r\n"
    ).encode("ascii")
