"""Encodes and decodes JSON, and formats timestamps."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

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


def decode_json(text: bytes | str, max_containers: int = MAX_CONTAINERS) -> JsonValue:
    """Return the value of a JSON text of at most ``max_containers`` objects and arrays.

    Opening brackets are counted before the text is decoded, including those in strings.

    Raises:
        Refusal: ``invalid_json`` if the text is not valid JSON, is nested too deeply, or has too many objects and
            arrays.
    """
    if count_containers(text) > max_containers:
        raise Refusal(ErrorCode.INVALID_JSON, f"more than {max_containers:,} objects and arrays")
    try:
        return decode_trusted_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else "malformed JSON"
        raise Refusal(ErrorCode.INVALID_JSON, reason) from None


def count_containers(text: bytes | str) -> int:
    """Return the number of opening brackets of a JSON text, an upper bound of its objects and arrays."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


@lru_cache(maxsize=16)  # the events of a batch have the same timestamp
def rfc3339(unix_time: float) -> str:
    """Return a Unix time in the format of the protocols: RFC 3339 in UTC with milliseconds (section 5.6)."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


encode_json = msgspec.json.Encoder().encode
