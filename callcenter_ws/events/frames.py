"""WebSocket frames: how messages are encoded for clients, plain or compressed."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Protocol

from callcenter_ws.errors import Refusal
from callcenter_ws.events.redaction import View
from callcenter_ws.runtime.json import encode_json

_FIN = 0x80
_TEXT = 0x01
_FIN_TEXT = _FIN | _TEXT
_FIN_PING = _FIN | 0x09
_COMPRESSED = 0x40


def text_frame(payload: bytes, *, compressed: bool = False) -> bytes:
    """Return ``payload`` as one unmasked text frame (RFC 6455 section 5.2; compressed: RFC 7692 section 6)."""
    first = _FIN_TEXT | _COMPRESSED if compressed else _FIN_TEXT
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def text_fragment(payload: bytes, *, is_first: bool, is_last: bool, compressed: bool = False) -> bytes:
    """Return a part of a text message as one frame (RFC 6455 section 5.4); control frames may be sent between parts."""
    first = (_TEXT if is_first else 0) | (_FIN if is_last else 0) | (_COMPRESSED if is_first and compressed else 0)
    return bytes((first,)) + text_frame(payload)[1:]


def ping_frame(payload: bytes) -> bytes:
    """Return a ping, whose payload has at most 125 bytes (RFC 6455 section 5.5.2)."""
    return bytes((_FIN_PING, len(payload))) + payload


def frame_payload(frame: bytes) -> bytes:
    """Return the payload of a frame that ``text_frame`` made; its length field tells where the payload begins."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class ControlFrame(bytes):
    """A frame for one client that is not a stream event, and so cannot be read from the history again."""

    __slots__ = ()


def control_frame(
    type_: str, payload: Mapping[str, object], *, tenant_id: str | None = None, in_reply_to: object = None
) -> ControlFrame:
    """Return a control message as a frame.

    Args:
        in_reply_to: the JSON value of the request's ``id``.
    """
    message: dict[str, object] = {"type": type_}
    if tenant_id is not None:
        message["tenant_id"] = tenant_id
    if in_reply_to is not None:
        message["in_reply_to"] = in_reply_to
    message["payload"] = payload
    return ControlFrame(text_frame(encode_json(message)))


def error_frame(refusal: Refusal, request_id: str | int | None = None) -> ControlFrame:
    """Return the ``error`` message of a refusal."""
    payload: dict[str, object] = {"code": refusal.ws_code, "message": refusal.message}
    if refusal.retry_after_ms is not None:
        payload["retry_after_ms"] = refusal.retry_after_ms
    return control_frame("error", payload, in_reply_to=request_id)


class FrameCompressor(Protocol):
    """Compresses frames (RFC 7692)."""

    def deflated(self, frame: bytes) -> bytes:
        """Return a compressed frame of the same message that can be decoded by itself; ``frame`` if not shorter."""

    def deflate_part(self, text: bytes, *, is_last: bool) -> bytes:
        """Return the compressed data of a part of a message; it refers to no other part."""


class WireFormat:
    """How messages are encoded for a client: which view of the payload, and whether compressed.

    Formats are compared by identity: there is one object for each combination in use.
    """

    __slots__ = ("deflater", "view")

    def __init__(self, view: View, deflater: FrameCompressor | None = None) -> None:
        self.view = view
        self.deflater = deflater


PLAIN = tuple(WireFormat(view) for view in View)
"""The formats without compression, indexed by view."""
