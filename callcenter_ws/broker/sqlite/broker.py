"""The broker whose events survive the process, for one node, in a SQLite file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from twisted.internet.defer import Deferred, succeed

from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES
from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.retention import MAX_PRESENCE_RECORDS, UNFOLDED_BYTES, UNFOLDED_EVENTS
from callcenter_ws.broker.sqlite.account_rows import restore_accounts
from callcenter_ws.broker.sqlite.accounts import SqliteAccounts
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.command_rows import restore_commands
from callcenter_ws.broker.sqlite.commands import SqliteCommands
from callcenter_ws.broker.sqlite.figures import SqliteFigures
from callcenter_ws.broker.sqlite.file import StoreFile, Synchronous
from callcenter_ws.broker.sqlite.group_commit import GroupCommit
from callcenter_ws.broker.sqlite.maintenance import Maintenance
from callcenter_ws.broker.sqlite.pending_writes import PendingWrites
from callcenter_ws.broker.sqlite.queries import highest_number, read_history, read_mailbox
from callcenter_ws.broker.sqlite.reading import CLOSED, read
from callcenter_ws.broker.sqlite.restore import restore_presence, restore_revocations, restore_sources
from callcenter_ws.broker.sqlite.tenant import HistoryLimits, TenantRecord
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Outcome, SubmissionQueue
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.slot_table import ENTITY_LIFETIME
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import (
    Deliver,
    HistoryPage,
    Interrupted,
    MailboxItem,
    MailboxPage,
    Position,
    PresenceRecord,
    Revocation,
    Snapshot,
    SourceRecord,
    ignore_interruption,
)
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.reactor import Reactor


class SqliteBroker:
    """Implements ``Broker``, ``PresenceStore`` and ``SourceStore`` in a SQLite file.

    Args:
        path: the file; it is created unless it exists.
        synchronous: with ``normal`` events survive the end of the process, with ``full`` also power loss.
        history_events, history_bytes, history_seconds: the limits of each tenant's history.
        memory_events: publications of each tenant that are also in memory.
        memory_bytes: bytes of publications in memory, over all tenants.
        chat_messages: messages of each open chat in the state.
        unfolded_events, unfolded_bytes: the limits of a history that the statistics still need.

    Attributes:
        figures: the rows of the statistics.
        accounts: the users and sessions of the pages.
        commands: what clients have asked to be done.
        counters: for the metrics.
    """

    def __init__(
        self,
        reactor: Reactor,
        clock: Clock,
        path: Path,
        *,
        synchronous: Synchronous = "normal",
        history_events: int = 10_000,
        history_bytes: int = 268_435_456,
        history_seconds: float = 86_400,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
        chat_messages: int = DEFAULT_MESSAGES,
        unfolded_events: int = UNFOLDED_EVENTS,
        unfolded_bytes: int = UNFOLDED_BYTES,
    ) -> None:
        self._reactor = reactor
        self._clock = clock
        self._path = path
        self._synchronous = synchronous
        self._limits = HistoryLimits(history_events, history_bytes, history_seconds, unfolded_events, unfolded_bytes)
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._chat_messages = chat_messages
        self._open: _OpenStore | None = None
        self._is_stopping = False
        self.counters = StoreCounters()
        self.figures = SqliteFigures(clock)
        self.accounts = SqliteAccounts()
        self.commands = SqliteCommands()

    # Start and stop

    async def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> None:
        """Open the file and accept events from now on. Blocks, and is called before the gateway accepts connections.

        Raises:
            StoreUnusable: the file cannot be used.
        """
        file = StoreFile(self._path, self._synchronous, UlidFactory(self._clock.time))
        self._is_stopping = False
        self._open = _OpenStore(self, file, deliver)

    async def stop(self) -> None:
        """Write the accepted events, then close the file."""
        store = self._open
        if store is None or self._is_stopping:
            return
        self._is_stopping = True
        store.maintenance.stop()
        self.figures.close()
        self.accounts.close()
        self.commands.close()
        await store.group_commit.finish()
        # Further pending writes would never be written.
        self._open = None
        store.threads.stop_reading()
        await store.threads.write(store.file.close)
        store.threads.stop()

    def attach(self, tenant_id: str) -> None:
        """Count the tenant as one with clients, which stays in memory as long as possible."""
        if self._open is not None:
            self._open.cache.attach(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """Count the tenant as one without clients, which is evicted from memory first."""
        if self._open is not None:
            self._open.cache.detach(tenant_id)

    # Publishing

    def publish(self, events: Sequence[Event]) -> Deferred[list[Outcome]]:
        """Append the events; see ``interfaces.Broker.publish``."""
        if not events:
            return succeed([])
        if self._open is None or self._is_stopping:
            return succeed([Refusal(ErrorCode.UNAVAILABLE, CLOSED) for _ in events])
        return self._open.group_commit.publish(events)

    # Reading

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """Return the head of the tenant's stream."""
        store, _, stream = await self._loaded(tenant_id)
        return Position(store.file.epoch, stream.history.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return at most ``limit`` publications after ``after``: from memory as far as possible, else from the file."""
        store, record, stream = await self._loaded(tenant_id)
        epoch, history, head = store.file.epoch, stream.history, stream.history.head
        if after >= head:
            return HistoryPage(epoch, [], True, head)
        if after < max(record.floor, head - self._limits.events):
            return HistoryPage(epoch, [], False, head)
        publications: Sequence[Publication]
        # At least one: its age determines whether the history still reaches back so far.
        if after >= history.floor:
            publications = history.after(after, max(limit, 1))
        else:
            publications = await self._read_file(store, record, after, max(limit, 1))
        if not publications or publications[0].event.received_at < self._clock.monotonic() - self._limits.seconds:
            return HistoryPage(epoch, [], False, head)
        return HistoryPage(epoch, publications[:limit], True, head)

    async def _read_file(
        self, store: _OpenStore, record: TenantRecord, after: int, limit: int
    ) -> Sequence[Publication]:
        number, offset = record.number or 0, self._clock.time() - self._clock.monotonic()
        return await read(store.threads, read_history, store.file, record.tenant_id, number, after, limit, offset)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """Return the tenant's state at its head."""
        store, record, stream = await self._loaded(tenant_id)
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        store.cache.update_bytes(record)
        return Snapshot(store.file.epoch, stream.history.head, stream.state.publications())

    async def entities(self, tenant_id: str, kind: str) -> list[tuple[EntityKey, Entity]]:
        """Return the entities of a kind; see ``interfaces.Broker.entities``."""
        store, record, stream = await self._loaded(tenant_id)
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        store.cache.update_bytes(record)
        return stream.state.entities(kind)

    async def entity(self, tenant_id: str, key: EntityKey) -> Entity | None:
        """Return one entity of the tenant's state."""
        store, record, stream = await self._loaded(tenant_id)
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        store.cache.update_bytes(record)
        return stream.state.entity(key)

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """Return the ``seq`` of the newest publication in memory with this key; 0 when there is none."""
        stream = None if self._open is None else self._open.cache.peek(tenant_id)
        return 0 if stream is None else stream.history.newest_of(conflation_key)

    async def _loaded(self, tenant_id: str) -> tuple[_OpenStore, TenantRecord, Stream]:
        if self._open is None:
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        return self._open, *await self._open.cache.get_loaded(tenant_id)

    # Mailboxes

    async def read_mailbox(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """Return items of a user's mailbox; see ``interfaces.Broker.read_mailbox``."""
        store, record, _ = await self._loaded(tenant_id)
        number = record.number
        if number is None or not record.may_have_mail(user_id):
            return MailboxPage([], None)
        # Items of a transaction that is not committed yet are not found: the mailbox is then not known to be empty.
        staged = None if record.in_transaction else record.mail_staged
        page, has_rows = await self._read_page(store, record, number, user_id, after, limit)
        if after or page.items:
            return page
        if page.gap is not None:
            # No acknowledgement will follow that could confirm that the gap was reported.
            store.group_commit.pending_writes.report_gap(number, user_id)
            store.group_commit.request()
        elif record.mail_staged == staged and not has_rows:
            record.mailbox_was_empty(user_id)
        return page

    async def _read_page(
        self, store: _OpenStore, record: TenantRecord, number: int, user_id: str, after: int, limit: int
    ) -> tuple[MailboxPage, bool]:
        """Return items of a mailbox in the file, with the acknowledgements and marks that are not written yet.

        The second value is whether the mailbox has rows, those that have expired included.
        """
        gap, pending = None, store.group_commit
        while True:
            now = self._clock.time()
            offset = now - self._clock.monotonic()
            # Before and after the read: what is pending may be written meanwhile, or arise.
            acknowledged = pending.pending_acknowledgements(number, user_id)
            sent = pending.pending_sent(number, user_id)
            page, has_rows = await read(
                store.threads, read_mailbox, store.file, record.tenant_id, number, user_id, after, limit, now, offset
            )
            acknowledged |= pending.pending_acknowledgements(number, user_id)
            sent |= pending.pending_sent(number, user_id)
            items = [
                MailboxItem(item.publication, item.sent or item.publication.event.event_id in sent)
                for item in page.items
                if item.publication.event.event_id not in acknowledged
            ]
            gap = gap or page.gap
            if items or not page.items:
                return MailboxPage(items, gap), has_rows
            after = page.items[-1].publication.seq

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Record that mailbox items were written to a socket of the user."""
        self.counters.mail_sent += len(event_ids)
        self._write_later(PendingWrites.mark_sent, tenant_id, user_id, event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Remove items that the user has received from the mailbox."""
        self.counters.mail_acknowledged += len(event_ids)
        self._write_later(PendingWrites.acknowledge, tenant_id, user_id, event_ids)

    def _write_later(
        self,
        add: Callable[[PendingWrites, int, str, Sequence[str]], None],
        tenant_id: str,
        user_id: str,
        event_ids: Sequence[str],
    ) -> None:
        store = self._open
        number = None if store is None else store.cache.get(tenant_id).number
        # A tenant without a number has published nothing.
        if store is not None and number is not None:
            add(store.group_commit.pending_writes, number, user_id, event_ids)
            store.group_commit.request()

    # Presence and revocations

    def load_presence(self) -> Sequence[PresenceRecord]:
        """Return the records from before this start, oldest first."""
        return () if self._open is None else self._open.presence

    def save_presence(self, record: PresenceRecord) -> None:
        """Replace a user's record."""
        if self._open is not None:
            self._open.group_commit.pending_writes.save_presence(record)
            self._open.group_commit.request()

    def load_revocations(self) -> Sequence[Revocation]:
        """Return the revocations from before this start."""
        return () if self._open is None else self._open.revocations

    def save_revocation(self, revocation: Revocation) -> None:
        """Add a revocation."""
        if self._open is not None:
            self._open.group_commit.pending_writes.revocations.append(revocation)
            self._open.group_commit.request()

    # Sources

    def load_sources(self) -> Sequence[SourceRecord]:
        """Return the sources from before this start."""
        return () if self._open is None else self._open.sources

    async def save_source(self, record: SourceRecord) -> None:
        """Replace a source's record; see ``interfaces.SourceStore``."""
        await self._write_source((record.scope, record.name), record)

    async def delete_source(self, scope: str, name: str) -> None:
        """Remove a source's record."""
        await self._write_source((scope, name), None)

    async def _write_source(self, key: tuple[str, str], record: SourceRecord | None) -> None:
        if self._open is None or self._is_stopping:
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        self._open.group_commit.pending_writes.sources[key] = record
        await self._open.group_commit.written()

    async def highest_number(self, source: str, tenants: Sequence[str]) -> tuple[int, int]:
        """Return the highest mark of a source in these tenants; see ``interfaces.SourceStore``."""
        if self._open is None:
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        return await read(self._open.threads, highest_number, self._open.file, source, tenants)

    # For operators

    def state(self) -> JsonObject:
        """Return this broker's part of ``/ws/stats``."""
        store = self._open
        state: dict[str, object] = {
            "kind": "sqlite",
            "ready": self.not_ready() is None,
            "synchronous": self._synchronous,
        }
        if store is not None:
            state |= {
                "epoch": store.file.epoch,
                "tenants": len(store.cache),
                "memory_bytes": store.cache.bytes,
                "ids_removed_early": store.cache.ids_removed_early(),
                "file_bytes": store.file.bytes(),
                "waiting_events": store.queue.waiting_events,
            }
        return state

    def not_ready(self) -> str | None:
        """Return why the store cannot be written or read now; None when it can."""
        if self._open is None or self._is_stopping:
            return CLOSED
        write_error = self._open.group_commit.write_error
        if write_error is not None:
            return f"the store cannot be written: {write_error}"
        return self._open.maintenance.wal_error or self._open.cache.read_error


class _OpenStore:
    """The parts of the store, which exist while the file is open.

    Attributes:
        presence, revocations, sources: those in the file when it was opened.
    """

    def __init__(self, broker: SqliteBroker, file: StoreFile, deliver: Deliver) -> None:
        clock, reactor = broker._clock, broker._reactor
        self.file = file
        self.presence = restore_presence(file.writer, MAX_PRESENCE_RECORDS)
        self.revocations = restore_revocations(file.writer, clock.time())
        self.sources = restore_sources(file.writer)
        broker.commands.restore(*restore_commands(file.writer, clock.time()))
        self.threads = Threads(reactor)
        self.queue = SubmissionQueue("the disk")
        self.cache = Cache(
            file,
            self.threads,
            clock,
            self.queue,
            memory_bytes=broker._memory_bytes,
            chat_messages=broker._chat_messages,
            loaded=lambda record: self.group_commit.tenant_loaded(record),
        )
        self.maintenance = Maintenance(
            file,
            self.threads,
            clock,
            self.cache,
            limits=broker._limits,
            hold=broker.figures.hold,
            request_checkpoint=lambda record: self.group_commit.request_checkpoint(record),
            record_alive=lambda: self.group_commit.record_alive(),
            forget_commands=broker.commands.forget_expired,
            counters=broker.counters,
        )
        self.group_commit = GroupCommit(
            reactor,
            clock,
            file,
            self.threads,
            self.cache,
            self.queue,
            deliver,
            self.maintenance.trim,
            broker.counters,
            broker.commands.table,
            memory_events=broker._memory_events,
            history_seconds=broker._limits.seconds,
        )
        broker.figures.open(file, self.threads, self.cache, self.group_commit)
        broker.accounts.open(restore_accounts(file.writer, clock.time()), self.group_commit)
        broker.commands.open(self.cache, self.group_commit)
        self.threads.start()
        self.maintenance.start()
