"""The broker that keeps everything in this process: for tests and the demo (PROTOCOL section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.broker.mailboxes import Mailboxes
from callcenter_ws.broker.state import ENTITY_LIFETIME
from callcenter_ws.broker.stream import Stream
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
    PublishResult,
    Revocation,
    Snapshot,
    nobody_is_interrupted,
)
from callcenter_ws.runtime.clock import Clock, Timer

_HOUSEKEEPING = 60.0


@dataclass(slots=True)
class _Tenant:
    """One tenant's stream and mailboxes.

    Attributes:
        counted: their bytes that the broker's total holds.
    """

    stream: Stream = field(default_factory=Stream)
    mailboxes: Mailboxes = field(default_factory=Mailboxes)
    counted: int = 0


class MemoryBroker:
    """Implements ``interfaces.Broker`` in memory. Its epoch ends with the process.

    Args:
        memory_events: messages kept per tenant.
        memory_bytes: bytes of messages kept over all tenants. When they are exceeded the history gives way, then
            the state, of tenants without clients first, then the oldest messages in mailboxes.
        history_seconds: how long a message is kept.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        memory_events: int = 1_000,
        memory_bytes: int = 268_435_456,
        history_seconds: float = 86_400,
    ) -> None:
        self._clock = clock
        self._epoch = UlidFactory(clock.time)()
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._history_seconds = history_seconds
        self._tenants: dict[str, _Tenant] = {}
        self._attached: set[str] = set()
        self._bytes = 0
        self._deliver: Deliver | None = None
        self._housekeeping: Timer | None = None

    async def start(self, deliver: Deliver, interrupted: Interrupted = nobody_is_interrupted) -> None:
        """Begin to hand published messages to ``deliver``."""
        self._deliver = deliver
        self._housekeeping = self._clock.call_later(_HOUSEKEEPING, self._keep_house)

    async def stop(self) -> None:
        """Refuse what is published from now on."""
        self._deliver = None
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            self._housekeeping = None

    def attach(self, tenant_id: str) -> None:
        """The tenant has clients here: its memory is kept as long as possible."""
        self._attached.add(tenant_id)

    def detach(self, tenant_id: str) -> None:
        """The tenant has no clients here: its memory may go first."""
        self._attached.discard(tenant_id)

    async def publish(self, events: Sequence[Event]) -> list[PublishResult | Refusal]:
        """Append the events and deliver them at once; see ``interfaces.Broker.publish``."""
        if self._deliver is None:
            return [Refusal(ErrorCode.UNAVAILABLE, "the store is closed") for _ in events]
        outcomes: list[PublishResult | Refusal] = []
        fresh: dict[str, list[Publication]] = {}
        for event in events:
            outcome, publication = self._append(event)
            outcomes.append(outcome)
            if publication is not None:
                fresh.setdefault(event.tenant_id, []).append(publication)
        if self._bytes > self._memory_bytes:
            self._make_room()
        for publications in fresh.values():
            self._deliver(publications)
        return outcomes

    def _append(self, event: Event) -> tuple[PublishResult, Publication | None]:
        tenant = self._tenants.get(event.tenant_id)
        if tenant is None:
            tenant = self._tenants[event.tenant_id] = _Tenant()
        stream = tenant.stream
        first = stream.first_seq_of(event)
        if first is not None:
            return PublishResult(self._epoch, first, event.event_id, duplicate=True), None
        publication = stream.stage(event)
        stream.settle(publication)
        stream.history.keep(self._memory_events, event.received_at - self._history_seconds)
        if event.is_mail:
            tenant.mailboxes.put(publication, self._clock.time())
        self._count(tenant)
        return PublishResult(self._epoch, publication.seq, event.event_id), publication

    def _count(self, tenant: _Tenant) -> None:
        """Bring the total up to date after something grew or shrank."""
        held = tenant.stream.bytes + tenant.mailboxes.bytes
        self._bytes += held - tenant.counted
        tenant.counted = held

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        """The head of the tenant's stream."""
        tenant = self._tenants.get(tenant_id)
        return Position(self._epoch, 0 if tenant is None else tenant.stream.history.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """At most ``limit`` messages after ``after``, as far as memory reaches back."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return HistoryPage(self._epoch, [], after >= 0, 0)
        history = tenant.stream.history
        if after < history.floor:
            return HistoryPage(self._epoch, [], False, history.head)
        return HistoryPage(self._epoch, history.after(after, limit), True, history.head)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """The tenant's state at its head."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return Snapshot(self._epoch, 0, [])
        stream = tenant.stream
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        self._count(tenant)
        return Snapshot(self._epoch, stream.history.head, stream.state.publications())

    async def mail(self, tenant_id: str, user_id: str, after: int, limit: int) -> MailboxPage:
        """What waits for a user; see ``interfaces.Broker.mail``."""
        tenant = self._tenants.get(tenant_id)
        if tenant is None:
            return MailboxPage([], None)
        return tenant.mailboxes.read(user_id, after, limit, self._clock.time())

    def mark_mail_sent(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """Messages were written to a socket of the user."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.mailboxes.mark_sent(user_id, event_ids)

    def acknowledge_mail(self, tenant_id: str, user_id: str, event_ids: Sequence[str]) -> None:
        """The user has these messages."""
        tenant = self._tenants.get(tenant_id)
        if tenant is not None:
            tenant.mailboxes.take(user_id, event_ids)
            self._count(tenant)

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest message in memory with this key, or 0."""
        tenant = self._tenants.get(tenant_id)
        return 0 if tenant is None else tenant.stream.history.newest_of(conflation_key)

    def load_presence(self) -> Sequence[PresenceRecord]:
        """Nothing: this memory begins with the process (``interfaces.PresenceStore``)."""
        return ()

    def note(self, attendance: PresenceRecord) -> None:
        """Nothing is remembered beyond what ``Presence`` itself knows."""

    def load_revocations(self) -> Sequence[Revocation]:
        """Nothing, either."""
        return ()

    def save_revocation(self, revocation: Revocation) -> None:
        """The list in memory ends with the process, as all here does."""

    def state(self) -> dict[str, Any]:
        """What ``/ws/stats`` shows of this broker."""
        return {
            "kind": "memory",
            "ready": self.not_ready() is None,
            "epoch": self._epoch,
            "tenants": len(self._tenants),
            "memory_bytes": self._bytes,
        }

    def not_ready(self) -> str | None:
        """Ready from start to stop."""
        return "the store is closed" if self._deliver is None else None

    def _make_room(self) -> None:
        detached = [tenant for name, tenant in self._tenants.items() if name not in self._attached]
        attached = [tenant for name, tenant in self._tenants.items() if name in self._attached]
        for tenants in (detached, attached):
            for tenant in sorted(tenants, key=lambda tenant: tenant.stream.history.bytes, reverse=True):
                self._halve_history(tenant)
        if self._bytes <= self._memory_bytes:
            return
        # Somewhat more than needed, or every event from now on would cost all tenants their history.
        enough = self._memory_bytes - self._memory_bytes // 16
        for tenants in (detached, attached):
            for tenant in sorted(tenants, key=lambda tenant: tenant.stream.state.bytes, reverse=True):
                self._shrink_state(tenant, enough)
        for tenant in sorted(self._tenants.values(), key=lambda tenant: tenant.mailboxes.bytes, reverse=True):
            self._shrink_mailboxes(tenant, enough)

    def _halve_history(self, tenant: _Tenant) -> None:
        history = tenant.stream.history
        while history and self._bytes > self._memory_bytes:
            history.keep(len(history) // 2, 0)
            self._count(tenant)

    def _shrink_state(self, tenant: _Tenant, enough: int) -> None:
        while tenant.stream.state and self._bytes > enough:
            tenant.stream.state.forget_oldest()
            self._count(tenant)

    def _shrink_mailboxes(self, tenant: _Tenant, enough: int) -> None:
        while tenant.mailboxes and self._bytes > enough:
            tenant.mailboxes.forget_oldest()
            self._count(tenant)

    def _keep_house(self) -> None:
        """Let age take its toll on tenants that publish nothing."""
        now = self._clock.monotonic()
        for tenant in self._tenants.values():
            tenant.stream.history.keep(self._memory_events, now - self._history_seconds)
            tenant.stream.age(now)
            tenant.mailboxes.forget_expired(self._clock.time())
            self._count(tenant)
        self._housekeeping = self._clock.call_later(_HOUSEKEEPING, self._keep_house)
