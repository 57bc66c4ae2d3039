"""JSON texts that may be longer than one AMP value.

An AMP value holds at most 65,535 bytes (``twisted.protocols.amp``). A longer text is split into parts under numbered
keys: the first part has the argument's own name, the following ones ``name.1``, ``name.2`` and so on; every part but
the last is full. A text that fits into one value is therefore an ordinary ``amp.String``. See ``docs/senders.rst``,
"Large values".
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from typing import Any

from twisted.protocols import amp

from callcenter_ws.errors import ErrorCode, Refusal

DecodedArguments = dict[str, Any]  # each argument of a command decodes to a type of its own

PART_BYTES = 65_535
MAX_TEXT_BYTES = 524_288


class JsonText(amp.Argument):
    """A JSON text of at most 512 KiB, as ``bytes`` in UTF-8. The caller encodes and decodes the JSON.

    Decoding refuses a gap between parts, an empty part after the first, and a number written in another way
    (``name.01``). An optional text that is absent is None.
    """

    def fromBox(self, name: bytes, strings: dict[bytes, bytes], objects: DecodedArguments, proto: object) -> None:
        """Remove the parts of ``name`` from ``strings``, join them, and store the text in ``objects``.

        Raises:
            KeyError: there is no part at all.
            Refusal: ``too_large``, or ``invalid_event`` for parts that are not numbered consecutively.
        """
        field = name.decode("ascii")
        if self.optional and name not in strings:
            objects[field] = None
            return
        parts = [strings.pop(name)]
        while part := strings.pop(_part_key(name, len(parts)), b""):
            parts.append(part)
        if any(key.startswith(name + b".") for key in strings):
            raise Refusal(ErrorCode.INVALID_EVENT, f"{field}: part {len(parts)} of it is missing or empty")
        size = sum(map(len, parts))
        if size > MAX_TEXT_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"{field}: {size} bytes, the limit is {MAX_TEXT_BYTES}")
        objects[field] = b"".join(parts)

    def toBox(self, name: bytes, strings: dict[bytes, bytes], objects: DecodedArguments, proto: object) -> None:
        """Remove the text of ``name`` from ``objects``, split it, and store the parts in ``strings``.

        Raises:
            Refusal: ``too_large``.
        """
        field = name.decode("ascii")
        text: bytes | None = objects.pop(field, None) if self.optional else objects.pop(field)
        if text is None:
            return
        if len(text) > MAX_TEXT_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"{field}: {len(text)} bytes, the limit is {MAX_TEXT_BYTES}")
        strings[name] = text[:PART_BYTES]
        for number, start in enumerate(range(PART_BYTES, len(text), PART_BYTES), 1):
            strings[_part_key(name, number)] = text[start : start + PART_BYTES]


def _part_key(name: bytes, number: int) -> bytes:
    return b"%b.%d" % (name, number)
