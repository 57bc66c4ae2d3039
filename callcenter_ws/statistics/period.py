"""Periods: what ``from``, ``to`` and ``interval`` of a question about figures mean in the tenant's time zone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from callcenter_ws.statistics.occurrence import milliseconds
from callcenter_ws.statistics.sums import DAY_MS, MINUTE_MS
from callcenter_ws.statistics.zones import INTERVALS, Zone

DAY = "day"
NAMES = (*map(str, INTERVALS), DAY)
"""The values of ``interval``."""

MAX_DAYS = 400
"""The longest period."""

_FIRST, _LAST = date(1971, 1, 1), date(9995, 12, 31)

_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class BadPeriod(ValueError):
    """The text of a period is not valid; the message says which parameter, and what is expected."""


@dataclass(frozen=True, slots=True)
class Period:
    """A time in intervals of one length.

    Attributes:
        start, end: the first instant, and the first after it; both begin an interval.
        interval: ``15``, ``30``, ``60`` or ``day``.
    """

    zone: Zone
    start: int
    end: int
    interval: str

    @property
    def days(self) -> tuple[int, int]:
        """The first and the last UTC day whose sums are needed."""
        return self.start // DAY_MS, (self.end - 1) // DAY_MS

    def windows(self, now: int) -> Iterator[tuple[int, int]]:
        """Yield the beginning and the end of each interval that has begun at ``now``."""
        start, end = self.start, min(self.end, now + 1)
        while start < end:
            window = _window(self.zone, start, self.interval)
            yield window
            start = window[1]

    def count(self, now: int) -> int:
        """Return about how many intervals ``windows`` yields; not fewer than half of them."""
        minutes = 24 * 60 if self.interval == DAY else int(self.interval)
        return max(min(self.end, now + 1) - self.start, 0) // (minutes * MINUTE_MS) + 1


def period_of(zone: Zone, now: int, *, start: str | None, end: str | None, interval: str | None) -> Period:
    """Return the period that texts name.

    Args:
        start: a local date, or an instant with its offset; it is put back to the beginning of its interval. None:
            today.
        end: the same, exclusive, and put forward to the end of its interval. None: the end of today.
        interval: one of ``NAMES``; None: ``day``.

    Raises:
        BadPeriod: a text is not valid, ``end`` is not after ``start``, or the period is longer than ``MAX_DAYS``.
    """
    name = DAY if interval is None else interval
    if name not in NAMES:
        raise BadPeriod(f"interval: expected one of {', '.join(NAMES)}")
    today = zone.day(zone.day_of(now))
    first = today[0] if start is None else _window(zone, _instant(zone, "from", start), name)[0]
    last = today[1] if end is None else _instant(zone, "to", end)
    if last <= first:
        raise BadPeriod("to: must be after from; without it, it is the end of today")
    if last - first > MAX_DAYS * DAY_MS:
        raise BadPeriod(f"from: at most {MAX_DAYS} days before to")
    return Period(zone, first, _window(zone, last - 1, name)[1], name)


def _window(zone: Zone, at: int, interval: str) -> tuple[int, int]:
    return zone.day(zone.day_of(at)) if interval == DAY else zone.interval(at, int(interval))


def _instant(zone: Zone, name: str, text: str) -> int:
    expected = f"{name}: expected a date such as 2026-11-23, or an instant such as 2026-11-23T08:00:00+01:00"
    try:
        if _DATE.fullmatch(text):
            return zone.day(_within(name, date.fromisoformat(text)))[0]
        instant = datetime.fromisoformat(text)
        if instant.tzinfo is None:
            raise BadPeriod(f"{name}: an instant needs its offset, such as 2026-11-23T08:00:00+01:00")
        _within(name, instant.date())
    except BadPeriod:
        raise
    except (ValueError, OverflowError):
        raise BadPeriod(expected) from None
    return milliseconds(instant)


def _within(name: str, day: date) -> date:
    """Return a day, if it and all days of a period that ends or begins there are dates.

    Raises:
        BadPeriod: it is not.
    """
    if not _FIRST <= day <= _LAST:
        raise BadPeriod(f"{name}: expected a year from {_FIRST.year} to {_LAST.year}")
    return day
