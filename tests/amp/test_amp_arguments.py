"""JsonText: texts over 65,535 bytes, split into numbered keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from callcenter_ws.amp.arguments import MAX_TEXT_BYTES, PART_BYTES, JsonText
from callcenter_ws.errors import ErrorCode, Refusal

NAME = b"payload"


def to_box(text: bytes) -> amp.AmpBox:
    box = amp.AmpBox()
    JsonText().toBox(NAME, box, {"payload": text}, None)
    return box


def from_box(box: dict[bytes, bytes]) -> bytes:
    objects: dict[str, bytes] = {}
    JsonText().fromBox(NAME, box, objects, None)
    return objects["payload"]


def test_short_text_is_an_amp_string() -> None:
    assert to_box(b"{}") == {NAME: b"{}"}
    assert from_box({NAME: b"{}"}) == b"{}"
    assert to_box(b"") == {NAME: b""}


@pytest.mark.parametrize(
    ("size", "keys"),
    [
        (PART_BYTES, [b"payload"]),
        (PART_BYTES + 1, [b"payload", b"payload.1"]),
        (2 * PART_BYTES, [b"payload", b"payload.1"]),
        (MAX_TEXT_BYTES, [b"payload", *(b"payload.%d" % number for number in range(1, 9))]),
    ],
)
def test_long_text_fills_numbered_keys(size: int, keys: list[bytes]) -> None:
    text = bytes(number % 251 for number in range(size))
    box = to_box(text)
    assert sorted(box) == sorted(keys)
    assert amp.parseString(box.serialize()) == [box]
    assert from_box(box) == text


@given(st.binary(max_size=3 * PART_BYTES))
def test_any_text_is_split_and_joined(text: bytes) -> None:
    assert from_box(to_box(text)) == text


def test_parts_may_be_short_and_split_a_character() -> None:
    assert from_box({NAME: b'"\xc3', b"payload.1": b'\xa9"', b"other": b"x"}) == '"é"'.encode()


@pytest.mark.parametrize(
    "box",
    [
        {NAME: b"a", b"payload.2": b"c"},
        {NAME: b"a", b"payload.1": b"", b"payload.2": b"c"},
        {NAME: b"a", b"payload.01": b"b"},
        {NAME: b"a", b"payload.-1": b"b"},
        {NAME: b"a", b"payload.x": b"b"},
    ],
)
def test_gaps_and_malformed_numbers_are_refused(box: dict[bytes, bytes]) -> None:
    with pytest.raises(Refusal) as refused:
        from_box(box)
    assert refused.value.code is ErrorCode.INVALID_EVENT
    assert refused.value.message.startswith("payload: part ")


def test_missing_first_part_is_a_missing_argument() -> None:
    with pytest.raises(KeyError):
        from_box({b"payload.1": b"b"})


def test_size_is_limited_when_encoding_and_decoding() -> None:
    with pytest.raises(Refusal) as refused:
        to_box(b"x" * (MAX_TEXT_BYTES + 1))
    assert refused.value.code is ErrorCode.TOO_LARGE
    box = {NAME: b"x" * PART_BYTES, **{b"payload.%d" % number: b"x" * PART_BYTES for number in range(1, 9)}}
    with pytest.raises(Refusal) as refused:
        from_box(box)
    assert refused.value.code is ErrorCode.TOO_LARGE
    assert "524288" in refused.value.message
