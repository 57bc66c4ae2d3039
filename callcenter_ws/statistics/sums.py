"""Sums in buckets of a quarter of an hour, in UTC; every longer time is a sum of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import msgspec

QUARTER_MS = 900_000
MINUTE_MS = 60_000
QUARTERS_OF_DAY = 96
DAY_MS = QUARTER_MS * QUARTERS_OF_DAY

MAX_THRESHOLDS = 4
"""Different thresholds that a bucket remembers; two are enough to say that it has more than one."""

MAX_DISPOSITIONS = 50
"""Codes of dispositions that a sum has besides ``other``, under which the rest is counted."""

OTHER_DISPOSITION = "other"

FLOW_OUT_REASONS = ("timeout", "empty", "key", "withdrawn", "transferred", "other")
STATES = ("available", "busy", "away", "break", "ringing", "talking", "hold", "wrap_up")
"""The states of an agent who is logged in; ``offline`` is none."""

# The fields of a queue's bucket. Durations are milliseconds.
QUEUE_FIELDS = (
    "offered", "answered", "answered_in", "answered_wait", "abandoned", "abandoned_in", "abandoned_short",
    "abandoned_wait", *FLOW_OUT_REASONS, "unserved_in", "lost", "handled", "talk", "hold", "wrap_up", "missed",
    "transferred_out", "lost_legs",
)  # fmt: skip
(
    OFFERED, ANSWERED, ANSWERED_IN, ANSWERED_WAIT, ABANDONED, ABANDONED_IN, ABANDONED_SHORT, ABANDONED_WAIT,
    *_REASONS, UNSERVED_IN, LOST, HANDLED, TALK, HOLD, WRAP_UP, MISSED, TRANSFERRED_OUT, LOST_LEGS,
) = range(len(QUEUE_FIELDS))  # fmt: skip
FLOW_OUT = dict(zip(FLOW_OUT_REASONS, _REASONS, strict=True))
"""The field of each reason of a flow-out."""

# The fields of an agent's bucket that are not times of states.
AGENT_FIELDS = (
    "answered", "handled", "missed", "alerts", "talk", "hold", "wrap_up", "transferred_out", "lost_legs", *STATES,
)  # fmt: skip
(
    AGENT_ANSWERED, AGENT_HANDLED, AGENT_MISSED, AGENT_ALERTS, AGENT_TALK, AGENT_HOLD, AGENT_WRAP_UP,
    AGENT_TRANSFERRED_OUT, AGENT_LOST_LEGS, *_STATES,
) = range(len(AGENT_FIELDS))  # fmt: skip
STATE_FIELD = dict(zip(STATES, _STATES, strict=True))
"""The field of the time in each state."""

TENANT_FIELDS = ("calls_offered", "calls_answered", "queue_entries")
CALLS_OFFERED, CALLS_ANSWERED, QUEUE_ENTRIES = range(len(TENANT_FIELDS))


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """Sums of one entity and time.

    Attributes:
        values: one sum for each field.
        max_wait: the longest wait of a closed stay; -1: none was closed.
        thresholds: the pairs of T and S by which stays were judged.
        dispositions: how many calls have each code; None: none has any.
    """

    values: list[int]
    max_wait: int = -1
    thresholds: tuple[tuple[int, int], ...] = ()
    dispositions: dict[str, int] | None = None

    def note(self, pair: tuple[int, int]) -> None:
        """Remember the thresholds of a stay that was closed."""
        if pair not in self.thresholds and len(self.thresholds) < MAX_THRESHOLDS:
            self.thresholds = tuple(sorted((*self.thresholds, pair)))

    def count_disposition(self, code: str) -> str:
        """Count a disposition; return the code under which it is counted: ``other`` if there are too many."""
        if self.dispositions is None:
            self.dispositions = {}
        counts = self.dispositions
        if code not in counts and len(counts) - (OTHER_DISPOSITION in counts) >= MAX_DISPOSITIONS:
            code = OTHER_DISPOSITION
        counts[code] = counts.get(code, 0) + 1
        return code

    def take_back_disposition(self, counted_as: str) -> None:
        """Count a disposition no more."""
        counts = self.dispositions
        if counts is None or counted_as not in counts:
            return
        counts[counted_as] -= 1
        if counts[counted_as] == 0:
            del counts[counted_as]
            self.dispositions = counts or None


def total(buckets: Sequence[Bucket], width: int) -> Bucket:
    """Return the sum of buckets."""
    if not buckets:
        return Bucket([0] * width)
    values = list(map(sum, zip(*[bucket.values for bucket in buckets], strict=True)))
    result = Bucket(values, max([bucket.max_wait for bucket in buckets]))
    for pair in sorted({pair for bucket in buckets for pair in bucket.thresholds}):
        result.note(pair)
    result.dispositions = _dispositions([bucket.dispositions for bucket in buckets if bucket.dispositions])
    return result


def _dispositions(maps: Sequence[dict[str, int]]) -> dict[str, int] | None:
    """Return the sum of counts by code; of too many codes, the rarest become ``other``."""
    if not maps:
        return None
    counts: Counter[str] = Counter()
    for one in maps:
        counts.update(one)
    rest = counts.pop(OTHER_DISPOSITION, 0)
    found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rest += sum(number for _, number in found[MAX_DISPOSITIONS:])
    kept = dict(sorted(found[:MAX_DISPOSITIONS]))
    return {**kept, OTHER_DISPOSITION: rest} if rest else kept


def sums_between(days: Callable[[int], Quarters], width: int, start: int, end: int) -> Bucket:
    """Return the sums from ``start`` to before ``end``, both at quarters of an hour.

    Args:
        days: returns the quarters of a UTC day; none if it has no sums.
    """
    first, last = start // QUARTER_MS, end // QUARTER_MS
    found: list[Bucket] = []
    for day in range(first // QUARTERS_OF_DAY, (last - 1) // QUARTERS_OF_DAY + 1):
        found += [bucket for quarter, bucket in days(day).items() if first <= quarter < last]
    return total(found, width)


Quarters = dict[int, Bucket]
"""Buckets by the number of their quarter of an hour since 1970."""


decode_quarters = msgspec.msgpack.Decoder(Quarters).decode
"""Return the quarters of a row of sums; those of older days are read from the store for this."""

encode_quarters: Callable[[Quarters], bytes] = msgspec.msgpack.Encoder().encode


class Series:
    """The quarters of one entity, by UTC days.

    Days that are not needed are kept as the bytes of their row: a day of 2,000 agents takes 80 MB otherwise.

    Attributes:
        dirty: days that changed since the last checkpoint.
    """

    __slots__ = ("_bucket", "_days", "_packed", "_quarter", "dirty", "width")

    def __init__(self, width: int) -> None:
        self.width = width
        # The bucket that was returned last, until its day is taken: most events fall into the same quarter.
        self._quarter = -1
        self._bucket = Bucket([])
        self._days: dict[int, Quarters] = {}
        self._packed: dict[int, bytes] = {}
        self.dirty: set[int] = set()

    @property
    def days(self) -> dict[int, Quarters]:
        """The quarters of each day, by the number of the day since 1970."""
        return {day: self.quarters(day) or {} for day in self.numbers()}

    def numbers(self) -> list[int]:
        """Return the numbers of the days that there are."""
        return sorted((*self._days, *self._packed))

    def quarters(self, day: int) -> Quarters | None:
        """Return the quarters of a day; None if it has none."""
        quarters = self._days.get(day)
        if quarters is None and day in self._packed:
            quarters = self._days[day] = decode_quarters(self._packed.pop(day))
        return quarters

    def bucket(self, at: int) -> Bucket:
        """Return the bucket of an instant, to be changed."""
        quarter = at // QUARTER_MS
        if quarter == self._quarter:
            return self._bucket
        day = quarter // QUARTERS_OF_DAY
        self.dirty.add(day)
        quarters = self.quarters(day)
        if quarters is None:
            quarters = self._days[day] = {}
        bucket = quarters.get(quarter)
        if bucket is None:
            bucket = quarters[quarter] = Bucket([0] * self.width)
        self._quarter, self._bucket = quarter, bucket
        return bucket

    def take_dirty(self) -> list[tuple[int, bytes]]:
        """Return the rows of the days that changed since the last call."""
        rows = [(day, encode_quarters(self._days[day])) for day in sorted(self.dirty)]
        self.dirty.clear()
        self._quarter = -1
        newest = max(self._days, default=0)
        for day, data in rows:
            if day != newest:
                self.put(day, data)
        return rows

    def put(self, day: int, data: bytes) -> None:
        """Take a day as the bytes of its row, as it is in the store."""
        self._days.pop(day, None)
        self._packed[day] = data

    def drop(self, day: int) -> None:
        """Forget a day."""
        self._days.pop(day, None)
        self._packed.pop(day, None)
        self._quarter = -1
