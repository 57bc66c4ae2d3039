"""Live figures: the messages with the present figures of queues, agents and the tenant, when they change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import msgspec

from callcenter_ws.statistics.expiry import expire
from callcenter_ws.statistics.figures import Figures
from callcenter_ws.statistics.fold import EXPIRED_AT_ONCE
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.settings import Settings
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import LiveFigure
from callcenter_ws.statistics.sums import MINUTE_MS

AGENT_MS = 5_000
"""The time between two messages about one agent, at least."""

SLICE = 16
"""Figures that ``slices`` computes at once: about 2 ms."""

QUEUE, AGENT, TENANT = "queue.stats", "agent.stats", "tenant.stats"

EXPIRY_MARGIN_MS = 5_000
"""How long after its 24 hours a call without events is removed here: the clocks of two nodes differ."""

_GROWING = ("as_of_seq", "generated_at", "longest_wait_time", "seconds_in_state")
"""Fields that differ although nothing has changed."""

_encode = msgspec.json.Encoder().encode


class _Windows(NamedTuple):
    """What all figures depend on besides the events of their entity."""

    epoch: str
    incomplete_since: int | None
    settings: Settings
    overrides: int
    today: int
    interval: int


def shows_all(_queue_name: str) -> bool:
    """Return True: the figures of every queue are derived."""
    return True


class LiveFigures:
    """Remembers which live figures of a tenant were sent, and returns those that changed since.

    Call ``changes``, or ``slices`` to its end, at most once a second, and each time before ``take_changes``: what has
    changed is known by the marks that ``take_changes`` clears. Where rows are taken more often, call ``note`` before.
    The fold must have caught up with the stream: calls without events for 24 hours are removed, so that the rows say
    that they are lost even if no further event comes.

    Args:
        interval_minutes: of the window ``interval``.
        shows: whether figures of a queue are derived; those of others are not sent.
        keys: of the figures that the store has; they are removed if there are none of that key any more.
    """

    def __init__(
        self,
        tenant_id: str,
        *,
        interval_minutes: int = 15,
        shows: Callable[[str], bool] = shows_all,
        keys: Iterable[str] = (),
    ) -> None:
        self._tenant_id = tenant_id
        self._minutes = interval_minutes
        self._shows = shows
        # What was sent by key, without what grows; None: by an earlier process.
        self._sent: dict[str, object] = dict.fromkeys(keys)
        self._queues: set[str] = set()
        self._agents: set[str] = set()
        self._agent_sent: dict[str, int] = {}
        self._windows: _Windows | None = None
        self._minute = -1
        # With which position, epoch and gap the last call compared everything.
        self._compared: tuple[int, str, int | None] | None = None

    def note(self, state: State) -> None:
        """Remember what has changed, before ``take_changes`` forgets it."""
        self._queues |= state.dirty["queue"]
        self._queues |= state.dirty["members"]
        for agent_id in state.dirty["agent"]:
            self._agents.add(agent_id)
            agent = state.agents.get(agent_id)
            if agent is not None:
                self._queues |= agent.queues

    def changes(
        self, state: State, now: int, *, epoch: str = "", incomplete_since: int | None = None
    ) -> list[LiveFigure]:
        """Return the figures that changed since the last call; an empty message removes one."""
        slices = self.slices(state, now, epoch=epoch, incomplete_since=incomplete_since)
        return [figure for figures in slices for figure in figures]

    def slices(
        self, state: State, now: int, *, epoch: str = "", incomplete_since: int | None = None
    ) -> Iterator[list[LiveFigure]]:
        """Yield what ``changes`` returns in parts, each of little work; apply no events in between."""
        expire(state, now - EXPIRY_MARGIN_MS, EXPIRED_AT_ONCE)
        self.note(state)
        compared = (state.seq, epoch, incomplete_since)
        if compared == self._compared and not self._may_change(state, now):
            return
        self._compared = compared
        reading = Reading(state, now)
        self._turn(state, reading, epoch, incomplete_since)
        # What was yielded counts as sent, so the caller must not drop it.
        since = None if incomplete_since is None else instant_text(incomplete_since)
        head: Figures = {"epoch": epoch, "incomplete_since": since}
        yield [*self._gone(state), *self._changed(f"{TENANT}:", reading.tenant_stats(self._minutes), head)]
        queues = [name for name in sorted(self._queues) if name in state.queues and self._shows(name)]
        self._queues.clear()
        for number in range(0, len(queues), SLICE):
            yield [
                figure
                for name in queues[number : number + SLICE]
                for figure in self._changed(f"{QUEUE}:{name}", reading.queue_stats(name, self._minutes), head)
            ]
        due = [agent_id for agent_id in sorted(self._agents) if self._is_due(agent_id, now)]
        for number in range(0, len(due), SLICE):
            yield [
                figure
                for agent_id in due[number : number + SLICE]
                if agent_id in state.agents
                for figure in self._agent(agent_id, reading, head)
            ]
        self._agents.difference_update(due)

    def _may_change(self, state: State, now: int) -> bool:
        """Return whether a figure may differ although no event came: this makes a tenant without calls cheap."""
        return bool(self._queues or self._agents or state.gone) or now // MINUTE_MS != self._minute

    def _turn(self, state: State, reading: Reading, epoch: str, incomplete_since: int | None) -> None:
        """Note everything when a window begins or the settings change, and what leaves the rolling window."""
        now, settings = reading.now, state.settings
        windows = _Windows(
            epoch,
            incomplete_since,
            settings.tenant,
            hash(frozenset(settings.queues.items())),
            reading.today()[0],
            reading.interval(now, self._minutes)[0],
        )
        if self._windows is None or windows[:-1] != self._windows[:-1]:
            self._agents |= state.agents.keys()
        if windows != self._windows:
            self._queues |= state.queues.keys()
            self._windows = windows
        if now // MINUTE_MS != self._minute:
            self._minute = now // MINUTE_MS
            self._queues |= {name for name, queue in state.queues.items() if queue.minutes}

    def _gone(self, state: State) -> Iterator[LiveFigure]:
        """Yield the removal of figures whose queue or agent is not known any more, or not shown."""
        for key in list(self._sent):
            kind, _, name = key.partition(":")
            if kind == QUEUE:
                known = name in state.queues and self._shows(name)
            else:
                known = kind == TENANT or name in state.agents
            if not known:
                del self._sent[key]
                self._agent_sent.pop(name, None)
                yield LiveFigure(key, b"")

    def _is_due(self, agent_id: str, now: int) -> bool:
        # A clock that was set back does not stop the messages.
        return not 0 <= now - self._agent_sent.get(agent_id, -AGENT_MS) < AGENT_MS

    def _agent(self, agent_id: str, reading: Reading, head: Figures) -> Iterator[LiveFigure]:
        """Yield the message about an agent if it changed.

        Compared is what it depends on, for that costs less than to make it.
        """
        key = f"{AGENT}:{agent_id}"
        basis = (reading.agent_basis(agent_id), head["epoch"], head["incomplete_since"])
        if self._sent.get(key) != basis:
            self._sent[key] = basis
            self._agent_sent[agent_id] = reading.now
            yield self._message(key, reading.agent_stats(agent_id), head)

    def _changed(self, key: str, payload: Figures, head: Figures) -> Iterator[LiveFigure]:
        """Yield the message of a payload that differs from the one sent."""
        lasting = {name: value for name, value in payload.items() if name not in _GROWING}
        lasting.update(head)
        if self._sent.get(key) != lasting:
            self._sent[key] = lasting
            yield self._message(key, payload, head)

    def _message(self, key: str, payload: Figures, head: Figures) -> LiveFigure:
        message = {
            "type": key.partition(":")[0],
            "tenant_id": self._tenant_id,
            "timestamp": payload["generated_at"],
            "payload": {**payload, **head},
        }
        return LiveFigure(key, _encode(message))
