"""How a JSON text that is longer than an AMP value travels (PROTOCOL section 6).

AMP carries at most 65,535 bytes in a value (`twisted.protocols.amp`). A longer text is cut into parts under
numbered keys: the first part has the argument's plain name, the next ones ``name.1``, ``name.2`` and so on,
each filled before the next is begun. A text that fits into one value is therefore an ordinary ``amp.String``.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from callcenter_ws.errors import ErrorCode, Refusal

PART_BYTES = 65_535
TEXT_BYTES = 524_288


class JsonText(amp.Argument):
    """A JSON text of at most 512 KiB, as the ``bytes`` of its UTF-8; encoding and decoding are the caller's.

    A part that is missing between others, an empty part after the first, and a number written in another way
    (``name.01``) are refused rather than guessed at.
    """

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:
        """Join the parts of ``name`` out of ``strings`` into ``objects``.

        Raises:
            KeyError: there is no part at all.
            Refusal: ``too_large``, or ``invalid_event`` for parts that do not follow each other.
        """
        parts = [strings.pop(name)]
        while part := strings.pop(_key(name, len(parts)), b""):
            parts.append(part)
        shown = name.decode("ascii")
        if any(key.startswith(name + b".") for key in strings):
            raise Refusal(ErrorCode.INVALID_EVENT, f"{shown}: part {len(parts)} of it is missing or empty")
        size = sum(map(len, parts))
        if size > TEXT_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"{shown}: {size} bytes, the limit is {TEXT_BYTES}")
        objects[shown] = b"".join(parts)

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: dict[str, Any], proto: object) -> None:
        """Cut the text of ``name`` into parts.

        Raises:
            Refusal: ``too_large``.
        """
        text: bytes = objects.pop(name.decode("ascii"))
        if len(text) > TEXT_BYTES:
            shown = name.decode("ascii")
            raise Refusal(ErrorCode.TOO_LARGE, f"{shown}: {len(text)} bytes, the limit is {TEXT_BYTES}")
        strings[name] = text[:PART_BYTES]
        for number, start in enumerate(range(PART_BYTES, len(text), PART_BYTES), 1):
            strings[_key(name, number)] = text[start : start + PART_BYTES]


def _key(name: bytes, number: int) -> bytes:
    return b"%b.%d" % (name, number)
