"""The part of one tenant's stream that is in memory."""

from __future__ import annotations

from collections.abc import Container, Iterable

from callcenter_ws.broker.calls import CALL_LIFETIME, CallTable
from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES
from callcenter_ws.broker.chats import CHAT_LIFETIME, ChatTable
from callcenter_ws.broker.history import History
from callcenter_ws.broker.recent_ids import MAX_CLIENT_IDS, WINDOW_SECONDS, RecentIds
from callcenter_ws.broker.source_marks import SourceMarks, Verdict, changed, out_of_order, superseded
from callcenter_ws.broker.state import State
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.events.slot_table import ENTITY_LIFETIME


class Stream:
    """Recent publications, state, recent identifiers, calls, chats and marks of sources of one tenant.

    An event is staged first, which assigns its position and completes it with what is known of its call or chat. It is
    appended when it is durable; only then is it part of the history and of the state.

    Args:
        chat_messages: messages of one chat in the state.

    Attributes:
        marks: of the sources; they count staged events.
        recent, recent_of_clients: identifiers of events, those of clients apart.
        staged: ``seq`` of the last staged event.
    """

    __slots__ = ("calls", "chats", "history", "marks", "recent", "recent_of_clients", "staged", "state")

    def __init__(self, chat_messages: int = DEFAULT_MESSAGES) -> None:
        self.history = History()
        self.state = State(chat_messages)
        self.recent = RecentIds()
        self.recent_of_clients = RecentIds(MAX_CLIENT_IDS)
        self.calls = CallTable()
        self.chats = ChatTable()
        self.marks = SourceMarks()
        self.staged = 0

    @property
    def ids_removed_early(self) -> int:
        """How many identifiers were removed before their window ended."""
        return self.recent.removed_early + self.recent_of_clients.removed_early

    @property
    def bytes(self) -> int:
        """Memory of the history and of the state; a publication in both counts twice."""
        return self.history.bytes + self.state.bytes

    def first_seq_of(self, event: Event) -> int | None:
        """Return the position of the event that was recently published with this identifier; None: there is none."""
        if event.has_new_id:
            return None
        recent = self.recent_of_clients if event.origin is Origin.CLIENT else self.recent
        return recent.seq_of(event.event_id, event.received_at)

    def condition_refusal(self, event: Event, staged: Iterable[Publication] = ()) -> Refusal | None:
        """Return why the ``condition`` of an event refuses it; None: it does not, or there is none.

        The fence of a condition is not checked: one process has this store, so no other can take a tenant.

        Args:
            staged: publications that are staged and not appended.
        """
        if event.condition is None or event.condition.entity_seq is None or event.entity is None:
            return None
        newest = self.state.newest(event.entity)
        for publication in staged:
            if publication.event.entity == event.entity:
                newest = publication.seq
        if newest == event.condition.entity_seq:
            return None
        return Refusal(ErrorCode.UNKNOWN_ALERT, "the alert has changed, or is not raised any more")

    def remember_id(self, event_id: str, origin: str, seq: int, received_at: float) -> None:
        """Remember the identifier of an event that was published before this start."""
        recent = self.recent_of_clients if origin == Origin.CLIENT else self.recent
        recent.remember(event_id, seq, received_at)

    def stage(self, event: Event) -> Publication:
        """Assign the next position to an event, which ``chats.refusal_of`` must not refuse."""
        (self.chats if event.type.of_chat else self.calls).complete(event)
        self.staged += 1
        if not event.has_new_id:
            recent = self.recent_of_clients if event.origin is Origin.CLIENT else self.recent
            recent.remember(event.event_id, self.staged, event.received_at)
        return Publication(event, self.staged)

    def judge_part(
        self, event: Event, rule: Reconciliation, staged: Container[EntityKey | None] = ()
    ) -> Verdict | Refusal:
        """Return whether a part of a reconciliation is new or known, or why it is refused; raise no mark.

        Args:
            staged: the entities of events that are staged and not appended: they have changed, too.
        """
        verdict = self.marks.judge_part(event.source or "", rule)
        if verdict is Verdict.EARLY:
            return out_of_order()
        if verdict is Verdict.STALE:
            return superseded()
        if verdict is Verdict.NEW:
            for key, version in rule.guards:
                if key in staged or self.state.version(key, event.received_at) != version:
                    return changed()
        return verdict

    def complete(self, event: Event) -> None:
        """Complete an event with what is known of its call or chat, and remember what it says of it."""
        (self.chats if event.type.of_chat else self.calls).complete(event)

    def append(self, publication: Publication) -> None:
        """Add the next publication that is durable to the history and to the state."""
        self.history.append(publication)
        self.state.apply(publication)

    def forget_expired(self, now: float) -> None:
        """Remove expired entities, identifiers, calls and chats; the history has limits of its own.

        Args:
            now: seconds of the monotonic clock.
        """
        self.state.forget_before(now - ENTITY_LIFETIME)
        self.recent.forget_before(now - WINDOW_SECONDS)
        self.recent_of_clients.forget_before(now - WINDOW_SECONDS)
        self.calls.forget_before(now - CALL_LIFETIME)
        self.chats.forget_before(now - CHAT_LIFETIME)
