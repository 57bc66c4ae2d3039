"""Reconciliation: events that the store appends together, provided that the entities have not changed meanwhile."""

from __future__ import annotations

from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Version
from callcenter_ws.events.event import Event, void_event
from callcenter_ws.events.source_rules import SourceNumber


class Reconciliation(SourceNumber, frozen=True, kw_only=True):
    """What the store checks before it appends the events of one part of a reconciliation (``SyncState``).

    In one transaction all events are appended, or none. The number is judged as that of any event of the source. Its
    mark is raised with the last part, so that a reconciliation that is interrupted is not taken for done.

    Attributes:
        guards: the versions of the entities with which the events were made; if one has changed, the part is refused
            with ``try_later``.
        events: those to append; none of them has a rule of its own.
        is_last: whether the part raises the mark.
    """

    guards: tuple[tuple[EntityKey, Version], ...]
    events: tuple[Event, ...]
    is_last: bool


def reconciling_event(tenant_id: str, source: str, rule: Reconciliation, received_at: float) -> Event:
    """Return what is passed to the store in place of the events of a part; it is not appended itself."""
    return void_event(tenant_id, source, rule, received_at)
