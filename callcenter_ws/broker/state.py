"""The state of a tenant, compacted from its events (``docs/events.rst``)."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from callcenter_ws.events.catalogue import EntityKey, Slot
from callcenter_ws.events.publication import Publication

ENTITY_LIFETIME = 86_400.0
"""Seconds after its last publication at which an entity without an end is removed from the state."""


MAX_SLOTS = 50_000
"""Publications in the state of one tenant; above that the entity longest unchanged is removed first."""


SlotKey = tuple[str, str | None]
"""The name of an entity's slot, and the user whose slot it is; None: the slot for all users."""


@dataclass(slots=True)
class _Entity:
    """The state of one entity.

    Attributes:
        changed_at: when its last publication was received, in seconds of the monotonic clock; a publication that only
            emptied a slot counts.
        changed_by: the ``seq`` of that publication.
        slots: the last publication of each slot.
    """

    changed_at: float
    changed_by: int
    slots: dict[SlotKey, Publication]


class State:
    """The state of one tenant: the last publication of each slot of each entity.

    Events for one user fill and empty slots of that user; the slots for all users are unaffected.

    Attributes:
        bytes: memory of the publications, whether or not a History holds them too.
    """

    def __init__(self) -> None:
        # Ordered by last change, the oldest first.
        self._entities: OrderedDict[EntityKey, _Entity] = OrderedDict()
        # The publications of all slots by position, which is the order in which they are added.
        self._by_seq: dict[int, Publication] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._by_seq)

    def apply(self, publication: Publication) -> None:
        """Update the state with the next publication of the stream."""
        if publication.event.entity is not None:
            # At the same publication as when the state is rebuilt from the stream later.
            self.forget_before(publication.event.received_at - ENTITY_LIFETIME)
            self.restore(publication)

    def restore(self, publication: Publication) -> None:
        """Update the state with one of its ``sources``, when it is rebuilt.

        Removes nothing for its age: the publications that kept an entity alive in between are not among the sources.
        """
        event = publication.event
        slot, key = event.type.slot, event.entity
        if slot is None or key is None:
            return
        known = self._entities.pop(key, None)
        filled = {} if known is None else known.slots
        if slot.keeps is None:
            for slot_key in [slot_key for slot_key in filled if _empties(slot, event.user_id, slot_key)]:
                self._uncount(filled.pop(slot_key))
        else:
            self._fill(filled, (slot.keeps, event.user_id), publication)
        if filled:
            self._entities[key] = _Entity(event.received_at, publication.seq, filled)
        while len(self._by_seq) > MAX_SLOTS:
            self.forget_oldest()

    def _fill(self, slots: dict[SlotKey, Publication], slot_key: SlotKey, publication: Publication) -> None:
        replaced = slots.get(slot_key)
        if replaced is not None:
            self._uncount(replaced)
        slots[slot_key] = publication
        self._by_seq[publication.seq] = publication
        self.bytes += publication.memory

    def _uncount(self, publication: Publication) -> None:
        del self._by_seq[publication.seq]
        self.bytes -= publication.memory

    def forget_oldest(self) -> None:
        """Remove the entity longest unchanged; there must be one."""
        for publication in self._entities.popitem(last=False)[1].slots.values():
            self._uncount(publication)

    def forget_before(self, received_at: float) -> None:
        """Remove entities whose last publication was received before this time of the monotonic clock."""
        while self._entities and next(iter(self._entities.values())).changed_at < received_at:
            self.forget_oldest()

    def sources(self) -> set[int]:
        """Return the positions of the publications from which ``restore``, called in order, rebuilds the state.

        These are the publications in the state, and the last publication of each entity, which determines its age.
        """
        kept = {publication.seq for entity in self._entities.values() for publication in entity.slots.values()}
        kept.update(entity.changed_by for entity in self._entities.values())
        return kept

    def publications(self) -> list[Publication]:
        """Return the publications that make up the state, in ``seq`` order."""
        return list(self._by_seq.values())


def _empties(slot: Slot, user_id: str | None, slot_key: SlotKey) -> bool:
    """Return whether an event that drops ``slot``, for one user or for all (None), empties ``slot_key``."""
    name, owner = slot_key
    return slot.drops in ("*", name) and user_id in (None, owner)
