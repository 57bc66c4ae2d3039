"""Local days and intervals: groups of quarters of an hour in the tenant's time zone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from callcenter_ws.statistics.occurrence import milliseconds
from callcenter_ws.statistics.sums import QUARTER_MS

INTERVALS = (15, 30, 60)
"""The lengths of intervals, in minutes; the local day is the fourth."""


class UnknownZone(ValueError):
    """The name is no time zone of the IANA database on this machine."""


@lru_cache(maxsize=64)
def zone_of(name: str) -> Zone:
    """Return a time zone by its IANA name.

    Raises:
        UnknownZone: there is none of that name.
    """
    try:
        return Zone(name, ZoneInfo(name))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise UnknownZone(f"unknown time zone: {name!r}") from None


class Zone:
    """A time zone, with the days and intervals of its clocks."""

    def __init__(self, name: str, info: ZoneInfo) -> None:
        self.name = name
        self._info = info

    def local(self, at: int) -> datetime:
        """Return an instant as local time."""
        return datetime.fromtimestamp(at // 1000, UTC).astimezone(self._info)

    def label(self, at: int) -> str:
        """Return an instant as local time with its offset, in RFC 3339."""
        return self.local(at).isoformat(timespec="seconds")

    def day_of(self, at: int) -> date:
        """Return the local date of an instant."""
        return self.local(at).date()

    def day(self, day: date) -> tuple[int, int]:
        """Return the first instant of a local day, and that of the next: 92, 96 or 100 quarters in Europe."""
        return self._midnight(day), self._midnight(day + timedelta(days=1))

    def _midnight(self, day: date) -> int:
        # Where midnight does not exist, its offset is that before the gap: the instant is the end of the gap.
        at = milliseconds(datetime(day.year, day.month, day.day, tzinfo=self._info).astimezone(UTC))
        return at // QUARTER_MS * QUARTER_MS

    def interval(self, at: int, minutes: int) -> tuple[int, int]:
        """Return the first instant of the interval that holds an instant, and the first after it.

        Intervals begin at full local times. A change of the offset ends one too, so that each has one offset, which is
        part of its label.
        """
        start = quarter = at // QUARTER_MS * QUARTER_MS
        while self._same(start - QUARTER_MS, quarter, minutes):
            start -= QUARTER_MS
        end = quarter + QUARTER_MS
        while self._same(end, quarter, minutes):
            end += QUARTER_MS
        return start, end

    def _same(self, one: int, other: int, minutes: int) -> bool:
        return self._slot(one, minutes) == self._slot(other, minutes)

    def _slot(self, at: int, minutes: int) -> tuple[date, int, timedelta | None]:
        local = self.local(at)
        return local.date(), (local.hour * 60 + local.minute) // minutes, local.utcoffset()

    def intervals(self, start: int, end: int, minutes: int) -> Iterator[tuple[int, int]]:
        """Yield the intervals from the one that holds ``start`` to before ``end``."""
        while start < end:
            found = self.interval(start, minutes)
            yield found
            start = found[1]
