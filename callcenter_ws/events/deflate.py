"""Compressed frames that all receivers share (RFC 7692).

A compressor with context takeover takes a hundred KiB for each connection, and compresses the same event again for
each. Here each message is compressed by itself, once: every client that negotiated permessage-deflate with at least
this window can decompress it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from callcenter_ws.events.frames import WireFormat, frame_payload, text_frame
from callcenter_ws.events.redaction import View

WINDOW_BITS = 12
"""The window size as a power of two (RFC 7692 section 7.1.2.1). A larger one compresses messages of this size no
better, and some clients request this one."""

_MEMORY_LEVEL = 5
"""The ``memLevel`` of zlib's ``deflateInit2``: clearing less memory is most of what compressing a short text costs."""

_TAIL = 4
"""Bytes at the end of each message that are not transmitted (RFC 7692 section 7.2.1)."""


class Deflater:
    """Compresses frames.

    Args:
        level: compression level of zlib, 1 (fast) to 9 (small).
        threshold: payloads of fewer bytes are not compressed.

    Attributes:
        wire_formats: how messages are encoded for clients that negotiated compression, indexed by view.
    """

    def __init__(self, level: int = 1, threshold: int = 256) -> None:
        self._level = level
        self._threshold = threshold
        self.wire_formats: Sequence[WireFormat] = tuple(WireFormat(view, self) for view in View)

    def deflated(self, frame: bytes) -> bytes:
        """Return a compressed frame of the same message as a plain text frame, or ``frame`` itself if not shorter."""
        payload = frame_payload(frame)
        if len(payload) < self._threshold:
            return frame
        compressed = self.deflate_part(payload, is_last=True)
        return frame if len(compressed) >= len(payload) else text_frame(compressed, compressed=True)

    def deflate_part(self, text: bytes, *, is_last: bool) -> bytes:
        """Return the compressed data of a part of a message; it refers to no other part.

        The parts of a message may so be compressed at different times, and be shared by messages.
        """
        compressor = zlib.compressobj(self._level, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)
        compressed = compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed[:-_TAIL] if is_last else compressed
