"""The state of a tenant, compacted from its events (``docs/events.rst``)."""

from __future__ import annotations

from collections import OrderedDict

from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES, ChatMessages
from callcenter_ws.events.catalogue import EntityKey, Slot
from callcenter_ws.events.entity import NO_VERSION, Entity, SlotKey, Version
from callcenter_ws.events.event import UNASSIGNED, Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.slot_table import ENTITY_LIFETIME, MAX_LASTING, MAX_SLOTS


class State:
    """The state of one tenant: the last publication of each slot of each entity, and the last messages of open chats.

    Events for one user fill and empty slots of that user; the slots for all users are unaffected. All publications of a
    chat have the queue and the agent that the chat has now, so that these determine who may see them.

    Args:
        chat_messages: messages of one chat.

    Attributes:
        bytes: memory of the publications, whether or not a History holds them too.
        shared: the owner of each entity that had an event of another sender as well; the owner of any other is the
            sender of each of its publications.
    """

    def __init__(self, chat_messages: int = DEFAULT_MESSAGES) -> None:
        # Ordered by last change, the oldest first.
        self._entities: OrderedDict[EntityKey, Entity] = OrderedDict()
        # Those that do not expire, in the same order.
        self._lasting: OrderedDict[EntityKey, Entity] = OrderedDict()
        # All publications by position, which is the order in which they are added.
        self._by_seq: dict[int, Publication] = {}
        self._messages = ChatMessages(chat_messages, self._by_seq)
        self._slot_bytes = 0
        self.shared: dict[EntityKey, str | None] = {}

    def __len__(self) -> int:
        return len(self._by_seq)

    @property
    def bytes(self) -> int:
        """Memory of the publications, whether or not a History holds them too."""
        return self._slot_bytes + self._messages.memory

    def apply(self, publication: Publication) -> None:
        """Update the state with the next publication of the stream."""
        if publication.event.entity is not None:
            # At the same publication as when the state is rebuilt from the stream later.
            self.forget_before(publication.event.received_at - ENTITY_LIFETIME)
            self._update(publication, is_rebuilt=False)

    def restore(self, publication: Publication) -> None:
        """Update the state with one of its ``sources``, when it is rebuilt.

        Removes nothing for its age: the publications that kept an entity alive in between are not among the sources.
        Nor are those that opened a chat before its messages, if newer ones have replaced them. Call ``end_restore``
        after the last one.
        """
        self._update(publication, is_rebuilt=True)

    def end_restore(self) -> None:
        """Remove the messages of chats that are not open: a node of an earlier release ends a chat without them."""
        self._messages.keep(self._entities)

    def _update(self, publication: Publication, *, is_rebuilt: bool) -> None:
        event = publication.event
        slot, key = event.slot, event.entity
        if slot is None or key is None:
            return
        entities = self._lasting if slot.lasting else self._entities
        known = entities.pop(key, None)
        if known is None:
            filled, owner = {}, event.source
        else:
            filled, owner = known.slots, known.owner
            if event.source != owner:
                self.shared[key] = owner
        if slot.appends:
            if filled or is_rebuilt:
                self._append(filled, key, publication)
        elif slot.keeps is not None:
            self._fill(filled, (slot.keeps, event.user_id), publication)
            if event.type.of_chat:
                self._assign(filled, key, event)
        else:
            for slot_key in [slot_key for slot_key in filled if _empties(slot, event.user_id, slot_key)]:
                self._uncount(filled.pop(slot_key))
        if filled:
            entities[key] = Entity(event.received_at, publication.seq, filled, owner)
        else:
            self._vanished(key, is_message=slot.appends)
        self._enforce_limits()

    def _append(self, filled: dict[SlotKey, Publication], key: EntityKey, publication: Publication) -> None:
        """Add a message to a chat."""
        chat = next((publication for (_, owner), publication in filled.items() if owner is None), publication)
        self._messages.append(key, publication.assigned(chat.event.queue_name, chat.event.agents))

    def _assign(self, filled: dict[SlotKey, Publication], key: EntityKey, event: Event) -> None:
        """Give all publications of a chat the queue and the agent that it has after ``event``."""
        if event.user_id is not None:
            return
        agents = tuple([agent for agent in event.agents[-1:] if agent != UNASSIGNED])
        for slot_key, publication in filled.items():
            if slot_key[1] is None:
                filled[slot_key] = self._by_seq[publication.seq] = publication.assigned(event.queue_name, agents)
        self._messages.assign(key, event.queue_name, agents)

    def _fill(self, slots: dict[SlotKey, Publication], slot_key: SlotKey, publication: Publication) -> None:
        replaced = slots.get(slot_key)
        if replaced is not None:
            self._uncount(replaced)
        slots[slot_key] = publication
        self._by_seq[publication.seq] = publication
        self._slot_bytes += publication.memory

    def _uncount(self, publication: Publication) -> None:
        del self._by_seq[publication.seq]
        self._slot_bytes -= publication.memory

    def _enforce_limits(self) -> None:
        while len(self._by_seq) - len(self._messages) - len(self._lasting) > MAX_SLOTS:
            self.forget_oldest()
        while len(self._lasting) > MAX_LASTING:
            self._forget(*self._lasting.popitem(last=False))

    def forget_oldest(self) -> None:
        """Remove the entity longest unchanged, lasting ones after all others; there must be one."""
        self._forget(*(self._entities or self._lasting).popitem(last=False))

    def _forget(self, key: EntityKey, entity: Entity) -> None:
        for publication in entity.slots.values():
            self._uncount(publication)
        self._vanished(key, is_message=False)

    def _vanished(self, key: EntityKey, *, is_message: bool) -> None:
        if self.shared:
            self.shared.pop(key, None)
        if not is_message:
            self._messages.remove(key)

    def forget_before(self, received_at: float) -> None:
        """Remove entities whose last publication was received before this time of the monotonic clock."""
        while self._entities and next(iter(self._entities.values())).changed_at < received_at:
            self.forget_oldest()

    def sources(self) -> set[int]:
        """Return the positions of the publications from which ``restore``, called in order, rebuilds the state.

        These are the publications in the state, and the last publication of each entity, which determines its age.
        """
        kept = set(self._by_seq)
        kept.update(entity.changed_by for entity in self._entities.values())
        return kept

    def restore_owners(self, owners: dict[EntityKey, str | None]) -> None:
        """Set the owners of entities that had events of several senders, after all of ``restore``."""
        self.shared = {}
        for key, owner in owners.items():
            entity = self._entities.get(key)
            if entity is not None:
                entity.owner = self.shared[key] = owner

    def entities(self, kind: str) -> list[tuple[EntityKey, Entity]]:
        """Return the entities of a kind, the one longest unchanged first. They change with the state."""
        entities = [*self._entities.items(), *self._lasting.items()]
        return [item for item in entities if item[0][0] == kind]

    def entity(self, key: EntityKey) -> Entity | None:
        """Return an entity; None if it is not present. It changes with the state."""
        return self._lasting.get(key) or self._entities.get(key)

    def newest(self, key: EntityKey) -> int:
        """Return the position of the last publication of an entity that is present, lasting or not; 0: it is not."""
        entity = self.entity(key)
        return 0 if entity is None else entity.changed_by

    def version(self, key: EntityKey, now: float) -> Version:
        """Return the version of an entity that has not expired at ``now``, in seconds of the monotonic clock."""
        entity = self._entities.get(key)
        return NO_VERSION if entity is None or entity.changed_at < now - ENTITY_LIFETIME else entity.version

    def publications(self) -> list[Publication]:
        """Return the publications that make up the state, in ``seq`` order."""
        return list(self._by_seq.values())


def _empties(slot: Slot, user_id: str | None, slot_key: SlotKey) -> bool:
    """Return whether an event that drops ``slot``, for one user or for all (None), empties ``slot_key``."""
    name, owner = slot_key
    return slot.drops in ("*", name) and user_id in (None, owner)
