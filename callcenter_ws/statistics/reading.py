"""Readings: the figures of a fold at an instant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, datetime

from callcenter_ws.statistics.agents import open_time
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.expiry import expired_calls, lost_at
from callcenter_ws.statistics.figures import Figures, agent_figures, queue_figures, seconds, tenant_figures
from callcenter_ws.statistics.occurrence import instant_text, milliseconds
from callcenter_ws.statistics.records import NEVER, ROLLING_MINUTES, Agent, Call, Queue, Stage
from callcenter_ws.statistics.settings import SettingsTable
from callcenter_ws.statistics.state import State, oldest_waiting
from callcenter_ws.statistics.sums import (
    AGENT_FIELDS,
    AGENT_LOST_LEGS,
    LOST,
    LOST_LEGS,
    MINUTE_MS,
    QUEUE_FIELDS,
    STATE_FIELD,
    Bucket,
    Quarters,
    Series,
    sums_between,
    total,
)
from callcenter_ws.statistics.zones import UnknownZone, Zone, zone_of

NON_PRODUCTIVE = ("away", "break")

_Loss = tuple[int, int]
"""The instant and the field of what is lost, but not yet removed from the state."""


class Reading:
    """The figures at ``now``; the state is not changed.

    Calls without events for 24 hours are shown as lost, whether or not an event has removed them yet.

    Args:
        older: days that the fold has forgotten, read from the store and decoded by ``decode_quarters``.
    """

    def __init__(self, state: State, now: int, older: Mapping[RowKey, Quarters] | None = None) -> None:
        self._state = state
        self.now = now
        self._older = older or {}
        self.zone = _zone(state)
        # What many figures have in common.
        self._today: tuple[int, int] | None = None
        self._intervals: dict[int, tuple[str, int, int]] = {}
        self._heads: Figures | None = None
        self._expired: set[str] = set()
        self._queue_losses: dict[str, list[_Loss]] = {}
        self._agent_losses: dict[str, list[_Loss]] = {}
        for call in expired_calls(state, now):
            self._lose(call)

    def _lose(self, call: Call) -> None:
        self._expired.add(call.call_id)
        at = lost_at(call)
        for name, stay in call.stays.items():
            if stay.stage in (Stage.WAITING, Stage.UNDECIDED):
                closed = max(at, stay.opened) if stay.stage is Stage.WAITING else stay.closed
                self._queue_losses.setdefault(name, []).append((closed, LOST))
        for leg in call.legs.values():
            when = max(at, leg.start)
            self._agent_losses.setdefault(leg.agent_id, []).append((when, AGENT_LOST_LEGS))
            if leg.queue_name is not None:
                self._queue_losses.setdefault(leg.queue_name, []).append((when, LOST_LEGS))

    @property
    def seq(self) -> int:
        """The position of the last event."""
        return self._state.seq

    @property
    def settings(self) -> SettingsTable:
        """The settings of the tenant and its queues."""
        return self._state.settings

    # Windows.

    def day(self, day: date) -> tuple[int, int]:
        """Return the beginning and the end of a local day."""
        return self.zone.day(day)

    def interval(self, start: datetime | int, minutes: int) -> tuple[int, int]:
        """Return the beginning and the end of the interval that holds an instant."""
        return self.zone.interval(start if isinstance(start, int) else milliseconds(start), minutes)

    def today(self) -> tuple[int, int]:
        """Return the beginning and the end of the local day of ``now``."""
        if self._today is None:
            self._today = self.zone.day(self.zone.day_of(self.now))
        return self._today

    def _present(self, minutes: int) -> tuple[str, int, int]:
        """Return the label, the beginning and the end of the interval of ``now``."""
        found = self._intervals.get(minutes)
        if found is None:
            start, end = self.interval(self.now, minutes)
            found = self._intervals[minutes] = (self.zone.label(start), start, end)
        return found

    # Queues.

    def queue_between(self, name: str, start: int, end: int) -> Figures:
        """Return the figures of a queue from ``start`` to before ``end``, both at quarters of an hour."""
        return queue_figures(self._queue_sums(name, start, end), self._state.settings.of(name))

    def queue_last_30m(self, name: str) -> Figures:
        """Return the figures of a queue in the current minute and the 29 before."""
        queue = self._state.queues.get(name)
        last = self.now // MINUTE_MS
        minutes = {} if queue is None else queue.minutes
        found = [bucket for minute, bucket in minutes.items() if last - ROLLING_MINUTES < minute <= last]
        bucket = total(found, len(QUEUE_FIELDS))
        start = (last - ROLLING_MINUTES + 1) * MINUTE_MS
        _add_losses(bucket, self._queue_losses.get(name, []), start, (last + 1) * MINUTE_MS)
        return queue_figures(bucket, self._state.settings.of(name))

    def _queue_sums(self, name: str, start: int, end: int) -> Bucket:
        queue = self._state.queues.get(name)
        bucket = self._sums("queue-day", name, queue.series if queue else Series(len(QUEUE_FIELDS)), start, end)
        _add_losses(bucket, self._queue_losses.get(name, []), start, end)
        return bucket

    def _sums(self, kind: str, name: str, series: Series, start: int, end: int) -> Bucket:
        def quarters_of(day: int) -> Quarters:
            quarters = series.quarters(day)
            return self._older.get(RowKey(kind, name, day), {}) if quarters is None else quarters

        return sums_between(quarters_of, series.width, start, end)

    def queue_now(self, name: str) -> Figures:
        """Return what is true of a queue at ``now``."""
        return {**self.queue_calls(name), **self.queue_members(name)}

    def queue_calls(self, name: str) -> Figures:
        """Return what is true of the calls of a queue at ``now``."""
        queue = self._state.queues.get(name) or Queue(name)
        waiting = [call_id for call_id in queue.waiting if call_id not in self._expired] if self._expired else ()
        opened = oldest_waiting(queue)
        if self._expired:
            opened = min((queue.waiting[call_id] for call_id in waiting), default=NEVER)
        return {
            "calls_waiting": len(waiting) if self._expired else len(queue.waiting),
            "longest_wait_since": None if opened == NEVER else instant_text(opened),
            "longest_wait_time": None if opened == NEVER else seconds(max(self.now - opened, 0)),
            "interacting_calls": len(queue.interacting - self._expired),
        }

    def queue_members(self, name: str) -> Figures:
        """Return what is true of the members of a queue at ``now``."""
        return self._members(self._state.queues.get(name) or Queue(name))

    def _members(self, queue: Queue) -> Figures:
        states: Counter[str] = Counter()
        paused = available = 0
        for agent_id, member in queue.members.items():
            state = self._state.agents[agent_id].status.state if member.present else None
            if state is not None:
                states[state] += 1
                paused += member.paused
                available += state == "available" and not member.paused
        non_productive = sum(states[state] for state in NON_PRODUCTIVE)
        return {
            "logged_in_agents": states.total(),
            "staffed_agents": states.total() - non_productive,
            "available_agents": available,
            "paused_agents": paused,
            "non_productive_agents": non_productive,
            "talking_agents": states["talking"],
            "agents": dict(sorted(states.items())),
        }

    def queue_stats(self, name: str, minutes: int = 15) -> Figures:
        """Return the payload of ``queue.stats``, with an interval of so many minutes."""
        today = self.queue_between(name, *self.today())
        label, start, end = self._present(minutes)
        same = ("service_level_method", "service_level_seconds", "service_level_target", "short_abandon_seconds")
        return {
            "queue_name": name,
            **self._head(),
            **self.queue_now(name),
            **{field: today[field] for field in same},
            "average_wait_time": today["average_wait_time"],
            "completed_calls": today["handled"],
            "abandoned_calls": today["abandoned"],
            "service_level": today["service_level"],
            "today": today,
            "last_30m": self.queue_last_30m(name),
            "interval": {"start": label, "minutes": minutes, **self.queue_between(name, start, end)},
        }

    def queue_has_figures(self, name: str, start: int, end: int) -> bool:
        """Return whether anything happened in a queue from ``start`` to before ``end``."""
        sums = self._queue_sums(name, start, end)
        return any(sums.values) or sums.dispositions is not None

    # Agents.

    def agent_between(self, agent_id: str, start: int, end: int) -> Figures:
        """Return the figures of an agent from ``start`` to before ``end``, the present state up to ``now`` included."""
        return agent_figures(self._agent_sums(agent_id, start, end, growing=True))

    def _agent_sums(self, agent_id: str, start: int, end: int, *, growing: bool) -> Bucket:
        agent = self._state.agents.get(agent_id)
        bucket = self._sums("agent-day", agent_id, agent.series if agent else Series(len(AGENT_FIELDS)), start, end)
        if growing and agent is not None and agent.status.state is not None:
            field = STATE_FIELD[agent.status.state]
            bucket.values[field] += open_time(agent.status, start, min(end, self.now))
        _add_losses(bucket, self._agent_losses.get(agent_id, []), start, end)
        return bucket

    def agent_has_figures(self, agent_id: str, start: int, end: int) -> bool:
        """Return whether an agent was logged in, or anything happened to one, from ``start`` to before ``end``."""
        return any(self._agent_sums(agent_id, start, end, growing=True).values)

    def username(self, agent_id: str) -> str | None:
        """Return the name of an agent."""
        agent = self._state.agents.get(agent_id)
        return None if agent is None else agent.status.username

    def agent_now(self, agent_id: str) -> Figures:
        """Return what is true of an agent at ``now``."""
        status = (self._state.agents.get(agent_id) or Agent(agent_id)).status
        known = status.state is not None
        return {
            "state": status.state or "offline",
            "reason": status.reason,
            "since": instant_text(status.since) if known else None,
            "seconds_in_state": seconds(max(self.now - status.since, 0)) if known else None,
        }

    def agent_stats(self, agent_id: str) -> Figures:
        """Return the payload of ``agent.stats``."""
        return {
            "user_id": agent_id,
            "username": self.username(agent_id),
            **self._head(),
            **self.agent_now(agent_id),
            "queues": self.queues_of(agent_id),
            "today": self.agent_between(agent_id, *self.today()),
        }

    def agent_basis(self, agent_id: str) -> tuple[object, ...]:
        """Return what ``agent_stats`` depends on, but for what grows by itself."""
        status = (self._state.agents.get(agent_id) or Agent(agent_id)).status
        today = self.today()
        sums = self._agent_sums(agent_id, *today, growing=False).values
        queues = self.queues_of(agent_id)
        return (self.zone.name, today, status.username, status.state, status.reason, status.since, queues, sums)

    def queues_of(self, agent_id: str) -> list[str]:
        """Return the queues whose member an agent is."""
        agent = self._state.agents.get(agent_id)
        names = () if agent is None else sorted(agent.queues)
        return [name for name in names if self._state.queues[name].members[agent_id].present]

    # The tenant.

    def tenant_between(self, start: int, end: int) -> Figures:
        """Return the figures of the tenant from ``start`` to before ``end``."""
        return tenant_figures(self._sums("tenant-day", "", self._state.tenant, start, end))

    def tenant_stats(self, minutes: int = 15) -> Figures:
        """Return the payload of ``tenant.stats``, with an interval of so many minutes."""
        label, start, end = self._present(minutes)
        interval = {"start": label, "minutes": minutes, **self.tenant_between(start, end)}
        return {**self._head(), "today": self.tenant_between(*self.today()), "interval": interval}

    def diagnostics(self) -> dict[str, int]:
        """Return the counters of what was not folded, or not as it came."""
        return dict(self._state.diagnostics)

    def _head(self) -> Figures:
        if self._heads is None:
            self._heads = {
                "source": "gateway",
                "as_of_seq": self._state.seq,
                "generated_at": instant_text(self.now),
                "day": self.zone.day_of(self.now).isoformat(),
                "time_zone": self.zone.name,
            }
        return self._heads


def _zone(state: State) -> Zone:
    """Return the tenant's zone; UTC where this machine does not know it, and the figures say so."""
    try:
        return zone_of(state.settings.tenant.time_zone)
    except UnknownZone:
        return zone_of("UTC")


def _add_losses(bucket: Bucket, losses: list[_Loss], start: int, end: int) -> None:
    for at, field in losses:
        if start <= at < end:
            bucket.values[field] += 1
