"""The last messages of the open chats of a tenant, which are part of its snapshot."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Container
from dataclasses import dataclass, field

from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.publication import Publication

DEFAULT_MESSAGES = 50
"""Messages of one session (``public.history``); above that its oldest is removed first."""

SESSION_BYTES = 65_536
"""Bytes of payload of the messages of one session; above that its oldest is removed first."""

TENANT_BYTES = 8_388_608
"""Bytes of payload of all messages of one tenant; above that the oldest of all is removed first."""


@dataclass(slots=True)
class _Session:
    messages: deque[Publication] = field(default_factory=deque)
    bytes: int = 0


class ChatMessages:
    """The last messages of each open chat, by the chat's entity.

    Args:
        max_messages: messages of one session.
        publications: those of the state by position, to which the messages belong.

    Attributes:
        memory: memory of the publications.
    """

    def __init__(self, max_messages: int, publications: dict[int, Publication]) -> None:
        self._max_messages = max_messages
        self._publications = publications
        self._sessions: dict[EntityKey, _Session] = {}
        # The entity of each message by its ``seq``, the oldest first.
        self._order: OrderedDict[int, EntityKey] = OrderedDict()
        self._bytes = 0
        self.memory = 0

    def __len__(self) -> int:
        return len(self._order)

    def append(self, entity: EntityKey, publication: Publication) -> None:
        """Add the next message of a chat."""
        session = self._sessions.get(entity)
        if session is None:
            session = self._sessions[entity] = _Session()
        size = len(publication.event.payload)
        session.messages.append(publication)
        session.bytes += size
        self._order[publication.seq] = entity
        self._publications[publication.seq] = publication
        self._bytes += size
        self.memory += publication.memory
        while session.messages and (len(session.messages) > self._max_messages or session.bytes > SESSION_BYTES):
            self._remove_oldest(entity, session)
        while self._bytes > TENANT_BYTES:
            oldest = next(iter(self._order.values()))
            self._remove_oldest(oldest, self._sessions[oldest])

    def _remove_oldest(self, entity: EntityKey, session: _Session) -> None:
        publication = session.messages.popleft()
        size = len(publication.event.payload)
        session.bytes -= size
        self._bytes -= size
        self.memory -= publication.memory
        del self._order[publication.seq], self._publications[publication.seq]
        if not session.messages:
            del self._sessions[entity]

    def keep(self, entities: Container[EntityKey]) -> None:
        """Remove the messages of all other chats."""
        for entity in [entity for entity in self._sessions if entity not in entities]:
            self.remove(entity)

    def remove(self, entity: EntityKey) -> None:
        """Remove the messages of a chat that has ended."""
        session = self._sessions.get(entity)
        while session is not None and session.messages:
            self._remove_oldest(entity, session)

    def assign(self, entity: EntityKey, queue_name: str | None, agents: tuple[str, ...]) -> None:
        """Give the messages of a chat its present queue and agent."""
        session = self._sessions.get(entity)
        if session is not None:
            session.messages = deque(publication.assigned(queue_name, agents) for publication in session.messages)
            self._publications.update((publication.seq, publication) for publication in session.messages)
