"""JSON texts and instants, as they are on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal

decode_trusted_json = msgspec.json.Decoder().decode
"""Decodes JSON that was validated before, and so needs no bound."""


MAX_CONTAINERS = 20_000
"""Objects and arrays of a JSON text. Half a MiB of empty ones would hold up the reactor: each is allocated, and
collecting the garbage visits each."""


MAX_BATCH_CONTAINERS = 100_000
"""The same, for a list of many events."""


def decode_json(text: bytes | str, max_containers: int = MAX_CONTAINERS) -> Any:
    """Return the value of a JSON text of at most ``max_containers`` objects and arrays.

    They are counted by their opening brackets before anything is decoded, so brackets within strings count too.

    Raises:
        Refusal: ``invalid_json``, for anything that is not JSON, nested too deep or of too many parts included.
    """
    if count_containers(text) > max_containers:
        raise Refusal(ErrorCode.INVALID_JSON, f"more than {max_containers:,} objects and arrays")
    try:
        return decode_trusted_json(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        where = "nested too deep" if isinstance(error, RecursionError) else "malformed JSON"
        raise Refusal(ErrorCode.INVALID_JSON, where) from None


def count_containers(text: bytes | str) -> int:
    """Return the number of opening brackets of a JSON text: at least its number of objects and arrays."""
    if isinstance(text, str):
        return text.count("{") + text.count("[")
    return text.count(b"{") + text.count(b"[")


@lru_cache(maxsize=16)  # the events of a batch are taken in at one instant
def rfc3339(unix_time: float) -> str:
    """Return an instant as the wire has it: UTC with milliseconds (RFC 3339 section 5.6)."""
    return datetime.fromtimestamp(unix_time, UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


encode_json = msgspec.json.Encoder().encode
