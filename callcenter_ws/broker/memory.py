"""The broker that keeps everything in the memory of this process: for tests and the demo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from callcenter_ws.broker.chat_messages import DEFAULT_MESSAGES
from callcenter_ws.broker.command_table import ignore_id
from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.broker.history import History
from callcenter_ws.broker.mailboxes import Mailboxes
from callcenter_ws.broker.memory_accounts import MemoryAccounts
from callcenter_ws.broker.memory_commands import MemoryCommands
from callcenter_ws.broker.memory_figures import MemoryFigures
from callcenter_ws.broker.retention import UNFOLDED_BYTES, UNFOLDED_EVENTS
from callcenter_ws.broker.source_marks import Verdict, out_of_order, superseded
from callcenter_ws.broker.stream import Stream
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.commands import LIFETIME_SECONDS
from callcenter_ws.events.entity import Entity
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.events.slot_table import ENTITY_LIFETIME
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import (
    Deliver,
    HistoryPage,
    Interrupted,
    MailboxPage,
    Position,
    PresenceRecord,
    PublishResult,
    Revocation,
    Snapshot,
    SourceRecord,
    ignore_interruption,
)
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject

_EXPIRY_INTERVAL_SECONDS = 60.0


@dataclass(slots=True)
class _Tenant:
    """One tenant's stream and mailboxes.

    Attributes:
        counted_bytes: the part of the broker's ``_bytes`` that is this tenant's.
    """

    stream: Stream
    mailboxes: Mailboxes
    counted_bytes: int = 0


class MemoryBroker:
    """Implements ``Broker``, ``PresenceStore`` and ``SourceStore`` in memory. Its epoch ends with the process.

    Args:
        memory_events: publications in the history of each tenant.
        memory_bytes: bytes of publications over all tenants. Above that the oldest of the history is removed, then of
            the state, in both cases of tenants without clients first, then the oldest mailbox items.
        history_bytes: bytes of publications in the history of each tenant.
        history_seconds: how long a publication stays in the history.
        chat_messages: messages of each open chat in the state.
        unfolded_events, unfolded_bytes: the limits of a history that the statistics still need; ``memory_bytes``
            takes precedence.

    Attributes:
        figures: the rows of the statistics.
        accounts: the users and sessions of the pages.
        commands: what clients have asked to be done.
        counters: for the metrics.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
        history_bytes: int = 268_435_456,
        history_seconds: float = 86_400,
        chat_messages: int = DEFAULT_MESSAGES,
        unfolded_events: int = UNFOLDED_EVENTS,
        unfolded_bytes: int = UNFOLDED_BYTES,
    ) -> None:
        self._clock = clock
        self._chat_messages = chat_messages
        self._epoch = UlidFactory(clock.time)()
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._history_bytes = history_bytes
        self._history_seconds = history_seconds
        self._tenants: dict[str, _Tenant] = {}
        self._attached: set[str] = set()
        self._bytes = 0
        self._deliver: Deliver | None = None
        self._expiry_timer: Timer | None = None
        self.counters = StoreCounters()
        self.accounts = MemoryAccounts()
        self.commands = MemoryCommands()
        self.figures = MemoryFigures(
            self._epoch, self._history_of, max_events=unfolded_events, max_bytes=unfolded_bytes
        )

    def _history_of(self, tenant_id: str) -> History | None:
        tenant = self._tenants.get(tenant_id)
        return None if tenant is None else tenant.stream.history

    async def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> None:
        """Accept events from now on, and pass them to ``deliver``; see ``interfaces.Broker.start``."""
        self._deliver = deliver
        self._expiry_timer = self._clock.call_later(_EXPIRY_INTERVAL_SECONDS, self._forget_expired)

    async def stop(self) -> None:
        """Refuse all events from now on."""
        self._deliver = None
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
            self._expiry_timer = None

    def attach(self, tenant_id: str) -> None:
        """Count the tenant as one with clients, whose memory is kept as long as possible."""
        self._attached.add(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """Count the tenant as one without clients, whose memory is freed first."""
        self._attached.discard(tenant_id)

    async def publish(self, events: Sequence[Event]) -> list[PublishResult | Refusal]:
        """Append the events and deliver them at once; see ``interfaces.Broker.publish``."""
        if self._deliver is None:
            return [Refusal(ErrorCode.UNAVAILABLE, "the store is closed") for _ in events]
        outcomes: list[PublishResult | Refusal] = []
        fresh: dict[str, list[Publication]] = {}
        offset = self._clock.time() - self._clock.monotonic()
        appended = False
        for event in events:
            if isinstance(event.source_rule, Reconciliation):
                outcome, publications = self._reconcile(event, event.source_rule, offset)
                outcomes.append(outcome)
                fresh.setdefault(event.tenant_id, []).extend(publications)
                appended = False
                continue
            outcome, publication = self._append(event, offset, follows=appended)
            appended = publication is not None
            outcomes.append(outcome)
            if publication is not None:
                fresh.setdefault(event.tenant_id, []).append(publication)
        if self._bytes > self._memory_bytes:
            self._free_memory()
        for publications in fresh.values():
            if publications:
                self._deliver(publications)
        return outcomes

    def _append(
        self, event: Event, offset: float, *, follows: bool = False
    ) -> tuple[PublishResult | Refusal, Publication | None]:
        """Append an event unless it is known or refused.

        Args:
            follows: whether the event before it in the same call was appended.
        """
        condition = event.condition
        ignore_id(event)
        tenant = self._tenants.get(event.tenant_id) or self._new_tenant(event.tenant_id)
        stream = tenant.stream
        of_source = None if event.source_rule is None else self._judge(event, stream)
        if of_source is not None:
            return of_source, None
        first = stream.first_seq_of(event)
        if first is not None:
            return PublishResult(self._epoch, first, event.event_id, duplicate=True), None
        refusal = None if event.chat_writer is None else stream.chats.refusal_of(event)
        if refusal is None and condition is not None:
            refusal = stream.condition_refusal(event) or self.commands.table.refusal_of(event, follows=follows)
        if refusal is not None:
            return refusal, None
        event.received_ms = round((event.received_at + offset) * 1_000)
        publication = stream.stage(event)
        stream.append(publication)
        if condition is not None and condition.closes is not None:
            self.commands.table.close(condition.closes)
        received_after = event.received_at - self._history_seconds
        holds = self.figures.holds
        hold = holds.get(event.tenant_id) if holds else None
        stream.history.trim(self._memory_events, received_after, self._history_bytes, hold)
        if event.is_mail:
            tenant.mailboxes.add(publication, self._clock.time())
        self._update_bytes(tenant)
        return PublishResult(self._epoch, publication.seq, event.event_id), publication

    def _judge(self, event: Event, stream: Stream) -> PublishResult | Refusal | None:
        """Return the outcome of an event of a source that is not to be appended; None: it is new."""
        verdict = stream.marks.judge(event)
        if verdict is Verdict.EARLY:
            return out_of_order()
        if verdict is Verdict.STALE:
            return superseded()
        if verdict is Verdict.KNOWN or event.is_void:
            known = stream.first_seq_of(event) or 0
            return PublishResult(self._epoch, known, event.event_id, duplicate=True)
        return None

    def _new_tenant(self, tenant_id: str) -> _Tenant:
        tenant = self._tenants[tenant_id] = _Tenant(Stream(self._chat_messages), Mailboxes(self.counters))
        return tenant

    def _reconcile(
        self, event: Event, rule: Reconciliation, offset: float
    ) -> tuple[PublishResult | Refusal, list[Publication]]:
        """Append the events of a part of a reconciliation."""
        tenant = self._tenants.get(event.tenant_id) or self._new_tenant(event.tenant_id)
        verdict = tenant.stream.judge_part(event, rule)
        if isinstance(verdict, Refusal):
            return verdict, []
        if verdict is Verdict.KNOWN:
            return PublishResult(self._epoch, 0, "", duplicate=True), []
        tenant.stream.marks.finish_part(event.source or "", rule)
        appended = [self._append(one, offset)[1] for one in rule.events]
        publications = [publication for publication in appended if publication is not None]
        return PublishResult(self._epoch, tenant.stream.history.head, ""), publications

    def _update_bytes(self, tenant: _Tenant) -> None:
        """Update the total after the tenant's stream or mailboxes have changed."""
        size = tenant.stream.bytes + tenant.mailboxes.bytes
        self._bytes += size - tenant.counted_bytes
        tenant.counted_bytes = size

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """Return the head of the tenant's stream."""
        tenant = self._tenants.get(tenant_id)
        return Position(self._epoch, 0 if tenant is None else tenant.stream.history.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return at most ``limit`` publications after ``after``, as far as the history reaches back."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return HistoryPage(self._epoch, [], after >= 0, 0)
        history = tenant.stream.history
        if after < history.floor or self._is_only_held(tenant_id, history, after):
            return HistoryPage(self._epoch, [], False, history.head)
        return HistoryPage(self._epoch, history.after(after, limit), True, history.head)

    def _is_only_held(self, tenant_id: str, history: History, after: int) -> bool:
        """Return whether the publication after a position would not be present, if the statistics did not need it."""
        if tenant_id not in self.figures.holds or after >= history.head:
            return False
        received_after = self._clock.monotonic() - self._history_seconds
        return (
            after < history.head - self._memory_events or history.after(after, 1)[0].event.received_at < received_after
        )

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """Return the tenant's state at its head."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return Snapshot(self._epoch, 0, [])
        stream = tenant.stream
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        self._update_bytes(tenant)
        return Snapshot(self._epoch, stream.history.head, stream.state.publications())

    async def entities(self, tenant_id: str, kind: str) -> list[tuple[EntityKey, Entity]]:
        """Return the entities of a kind; see ``interfaces.Broker.entities``."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return []
        tenant.stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        self._update_bytes(tenant)
        return tenant.stream.state.entities(kind)

    async def entity(self, tenant_id: str, key: EntityKey) -> Entity | None:
        """Return one entity of the tenant's state."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return None
        tenant.stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        self._update_bytes(tenant)
        return tenant.stream.state.entity(key)

    async def read_mailbox(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """Return items of a user's mailbox; see ``interfaces.Broker.read_mailbox``."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return MailboxPage([], None)
        return tenant.mailboxes.read(user_id, after, limit, self._clock.time())

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Record that mailbox items were written to a socket of the user."""
        self.counters.mail_sent += len(event_ids)
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.mailboxes.mark_sent(user_id, event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Remove items that the user has received from the mailbox."""
        self.counters.mail_acknowledged += len(event_ids)
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.mailboxes.acknowledge(user_id, event_ids)
            self._update_bytes(tenant)

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """Return the ``seq`` of the newest publication in memory with this key; 0 when there is none."""
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else tenant.stream.history.newest_of(conflation_key)

    def load_presence(self) -> Sequence[PresenceRecord]:
        """Return no records: nothing is kept over a restart."""
        return ()

    def save_presence(self, record: PresenceRecord) -> None:
        """Do nothing: nothing is kept over a restart."""

    def load_revocations(self) -> Sequence[Revocation]:
        """Return no revocations: nothing is kept over a restart."""
        return ()

    def save_revocation(self, revocation: Revocation) -> None:
        """Do nothing: nothing is kept over a restart."""

    def load_sources(self) -> Sequence[SourceRecord]:
        """Return no sources: nothing is kept over a restart."""
        return ()

    async def save_source(self, record: SourceRecord) -> None:
        """Do nothing: nothing is kept over a restart."""

    async def delete_source(self, scope: str, name: str) -> None:
        """Do nothing: nothing is kept over a restart."""

    async def highest_number(self, source: str, tenants: Sequence[str]) -> tuple[int, int]:
        """Return the highest mark of a source in these tenants; see ``interfaces.SourceStore``."""
        known = [self._tenants[tenant].stream.marks.get(source) for tenant in tenants if tenant in self._tenants]
        return max([(mark.generation, mark.seq) for mark in known], default=(0, 0))

    def state(self) -> JsonObject:
        """Return this broker's part of ``/ws/stats``."""
        return {
            "kind": "memory",
            "ready": self.not_ready() is None,
            "epoch": self._epoch,
            "tenants": len(self._tenants),
            "memory_bytes": self._bytes,
            "ids_removed_early": sum(tenant.stream.ids_removed_early for tenant in self._tenants.values()),
        }

    def not_ready(self) -> str | None:
        """Return why the broker is not ready; None between start and stop."""
        return "the store is closed" if self._deliver is None else None

    def _free_memory(self) -> None:
        """Remove publications until their bytes are within ``memory_bytes``; see the class for the order."""
        detached = [tenant for name, tenant in self._tenants.items() if name not in self._attached]
        attached = [tenant for name, tenant in self._tenants.items() if name in self._attached]
        for tenants in (detached, attached):
            for tenant in sorted(tenants, key=lambda tenant: tenant.stream.history.bytes, reverse=True):
                self._halve_history(tenant)
        if self._bytes <= self._memory_bytes:
            return
        # Free more than necessary, or every further event would cost all tenants their history.
        max_bytes = self._memory_bytes - self._memory_bytes // 16
        for tenants in (detached, attached):
            for tenant in sorted(tenants, key=lambda tenant: tenant.stream.state.bytes, reverse=True):
                self._shrink_state(tenant, max_bytes)
        for tenant in sorted(self._tenants.values(), key=lambda tenant: tenant.mailboxes.bytes, reverse=True):
            self._shrink_mailboxes(tenant, max_bytes)

    def _halve_history(self, tenant: _Tenant) -> None:
        history = tenant.stream.history
        while history and self._bytes > self._memory_bytes:
            history.trim(len(history) // 2, 0)
            self._update_bytes(tenant)

    def _shrink_state(self, tenant: _Tenant, max_bytes: int) -> None:
        while tenant.stream.state and self._bytes > max_bytes:
            tenant.stream.state.forget_oldest()
            self._update_bytes(tenant)

    def _shrink_mailboxes(self, tenant: _Tenant, max_bytes: int) -> None:
        while tenant.mailboxes and self._bytes > max_bytes:
            tenant.mailboxes.forget_oldest()
            self._update_bytes(tenant)

    def _forget_expired(self) -> None:
        """Remove what has expired, also of tenants without new events."""
        now = self._clock.monotonic()
        for name, tenant in self._tenants.items():
            hold = self.figures.holds.get(name)
            tenant.stream.history.trim(self._memory_events, now - self._history_seconds, hold=hold)
            tenant.stream.forget_expired(now)
            tenant.mailboxes.forget_expired(self._clock.time())
            self._update_bytes(tenant)
        self.commands.table.forget_before(round((self._clock.time() - LIFETIME_SECONDS) * 1_000))
        self.commands.table.take_changed()
        self._expiry_timer = self._clock.call_later(_EXPIRY_INTERVAL_SECONDS, self._forget_expired)
