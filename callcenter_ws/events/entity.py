"""Entities of the state: what the events of one call, agent, member, queue or chat have left in the snapshot."""

from __future__ import annotations

from operator import attrgetter

import msgspec

from callcenter_ws.events.publication import Publication

SlotKey = tuple[str, str | None]
"""The name of an entity's slot, and the user whose slot it is; None: the slot for all users."""

Version = tuple[int, int]
"""How many slots an entity has, and the highest ``seq`` in them. Every change of a slot changes it."""

NO_VERSION: Version = (0, 0)
"""The version of an entity that is not in the state."""

_by_seq = attrgetter("seq")


class Entity(msgspec.Struct, eq=False, gc=False):
    """The state of one entity; the garbage collector does not scan it, since publications are part of no cycle.

    Attributes:
        changed_at: when its last publication was received, in seconds of the monotonic clock; a publication that only
            emptied a slot counts.
        changed_by: the ``seq`` of that publication.
        slots: the last publication of each slot.
        owner: the name of the source whose event created it; None: its creator is no source.
    """

    changed_at: float
    changed_by: int
    slots: dict[SlotKey, Publication]
    owner: str | None = None

    @property
    def version(self) -> Version:
        """The version of the entity, by which a later change is recognized."""
        return len(self.slots), max([publication.seq for publication in self.slots.values()], default=0)

    def publications(self) -> list[Publication]:
        """Return what all users see of the entity, in ``seq`` order."""
        seen = [publication for (_, user_id), publication in self.slots.items() if user_id is None]
        seen.sort(key=_by_seq)
        return seen
