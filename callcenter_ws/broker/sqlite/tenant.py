"""In-memory record of one tenant of the SQLite store."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

from callcenter_ws.broker.calls import CALL_LIFETIME
from callcenter_ws.broker.recent_ids import WINDOW_SECONDS
from callcenter_ws.broker.sqlite.codec import CallValues, values_of
from callcenter_ws.broker.sqlite.expiry import TrimRequest
from callcenter_ws.broker.sqlite.restore import MAX_MAIL_USERS, RestoredTenant
from callcenter_ws.broker.sqlite.transaction import Checkpoint
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Submission
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.runtime.json import encode_json

CHECKPOINT_BYTES = 8_388_608
CHECKPOINT_EVENTS = 1_000
"""Payload bytes, and events, after which a checkpoint is written, so that a restore applies no more than these.

The number of events is at least twice that of the publications in the state: a large state is not compared too often.
"""

CALLS_PER_STEP = 500
"""Calls and chats of a checkpoint that are read in one step."""


@dataclass(frozen=True, slots=True)
class HistoryLimits:
    """The limits of each tenant's history in the file.

    Attributes:
        events, bytes, seconds: above these, the oldest events are removed.
        held_events, held_bytes: but not those that the statistics need, up to these.
    """

    events: int
    bytes: int
    seconds: float
    held_events: int
    held_bytes: int


@dataclass(slots=True, eq=False)
class TenantRecord:
    """One tenant.

    Attributes:
        number: the tenant's number in the file; None before its first event.
        stream: None while it is not in memory.
        floor, checkpoint, oldest, stored_state, stored_owners, changed_calls: see ``restore.RestoredTenant``.
        mail_users: users who may have mail; None: too many to remember.
        mail_staged: how many events for mailboxes were staged since the tenant was restored.
        stored_bytes: bytes of payload of the history in the file.
        bytes_since_checkpoint: those of the events after the last checkpoint.
        last_staged: the submission and the index in it of the event that was staged last; None: it is not known.
        delivered: ``seq`` of the last delivered publication.
        loading: the callers that wait for the stream while it is loaded; None: it is not being loaded.
        in_transaction: the transaction being written holds events or a checkpoint of the tenant.
        in_doubt: a write of the tenant failed, and it is not known whether it was committed.
        counted_bytes: the part of the cache's ``bytes`` that is this tenant's.
        used_at: when the record was last requested, in seconds of the monotonic clock.
    """

    tenant_id: str
    number: int | None = None
    stream: Stream | None = None
    floor: int = 0
    checkpoint: int = 0
    oldest: float | None = None
    stored_state: set[int] = field(default_factory=set)
    stored_owners: dict[EntityKey, str | None] = field(default_factory=dict)
    changed_calls: set[str] = field(default_factory=set)
    mail_users: set[str] | None = field(default_factory=set)
    mail_staged: int = 0
    stored_bytes: int = 0
    bytes_since_checkpoint: int = 0
    last_staged: tuple[Submission, int] | None = None
    delivered: int | None = None
    loading: list[Deferred[None]] | None = None
    in_transaction: bool = False
    in_doubt: bool = False
    counted_bytes: int = 0
    used_at: float = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no load and no write of the tenant is in progress."""
        return not (self.in_transaction or self.in_doubt or self.loading is not None)

    def set_restored(self, restored: RestoredTenant) -> None:
        """Set what was read from the file."""
        self.number, self.stream, self.in_doubt = restored.number, restored.stream, False
        self.last_staged = None
        self.floor, self.checkpoint, self.oldest = restored.floor, restored.checkpoint, restored.oldest
        self.stored_state, self.changed_calls = restored.stored_state, restored.changed_calls
        self.stored_owners = restored.stored_owners
        self.mail_users = restored.mail_users
        self.bytes_since_checkpoint = restored.bytes_since_checkpoint
        self.stored_bytes = restored.checkpoint_bytes + restored.bytes_since_checkpoint

    def mail_was_staged(self, user_id: str) -> None:
        """Remember that an event for the user's mailbox was staged."""
        self.mail_staged += 1
        if self.mail_users is not None:
            self.mail_users.add(user_id)
            if len(self.mail_users) > MAX_MAIL_USERS:
                self.mail_users = None

    def may_have_mail(self, user_id: str) -> bool:
        """Return whether the user's mailbox may have items: thousands of users connect at once, most without mail."""
        return self.mail_users is None or user_id in self.mail_users

    def mailbox_was_empty(self, user_id: str) -> None:
        """Remember that the user's mailbox has no items."""
        if self.mail_users is not None:
            self.mail_users.discard(user_id)

    def needs_checkpoint(self, stream: Stream) -> bool:
        """Return whether enough events were appended since the last checkpoint."""
        return self.bytes_since_checkpoint > CHECKPOINT_BYTES or stream.history.head - self.checkpoint >= max(
            CHECKPOINT_EVENTS, 2 * len(stream.state)
        )

    def next_checkpoint(self, stream: Stream, clock_offset: float, now: float) -> Generator[None, None, Checkpoint]:
        """Return, after some steps, the difference from the last checkpoint.

        From the first step to the last there must be no staged event that was not appended, and none may be staged.

        Args:
            clock_offset: Unix time less the time of the monotonic clock.
            now: Unix time in seconds.
        """
        assert self.number is not None  # noqa: S101 - narrows the type: the tenant has published
        size, self.bytes_since_checkpoint = self.bytes_since_checkpoint, 0
        sources = stream.state.sources()
        yield
        changed, self.changed_calls = self.changed_calls, set()
        calls: list[tuple[str, CallValues | None]] = []
        for number, key in enumerate(changed, 1):
            calls.append((key, values_of(stream, key, clock_offset)))
            if number % CALLS_PER_STEP == 0:
                yield
        added = sorted(sources - self.stored_state)
        yield
        removed = sorted(self.stored_state - sources)
        self.stored_state = sources
        yield
        before, owners = self.stored_owners, dict(stream.state.shared)
        self.stored_owners = owners
        return Checkpoint(
            self.number,
            stream.history.head,
            size,
            added,
            removed,
            calls,
            now - CALL_LIFETIME,
            [(encode_json(key).decode(), owner) for key, owner in owners.items() if before.get(key, key) != owner],
            [encode_json(key).decode() for key in before if key not in owners],
        )

    def next_trim(self, stream: Stream, limits: HistoryLimits, now: float) -> TrimRequest:
        """Return what of the history exceeds its limits.

        Args:
            now: Unix time in seconds.
        """
        assert self.number is not None  # noqa: S101 - narrows the type: the tenant has published
        return TrimRequest(
            self.number,
            self.floor,
            by_count=max(0, stream.history.head - limits.events),
            by_age=now - limits.seconds,
            max_seq=max(self.floor, self.checkpoint),
            excess_bytes=max(0, self.stored_bytes - limits.bytes),
            ids_since=now - WINDOW_SECONDS,
            held_from=max(0, stream.history.head - limits.held_events),
            held_excess_bytes=max(0, self.stored_bytes - limits.held_bytes),
        )

    def is_held(self, stream: Stream, limits: HistoryLimits, hold: int | None) -> bool:
        """Return whether nothing of the history may be removed, because the statistics need all of it.

        Args:
            hold: the position above which they do; None: they need none.
        """
        return (
            hold is not None
            and hold <= self.floor
            and stream.history.head - self.floor <= limits.held_events
            and self.stored_bytes <= limits.held_bytes
        )
