"""Local days and intervals, on the nights when clocks change and where half hours are not UTC's."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.statistics.occurrence import milliseconds
from callcenter_ws.statistics.sums import QUARTER_MS
from callcenter_ws.statistics.zones import INTERVALS, UnknownZone, zone_of

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "America/Havana", "America/Sao_Paulo", "Asia/Kathmandu",
    "Australia/Lord_Howe", "Africa/Cairo", "Asia/Beirut", "Pacific/Apia", "Pacific/Chatham", "America/St_Johns",
)  # fmt: skip


def _at(text: str) -> int:
    return milliseconds(datetime.fromisoformat(text))


@pytest.mark.parametrize(
    ("zone", "day", "quarters"),
    [
        ("Europe/Berlin", "2026-03-28", 96),
        ("Europe/Berlin", "2026-03-29", 92),
        ("Europe/Berlin", "2026-10-25", 100),
        ("America/New_York", "2026-03-08", 92),
        ("America/New_York", "2026-11-01", 100),
        ("Asia/Kathmandu", "2026-03-29", 96),
        ("Australia/Lord_Howe", "2026-10-04", 94),
        ("Australia/Lord_Howe", "2026-04-05", 98),
        ("Africa/Cairo", "2026-04-24", 92),  # there is no midnight
        ("America/Havana", "2026-11-01", 100),  # there are two
        ("Pacific/Apia", "2011-12-30", 0),  # a day that was left out
    ],
)
def test_quarters_of_a_day(zone: str, day: str, quarters: int) -> None:
    start, end = zone_of(zone).day(date.fromisoformat(day))
    assert (end - start) // QUARTER_MS == quarters


@pytest.mark.parametrize(
    ("zone", "at", "minutes", "label", "length"),
    [
        ("Asia/Kathmandu", "2026-11-23T08:10:00Z", 30, "2026-11-23T13:30:00+05:45", 30),
        ("Asia/Kathmandu", "2026-11-23T08:20:00Z", 60, "2026-11-23T14:00:00+05:45", 60),
        # 02:00 to 03:00 is there twice in autumn, with two offsets, and not at all in spring.
        ("Europe/Berlin", "2026-10-25T00:20:00Z", 60, "2026-10-25T02:00:00+02:00", 60),
        ("Europe/Berlin", "2026-10-25T01:20:00Z", 60, "2026-10-25T02:00:00+01:00", 60),
        ("Europe/Berlin", "2026-03-29T01:20:00Z", 60, "2026-03-29T03:00:00+02:00", 60),
        # Half an hour: the second 01:30 to 02:00, and 02:30 to 03:00, are hours of 30 minutes.
        ("Australia/Lord_Howe", "2026-04-04T14:20:00Z", 60, "2026-04-05T01:00:00+11:00", 60),
        ("Australia/Lord_Howe", "2026-04-04T15:20:00Z", 60, "2026-04-05T01:30:00+10:30", 30),
        ("Australia/Lord_Howe", "2026-10-03T15:40:00Z", 60, "2026-10-04T02:30:00+11:00", 30),
    ],
)
def test_intervals(zone: str, at: str, minutes: int, label: str, length: int) -> None:
    found = zone_of(zone)
    start, end = found.interval(_at(at), minutes)
    assert found.label(start) == label
    assert end - start == length * 60_000


@given(
    st.sampled_from(ZONES),
    st.dates(date(2000, 1, 1), date(2030, 12, 31)),
    st.sampled_from(INTERVALS),
)
def test_intervals_make_up_the_day(zone: str, day: date, minutes: int) -> None:
    found = zone_of(zone)
    start, end = found.day(day)
    intervals = list(found.intervals(start, end, minutes))
    assert [begin for begin, _ in intervals] == [start, *(until for _, until in intervals)][: len(intervals)]
    assert not intervals or intervals[-1][1] == end
    assert found.day(day + timedelta(days=1))[0] == end
    for begin, until in intervals:
        assert found.day_of(begin) == found.day_of(until - 1) == day
        assert 0 < until - begin <= minutes * 60_000


def test_labels_tell_instants_apart() -> None:
    zone = zone_of("Europe/Berlin")
    start, end = zone.day(date(2026, 10, 25))
    labels = [zone.label(begin) for begin, _ in zone.intervals(start, end, 15)]
    assert len(set(labels)) == len(labels) == 100
    assert [_at(label) for label in labels] == list(range(start, end, QUARTER_MS))
    assert datetime.fromtimestamp(start / 1000, UTC) == datetime(2026, 10, 24, 22, tzinfo=UTC)


@pytest.mark.parametrize("name", ["Europe/Bern", "", "../etc/passwd", "Europe", "a\0b"])
def test_an_unknown_zone(name: str) -> None:
    with pytest.raises(UnknownZone, match="unknown time zone"):
        zone_of(name)
