"""The broker that keeps everything in this process: for tests and the demo (PROTOCOL section 7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from callcenter_ws.core.calls import CALL_LIFETIME, CallTable
from callcenter_ws.core.history import ENTITY_LIFETIME, History, State
from callcenter_ws.core.idempotency import WINDOW, RecentIds
from callcenter_ws.core.identity import IdMaker
from callcenter_ws.core.message import Event, Message
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Clock, Deliver, Position, Published, Slice, Snapshot, Timer

_HOUSEKEEPING = 60.0


@dataclass(slots=True)
class _Stream:
    """One tenant's stream.

    Attributes:
        counted: the bytes of history and state that the broker's total holds.
    """

    history: History = field(default_factory=History)
    state: State = field(default_factory=State)
    recent: RecentIds = field(default_factory=RecentIds)
    calls: CallTable = field(default_factory=CallTable)
    counted: int = 0


class MemoryBroker:
    """Implements ``interfaces.Broker`` in memory. Its epoch ends with the process.

    Args:
        memory_events: messages kept per tenant.
        memory_bytes: bytes of messages kept over all tenants. When they are exceeded the history gives way, then
            the state, of tenants without clients first.
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
        self._epoch = IdMaker(clock.time)()
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._history_seconds = history_seconds
        self._streams: dict[str, _Stream] = {}
        self._attached: set[str] = set()
        self._bytes = 0
        self._deliver: Deliver | None = None
        self._housekeeping: Timer | None = None

    async def start(self, deliver: Deliver) -> None:
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

    async def publish(self, events: Sequence[Event]) -> list[Published | Refusal]:
        """Append the events and deliver them at once; see ``interfaces.Broker.publish``."""
        if self._deliver is None:
            return [Refusal(ErrorCode.UNAVAILABLE, "the store is closed") for _ in events]
        outcomes: list[Published | Refusal] = []
        fresh: dict[str, list[Message]] = {}
        for event in events:
            outcome, message = self._append(event)
            outcomes.append(outcome)
            if message is not None:
                fresh.setdefault(event.tenant_id, []).append(message)
        if self._bytes > self._memory_bytes:
            self._make_room()
        for messages in fresh.values():
            self._deliver(messages)
        return outcomes

    def _append(self, event: Event) -> tuple[Published, Message | None]:
        stream = self._streams.get(event.tenant_id)
        if stream is None:
            stream = self._streams[event.tenant_id] = _Stream()
        first = stream.recent.seq_of(event.event_id, event.received_at)
        if first is not None:
            return Published(self._epoch, first, event.event_id, duplicate=True), None
        stream.calls.complete(event)
        message = Message(event, stream.history.head + 1)
        stream.history.append(message)
        stream.history.keep(self._memory_events, event.received_at - self._history_seconds)
        stream.state.apply(message)
        self._count(stream)
        stream.recent.remember(event.event_id, message.seq, event.received_at)
        return Published(self._epoch, message.seq, event.event_id), message

    def _count(self, stream: _Stream) -> None:
        """Bring the total up to date after a stream grew or shrank."""
        held = stream.history.bytes + stream.state.bytes
        self._bytes += held - stream.counted
        stream.counted = held

    async def position(self, tenant_id: str) -> Position:
        """The head of the tenant's stream."""
        stream = self._streams.get(tenant_id)
        return Position(self._epoch, 0 if stream is None else stream.history.head)

    async def read(self, tenant_id: str, after: int, limit: int) -> Slice:
        """At most ``limit`` messages after ``after``, as far as memory reaches back."""
        stream = self._streams.get(tenant_id)
        if stream is None:
            return Slice(self._epoch, [], after >= 0, 0)
        history = stream.history
        if after < history.floor:
            return Slice(self._epoch, [], False, history.head)
        return Slice(self._epoch, history.after(after, limit), True, history.head)

    async def snapshot(self, tenant_id: str) -> Snapshot:
        """The tenant's state at its head."""
        stream = self._streams.get(tenant_id)
        if stream is None:
            return Snapshot(self._epoch, 0, [])
        stream.state.forget_before(self._clock.monotonic() - ENTITY_LIFETIME)
        self._count(stream)
        return Snapshot(self._epoch, stream.history.head, stream.state.messages())

    def newest_of(self, tenant_id: str, conflation_key: tuple[str, ...]) -> int:
        """``seq`` of the newest message in memory with this key, or 0."""
        stream = self._streams.get(tenant_id)
        return 0 if stream is None else stream.history.newest_of(conflation_key)

    def state(self) -> dict[str, Any]:
        """What ``/ws/stats`` shows of this broker."""
        return {
            "kind": "memory",
            "ready": self.not_ready() is None,
            "epoch": self._epoch,
            "tenants": len(self._streams),
            "memory_bytes": self._bytes,
        }

    def not_ready(self) -> str | None:
        """Ready from start to stop."""
        return "the store is closed" if self._deliver is None else None

    def _make_room(self) -> None:
        detached = [stream for tenant, stream in self._streams.items() if tenant not in self._attached]
        attached = [stream for tenant, stream in self._streams.items() if tenant in self._attached]
        for streams in (detached, attached):
            for stream in sorted(streams, key=lambda stream: stream.history.bytes, reverse=True):
                self._halve_history(stream)
        if self._bytes <= self._memory_bytes:
            return
        # Somewhat more than needed, or every event from now on would cost all tenants their history.
        enough = self._memory_bytes - self._memory_bytes // 16
        for streams in (detached, attached):
            for stream in sorted(streams, key=lambda stream: stream.state.bytes, reverse=True):
                self._shrink_state(stream, enough)

    def _halve_history(self, stream: _Stream) -> None:
        while stream.history and self._bytes > self._memory_bytes:
            stream.history.keep(len(stream.history) // 2, 0)
            self._count(stream)

    def _shrink_state(self, stream: _Stream, enough: int) -> None:
        while stream.state and self._bytes > enough:
            stream.state.forget_oldest()
            self._count(stream)

    def _keep_house(self) -> None:
        """Let age take its toll on tenants that publish nothing."""
        now = self._clock.monotonic()
        for stream in self._streams.values():
            stream.history.keep(self._memory_events, now - self._history_seconds)
            stream.state.forget_before(now - ENTITY_LIFETIME)
            stream.recent.forget_before(now - WINDOW)
            stream.calls.forget_before(now - CALL_LIFETIME)
            self._count(stream)
        self._housekeeping = self._clock.call_later(_HOUSEKEEPING, self._keep_house)
