"""Dispositions of calls: how they are counted by queue and code, and the wrap-up time beside them."""

from __future__ import annotations

import csv
import io
from collections import Counter
from typing import Any

import msgspec
import pytest
from fold_samples import make_occurrence, report_of_state
from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.events.event import Origin, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics.checkpoint import forget_days
from callcenter_ws.statistics.fold import apply, apply_publication
from callcenter_ws.statistics.period import period_of
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.records import Call
from callcenter_ws.statistics.report import csv_pieces
from callcenter_ws.statistics.state import MAX_STAYS, State, encode_call
from callcenter_ws.statistics.sums import (
    DAY_MS,
    MAX_DISPOSITIONS,
    QUARTER_MS,
    Bucket,
    decode_quarters,
    encode_quarters,
    total,
)
from callcenter_ws.statistics.zones import zone_of
from tests.statistics.sequences import Store

START = 1_795_420_800_000  # 2026-11-23T08:00:00Z


class World:
    """A fold, fed in seconds after ``START``."""

    def __init__(self) -> None:
        self.state = State()

    def put(self, at: float, type_: str, **payload: Any) -> None:
        moment = START + round(at * 1000)
        payload = {"unique_id": "c1", **payload}
        occurrence = make_occurrence(type_, payload, timestamp=moment, received=moment, seq=self.state.seq + 1)
        apply(self.state, occurrence)

    def dispose(self, at: float, code: Any, call: str = "c1", **more: Any) -> None:
        self.put(at, "call.disposition", unique_id=call, code=code, **more)

    def counted(self, queue: str = "q", start: int = START, end: int = START + DAY_MS) -> Any:
        return Reading(self.state, end - 1).queue_between(queue, start, end)["dispositions"]


def test_a_changed_disposition_takes_the_place_of_the_earlier_one() -> None:
    world = World()
    world.dispose(10, "sale", queue_name="q")
    world.dispose(20, "callback", queue_name="q")
    world.dispose(15, "complaint", queue_name="q")
    assert world.counted() == {"callback": 1}
    world.dispose(1000, "sale", queue_name="q")
    assert world.counted(end=START + QUARTER_MS) == {}
    assert world.counted() == world.counted(start=START + QUARTER_MS) == {"sale": 1}


def test_another_call_and_another_queue_are_counted_beside_it() -> None:
    world = World()
    world.dispose(10, "sale", queue_name="q")
    world.dispose(11, "sale", "c2", queue_name="q")
    world.dispose(12, "wrong_queue", queue_name="r")
    world.dispose(13, "callback", "c2", queue_name="q")
    assert (world.counted(), world.counted("r")) == ({"callback": 1, "sale": 1}, {"wrong_queue": 1})


def test_the_rolling_half_hour() -> None:
    world = World()
    world.dispose(0, "sale", queue_name="q")
    world.dispose(60, "sale", "c2", queue_name="q")
    world.dispose(1700, "callback", queue_name="q")
    reading = Reading(world.state, START + 1_710_000)
    assert reading.queue_last_30m("q")["dispositions"] == {"callback": 1, "sale": 1}
    assert Reading(world.state, START + 1_860_000).queue_last_30m("q")["dispositions"] == {"callback": 1}


@pytest.mark.parametrize(
    ("events", "queue"),
    [
        ([("queue.joined", {"queue_name": "q"}), ("call.answered", {"agent_id": "u1"})], "q"),
        ([("call.answered", {"agent_id": "u1", "queue_name": "q"}), ("call.ended", {"duration": 9})], "q"),
        (
            [("call.answered", {"agent_id": "u1", "queue_name": "q"}),
             ("call.answered", {"agent_id": "u2", "queue_name": "r"})],
            "q",
        ),
        (
            [("call.answered", {"agent_id": "u2", "queue_name": "r"}),
             ("call.answered", {"agent_id": "u3", "queue_name": "q"})],
            "q",
        ),
        ([("queue.joined", {"queue_name": "q"})], "q"),
        ([("call.answered", {"agent_id": "u1"})], None),
        ([], None),
    ],
)  # fmt: skip
def test_without_a_queue_it_is_that_of_the_agent(events: list[tuple[str, dict[str, Any]]], queue: str | None) -> None:
    world = World()
    for second, (type_, payload) in enumerate(events):
        world.put(second, type_, **payload)
    world.dispose(60, "sale", agent_id="u1")
    found = [name for name in world.state.queues if world.counted(name)]
    assert found == ([queue] if queue else [])


def test_one_without_a_queue_is_not_counted_later_when_it_comes_again() -> None:
    world = World()
    world.dispose(1, "sale", agent_id="u1")
    world.put(2, "call.answered", agent_id="u1", queue_name="q")
    world.dispose(1, "sale", agent_id="u1")
    assert world.counted() == {}


def test_one_with_and_one_without_a_queue_are_of_the_same_call() -> None:
    world = World()
    world.put(1, "call.answered", agent_id="u1", queue_name="q")
    world.dispose(10, "sale", agent_id="u1")
    world.dispose(20, "callback", queue_name="q")
    world.dispose(30, "complaint", agent_id="u1")
    assert world.counted() == {"complaint": 1}


def test_codes_beyond_the_bound_are_others() -> None:
    world = World()
    for number in range(MAX_DISPOSITIONS + 3):
        world.dispose(number, f"code {number:02}", f"c{number}", queue_name="q")
    counted = world.counted()
    assert len(counted) == MAX_DISPOSITIONS + 1 and counted["other"] == 3
    # What is taken back was counted as other, although its own code has room by then.
    world.dispose(100, "code 01", "c0", queue_name="q")
    world.dispose(101, "code 52", "c9", queue_name="q")
    world.dispose(102, "code 01", f"c{MAX_DISPOSITIONS + 2}", queue_name="q")
    counted = world.counted()
    assert (counted["code 01"], counted["code 52"], counted["other"]) == (3, 1, 2)
    assert sum(counted.values()) == MAX_DISPOSITIONS + 3
    assert Reading(world.state, START + 110_000).queue_last_30m("q")["dispositions"] == counted


def test_the_rarest_codes_of_a_long_window_are_others() -> None:
    first = Bucket([0], dispositions={f"a{number:02}": 2 for number in range(MAX_DISPOSITIONS)})
    second = Bucket([0], dispositions={"b": 3, "a00": 1, "c": 1, "other": 1})
    found = total([first, Bucket([0]), second], 1).dispositions
    assert found is not None and len(found) == MAX_DISPOSITIONS + 1
    assert (found["b"], found["a00"], found["other"], "c" in found) == (3, 3, 4, False)


def test_the_queues_of_a_call_are_bounded() -> None:
    world = World()
    for number in range(MAX_STAYS + 9):
        world.dispose(number, "sale", queue_name=f"q{number}")
    assert len(world.state.calls["c1"].dispositions) == MAX_STAYS


def test_a_forgotten_day_keeps_what_it_has() -> None:
    world, store = World(), Store()
    world.dispose(0, "sale", queue_name="q")
    for day in (1, 2, 3):
        # The call is known as long as events of it come.
        world.put(day * 86_400 - 60, "call.hold", held_by="u1")
        store.write(world.state)
        for _ in forget_days(world.state, START + day * DAY_MS):
            pass
    store.write(world.state)
    assert "q" not in world.state.queues
    world.dispose(3 * 86_400, "callback", queue_name="q")
    store.write(world.state)
    old = START // DAY_MS
    rows = {key.day: decode_quarters(data) for key, data in store.rows.items() if key.kind == "queue-day"}
    assert [bucket.dispositions for bucket in rows[old].values()] == [{"sale": 1}]
    assert [bucket.dispositions for bucket in rows[old + 3].values()] == [{"callback": 1}]


def test_rows_of_the_version_before_are_read() -> None:
    old = msgspec.msgpack.encode({7: [[1, 2], 5, []]})
    assert decode_quarters(old) == {7: Bucket([1, 2], 5, ())}
    assert decode_quarters(encode_quarters({7: Bucket([1], dispositions={"a": 1})}))[7].dispositions == {"a": 1}
    fields = msgspec.msgpack.decode(encode_call(Call("c")))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(fields[:-1]), type=Call).dispositions == {}


def test_a_field_of_the_same_name_in_another_event_may_be_of_any_type() -> None:
    state = State()
    for number, code in enumerate((16, {"cause": 16}, [16], 1.5)):
        payload: Any = {"unique_id": f"c{number}", "duration": 1, "code": code}
        made = make_event(
            tenant_id="acme", type_="call.ended", payload=payload, event_id=f"e{number}", now=START / 1000,
            received_at=0, origin=Origin.PRODUCER,
        )  # fmt: skip
        apply_publication(state, Publication(made, number + 1), START)
    assert state.diagnostics["unreadable_events"] == 0
    assert len(state.calls) == 4


def test_a_row_of_csv_has_them_as_json() -> None:
    world = World()
    world.dispose(10, '=cmd|"x"', queue_name="q")
    world.dispose(11, "sale", "c2", queue_name="q")
    now = START + 60_000
    period = period_of(zone_of("UTC"), now, start=None, end=None, interval="day")
    report = report_of_state(world.state, now, period, tenant_id="acme", epoch="e")
    rows = list(csv.DictReader(io.StringIO(b"".join(csv_pieces(report)).decode(), newline="")))
    (queue,) = [row for row in rows if row["part"] == "queues"]
    assert msgspec.json.decode(queue["dispositions"]) == {'=cmd|"x"': 1, "sale": 1}
    assert {row["dispositions"] for row in rows if row["part"] != "queues"} == {""}


_events = st.lists(
    st.tuples(
        st.integers(0, 3 * 3600),
        st.sampled_from(["c1", "c2", "c3"]),
        st.sampled_from(["q", "r"]),
        st.sampled_from(["a", "b", "c"]),
    ),
    max_size=25,
    unique_by=lambda event: event[0],
)


@settings(max_examples=60)
@given(_events, st.data())
def test_the_newest_of_each_call_and_queue_counts(events: list[tuple[int, str, str, str]], data: st.DataObject) -> None:
    """In whatever order they come."""
    state = State()
    for at, call, queue, code in data.draw(st.permutations(events)):
        payload = {"unique_id": call, "queue_name": queue, "code": code}
        moment = START + at * 1000
        apply(state, make_occurrence("call.disposition", payload, timestamp=moment, received=START + 10_800_000, seq=1))
    newest = {(call, queue): (at, code) for at, call, queue, code in sorted(events)}
    for queue in ("q", "r"):
        for quarter in range(13):
            start = START + quarter * QUARTER_MS
            expected = Counter(
                code
                for (_, name), (at, code) in newest.items()
                if name == queue and start <= START + at * 1000 < start + QUARTER_MS
            )
            found = Reading(state, START + 10_800_000).queue_between(queue, start, start + QUARTER_MS)
            assert found["dispositions"] == expected
