"""JSON's names in error messages."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest

from callcenter_ws.runtime.json_names import json_name, with_json_names


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        ("x", "a string"),
        (1, "an integer"),
        (1.5, "a number"),
        ([], "an array"),
        ({}, "an object"),
    ],
)
def test_a_value_has_the_name_of_its_json_type(value: Any, name: str) -> None:
    assert json_name(value) == name


class Declared(msgspec.Struct):
    text: str | None = None
    count: Annotated[int, msgspec.Meta(ge=0)] = 0
    names: Annotated[list[str], msgspec.Meta(max_length=1)] = []
    flag: bool = False
    share: float = 0.0
    fields: dict[str, int] = {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "Expected an object, got an array"),
        (b'{"text": 1}', "Expected a string or null, got an integer - at `$.text`"),
        (b'{"count": -1}', "Expected an integer >= 0 - at `$.count`"),
        (b'{"count": 1.5}', "Expected an integer, got a number - at `$.count`"),
        (b'{"names": ["a", "b"]}', "Expected an array of length <= 1 - at `$.names`"),
        (b'{"flag": null}', "Expected true or false, got null - at `$.flag`"),
        (b'{"share": "x"}', "Expected a number, got a string - at `$.share`"),
        (b'{"fields": {"a": {}}}', "Expected an integer, got an object - at `$.fields[...]`"),
    ],
)
def test_texts_of_msgspec_have_jsons_names(text: bytes, message: str) -> None:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(text, type=Declared)
    assert with_json_names(str(caught.value)) == message
