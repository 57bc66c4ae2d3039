"""Encodes and decodes AMP boxes: keys and values, each after its length in two bytes, ended by an empty key.

The format is that of ``twisted.protocols.amp``. This module has only what the benchmark's sender needs, at a low cost.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

Box = dict[bytes, bytes]

_length = struct.Struct("!H")


def encode_box(box: Mapping[bytes, bytes]) -> bytes:
    """Return the bytes of a box."""
    parts = [part for item in box.items() for text in item for part in (_length.pack(len(text)), text)]
    return b"".join([*parts, b"\0\0"])


def decode_boxes(data: bytes) -> tuple[list[Box], bytes]:
    """Return the complete boxes at the start of ``data``, and the remaining bytes."""
    boxes: list[Box] = []
    box: Box = {}
    offset = done = 0
    while offset + 2 <= len(data):
        (size,) = _length.unpack_from(data, offset)
        offset += 2
        if not size:
            boxes.append(box)
            box, done = {}, offset
            continue
        key = data[offset : offset + size]
        offset += size
        if offset + 2 > len(data):
            break
        (size,) = _length.unpack_from(data, offset)
        value = data[offset + 2 : offset + 2 + size]
        offset += 2 + size
        if offset > len(data):
            break
        box[key] = value
    return boxes, data[done:]
