"""The state of a tenant, compacted from its events."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from callcenter_ws.events.catalogue import EntityKey, Slot
from callcenter_ws.events.publication import Publication

ENTITY_LIFETIME = 86_400.0
"""Seconds after which an entity that nobody ended falls out of the snapshot."""


MAX_SLOTS = 50_000
"""Messages of one tenant's snapshot; when there are more, the entity longest unchanged falls out first."""


Place = tuple[str, str | None]
"""A slot of an entity, and the one user whom its message is for, or None."""


@dataclass(slots=True)
class _Entity:
    """What is kept of one entity.

    Attributes:
        changed_at: when the last message that concerned it was received, one that emptied a slot included.
        changed_by: the ``seq`` of that message.
        slots: the last message of each place.
    """

    changed_at: float
    changed_by: int
    slots: dict[Place, Publication]


class State:
    """A tenant's state: per entity the last message of each slot, kept up to date message by message.

    What only one user was told fills and empties slots of that user's own: it changes nothing for the others.

    Attributes:
        bytes: of all the messages that it holds, whether a History holds them too or not.
    """

    def __init__(self) -> None:
        # Ordered by last change: the front is what falls out first.
        self._entities: OrderedDict[EntityKey, _Entity] = OrderedDict()
        self._slots = 0
        self.bytes = 0

    def __len__(self) -> int:
        return self._slots

    def apply(self, publication: Publication) -> None:
        """Take a message into account."""
        if publication.event.entity is not None:
            # Whoever rebuilds the state from the stream later forgets at the same message.
            self.forget_before(publication.event.received_at - ENTITY_LIFETIME)
            self.restore(publication)

    def restore(self, publication: Publication) -> None:
        """Take one of its ``sources`` into account again.

        Nothing falls out for its age: what kept an entity alive until its last message is no longer told.
        """
        event = publication.event
        slot, key = event.type.slot, event.entity
        if slot is None or key is None:
            return
        known = self._entities.pop(key, None)
        filled = {} if known is None else known.slots
        if slot.keeps is None:
            for place in [place for place in filled if _empties(slot, event.user_id, place)]:
                self._uncount(filled.pop(place))
        else:
            self._fill(filled, (slot.keeps, event.user_id), publication)
        if filled:
            self._entities[key] = _Entity(event.received_at, publication.seq, filled)
        while self._slots > MAX_SLOTS:
            self.forget_oldest()

    def _fill(self, slots: dict[Place, Publication], place: Place, publication: Publication) -> None:
        replaced = slots.get(place)
        if replaced is not None:
            self._uncount(replaced)
        slots[place] = publication
        self._slots += 1
        self.bytes += publication.memory

    def _uncount(self, publication: Publication) -> None:
        self._slots -= 1
        self.bytes -= publication.memory

    def forget_oldest(self) -> None:
        """Let the entity fall out that is longest unchanged; there must be one."""
        for publication in self._entities.popitem(last=False)[1].slots.values():
            self._uncount(publication)

    def forget_before(self, received_at: float) -> None:
        """Let entities fall out whose last message was received before that monotonic time."""
        while self._entities and next(iter(self._entities.values())).changed_at < received_at:
            self.forget_oldest()

    def sources(self) -> set[int]:
        """The positions of all messages that the state can be made from again, by applying them in order.

        Those that it holds, and of each entity the last that concerned it, which tells its age.
        """
        kept = {publication.seq for entity in self._entities.values() for publication in entity.slots.values()}
        kept.update(entity.changed_by for entity in self._entities.values())
        return kept

    def publications(self) -> list[Publication]:
        """The messages that make up the state, in ``seq`` order."""
        kept = [publication for entity in self._entities.values() for publication in entity.slots.values()]
        kept.sort(key=lambda publication: publication.seq)
        return kept


def _empties(slot: Slot, user_id: str | None, place: Place) -> bool:
    """Whether a message that drops slots, for everybody or for one user, empties that place."""
    name, owner = place
    return slot.drops in ("*", name) and user_id in (None, owner)
