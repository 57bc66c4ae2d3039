"""SqliteBroker: the store that survives the process, on one node."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from callcenter_ws.broker.sqlite import queries as reading
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.file import StoreFile, Synchronous
from callcenter_ws.broker.sqlite.group_commit import RETRY, GroupCommit
from callcenter_ws.broker.sqlite.maintenance import Maintenance
from callcenter_ws.broker.sqlite.pending_writes import PendingWrites
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.state import ENTITY_LIFETIME
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Outcome
from callcenter_ws.cluster.local_presence import MAX_REMEMBERED
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import (
    Deliver,
    HistoryPage,
    Interrupted,
    MailboxPage,
    Position,
    PresenceRecord,
    Revocation,
    Snapshot,
    nobody_is_interrupted,
)
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.sqlite import reason_of

_CLOSED = "the store is closed"

_log = Logger("callcenter_ws.broker")

P = ParamSpec("P")
T = TypeVar("T")


class SqliteBroker:
    """Implements ``interfaces.Broker`` and ``interfaces.PresenceStore`` in a SQLite file.

    Args:
        path: the file; it is made where it does not exist.
        synchronous: ``normal`` survives the end of the process, ``full`` power loss, too.
        history_events, history_seconds: how much of each tenant's stream is kept.
        memory_events: messages of each tenant that are held in memory as well.
        memory_bytes: bytes of them over all tenants.
    """

    def __init__(
        self,
        reactor: Any,
        clock: Clock,
        path: Path,
        *,
        synchronous: Synchronous = "normal",
        history_events: int = 10_000,
        history_seconds: float = 86_400,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._path = path
        self._synchronous = synchronous
        self._history_events = history_events
        self._history_seconds = history_seconds
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._open: _OpenStore | None = None
        self._is_stopping = False

    # Life

    async def start(self, deliver: Deliver, interrupted: Interrupted = nobody_is_interrupted) -> None:
        """Open the file, which blocks and happens before anything is served, and begin to take events.

        Raises:
            StoreUnusable: the file cannot be used.
        """
        file = StoreFile(self._path, self._synchronous, UlidFactory(self._clock.time))
        self._is_stopping = False
        self._open = _OpenStore(self, file, deliver)

    async def stop(self) -> None:
        """Write what was accepted, then close the file."""
        store = self._open
        if store is None or self._is_stopping:
            return
        self._is_stopping = True
        store.upkeep.stop()
        await store.pipeline.finish()
        # What is noted from now on would come behind the end.
        self._open = None
        store.threads.stop_reading()
        await store.threads.write(store.file.close)
        store.threads.stop()

    def attach(self, tenant_id: str) -> None:
        """The tenant has clients here."""
        if self._open is not None:
            self._open.cache.attach(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """The tenant has no clients here."""
        if self._open is not None:
            self._open.cache.detach(tenant_id)

    # Publishing

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if not events:
            return succeed([])
        if self._open is None or self._is_stopping:
            return succeed([Refusal(ErrorCode.UNAVAILABLE, _CLOSED) for _ in events])
        return self._open.pipeline.publish(events)

    # Reading

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """The head of the tenant's stream."""
        store, _, stream = await self._loaded(tenant_id)
        return Position(store.file.epoch, stream.history.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """At most ``limit`` messages after ``after``, from memory as far as that reaches back, else from the file."""
        store, record, stream = await self._loaded(tenant_id)
        epoch, history, head = store.file.epoch, stream.history, stream.history.head
        if after >= head:
            return HistoryPage(epoch, [], True, head)
        if after < max(record.floor, head - self._history_events):
            return HistoryPage(epoch, [], False, head)
        publications: Sequence[Publication]
        # One at least, whose age tells whether the history still reaches back so far.
        if after >= history.floor:
            publications = history.after(after, max(limit, 1))
        else:
            publications = await self._stretch(store, record, after, max(limit, 1))
        if not publications or publications[0].event.received_at < self._clock.monotonic() - self._history_seconds:
            return HistoryPage(epoch, [], False, head)
        return HistoryPage(epoch, publications[:limit], True, head)

    async def _stretch(self, store: _OpenStore, record: TenantRecord, after: int, limit: int) -> Sequence[Publication]:
        number, offset = record.number or 0, self._clock.time() - self._clock.monotonic()
        return await _read(store, reading.stretch, store.file, record.tenant_id, number, after, limit, offset)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """The tenant's state at its head."""
        store, record, stream = await self._loaded(tenant_id)
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        store.cache.count(record)
        return Snapshot(store.file.epoch, stream.history.head, stream.state.publications())

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest message in memory with this key, or 0."""
        stream = None if self._open is None else self._open.cache.peek(tenant_id)
        return 0 if stream is None else stream.history.newest_of(conflation_key)

    async def _loaded(self, tenant_id: str) -> tuple[_OpenStore, TenantRecord, Stream]:
        if self._open is None:
            raise Refusal(ErrorCode.UNAVAILABLE, _CLOSED)
        return self._open, *await self._open.cache.loaded(tenant_id)

    # Mailboxes

    async def mail(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """What waits for a user; see ``interfaces.Broker.mail``."""
        store, record, _ = await self._loaded(tenant_id)
        number = record.number
        if number is None or not record.may_have_mail(user_id):
            return MailboxPage([], None)
        # What is staged and not committed yet would not be found, and must not be forgotten for that.
        staged = None if record.busy else record.letters_staged
        mail = await self._read_mail(store, record, number, user_id, after, limit)
        if after or mail.items:
            return mail
        if mail.gap is not None:
            # Nothing will be taken that would tell that the loss is known.
            store.pipeline.notes.tell(number, user_id)
            store.pipeline.go_on()
        elif record.letters_staged == staged:
            record.has_no_mail(user_id)
        return mail

    async def _read_mail(
        self, store: _OpenStore, record: TenantRecord, number: int, user_id: str, after: int, limit: int
    ) -> MailboxPage:
        """A stretch of a mailbox in the file, but for what was struck off and may still be there."""
        gap = None
        while True:
            now = self._clock.time()
            offset = now - self._clock.monotonic()
            gone = store.pipeline.acknowledged(number, user_id)
            mail = await _read(
                store, reading.mail, store.file, record.tenant_id, number, user_id, after, limit, now, offset
            )
            gone |= store.pipeline.acknowledged(number, user_id)
            kept = [item for item in mail.items if item.publication.event.event_id not in gone]
            gap = gap or mail.gap
            if kept or not mail.items:
                return MailboxPage(kept, gap)
            after = mail.items[-1].publication.seq

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Messages were written to a socket of the user."""
        self._note_mail(PendingWrites.send, tenant_id, user_id, event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """The user has these messages."""
        self._note_mail(PendingWrites.acknowledge, tenant_id, user_id, event_ids)

    def _note_mail(
        self,
        note: Callable[[PendingWrites, int, str, Sequence[str]], None],
        tenant_id: str,
        user_id: str,
        event_ids: Sequence[str],
    ) -> None:
        store = self._open
        number = None if store is None else store.cache.get(tenant_id).number
        # A tenant that has no number has published nothing.
        if store is not None and number is not None:
            note(store.pipeline.notes, number, user_id, event_ids)
            store.pipeline.go_on()

    # Who was here (interfaces.PresenceStore)

    def load_presence(self) -> Sequence[PresenceRecord]:
        """What was noted of users before; who was here when the process ended was seen when it last wrote."""
        return () if self._open is None else self._open.attendance

    def note(self, attendance: PresenceRecord) -> None:
        """Remember a user's presence."""
        if self._open is not None:
            self._open.pipeline.notes.attend(attendance)
            self._open.pipeline.go_on()

    def load_revocations(self) -> Sequence[Revocation]:
        """What was revoked before this process started."""
        return () if self._open is None else self._open.revocations

    def save_revocation(self, revocation: Revocation) -> None:
        """Remember a revocation."""
        if self._open is not None:
            self._open.pipeline.notes.revocations.append(revocation)
            self._open.pipeline.go_on()

    # For operators

    def state(self) -> dict[str, Any]:
        """What ``/ws/stats`` shows of this broker."""
        store = self._open
        facts: dict[str, Any] = {
            "kind": "sqlite",
            "ready": self.not_ready() is None,
            "synchronous": self._synchronous,
        }
        if store is not None:
            facts |= {
                "epoch": store.file.epoch,
                "tenants": len(store.cache),
                "memory_bytes": store.cache.bytes,
                "file_bytes": store.file.bytes(),
                "waiting_events": store.pipeline.waiting_events,
            }
        return facts

    def not_ready(self) -> str | None:
        """Why nothing can be written now."""
        if self._open is None or self._is_stopping:
            return _CLOSED
        trouble = self._open.pipeline.trouble
        if trouble is not None:
            return f"the store cannot be written: {trouble}"
        return self._open.upkeep.trouble or self._open.cache.trouble


class _OpenStore:
    """The parts that work together while the file is open."""

    def __init__(self, broker: SqliteBroker, file: StoreFile, deliver: Deliver) -> None:
        clock, reactor = broker._clock, broker._reactor
        self.file = file
        self.attendance = reading.attendance(file.writer, MAX_REMEMBERED)
        self.revocations = reading.revocations(file.writer)
        self.threads = Threads(reactor)
        self.cache = Cache(
            file,
            self.threads,
            clock,
            memory_bytes=broker._memory_bytes,
            loaded=lambda r: self.pipeline.tenant_is_loaded(r),
        )
        self.upkeep = Maintenance(
            file,
            self.threads,
            clock,
            self.cache,
            history_events=broker._history_events,
            history_seconds=broker._history_seconds,
            checkpoint=lambda record: self.pipeline.want_checkpoint(record),
            note_alive=lambda: self.pipeline.note_alive(),
        )
        self.pipeline = GroupCommit(
            reactor,
            clock,
            file,
            self.threads,
            self.cache,
            deliver,
            self.upkeep.trim,
            memory_events=broker._memory_events,
            history_seconds=broker._history_seconds,
        )
        self.threads.start()
        self.upkeep.start()


async def _read(store: _OpenStore, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return await store.threads.read(call, *args, **kwargs)
    except sqlite3.Error as error:
        reason = reason_of(error)
        _log.error("the store cannot be read: {reason}", reason=reason)
        raise Refusal(ErrorCode.UNAVAILABLE, f"the store cannot be read: {reason}", retry_after=RETRY) from None
