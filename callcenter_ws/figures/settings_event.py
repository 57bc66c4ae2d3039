"""Publishes ``statistics.settings.changed`` when the settings differ from those of the fold. A ``FoldedPart``."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.figures.publishing import PublishEvent, Publishing
from callcenter_ws.runtime.background import Spawn, spawn
from callcenter_ws.statistics.checkpoint import RowKey, Rows
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED, Facts
from callcenter_ws.statistics.settings import SettingsTable, settings_payload
from callcenter_ws.statistics.state import State


class SettingsEvent:
    """Compares the plan of one tenant with the settings of its fold, each second. It has no rows.

    The settings of the fold change by the event alone, so that they change at the same position in every fold. Two
    nodes with different settings change them at each handover.

    Args:
        publish: failures are logged here, and the event is published again at the next second.
    """

    kinds: frozenset[str] = frozenset()
    types: frozenset[str] | None = frozenset()

    def __init__(
        self,
        tenant_id: str,
        plan: TenantPlan,
        publish: PublishEvent,
        *,
        spawn: Spawn = spawn,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._publishing = Publishing(
            tenant_id, "changed settings of statistics", publish, spawn=spawn, monotonic=monotonic
        )
        self._state: State | None = None
        # The position at which the difference was seen; it makes the id, the same for each attempt.
        self._seen_at: int | None = None
        self.change(plan)

    def change(self, plan: TenantPlan) -> None:
        """Use another plan from now on."""
        payload = settings_payload(plan.settings.tenant, plan.settings.queues)
        encoded = msgspec.json.encode(payload)
        self._payload, self._digest = payload, hashlib.sha256(encoded).hexdigest()[:32]
        # As the fold will have them: it leaves out overrides beyond its bound.
        self._wanted = SettingsTable()
        self._wanted.change(msgspec.json.decode(encoded, type=Facts))
        self._seen_at = None

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Forget what was seen of another fold."""
        self._state = self._seen_at = None

    def apply(self, publication: Publication) -> None:
        """Do nothing: the fold applies the event."""

    def second(self, state: State, second_ms: int) -> None:
        """Publish the settings of the plan if those of the fold differ."""
        self._state = state
        self._compare(second_ms)

    def _compare(self, now_ms: int) -> None:
        state = self._state
        if state is None:
            return
        if state.settings == self._wanted:
            self._seen_at = None
            return
        if self._seen_at is None:
            self._seen_at = state.seq
        event_id = f"settings-{self._digest}-{self._seen_at}"
        if self._publishing.takes(event_id):
            self._publishing.send(SETTINGS_CHANGED, self._payload, event_id, now_ms)

    def take_changes(self) -> Rows:
        """Return no rows."""
        return {}

    def hold(self) -> int | None:
        """Return None: no log of events is needed."""
        return None

    def start(self, fence: int) -> None:
        """Publish from now on, at once if a full second was evaluated before."""
        self._publishing.start(fence)
        if self._state is not None:
            # Not the time of the last event: one that is days old would be late.
            self._compare(round(self._now() * 1000))

    def stop(self) -> Awaitable[None]:
        """Publish no more, and wait for what is in flight."""
        return self._publishing.stop()
