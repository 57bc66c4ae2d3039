"""TenantRecord: what the reactor's side of the store knows of one tenant."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from callcenter_ws.broker.calls import CALL_LIFETIME
from callcenter_ws.broker.sqlite.queries import MAX_MAIL_USERS, Loaded
from callcenter_ws.broker.sqlite.transaction import Checkpoint, Trim
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Entry
from callcenter_ws.runtime.json import encode_json

CHECKPOINT_BYTES = 8_388_608
CHECKPOINT_EVENTS = 1_000
"""Payload bytes, and events, after which state and calls are written down, so that loading a tenant applies no more
than these; or twice as many as the state has messages, so that a large one is not looked through for every few."""


@dataclass(slots=True, eq=False)
class TenantRecord:
    """One tenant.

    Attributes:
        number: the tenant's in the file; None before its first event.
        stream: None while it is not in memory.
        floor, checkpoint, oldest, stored_state, changed_calls: see ``reading.Loaded``.
        mail_users: users who may have mail; None: there are too many to know.
        letters_staged: how many events for mailboxes were staged since it was loaded.
        unchecked_bytes: of payloads since the last checkpoint that was made here.
        waiting: its events that no group has taken yet.
        delivered: ``seq`` of the last message that was delivered.
        loading: those who wait for the stream, while it is read.
        busy: a group that is not committed yet holds events of it, or a checkpoint.
        doubtful: a write of it failed, and whether it was committed all the same is not known yet.
        counted: its bytes that the total of the memory holds.
        used_at: when it was last asked for, on the monotonic clock.
    """

    tenant_id: str
    number: int | None = None
    stream: Stream | None = None
    floor: int = 0
    checkpoint: int = 0
    oldest: float | None = None
    stored_state: set[int] = field(default_factory=set)
    changed_calls: set[str] = field(default_factory=set)
    mail_users: set[str] | None = field(default_factory=set)
    letters_staged: int = 0
    unchecked_bytes: int = 0
    waiting: deque[Entry] = field(default_factory=deque)
    delivered: int | None = None
    loading: list[Deferred[None]] | None = None
    busy: bool = False
    doubtful: bool = False
    counted: int = 0
    used_at: float = 0.0

    @property
    def idle(self) -> bool:
        """Whether it may be dropped from memory."""
        return not (self.waiting or self.busy or self.doubtful or self.loading is not None)

    def take(self, loaded: Loaded) -> None:
        """Take over what was read from the file."""
        self.number, self.stream, self.doubtful = loaded.number, loaded.stream, False
        self.floor, self.checkpoint, self.oldest = loaded.floor, loaded.checkpoint, loaded.oldest
        self.stored_state, self.changed_calls = loaded.stored_state, loaded.changed_calls
        self.mail_users = loaded.mail_users

    def expect_mail(self, user_id: str) -> None:
        """An event for the user's mailbox was staged."""
        self.letters_staged += 1
        if self.mail_users is not None:
            self.mail_users.add(user_id)
            if len(self.mail_users) > MAX_MAIL_USERS:
                self.mail_users = None

    def may_have_mail(self, user_id: str) -> bool:
        """Whether to look into the user's mailbox. Most have none, and thousands may connect at once."""
        return self.mail_users is None or user_id in self.mail_users

    def has_no_mail(self, user_id: str) -> None:
        """The user's mailbox was found empty."""
        if self.mail_users is not None:
            self.mail_users.discard(user_id)

    def wants_checkpoint(self, stream: Stream) -> bool:
        """Whether enough has come since the last one."""
        return self.unchecked_bytes > CHECKPOINT_BYTES or stream.history.head - self.checkpoint >= max(
            CHECKPOINT_EVENTS, 2 * len(stream.state)
        )

    def next_checkpoint(self, stream: Stream, clock_offset: float, now: float) -> Checkpoint:
        """The difference between the last checkpoint and the present; nothing may be staged that is not settled.

        Args:
            now: Unix time.
        """
        assert self.number is not None  # noqa: S101 - narrows the type: what is asked for has been published
        self.unchecked_bytes = 0
        sources = stream.state.sources()
        changed, self.changed_calls = self.changed_calls, set()
        calls = []
        for call_id in changed:
            call = stream.calls.get(call_id)
            known = (
                None
                if call is None
                else (call.queue_name, encode_json(call.agents).decode(), call.touched_at + clock_offset)
            )
            calls.append((call_id, known))
        fresh, stale = sorted(sources - self.stored_state), sorted(self.stored_state - sources)
        self.stored_state = sources
        return Checkpoint(self.number, stream.history.head, fresh, stale, calls, now - CALL_LIFETIME)

    def next_trim(self, stream: Stream, history_events: int, received_after: float) -> Trim:
        """What of the history may go now.

        What was published within the last minutes stays whatever the limits, because its identifiers are known by it.
        """
        assert self.number is not None  # noqa: S101 - narrows the type: what is asked for has been published
        recent = stream.recent.oldest
        most = self.checkpoint if recent is None else min(self.checkpoint, recent - 1)
        by_count = max(0, stream.history.head - history_events)
        return Trim(self.number, self.floor, by_count, received_after, max(self.floor, most))
