"""One tenant's stream, as far as it is in memory."""

from __future__ import annotations

from callcenter_ws.broker.calls import CALL_LIFETIME, CallTable
from callcenter_ws.broker.history import History
from callcenter_ws.broker.recent_ids import WINDOW, RecentIds
from callcenter_ws.broker.state import ENTITY_LIFETIME, State
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication


class Stream:
    """What a broker knows of one tenant: recent messages, state, recent identifiers, calls.

    An event is first staged, which gives it its position and settles whose eyes it is for, and settled when it is
    durable: only then is it part of the history and of the state.

    Attributes:
        staged: ``seq`` of the last event that was staged.
    """

    __slots__ = ("calls", "history", "recent", "staged", "state")

    def __init__(self) -> None:
        self.history = History()
        self.state = State()
        self.recent = RecentIds()
        self.calls = CallTable()
        self.staged = 0

    @property
    def bytes(self) -> int:
        """Of the history and of the state; a message that is in both counts twice."""
        return self.history.bytes + self.state.bytes

    def first_seq_of(self, event: Event) -> int | None:
        """The position that an event with this identifier was given lately, if there was one."""
        return self.recent.seq_of(event.event_id, event.received_at)

    def stage(self, event: Event) -> Publication:
        """Give an event the next position."""
        self.calls.complete(event)
        self.staged += 1
        self.recent.remember(event.event_id, self.staged, event.received_at)
        return Publication(event, self.staged)

    def settle(self, publication: Publication) -> None:
        """Take in the next message that is durable."""
        self.history.append(publication)
        self.state.apply(publication)

    def age(self, now: float) -> None:
        """Forget what is too old at a moment of the monotonic clock, but for the history."""
        self.state.forget_before(now - ENTITY_LIFETIME)
        self.recent.forget_before(now - WINDOW)
        self.calls.forget_before(now - CALL_LIFETIME)
