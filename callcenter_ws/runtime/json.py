"""Encodes and decodes JSON, and formats timestamps."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from callcenter_ws.errors import ErrorCode, Refusal

JsonValue = Any  # a decoded value has any of JSON's types; the code that uses it checks which

JsonObject = dict[str, Any]  # Any, so that a caller's dict[str, str] is one too, which it would not be with object

decode_trusted_json = msgspec.json.Decoder().decode
"""Decodes JSON that was validated before; it has no limits."""

MAX_CONTAINERS = 20_000
"""Objects and arrays in a JSON text. Half a MiB of empty ones would block the reactor: each is
allocated, and visited by the garbage collector."""

MAX_BATCH_CONTAINERS = 100_000
"""Objects and arrays in a list of events."""

MAX_KEYS = 20_000
"""Names of fields in a JSON text. Each different one takes a quarter of a microsecond to decode, and half of that to
write again: 55,000 of them, in 500 KB, took 21 ms."""

MIN_KEY_BYTES = 5
"""The least that a field takes: ``"":1,``."""

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""The range of integers. Others would be changed by most receivers, and decoding long ones takes quadratic time."""

Integer = Annotated[int, Meta(ge=MIN_INTEGER, le=MAX_INTEGER)]
"""An integer that a peer sends."""

MAX_LARGE_EXPONENTS = 100
"""Numbers with an exponent of three or more digits in a JSON text. Decoding one above 1e288 takes 12 µs."""

LARGE_EXPONENTS_TEXT = f"more than {MAX_LARGE_EXPONENTS} numbers with exponents of three digits"

_FEW_BYTES = 2_048
"""A text of so few bytes is decoded in 4 ms at most, whatever it holds."""


def decode_json(text: bytes | str, max_containers: int = MAX_CONTAINERS) -> JsonValue:
    """Return the value of a JSON text of at most ``max_containers`` objects and arrays.

    Opening brackets are counted before the text is decoded, including those in strings.

    Raises:
        Refusal: ``invalid_json`` if the text is not valid JSON, is nested too deeply, has too many objects and arrays,
            too many fields, or too many numbers that are slow to decode.
    """
    if len(text) > _FEW_BYTES:
        check_containers(text, max_containers)
        check_keys(text)
        if has_many_large_exponents(text.encode() if isinstance(text, str) else text):
            raise Refusal(ErrorCode.INVALID_JSON, LARGE_EXPONENTS_TEXT)
    return decode_checked_json(text)


def check_containers(text: bytes | str, most: int) -> None:
    """Refuse a text of too many objects and arrays.

    Raises:
        Refusal: ``invalid_json``.
    """
    if len(text) > most and count_containers(text) > most:
        raise Refusal(ErrorCode.INVALID_JSON, f"more than {most:,} objects and arrays")


def check_keys(text: bytes | str) -> None:
    """Refuse a text of too many fields.

    Raises:
        Refusal: ``invalid_json``.
    """
    if len(text) > MAX_KEYS * MIN_KEY_BYTES and _has_many_keys(text.encode() if isinstance(text, str) else text):
        raise Refusal(ErrorCode.INVALID_JSON, f"more than {MAX_KEYS:,} fields")


def _has_many_keys(text: bytes) -> bool:
    if text.count(b":") <= MAX_KEYS or text.translate(None, _WHITE_SPACE).count(b'":') <= MAX_KEYS:
        return False
    # Strings may hold JSON, too, and then quotes that are escaped.
    return b"\\" not in text or b"".join(outside_strings(text)).count(b":") > MAX_KEYS


def check_large_exponents(count: int) -> None:
    """Refuse a text of too many numbers that are slow to decode.

    Raises:
        Refusal: ``invalid_json``.
    """
    if count > MAX_LARGE_EXPONENTS:
        raise Refusal(ErrorCode.INVALID_JSON, LARGE_EXPONENTS_TEXT)


def decode_checked_json(text: bytes | str) -> JsonValue:
    """Return the value of a JSON text that is within the limits of ``decode_json``.

    Raises:
        Refusal: ``invalid_json`` if the text is not valid JSON, or is nested too deeply.
    """
    try:
        return decode_trusted_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise malformed_json(error) from None


def malformed_json(error: Exception) -> Refusal:
    """Return the refusal of a text that msgspec cannot decode."""
    reason = "nested too deeply" if isinstance(error, RecursionError) else "malformed JSON"
    return Refusal(ErrorCode.INVALID_JSON, reason)


def count_containers(text: bytes | str) -> int:
    """Return the number of opening brackets of a JSON text, an upper bound of its objects and arrays."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


def has_many_large_exponents(text: bytes) -> bool:
    """Return whether a JSON text has more than ``MAX_LARGE_EXPONENTS`` numbers that are slow to decode."""
    if _large_exponents(text) <= MAX_LARGE_EXPONENTS:
        return False
    # Strings may look like that, too: identifiers in hexadecimal digits do.
    return _large_exponents(b" ".join(outside_strings(text))) > MAX_LARGE_EXPONENTS


def count_large_exponents(text: bytes) -> int:
    """Return the number of numbers of a JSON text that are slow to decode."""
    return _large_exponents(text) and _large_exponents(b" ".join(outside_strings(text)))


def _large_exponents(text: bytes) -> int:
    return text.translate(_NUMBER_MARKS, b"+").count(b"0e000")


_WHITE_SPACE = b" \t\r\n"

# Every digit becomes 0, and every other byte NUL, except the letter of an exponent.
_NUMBER_MARKS = bytes(
    ord("0") if chr(byte).isdecimal() else ord("e") if chr(byte) in "eE" else 0 for byte in range(256)
)


def outside_strings(text: bytes) -> list[bytes]:
    """Return what a valid JSON text has outside its strings, in parts."""
    parts = text.replace(rb"\\", b"").replace(rb"\"", b"").split(b'"')
    return parts[::2]


@lru_cache(maxsize=16)  # the events of a batch have the same timestamp
def rfc3339(unix_time: float) -> str:
    """Return a Unix time in the format of the protocols: RFC 3339 in UTC with milliseconds (section 5.6)."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


encode_json = msgspec.json.Encoder().encode
