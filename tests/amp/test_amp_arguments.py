"""Values over 65,535 bytes, cut into numbered keys."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.protocols import amp

from callcenter_ws.amp.arguments import PART_BYTES, TEXT_BYTES, JsonText
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


def test_a_short_text_is_a_plain_amp_string() -> None:
    assert to_box(b"{}") == {NAME: b"{}"}
    assert from_box({NAME: b"{}"}) == b"{}"
    assert to_box(b"") == {NAME: b""}


@pytest.mark.parametrize(
    ("size", "keys"),
    [
        (PART_BYTES, [b"payload"]),
        (PART_BYTES + 1, [b"payload", b"payload.1"]),
        (2 * PART_BYTES, [b"payload", b"payload.1"]),
        (TEXT_BYTES, [b"payload", *(b"payload.%d" % number for number in range(1, 9))]),
    ],
)
def test_a_long_text_fills_one_key_after_the_other(size: int, keys: list[bytes]) -> None:
    text = bytes(number % 251 for number in range(size))
    box = to_box(text)
    assert sorted(box) == sorted(keys)
    assert amp.parseString(box.serialize()) == [box]
    assert from_box(box) == text


@given(st.binary(max_size=3 * PART_BYTES))
def test_any_cut_is_joined_again(text: bytes) -> None:
    assert from_box(to_box(text)) == text


def test_parts_may_be_short_and_cut_a_character() -> None:
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
def test_holes_and_odd_numbers_are_refused(box: dict[bytes, bytes]) -> None:
    with pytest.raises(Refusal) as refused:
        from_box(box)
    assert refused.value.code is ErrorCode.INVALID_EVENT
    assert refused.value.message.startswith("payload: part ")


def test_without_the_first_part_it_is_missing() -> None:
    with pytest.raises(KeyError):
        from_box({b"payload.1": b"b"})


def test_the_whole_is_bounded_on_both_ends() -> None:
    with pytest.raises(Refusal) as refused:
        to_box(b"x" * (TEXT_BYTES + 1))
    assert refused.value.code is ErrorCode.TOO_LARGE
    box = {NAME: b"x" * PART_BYTES, **{b"payload.%d" % number: b"x" * PART_BYTES for number in range(1, 9)}}
    with pytest.raises(Refusal) as refused:
        from_box(box)
    assert refused.value.code is ErrorCode.TOO_LARGE
    assert "524288" in refused.value.message
