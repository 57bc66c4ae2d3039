"""Compressed frames that all receivers share (RFC 7692).

A compressor that remembers what it sent before has to be one for each connection, at a hundred KiB, and compresses
the same event for each anew. Here a message is compressed by itself, once: whoever agreed to permessage-deflate with
at least this window can read it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from callcenter_ws.events.frames import WireFormat, frame_payload, text_frame
from callcenter_ws.events.principal import View

WINDOW_BITS = 12
"""The window as a power of two (RFC 7692 section 7.1.2.1). Larger ones gain nothing on messages of this size, and
some clients ask for no more than this."""

_MEMORY_LEVEL = 5
"""deflateInit2's memLevel: less memory to clear, which is what compressing a short text costs."""

_TAIL = 4
"""Bytes that each message would end with, and that are left out (RFC 7692 section 7.2.1)."""


class Deflater:
    """Compresses frames.

    Args:
        level: of zlib, 1 (fast) to 9 (small).
        threshold: payloads of fewer bytes are left as they are.

    Attributes:
        forms: how messages are written for clients that agreed to it, by view.
    """

    def __init__(self, level: int = 1, threshold: int = 256) -> None:
        self._level = level
        self._threshold = threshold
        self.wire_formats: Sequence[WireFormat] = tuple(WireFormat(view, self) for view in View)

    def deflated(self, frame: bytes) -> bytes:
        """Return a frame that says the same as a plain text frame, or ``frame`` itself if that is no longer."""
        payload = frame_payload(frame)
        if len(payload) < self._threshold:
            return frame
        compressor = zlib.compressobj(self._level, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        if len(compressed) - _TAIL >= len(payload):
            return frame
        return text_frame(compressed[:-_TAIL], compressed=True)
