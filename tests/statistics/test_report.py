"""Reports: JSON and CSV, of a fold in memory and of the rows of a store."""

from __future__ import annotations

import csv
import io
import json
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from fold_samples import make_occurrence, report_of_state
from hypothesis import given, settings

from callcenter_ws.statistics.checkpoint import NO_DAY
from callcenter_ws.statistics.expiry import expire
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.live import LiveFigures
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED, Occurrence, milliseconds
from callcenter_ws.statistics.period import BadPeriod, Period, period_of
from callcenter_ws.statistics.report import Report, cell, csv_pieces, json_pieces, parts_of
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureCheckpoint, FigurePosition
from callcenter_ws.statistics.stored import DAY_KINDS, Question, StoredFigures
from callcenter_ws.statistics.sums import DAY_MS, QUARTER_MS
from callcenter_ws.statistics.zones import Zone, zone_of
from tests.statistics.random_events import START, folded, in_any_order
from tests.statistics.sequences import Store

UTC = zone_of("UTC")
BERLIN = zone_of("Europe/Berlin")


def at(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))


def read(report: Report) -> Any:
    return json.loads(b"".join(json_pieces(report)))


def lines(report: Report) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(b"".join(csv_pieces(report)).decode(), newline="")))


def of_store(state: State, now: int, period: Period) -> Report:
    """Return the report of the rows of a state, as a store has them."""
    store = Store()
    expire(state, now, 1000)
    live = LiveFigures("acme").changes(state, now, epoch="e")
    store.write(state)
    rows = list(store.rows.items())
    head = FigureCheckpoint(FigurePosition("e", state.seq), [row for row in rows if row[0].day == NO_DAY])
    first, last = period.days
    days = {
        part: [row for row in rows if row[0].kind == kind and first <= row[0].day <= last]
        for part, kind in DAY_KINDS.items()
    }
    stored = StoredFigures(head, now)
    return stored.report("acme", period, Question(parts_of(None, None)), days, live)


def of_fold(state: State, now: int, period: Period, **names: Any) -> Report:
    return report_of_state(state, now, period, tenant_id="acme", epoch="e", **names)


@settings(max_examples=30)
@given(in_any_order)
def test_a_store_and_a_fold_give_the_same_bytes(events: list[Occurrence]) -> None:
    state = folded(events)
    now = events[-1].received + 10_000 if events else START
    for interval, first in (("day", START - DAY_MS), ("60", now)):
        day = UTC.day_of(first).isoformat()
        period = period_of(UTC, now, start=day, end=None, interval=interval)
        expected = of_fold(state, now, period)
        found = of_store(folded(events), now, period)
        assert b"".join(json_pieces(found)) == b"".join(json_pieces(expected))
        assert b"".join(csv_pieces(found)) == b"".join(csv_pieces(expected))


def fold(*events: tuple[int, str, dict[str, Any]]) -> State:
    state = State()
    for number, (when, type_, payload) in enumerate(events):
        apply(state, make_occurrence(type_, payload, timestamp=when, received=when, seq=number + 1))
    return state


def test_the_content_of_a_report() -> None:
    noon = at("2026-11-23T12:00:00Z")
    state = fold(
        (noon, SETTINGS_CHANGED, {"time_zone": "Europe/Berlin", "service_level_seconds": 30}),
        (noon, "agent.login", {"user_id": "7", "username": "ada", "queues": ["sales"]}),
        (noon, "queue.joined", {"unique_id": "c1", "queue_name": "sales"}),
        (noon + 8000, "queue.left", {"unique_id": "c1", "queue_name": "sales", "reason": "timeout", "wait_seconds": 8}),
        (noon + 9000, "queue.joined", {"unique_id": "c2", "queue_name": "sales"}),
    )
    period = period_of(BERLIN, noon + 10_000, start=None, end=None, interval="60")
    found = read(of_fold(state, noon + 10_000, period))
    assert list(found) == [
        "tenant_id", "epoch", "as_of_seq", "generated_at", "time_zone", "interval", "from", "to", "settings",
        "incomplete_since", "diagnostics", "queues", "agents", "tenant",
    ]  # fmt: skip
    assert (found["from"], found["to"]) == ("2026-11-23T00:00:00+01:00", "2026-11-24T00:00:00+01:00")
    assert found["settings"]["service_level_seconds"] == 30
    (queue,) = found["queues"]
    assert (queue["now"]["calls_waiting"], queue["now"]["longest_wait_time"]) == (1, 1)
    assert len(queue["intervals"]) == 14  # those that have begun
    last = queue["intervals"][-1]
    assert (last["start"], last["minutes"]) == ("2026-11-23T13:00:00+01:00", 60)
    assert (last["offered"], last["flow_out"], last["flow_out_reasons"]) == (2, 1, {"timeout": 1})
    (agent,) = found["agents"]
    assert (agent["user_id"], agent["username"], agent["now"]["state"]) == ("7", "ada", "available")
    assert agent["intervals"][-1]["state_seconds"] == {"available": 10}
    assert found["tenant"][-1]["queue_entries"] == 2


def test_names_choose_the_parts() -> None:
    state = fold((START, "queue.joined", {"unique_id": "c1", "queue_name": "sales"}))
    period = period_of(UTC, START, start=None, end=None, interval=None)
    found = read(of_fold(state, START, period, queues=["sales", "unknown"]))
    assert [queue["queue_name"] for queue in found["queues"]] == ["sales", "unknown"]
    assert [queue["intervals"][0]["offered"] for queue in found["queues"]] == [1, 0]
    assert (found["agents"], found["tenant"]) == ([], [])
    found = read(of_fold(state, START, period, agents=["7"]))
    assert (found["queues"], found["tenant"]) == ([], [])
    assert found["agents"][0]["now"] == {"state": "offline", "reason": None, "since": None, "seconds_in_state": None}
    found = read(of_fold(State(), START, period))
    assert (found["queues"], found["agents"], len(found["tenant"])) == ([], [], 1)


def test_another_day_has_no_present_figures() -> None:
    state = fold((START, "queue.joined", {"unique_id": "c1", "queue_name": "sales"}))
    period = period_of(
        UTC,
        START + DAY_MS,
        start=UTC.day_of(START).isoformat(),
        end=UTC.day_of(START + DAY_MS).isoformat(),
        interval=None,
    )
    assert read(of_fold(state, START + DAY_MS - 1 + 1, period))["queues"][0]["now"] is None


def test_csv_has_flat_columns_and_no_formulas() -> None:
    name = '=HYPERLINK("x"), "y"'
    state = fold(
        (START, "queue.joined", {"unique_id": "c1", "queue_name": name}),
        (START, "agent.login", {"user_id": "7"}),
        (START + 3000, "call.abandoned", {"unique_id": "c1", "queue_name": name, "wait_seconds": 3}),
    )
    period = period_of(UTC, START + 5000, start=None, end=None, interval=None)
    queue, agent, tenant = lines(of_fold(state, START + 5000, period))
    assert queue["part"] == "queues"
    assert queue["name"] == "'" + name
    assert (queue["abandoned_short"], queue["flow_out_reasons.timeout"], queue["service_level"]) == ("1", "0", "")
    assert (queue["service_levels.served_of_queued"], queue["mixed_thresholds"]) == ("100.0", "false")
    assert (agent["name"], agent["state_seconds.available"], agent["state_seconds.break"]) == ("7", "5", "0")
    assert (tenant["calls_offered"], tenant["abandoned"]) == ("1", "")


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\ta", "\ra"])
def test_texts_that_are_formulas_get_an_apostrophe(text: str) -> None:
    assert cell(text) == f"'{text}"
    assert cell(-1.5) == "-1.5"


def labels(zone: Zone, period: Period, now: int) -> list[str]:
    return [zone.label(start) for start, _ in period.windows(now)]


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [("Europe/Berlin", "2026-03-29", 92), ("Europe/Berlin", "2026-10-25", 100), ("America/New_York", "2026-11-01", 100),
     ("Australia/Lord_Howe", "2026-04-05", 98), ("Asia/Kathmandu", "2026-10-25", 96)],
)  # fmt: skip
def test_days_on_which_clocks_change(zone: str, day: str, quarters: int) -> None:
    end = (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    now = at(f"{end}T23:00:00Z") + DAY_MS
    for interval in ("15", "30", "60", "day"):
        period = period_of(zone_of(zone), now, start=day, end=end, interval=interval)
        assert period.end - period.start == quarters * QUARTER_MS
        windows = list(period.windows(now))
        assert windows[0][0] == period.start
        assert windows[-1][1] == period.end
        assert [end for _, end in windows[:-1]] == [start for start, _ in windows[1:]]
        names = labels(zone_of(zone), period, now)
        assert len(set(names)) == len(names)


def test_the_repeated_hour_has_both_offsets() -> None:
    now = at("2026-10-26T12:00:00Z")
    period = period_of(BERLIN, now, start="2026-10-25", end="2026-10-26", interval="60")
    assert labels(BERLIN, period, now)[1:5] == [
        "2026-10-25T01:00:00+02:00",
        "2026-10-25T02:00:00+02:00",
        "2026-10-25T02:00:00+01:00",
        "2026-10-25T03:00:00+01:00",
    ]


def test_instants_are_put_to_their_interval() -> None:
    now = at("2026-11-23T12:00:00Z")
    period = period_of(BERLIN, now, start="2026-11-23T09:10:00+01:00", end="2026-11-23T09:40:00Z", interval="30")
    assert (BERLIN.label(period.start), BERLIN.label(period.end)) == (
        "2026-11-23T09:00:00+01:00",
        "2026-11-23T11:00:00+01:00",
    )


@pytest.mark.parametrize(
    ("start", "end", "interval", "problem"),
    [
        ("yesterday", None, None, "from: expected a date"),
        (None, "2026-13-01", None, "to: expected a date"),
        ("0001-01-01", None, None, "from: expected a year from 1971 to 9995"),
        ("9999-12-31", None, None, "from: expected a year from 1971 to 9995"),
        ("2026-11-23T08:00:00", None, None, "from: an instant needs its offset"),
        ("2026-11-23", "2026-11-23", None, "to: must be after from"),
        ("2026-11-24", None, None, "to: must be after from"),
        ("2025-01-01", None, None, "from: at most 400 days"),
        (None, None, "45", "interval: expected one of 15, 30, 60, day"),
    ],
)
def test_periods_that_are_refused(start: str | None, end: str | None, interval: str | None, problem: str) -> None:
    with pytest.raises(BadPeriod, match=problem):
        period_of(BERLIN, at("2026-11-23T12:00:00Z"), start=start, end=end, interval=interval)
