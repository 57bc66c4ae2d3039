"""Decodes lists of events and publishes them, a bounded part in each turn of the reactor."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Iterator, Sequence

import msgspec
from msgspec import UNSET, Raw, UnsetType
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import PAYLOAD_BYTES
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.background import next_turn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import (
    MAX_BATCH_CONTAINERS,
    MAX_CONTAINERS,
    JsonValue,
    check_containers,
    check_keys,
    check_large_exponents,
    count_containers,
    count_large_exponents,
    decode_checked_json,
    decode_json,
    malformed_json,
)

MAX_EVENTS = 1_000
"""The largest number of events in one list."""

EVENTS_PER_TURN = 200
"""Events of one list that are validated in one turn of the reactor."""

SLICE_BYTES = 262_144
"""Bytes of JSON that are decoded, and whose events are validated, in one turn; a larger event has its own turn."""

BYTES_PER_PART = 10
"""What each field, object and array counts as in addition; as little text as two bytes is one."""

_FIELDS_BYTES = 8_192
"""More than the other fields of an event take."""

Outcome = PublishResult | Refusal

Slices = Sequence[Sequence[JsonValue]]
"""The events of a list, in parts that are published in one turn each."""

Publish = Callable[[Sequence[object]], Coroutine[Deferred[object], object, list[Outcome]]]
"""Publishes events; returns one outcome for each, in order."""

# Decoding a list as an array-like struct keeps no more elements than it has fields: a list of two million numbers is
# not built before it is refused.
_Elements = msgspec.defstruct(
    "_Elements", [(f"e{index}", Raw | UnsetType, UNSET) for index in range(MAX_EVENTS + 1)], array_like=True
)
_split = msgspec.json.Decoder(_Elements).decode
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode

_LIST = re.compile(rb"[ \t\r\n]*\[")


def is_long_list(text: bytes) -> bool:
    """Return whether a JSON text is a list to be decoded by ``decode_slices``."""
    if len(text) <= SLICE_BYTES // 4:
        return False
    return (len(text) > SLICE_BYTES or _weight(text) > SLICE_BYTES) and _LIST.match(text) is not None


def _weight(text: bytes) -> int:
    """Return how much work a JSON text is, in bytes of ordinary text."""
    return len(text) + BYTES_PER_PART * (text.count(b":") + count_containers(text))


def slices_of(drafts: Sequence[JsonValue]) -> Slices:
    """Return the slices of a list that is decoded."""
    return [drafts[start : start + EVENTS_PER_TURN] for start in range(0, len(drafts), EVENTS_PER_TURN)]


async def decode_slices(text: bytes, clock: Clock, *, keeps_fields: bool = False) -> Slices:
    """Decode a JSON list, ``SLICE_BYTES`` in each turn of the reactor; has the limits of ``decode_json``.

    In place of an event that is certainly too large there is a Refusal.

    Args:
        keeps_fields: whether that Refusal is in place of its payload only, so that its ``source_seq`` is known.

    Raises:
        Refusal: ``invalid_json``; ``too_large``: more than ``MAX_EVENTS`` events.
    """
    check_containers(text, MAX_BATCH_CONTAINERS)
    await next_turn(clock)
    elements = _elements(text)
    exponents = 0
    slices: list[list[JsonValue]] = []
    for part in _parts(elements):
        await next_turn(clock)
        if len(part) == 1 and (refusal := _event_refusal(bytes(part[0]))) is not None:
            slices.append([_without_payload(part[0], refusal) if keeps_fields else refusal])
            continue
        joined = b"[" + b",".join(part) + b"]"
        exponents += count_large_exponents(joined)
        check_large_exponents(exponents)
        slices.append(decode_checked_json(joined))
    return slices


def _event_refusal(text: bytes) -> Refusal | None:
    """Return why an event is not decoded; None if it is."""
    if is_too_large(text):
        return too_large()
    try:
        check_containers(text, MAX_CONTAINERS)
        check_keys(text)
    except Refusal as refusal:
        return refusal
    return None


def _without_payload(event: Raw, refusal: Refusal) -> JsonValue:
    """Return an event with a Refusal in place of its payload; the Refusal alone if its other fields are large, too."""
    try:
        fields = _decode_fields(event)
    except (msgspec.DecodeError, RecursionError):
        return refusal
    payload = fields.pop("payload", None)
    if payload is None or sum(memoryview(field).nbytes for field in fields.values()) > _FIELDS_BYTES:
        return refusal
    return {**{name: decode_json(bytes(field)) for name, field in fields.items()}, "payload": refusal}


def _elements(text: bytes) -> list[Raw]:
    try:
        found = msgspec.structs.astuple(_split(text))
    except (msgspec.DecodeError, RecursionError) as error:
        raise malformed_json(error) from None
    elements = [element for element in found if element is not UNSET]
    if len(elements) > MAX_EVENTS:
        raise Refusal(ErrorCode.TOO_LARGE, f"more than {MAX_EVENTS} events in one list")
    return elements


def _parts(elements: Sequence[Raw]) -> Iterator[Sequence[Raw]]:
    """Return the elements in parts; one that is more work than ``SLICE_BYTES`` is a part of its own."""
    part: list[Raw] = []
    size = 0
    for element in elements:
        weight = _weight(bytes(element))
        size += weight
        if part and (size > SLICE_BYTES or len(part) == EVENTS_PER_TURN):
            yield part
            part, size = [], weight
        part.append(element)
    if part:
        yield part


def is_too_large(text: bytes | memoryview) -> bool:
    """Return whether the text of an event exceeds the limit of a payload even without white space and escapes.

    Decoding megabytes only to refuse them would hold the reactor.
    """
    longest = PAYLOAD_BYTES + _FIELDS_BYTES
    if len(text) <= longest:
        return False
    dense = bytes(text).translate(None, b" \t\r\n")
    if (escapes := dense.count(b"\\")) == 0 or len(dense) <= longest:
        return len(dense) > longest
    # An escaped backslash keeps both bytes. Of what then begins with one, at least one byte of six or two is left.
    backslashes = dense.count(b"\\\\")
    others = dense.replace(b"\\\\", b"") if backslashes else dense
    return len(dense) - 4 * others.count(b"\\u") - (escapes - 2 * backslashes) > longest


def too_large() -> Refusal:
    """Return the refusal of an event that is too large to be decoded."""
    return Refusal(ErrorCode.TOO_LARGE, f"payload: more than {PAYLOAD_BYTES} bytes of JSON, the limit")


async def publish_in_slices(
    publish: Publish,
    slices: Slices,
    clock: Clock,
    submitted: Callable[[], object] = lambda: None,
) -> list[Outcome]:
    """Publish a list of events, a slice in each turn of the reactor; return the outcomes in order.

    Args:
        publish: validates events and submits them to the store before it waits for anything.
        submitted: called when the last events have been submitted: what is published after that comes after them.
    """
    parts: list[Deferred[list[Outcome]]] = []
    for drafts in slices:
        if parts:
            await next_turn(clock)
        parts.append(Deferred.fromCoroutine(publish(drafts)))
    submitted()
    return [outcome for part in await gatherResults(parts, consumeErrors=True) for outcome in part]
