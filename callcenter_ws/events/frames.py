"""Frames: the bytes that a WebSocket client gets, and the forms in which it may want them."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, Protocol

from callcenter_ws.events.principal import View
from callcenter_ws.runtime.json import encode_json

_FIN_TEXT = 0x81
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


def frame_payload(frame: bytes) -> bytes:
    """Return what ``text_frame`` made a frame of; its length field tells where that begins."""
    return frame[{126: 4, 127: 10}.get(frame[1], 2) :]


class ControlFrame(bytes):
    """A frame that answers one client. Unlike a stream event it cannot be fetched from history again."""

    __slots__ = ()


def control_frame(
    type_: str, payload: Mapping[str, Any], *, tenant_id: str | None = None, in_reply_to: Any = None
) -> ControlFrame:
    """Return a control message as a frame."""
    message: dict[str, Any] = {"type": type_}
    if tenant_id is not None:
        message["tenant_id"] = tenant_id
    if in_reply_to is not None:
        message["in_reply_to"] = in_reply_to
    message["payload"] = payload
    return ControlFrame(text_frame(encode_json(message)))


class Deflater(Protocol):
    """Makes compressed frames of plain ones (RFC 7692)."""

    def deflated(self, frame: bytes) -> bytes:
        """A data frame that says the same and can be read by itself; ``frame`` where that would not be shorter."""


class WireFormat:
    """How messages are written for a client: how much of them it is shown, and whether they are compressed.

    There is one object for each form that is in use: forms are compared by identity.
    """

    __slots__ = ("deflater", "view")

    def __init__(self, view: View, deflater: Deflater | None = None) -> None:
        self.view = view
        self.deflater = deflater


PLAIN = tuple(WireFormat(view) for view in View)
"""The forms without compression, by view."""
