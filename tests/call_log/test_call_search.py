"""Searching the calls of today."""

from __future__ import annotations

import pytest
from call_log_world import CallWorld


@pytest.fixture
def world() -> CallWorld:
    world = CallWorld()
    world.answered_call("c1", "+49 (30) 123-456", agent="7")
    world.publish("call.incoming", "c2", caller_id="0170555", caller_name="Grace Hopper", destination="+351210001")
    world.publish("call.ringing", "c2", agent_id="8", agent_name="Ömer")
    return world


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("lovelace", ["c1"]),
        ("HOPP", ["c2"]),
        ("030123456", ["c1"]),
        ("+49 30 12 34 56", ["c1"]),
        ("0049 30/123456", ["c1"]),
        ("123-4", ["c1"]),
        ("170 555", ["c2"]),
        ("210001", ["c2"]),
        ("ömer", ["c2"]),
        ("ÖMER", ["c2"]),
        ("agent 7", ["c1"]),
        ("c2", ["c2"]),
        ("0001", ["c2"]),
        ("nothing", []),
        ("  hopper  ", ["c2"]),
    ],
)
def test_a_part_of_the_texts_of_a_call(world: CallWorld, search: str, found: list[str]) -> None:
    assert world.ids(search=search) == found


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({"caller_id": "+4930123456"}, ["c1"]),
        ({"caller_id": "+49"}, []),
        ({"agent": "8"}, ["c2"]),
        ({"agent": "ömer"}, ["c2"]),
        ({"agent": "öm"}, ["c2"]),
        ({"agent": "gent"}, ["c1"]),
        ({"agent": "1"}, []),
        ({"queue": "sales"}, ["c1"]),
        ({"queue": "sale"}, []),
        ({"state": "ended"}, ["c1"]),
        ({"state": "ringing"}, ["c2"]),
        ({"state": "ended", "agent": "8"}, []),
        ({"search": "hopper", "state": "ringing"}, ["c2"]),
    ],
)
def test_the_other_filters(world: CallWorld, parameters: dict[str, object], found: list[str]) -> None:
    assert world.ids(**parameters) == found


def test_a_change_of_a_call_is_found(world: CallWorld) -> None:
    assert world.ids(search="newcomer") == []
    world.publish("call.answered", "c2", agent_id="newcomer")
    assert world.ids(search="newcomer") == ["c2"]
