"""CallLog: the calls of today of all tenants that users ask about at this node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from callcenter_ws.call_log.counters import IDLE, MEMORY, NEW_DAY, NEW_EPOCH, CallLogCounters
from callcenter_ws.call_log.day import CallDay
from callcenter_ws.call_log.filling import MAX_SECONDS, EpochChanged, Filling
from callcenter_ws.call_log.slices import Slices
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker, Position
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.one_at_a_time import OneAtATime
from callcenter_ws.statistics.zones import UnknownZone, Zone, zone_of

IDLE_SECONDS: Final = 3_600.0
"""Time after which the calls of a tenant are dropped if no user asks for them."""

MAX_CALLS_IN_ALL: Final = 200_000
"""Calls of all tenants; above that, those of the tenant are dropped for which users have not asked for the longest."""

MAX_BYTES_IN_ALL: Final = 1_073_741_824
"""Memory of the calls of all tenants, about; above that, the same."""

MAX_TENANTS: Final = 10_000
"""Tenants with calls in memory, or none yet; above that, the same: services may name any tenant."""

MAX_FOLLOWED: Final = 256
"""Delivered events that are applied at once; of more, all are left to the next request, which reads them in slices."""

_SWEEP_SECONDS = 60.0
_ATTEMPTS = 3


class CallLog:
    """Keeps an index of the calls of today for each tenant about which a user has asked.

    The stored stream is what it is made of: each request brings it to the head of the stream before it is answered, so
    every node answers the same, also after a restart. What is delivered meanwhile is only applied early.

    Args:
        time_zone: returns the IANA name of the zone of a tenant; may be replaced.
        history_seconds: the age at which the store deletes events.

    Attributes:
        slices: interleaves the work of all requests, so that many of them make no turn longer than one does.
    """

    def __init__(
        self, broker: Broker, clock: Clock, time_zone: Callable[[str], str], *, history_seconds: float
    ) -> None:
        self._broker = broker
        self._clock = clock
        self.time_zone = time_zone
        self.counters = CallLogCounters()
        self.slices = Slices(clock)
        self._filling = Filling(broker, clock, self.slices, self.counters, history_seconds)
        # The longest without a request first.
        self._days: dict[str, CallDay] = {}
        self._turns = OneAtATime(clock, "requests for the calls of a tenant")
        self._timer: Timer | None = None

    # From the store's deliveries

    def delivered(self, publications: Sequence[Publication]) -> None:
        """Apply delivered publications, if they are the next ones. Implements ``interfaces.Deliver``."""
        day = self._days.get(publications[0].event.tenant_id)
        if day is None or day.is_reading or day.must_check or len(publications) > MAX_FOLLOWED:
            return
        if publications[0].seq == day.seq + 1:
            day.apply(publications)
            self.counters.followed += len(publications)

    def interrupted(self, tenant_id: str, position: Position) -> None:
        """Leave what follows to the next request, which looks whether the history is still the same."""
        day = self._days.get(tenant_id)
        if day is not None:
            day.must_check = True

    # For requests

    async def day(self, tenant_id: str) -> CallDay:
        """Return the calls of a tenant, with every event that was published before the call.

        Raises:
            Refusal: ``try_later``: reading takes long, and goes on with the next request; or the store does not answer.
        """
        deadline = self._clock.monotonic() + MAX_SECONDS
        return await self._turns.run(tenant_id, 0, lambda: self._current(tenant_id, deadline))

    async def _current(self, tenant_id: str, deadline: float) -> CallDay:
        for _ in range(_ATTEMPTS):
            known = self._days.get(tenant_id)
            if known is not None:
                # Before the history is looked at: an interruption after that must not be missed.
                known.is_reading, known.must_check = True, False
            try:
                return await self._advanced(tenant_id, deadline)
            except EpochChanged:
                self._drop(tenant_id, NEW_EPOCH)
            except BaseException:
                if known is not None:
                    known.must_check = True
                raise
            finally:
                if known is not None:
                    known.is_reading = False
        raise Refusal(ErrorCode.UNAVAILABLE, "the log of events cannot be read yet")

    async def _advanced(self, tenant_id: str, deadline: float) -> CallDay:
        """Return the day, a new one if there is none, with everything up to the head of the stream."""
        position = await self._broker.position(tenant_id)
        day = self._known(tenant_id, position)
        if day is None:
            day = self._new(tenant_id, position)
            await self._filling.begin(day, position.seq)
        day.is_reading = True
        self._asked(day)
        try:
            await self._filling.advance(day, position.seq, deadline)
        finally:
            day.is_reading = False
            self._limit()
        return day

    def _known(self, tenant_id: str, position: Position) -> CallDay | None:
        """Return the day if it is still today, and of the same history."""
        day = self._days.get(tenant_id)
        if day is None:
            return None
        if self._bounds(tenant_id)[:2] != (day.start, day.end):
            self._drop(tenant_id, NEW_DAY)
        elif position.epoch != day.epoch or position.seq < day.seq:
            self._drop(tenant_id, NEW_EPOCH)
        return self._days.get(tenant_id)

    def _new(self, tenant_id: str, position: Position) -> CallDay:
        start, end, label = self._bounds(tenant_id)
        return CallDay(tenant_id, position.epoch, start, end, label, 0, self.counters)

    def _bounds(self, tenant_id: str) -> tuple[int, int, str]:
        """Return the first instant of the tenant's local day, that of the next, and the first as local time."""
        zone = self._zone(tenant_id)
        start, end = zone.day(zone.day_of(round(self._clock.time() * 1000)))
        return start, end, zone.label(start)

    def _zone(self, tenant_id: str) -> Zone:
        try:
            return zone_of(self.time_zone(tenant_id))
        except UnknownZone:
            return zone_of("UTC")

    # Bounds

    def _asked(self, day: CallDay) -> None:
        day.asked_at = self._clock.monotonic()
        self._days[day.tenant_id] = self._days.pop(day.tenant_id, day)
        self.counters.tenants = len(self._days)
        if self._timer is None:
            self._timer = self._clock.call_later(_SWEEP_SECONDS, self._sweep)

    def _limit(self) -> None:
        """Drop the calls of tenants, until there are not too many in all; those of the last stay."""
        for day in list(self._days.values())[:-1]:
            counts = self.counters
            if (
                counts.calls <= MAX_CALLS_IN_ALL
                and counts.memory <= MAX_BYTES_IN_ALL
                and len(self._days) <= MAX_TENANTS
            ):
                break
            if not day.is_reading:
                self._drop(day.tenant_id, MEMORY)

    def _sweep(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for tenant_id, day in list(self._days.items()):
            if day.asked_at + IDLE_SECONDS <= now and not day.is_reading:
                self._drop(tenant_id, IDLE)
        self._limit()
        if self._days:
            self._timer = self._clock.call_later(_SWEEP_SECONDS, self._sweep)

    def _drop(self, tenant_id: str, reason: str) -> None:
        day = self._days.pop(tenant_id, None)
        if day is not None:
            self.counters.calls -= len(day)
            self.counters.memory -= day.memory
            self.counters.tenants = len(self._days)
            self.counters.dropped[reason] += 1

    def stop(self) -> None:
        """Drop everything: the process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._days.clear()
