"""The recorded shift of ``./demo --exchange``: every round is complete, and its ids and times differ from the last."""

from __future__ import annotations

import re
from itertools import islice, takewhile

import pytest

from callcenter_ws.demo.exchange_state import ExchangeState, parse
from callcenter_ws.demo.shift import PlayedEvent, Shift

START = 2_000_000_000.25


@pytest.fixture(scope="module")
def shift() -> Shift:
    return Shift.load()


@pytest.fixture(scope="module")
def rounds(shift: Shift) -> list[list[PlayedEvent]]:
    """The first two rounds."""
    events = shift.rounds(START)
    return [list(islice(events, len(shift))) for _ in range(2)]


def ids(events: list[PlayedEvent]) -> set[str]:
    return set(re.findall(r"^(?:Dest)?Uniqueid: (.+)\r$", "".join(event.text for event in events), re.MULTILINE))


def test_a_round_begins_at_its_start(rounds: list[list[PlayedEvent]]) -> None:
    assert abs(rounds[0][0].time - START) <= 0.5
    times = [event.time for one in rounds for event in one]
    assert times == sorted(times) and times[-1] - times[0] > 60


def test_rounds_have_the_same_events(rounds: list[list[PlayedEvent]]) -> None:
    first, second = ([event.text.split("\r\n")[0] for event in one] for one in rounds)
    assert first == second
    assert {"Event: QueueCallerJoin", "Event: AgentConnect", "Event: Hangup", "Event: BlindTransfer"} <= set(first)


def test_ids_of_channels_differ_between_rounds(rounds: list[list[PlayedEvent]]) -> None:
    first, second = map(ids, rounds)
    assert len(first) == len(second) > 50
    assert not first & second


def test_the_exchange_s_times_are_those_of_the_round(rounds: list[list[PlayedEvent]]) -> None:
    for event in [*rounds[0], *rounds[1]]:
        assert float(parse(event.text)["Timestamp"]) == pytest.approx(event.time, abs=1e-3)


def test_at_the_end_of_a_round_no_call_is_left(shift: Shift, rounds: list[list[PlayedEvent]]) -> None:
    state = ExchangeState(shift.members(START))
    for one in rounds:
        for event in one:
            state.apply(parse(event.text), event.time)
        assert state.call_count == 0
        assert state.list_channels(one[-1].time) == state.list_bridges() == []
        listed = [parse(item) for item in state.list_queues(one[-1].time)]
        assert {item["Event"] for item in listed} == {"QueueParams", "QueueMember"}
        assert {item["Paused"] for item in listed if item["Event"] == "QueueMember"} == {"0"}


def test_members_are_those_of_the_beginning(shift: Shift) -> None:
    listed = [parse(item) for item in shift.members(START)]
    assert len(list(takewhile(lambda item: item["Event"] == "QueueParams", listed))) == 1
    members = [item for item in listed if item["Event"] == "QueueMember"]
    assert {item["Queue"] for item in listed} == {"sales", "support", "billing"}
    assert len(members) > 10
    assert not any("ActionID" in item for item in listed)
    assert all(0 <= START - int(item["LoginTime"]) < 600 for item in members)
