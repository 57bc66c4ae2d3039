"""AMP boxes as bytes: keys and values, each behind its length in two bytes, ended by an empty key.

The format is that of ``twisted.protocols.amp``. Here is only what a sender needs that costs next to nothing.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

Box = dict[bytes, bytes]

_length = struct.Struct("!H")


def encode_box(box: Mapping[bytes, bytes]) -> bytes:
    """Return a box as it travels."""
    parts = [part for item in box.items() for text in item for part in (_length.pack(len(text)), text)]
    return b"".join([*parts, b"\0\0"])


def decode_boxes(data: bytes) -> tuple[list[Box], bytes]:
    """Return the complete boxes at the front of ``data``, and what is left."""
    boxes: list[Box] = []
    box: Box = {}
    at = done = 0
    while at + 2 <= len(data):
        (size,) = _length.unpack_from(data, at)
        at += 2
        if not size:
            boxes.append(box)
            box, done = {}, at
            continue
        key = data[at : at + size]
        at += size
        if at + 2 > len(data):
            break
        (size,) = _length.unpack_from(data, at)
        value = data[at + 2 : at + 2 + size]
        at += 2 + size
        if at > len(data):
            break
        box[key] = value
    return boxes, data[done:]
