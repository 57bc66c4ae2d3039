"""CommandSweep: closes commands whose deadline has passed without an outcome."""

from __future__ import annotations

from callcenter_ws.commands.closing import CommandCloser, overdue_closing
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import GRACE_SECONDS
from callcenter_ws.interfaces import CommandStore
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.single_flight import SingleFlight

SWEEP_SECONDS = 2.0
"""How often overdue commands are looked for; every node does, and the first one that closes a command wins."""

CLOSED_AT_ONCE = 50
"""Commands that are closed in one turn of the reactor."""

MAX_REFUSED_TENANTS = 10
"""Tenants whose commands cannot be closed at the moment, and after which a sweep ends: the store fails for all."""


class CommandSweep:
    """Closes overdue commands, from ``start`` to ``stop``."""

    def __init__(self, store: CommandStore, closer: CommandCloser, clock: Clock, spawn: Spawn) -> None:
        self._store = store
        self._closer = closer
        self._clock = clock
        self._work = SingleFlight(self._sweep, clock, spawn)
        self._timer: Timer | None = None

    def start(self) -> None:
        """Look for overdue commands now, and again and again."""
        self._timer = self._clock.call_later(SWEEP_SECONDS, self.start)
        # What the store refuses is tried again at the next tick.
        self._work.request()

    async def stop(self) -> None:
        """Stop; return when nothing is under way."""
        if self._timer is not None:
            self._timer.cancel()
        await self._work.stopped()

    async def _sweep(self) -> None:
        # A tenant that the store cannot read or write must not hold up the others: its commands may be the oldest.
        refused: set[str] = set()
        passed_over = 0
        while len(refused) < MAX_REFUSED_TENANTS:
            before_ms = int((self._clock.time() - GRACE_SECONDS) * 1_000)
            limit = CLOSED_AT_ONCE + passed_over
            overdue = await self._store.overdue(before_ms, limit)
            due = [record for record in overdue if record.key.tenant_id not in refused][:CLOSED_AT_ONCE]
            outcomes = await self._closer.close_all([overdue_closing(record) for record in due])
            newly = {
                record.key.tenant_id
                for record, outcome in zip(due, outcomes, strict=True)
                if isinstance(outcome, Refusal)
            }
            refused |= newly
            if len(overdue) < limit or (due and not newly and True not in outcomes):
                return
            passed_over = sum(record.key.tenant_id in refused for record in overdue)
            await next_turn(self._clock)
