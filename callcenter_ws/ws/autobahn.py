"""Autobahn's server protocol, without what it would keep for each connection and nobody here asks for.

Autobahn sets some fifty attributes as a connection begins, most of them to what they are at the end. They are class
attributes here: a connection then holds what is its own. ``tests/ws/test_ws_autobahn.py`` compares them with those that
the installed Autobahn would set (seen in 26.10.2).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any

from autobahn.twisted.websocket import WebSocketServerProtocol
from autobahn.websocket.protocol import TrafficStats
from autobahn.websocket.utf8validator import Utf8Validator

from callcenter_ws.ws.autobahn_log import QuietLog

_LAST_DATA_OPCODE = 7

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 section 1.3."""


class _Unasked:
    """Stands for a Deferred that nobody waits for."""

    def callback(self, result: object) -> None:
        """Nobody hears it."""

    errback = callback


INITIAL_ATTRIBUTES: Mapping[str, Any] = {
    # What nobody asks of a connection here.
    **dict.fromkeys(("is_open", "is_closed"), _Unasked()),
    "trafficStats": TrafficStats(),
    "trackedTimings": None,
    "_transport_details": None,
    "_valid_events": ("message",),
    "_results": {"message": None},
    "websocket_version": 13,
    **dict.fromkeys(("websocket_protocols", "websocket_extensions", "websocket_extensions_in_use"), ()),
    **dict.fromkeys(("websocket_protocol_in_use", "http_response_data")),
    # Nothing is ever sent in a way that would need it.
    "send_queue": (),
    "triggered": False,
    "send_state": WebSocketServerProtocol.SEND_STATE_GROUND,
    # How everybody begins.
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
"""What a connection has, by the names that Autobahn gives it, before anything happens on it: attributes of the class
that the factory makes."""


class TunedServerProtocol(WebSocketServerProtocol):
    """A WebSocket from the moment when its opening handshake has been read."""

    log = QuietLog()
    transport: Any
    autoPingInterval: float  # noqa: N815 - Autobahn's name
    _perMessageCompress: Any  # noqa: N815
    CONFIG_ATTRS: list[str] = []  # noqa: RUF012 - Autobahn's name for the options that it would copy

    def __init__(self) -> None:
        """Leave out what Autobahn would make; the class has it."""

    def _connectionMade(self) -> None:  # noqa: N802 - Autobahn's name
        self.factory.countConnections += 1

    def onFrameBegin(self) -> None:
        """A frame begins. What validates text is made for who sends some: most clients never do."""
        if self.current_frame.opcode <= _LAST_DATA_OPCODE and "utf8validator" not in self.__dict__:
            self.utf8validator = Utf8Validator()
        super().onFrameBegin()

    def onFrameEnd(self) -> bool | None:
        """A frame has ended, and with it what unmasked it."""
        self.current_frame_masker = None
        return super().onFrameEnd()

    def upgraded(self) -> None:
        """The handshake is answered: frames from now on, and pings."""
        self.state = self.STATE_OPEN
        if self.autoPingInterval:
            self.autoPingPendingCall = self.factory._batched_timer.call_later(self.autoPingInterval, self._sendAutoPing)


def answer(key: str, *, server: str, subprotocol: str | None, extension: str | None) -> bytes:
    """Return the answer to an opening handshake (RFC 6455 section 4.2.2).

    Args:
        key: the ``Sec-WebSocket-Key``.
        extension: the value of ``Sec-WebSocket-Extensions``.
    """
    accept = base64.b64encode(hashlib.sha1(key.encode("ascii") + _GUID, usedforsecurity=False).digest())
    optional = "" if subprotocol is None else f"Sec-WebSocket-Protocol: {subprotocol}\r\n"
    if extension is not None:
        optional += f"Sec-WebSocket-Extensions: {extension}\r\n"
    return (
        f"HTTP/1.1 101 Switching Protocols\r\nServer: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept.decode()}\r\n{optional}\r\n"
    ).encode("ascii")
