"""Long lists of events: decoded a part in each turn of the reactor, with the results and limits of short ones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doubles import SteppingClock
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from callcenter_ws.broker import batch
from callcenter_ws.broker.batch import (
    EVENTS_PER_TURN,
    MAX_EVENTS,
    SLICE_BYTES,
    decode_slices,
    is_long_list,
    is_too_large,
)
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import PAYLOAD_BYTES
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, MAX_CONTAINERS, MAX_KEYS, count_containers, decode_json

LONG = b" " * SLICE_BYTES


def decoded(text: bytes, *, keeps_fields: bool = False) -> list[list[Any]]:
    """Decode a list, and run the turns that this takes."""
    clock = SteppingClock()
    slices: list[Any] = []
    decoding = Deferred.fromCoroutine(decode_slices(text, clock, keeps_fields=keeps_fields)).addBoth(slices.append)
    while not slices:
        assert not decoding.called
        assert clock.step()
    if isinstance(slices[0], list):
        return slices[0]
    slices[0].raiseException()
    raise AssertionError


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=4), children, max_size=3),
    max_leaves=10,
)


@given(values=st.lists(JSON, max_size=20), padding=st.sampled_from(["", " ", "\n\t"]))
def test_a_list_is_decoded_as_any_other_text(values: list[Any], padding: str) -> None:
    text = padding + "[" + f"{padding},{padding}".join(map(json.dumps, values)) + padding + "]" + padding
    assert [value for part in decoded(text.encode()) for value in part] == decode_json(text)


def test_each_turn_decodes_a_bounded_part(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    decode = batch.decode_checked_json
    monkeypatch.setattr(batch, "decode_checked_json", lambda text: sizes.append(len(text)) or decode(text))
    events = [{"payload": {"text": "x" * (4_000 if number % 2 else 1)}} for number in range(MAX_EVENTS)]
    slices = decoded(json.dumps(events).encode())
    assert [event for part in slices for event in part] == events
    assert len(sizes) == len(slices) >= 8
    assert max(sizes) <= SLICE_BYTES + EVENTS_PER_TURN + 2
    assert max(map(len, slices)) <= EVENTS_PER_TURN


@pytest.mark.parametrize(
    "body",
    [
        b"[",
        b"[1,]",
        b"[1] 2",
        b'["\xff"]',
        b'["\\x"]',
        b'[{"a" 1}]',
        b"[1, nul]",
        b"[" * 5_000,
        b"[" + b",".join([b"{}"] * 999) + b',{"a":[' + b"[]," * MAX_BATCH_CONTAINERS + b"1]}]",
        b"[" + b",".join([b'{"n":1e300}'] * 101) + b"]",
    ],
)
def test_what_is_no_json_within_the_limits_is_refused_as_any_other_text(body: bytes) -> None:
    with pytest.raises(Refusal) as short:
        decode_json(body + b" " * 3_000, MAX_BATCH_CONTAINERS)
    assert is_long_list(body + LONG)
    with pytest.raises(Refusal) as long:
        decoded(body + LONG)
    assert (long.value.code, long.value.message) == (short.value.code, short.value.message)
    assert long.value.code is ErrorCode.INVALID_JSON


def test_each_turn_decodes_few_fields_and_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a list that is short, too."""
    decode = batch.decode_checked_json
    parts: list[bytes] = []
    monkeypatch.setattr(batch, "decode_checked_json", lambda text: parts.append(text) or decode(text))
    for events in (
        [{"payload": [[] for _ in range(90)]} for _ in range(999)],
        [{"payload": {f"{number:x}": 1 for number in range(60)}} for _ in range(999)],
    ):
        text = json.dumps(events).encode()
        assert is_long_list(text)
        parts.clear()
        assert [event for part in decoded(text) for event in part] == events
        assert max(count_containers(part) for part in parts) <= MAX_CONTAINERS
        assert max(part.count(b":") for part in parts) <= MAX_KEYS


FIELDS = json.dumps({"payload": {f"{number:x}": 1 for number in range(MAX_KEYS)}, "source_seq": 7, "tenant_id": "acme"})
OBJECTS = json.dumps({"payload": [[] for _ in range(MAX_CONTAINERS)], "source_seq": 7, "tenant_id": "acme"})


@pytest.mark.parametrize(("event", "what"), [(FIELDS, "fields"), (OBJECTS, "objects and arrays")])
def test_an_event_with_too_many_parts_is_refused_alone(event: str, what: str) -> None:
    text = f"[1,{event},2]".encode() + LONG
    first, refused, last = decoded(text)
    assert (first, last) == ([1], [2])
    assert (refused[0].code, what in refused[0].message) == (ErrorCode.INVALID_JSON, True)
    (kept,) = decoded(text, keeps_fields=True)[1]
    assert isinstance(kept.pop("payload"), Refusal)
    assert kept == {"source_seq": 7, "tenant_id": "acme"}


@pytest.mark.parametrize(
    "event", ["[" * 300 + "]" * 300 + " " * 600_000, json.dumps({"type": "x" * 600_000, "payload": 1}), f"[{FIELDS}]"]
)
def test_of_an_event_that_is_no_object_nothing_is_kept(event: str) -> None:
    ((refused,),) = decoded(f"[{event}]".encode() + LONG, keeps_fields=True)
    assert isinstance(refused, Refusal) or refused == json.loads(event)


def test_numbers_that_are_slow_to_decode_are_counted_over_all_parts() -> None:
    event = b'{"a":"' + b"x" * 4_000 + b'","e":"1e300","n":[%s]}'
    assert len(decoded(b"[" + b",".join([event % b"1e300"] * 100) + b"]")) > 1
    with pytest.raises(Refusal, match="exponents"):
        decoded(b"[" + b",".join([event % b"1e300"] * 101) + b"]")


def test_too_many_elements_are_refused_before_they_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "decode_checked_json", lambda text: pytest.fail("decoded"))
    with pytest.raises(Refusal) as refused:
        decoded(b"[" + b"1," * 200_000 + b"1]")
    assert refused.value.code is ErrorCode.TOO_LARGE


def test_an_event_over_the_limit_is_refused_alone() -> None:
    large = json.dumps({"payload": {"text": "x" * (PAYLOAD_BYTES + 10_000)}})
    escaped = json.dumps({"payload": {"text": "é" * (PAYLOAD_BYTES // 2 - 100)}})
    assert len(escaped) > 2 * PAYLOAD_BYTES
    first, second, third = decoded(f"[1,{large},{escaped}]".encode())
    assert (first, third) == ([1], [json.loads(escaped)])
    assert second[0].code is ErrorCode.TOO_LARGE


@pytest.mark.parametrize(
    ("written", "least"),
    [(b"x", 1), (b"\\u0041", 1), (b"\\/", 1), (b"\\\\", 2), (b"\\\\u", 3), (b"\\\\\\u0041", 3)],
)
def test_the_size_of_an_event_does_not_depend_on_how_it_is_written(written: bytes, least: int) -> None:
    assert not is_too_large(b'"' + written * (PAYLOAD_BYTES // least) + b'"')
    assert is_too_large(b'"' + written * ((PAYLOAD_BYTES + 10_000) // least) + b'"')
