"""Decoding of JSON texts of peers: what is refused because it would take long."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.json import MAX_CONTAINERS, MAX_KEYS, MAX_LARGE_EXPONENTS, decode_json, outside_strings

json_values = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | st.integers(-9, 2**53),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
)


def refusal(text: bytes | str) -> Refusal:
    """Return the refusal of a JSON text."""
    with pytest.raises(Refusal) as raised:
        decode_json(text)
    return raised.value


@given(json_values)
def test_other_json_is_decoded(value: Any) -> None:
    assert decode_json(json.dumps(value)) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize("number", ["1e300", "1E300", "1e+300", "1.5e289", "9007199254740993e290", "1e0000300"])
def test_many_numbers_that_are_slow_to_decode_are_refused(number: str) -> None:
    most = json.dumps({"padding": "x" * 3000, "n": 0}).replace("0", f"[{','.join([number] * MAX_LARGE_EXPONENTS)}]")
    assert len(decode_json(most)["n"]) == MAX_LARGE_EXPONENTS
    more = most.replace("[", f"[{number},")
    for text in (more, more.encode()):
        refused = refusal(text)
        assert refused.code is ErrorCode.INVALID_JSON
        assert refused.message == "more than 100 numbers with exponents of three digits"


@pytest.mark.parametrize("text", ["1e300", '"1e300\\"', "\\\\"])
def test_strings_that_look_like_such_numbers_are_accepted(text: str) -> None:
    value = [text] * (2 * MAX_LARGE_EXPONENTS)
    assert decode_json(json.dumps(value)) == value


def test_ordinary_floats_are_not_counted() -> None:
    value = [1.5, 1e22, 1e-17, -0.1, 1e99] * 5_000
    assert decode_json(json.dumps(value)) == value


def test_a_text_with_too_many_containers_is_refused() -> None:
    assert decode_json(b"[%b]" % b",".join([b"{}"] * (MAX_CONTAINERS - 1)))
    refused = refusal(b"[%b]" % b",".join([b"{}"] * MAX_CONTAINERS))
    assert (refused.code, refused.message) == (ErrorCode.INVALID_JSON, "more than 20,000 objects and arrays")


@given(json_values)
def test_outside_strings_are_no_characters_of_strings(value: Any) -> None:
    outside = b"".join(outside_strings(json.dumps(value).encode()))
    assert set(outside) <= set(b"0123456789+-.eE{}[],: truefalsn")


@pytest.mark.parametrize(("before", "after"), [("", ""), (" ", ""), ("\\n", "\t\n"), ("\\\\", ""), ("é", "")])
def test_a_text_with_too_many_fields_is_refused(before: str, after: str) -> None:
    """However the names are written, and what is between them."""

    def text(count: int) -> str:
        fields = (f'"{number}{before}"{after}:{after}1' for number in range(count))
        return '{"text":"a: \\"b\\": c",' + ",".join(fields) + "}"

    assert len(decode_json(text(MAX_KEYS - 1))) == MAX_KEYS
    for body in (text(MAX_KEYS), text(MAX_KEYS).encode()):
        with pytest.raises(Refusal, match="more than 20,000 fields") as refused:
            decode_json(body)
        assert refused.value.code is ErrorCode.INVALID_JSON


def test_strings_that_look_like_fields_are_accepted() -> None:
    value = {"text": json.dumps({str(number): 1 for number in range(2 * MAX_KEYS)}), "times": ["12:00:00"] * MAX_KEYS}
    assert decode_json(json.dumps(value)) == value
