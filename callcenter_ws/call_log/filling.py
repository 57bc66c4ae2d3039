"""Fills a day from the stored stream: finds where it begins, and applies what follows."""

from __future__ import annotations

from collections.abc import Iterator

from callcenter_ws.call_log.counters import CallLogCounters
from callcenter_ws.call_log.day import CallDay
from callcenter_ws.call_log.slices import Slices
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Broker, HistoryPage
from callcenter_ws.runtime.clock import Clock

LEAD_MS = 4 * 3_600_000
"""Time before the start of the day from which events are read, for the calls that have not ended then."""

PAGE = 200
"""Events that are read from the store at once."""

STEP = 32
"""Events that are applied in one step: less than a millisecond."""

MAX_SECONDS = 15.0
"""Time for which a request waits for the calls; what has been read until then is kept for the next request."""

RETRY_AFTER_SECONDS = 2.0


class EpochChanged(Exception):
    """The store has lost history: the day must be filled again."""


class Filling:
    """Reads the events of tenants from the store.

    Args:
        history_seconds: the age at which the store deletes events.
    """

    def __init__(
        self, broker: Broker, clock: Clock, slices: Slices, counters: CallLogCounters, history_seconds: float
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._slices = slices
        self._counters = counters
        self._history_ms = round(history_seconds * 1000)

    async def begin(self, day: CallDay, head: int) -> None:
        """Set the position of a new day to that before its first event.

        Raises:
            EpochChanged: the day must be made again.
            Refusal: the store cannot be reached.
        """
        day.seq = await self._first_after(day, -1, head)

    async def _first_after(self, day: CallDay, low: int, head: int) -> int:
        """Return the lowest position above ``low`` after which events can be read and are of the day.

        Events are ordered by the time of their receipt, but for the differences of the nodes' clocks, so that the
        position is found by halving.
        """
        since = day.start - LEAD_MS
        first, last = low + 1, head
        first_received: int | None = None
        while first < last:
            middle = (first + last) // 2
            page = await self._page(day, middle, 1)
            received = page.publications[0].event.received_ms if page.publications else None
            if page.reachable and received is not None and received >= since:
                last, first_received = middle, received
            else:
                first = middle + 1
        if first > 0 and not (await self._page(day, first - 1, 1)).reachable:
            self._miss(day, first_received)
        return first

    def _miss(self, day: CallDay, first_received: int | None) -> None:
        """Note that events before the first that can be read are gone, unless they were of earlier days."""
        if first_received is None:
            # Nothing can be read: everything is older than what the store keeps.
            first_received = round(self._clock.time() * 1000) - self._history_ms
        if first_received > day.start:
            day.incomplete_since = max(day.incomplete_since or 0, first_received)

    async def _page(self, day: CallDay, after: int, limit: int) -> HistoryPage:
        page = await self._broker.read(day.tenant_id, after, limit)
        if page.epoch != day.epoch:
            raise EpochChanged
        return page

    async def advance(self, day: CallDay, head: int, deadline: float) -> None:
        """Apply the events up to the head of the stream.

        Args:
            deadline: when the request gives up, in seconds of the monotonic clock.

        Raises:
            EpochChanged: the day must be made again.
            Refusal: ``try_later`` after the deadline; or the store cannot be reached.
        """
        while day.seq < head:
            if self._clock.monotonic() > deadline:
                raise Refusal(ErrorCode.TRY_LATER, "the calls of today are being read", retry_after=RETRY_AFTER_SECONDS)
            page = await self._page(day, day.seq, PAGE)
            head = max(head, page.head)
            if not page.reachable:
                # Trimmed since the last request, or while it is read.
                day.seq = await self._first_after(day, day.seq, head)
            elif not page.publications:
                raise Refusal(ErrorCode.UNAVAILABLE, "the log of events cannot be read yet")
            else:
                await self._slices.run(self._apply(day, page))

    def _apply(self, day: CallDay, page: HistoryPage) -> Iterator[None]:
        """Apply the events of a page, in steps."""
        for begin in range(0, len(page.publications), STEP):
            publications = page.publications[begin : begin + STEP]
            day.apply(publications)
            self._counters.read += len(publications)
            yield
