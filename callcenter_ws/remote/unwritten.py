"""UnwrittenUnits: what has to be written to the spool, in order; a unit is written as a whole."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.records import RecordChanges, changes_size

GROUP_EVENTS = 512
GROUP_BYTES = 4_194_304
"""The limits of one transaction. A larger unit is written alone."""

_EMPTY_UNITS = 100
"""So many units without events are kept in any case, before they are merged with the following ones."""


@dataclass(slots=True, eq=False)
class _Unit:
    """Events and changed records that are written together.

    Attributes:
        left: the number of its events that are neither written nor removed.
    """

    events: Sequence[PendingEvent]
    changes: dict[str, bytes | None]
    left: int


class UnwrittenUnits:
    """The units that are not on disk.

    An event that is removed before it is written, because it was sent while the disk failed, is not written any more.
    The changed records of its unit are, in their order. To keep their number within that of the events, a unit without
    events is merged into the following one.

    Attributes:
        record_bytes: the size of the changed records.
        stored_keys: the keys of the records on disk.
    """

    def __init__(self) -> None:
        self.record_bytes = 0
        self.stored_keys: set[str] = set()
        self._units: deque[_Unit] = deque()
        self._writing: list[_Unit] = []
        self._unit_of: dict[PendingEvent, _Unit] = {}
        self._empty = 0

    def __bool__(self) -> bool:
        """Return whether there is something to write."""
        return bool(self._units)

    def __contains__(self, event: object) -> bool:
        """Return whether an event is neither on disk nor removed."""
        return event in self._unit_of

    def add(self, events: Sequence[PendingEvent], changes: RecordChanges) -> None:
        """Add a unit."""
        self.record_bytes += changes_size(changes)
        last = self._units[-1] if self._units else None
        if last is not None and (not events or not last.left):
            self._merge(last, changes)
            if events:
                last.events, last.left = events, len(events)
        else:
            last = _Unit(events, dict(changes), len(events))
            self._units.append(last)
        for event in events:
            self._unit_of[event] = last

    def discard(self, event: PendingEvent) -> None:
        """Do not write an event any more, if it is not yet written."""
        unit = self._unit_of.pop(event, None)
        if unit is None:
            return
        unit.left -= 1
        if not unit.left and unit not in self._writing:
            self._empty += 1
            self._drop_empty()

    def next_group(self) -> tuple[list[PendingEvent], dict[str, bytes | None]]:
        """Return the oldest events and changed records; call ``written`` or ``failed`` next."""
        events: list[PendingEvent] = []
        changes: dict[str, bytes | None] = {}
        size = 0
        while self._units:
            unit = self._units[0]
            of_unit = [event for event in unit.events if event in self._unit_of]
            size += sum(event.size for event in of_unit) + changes_size(unit.changes)
            if self._writing and (len(events) + len(of_unit) > GROUP_EVENTS or size > GROUP_BYTES):
                break
            self._writing.append(self._units.popleft())
            self._empty -= not unit.left
            events += of_unit
            changes.update(unit.changes)
        return events, changes

    def written(self) -> None:
        """Note that the group is on disk."""
        for unit in self._writing:
            for event in unit.events:
                self._unit_of.pop(event, None)
            for key, value in unit.changes.items():
                self.record_bytes -= len(key) + len(value or b"")
                if value is None:
                    self.stored_keys.discard(key)
                else:
                    self.stored_keys.add(key)
        self._writing = []

    def failed(self) -> None:
        """Note that nothing of the group is on disk."""
        self._units.extendleft(reversed(self._writing))
        self._empty += sum(not unit.left for unit in self._writing)
        self._writing = []
        self._drop_empty()

    def clear(self, stored_keys: Iterable[str] = ()) -> None:
        """Forget everything, and take note of what is on disk."""
        self._units.clear()
        self._writing = []
        self._unit_of.clear()
        self._empty = self.record_bytes = 0
        self.stored_keys = set(stored_keys)

    def _drop_empty(self) -> None:
        """Merge units without events into the following ones: the first ones at once, others unless they are few."""
        units = self._units
        while len(units) > 1 and not units[0].left:
            self._empty -= 1
            self._join(units.popleft(), units[0])
        if len(units) == 1 and not units[0].left and not units[0].changes:
            self._empty -= 1
            units.clear()
        if self._empty > _EMPTY_UNITS + len(units) // 2:
            self._merge_all()

    def _merge_all(self) -> None:
        kept: list[_Unit] = []
        for unit in self._units:
            if kept and not kept[-1].left:
                self._join(kept.pop(), unit)
            kept.append(unit)
        self._units = deque(kept)
        self._empty = int(bool(kept) and not kept[-1].left)

    def _join(self, older: _Unit, newer: _Unit) -> None:
        """Have ``newer`` write what ``older`` has changed, too."""
        changes = newer.changes
        newer.changes = older.changes
        self._merge(newer, changes)

    def _merge(self, unit: _Unit, changes: RecordChanges) -> None:
        """Change the records of a unit further. Their size is counted already."""
        is_first = not self._writing and (not self._units or unit is self._units[0])
        for key, value in changes.items():
            if key in unit.changes:
                self.record_bytes -= len(key) + len(unit.changes[key] or b"")
            if value is None and is_first and key not in self.stored_keys:
                # Neither on disk nor going to be: so calls of a long outage leave nothing.
                self.record_bytes -= len(key)
                unit.changes.pop(key, None)
            else:
                unit.changes[key] = value
