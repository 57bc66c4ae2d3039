"""Ingest: validates every published event and passes it to the Broker.

All publishers use the EventBroadcaster: daemons over AMP, services over HTTP, agents and visitors over WebSocket.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.event import PAYLOAD_BYTES, ChatWriter, Event, Origin, make_event
from callcenter_ws.events.methods import EventMethods
from callcenter_ws.events.mistakes import unknown_fields
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.events.source_rules import SOURCE_TYPES
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.statistics.store import FigurePolicy

MAX_EXPLAINED_REFUSALS = 5
"""Refused events of one batch whose refusals name all mistakes; that takes up to a millisecond for each."""

QUEUE_STATS = "queue.stats"

_FIELDS = frozenset(("tenant_id", "type", "payload", "user_id", "event_id", "timestamp", "persist"))


@dataclass(slots=True)
class IngestCounters:
    """The numbers of accepted, repeated and refused events; refused ones by error code. For the metrics.

    Attributes:
        source_duplicates: those of ``duplicates`` that were numbered by their source.
        unused_queue_stats: those of senders for queues of which the gateway derives the figures; not published.
        valid: events that passed validation, by type, whatever the store answered.
    """

    accepted: int = 0
    duplicates: int = 0
    source_duplicates: int = 0
    unused_queue_stats: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    valid: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CATALOGUE, 0))

    def count(self, outcome: PublishResult | Refusal) -> None:
        """Count one outcome."""
        if isinstance(outcome, Refusal):
            self.refused[outcome.code] = self.refused.get(outcome.code, 0) + 1
        elif not outcome.epoch:
            self.unused_queue_stats += 1
        elif outcome.duplicate:
            self.duplicates += 1
        else:
            self.accepted += 1


class EventBroadcaster(EventMethods[Awaitable[PublishResult]]):
    """Validates events and passes them to the Broker.

    Args:
        max_payload_bytes: the limit of a payload, in bytes of JSON.
        figure_policy: for which queues ``queue.stats`` of senders are published; None: for all.
    """

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        *,
        max_payload_bytes: int = PAYLOAD_BYTES,
        figure_policy: FigurePolicy | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._new_id = UlidFactory(clock.time)
        self._max_payload_bytes = max_payload_bytes
        self._figure_policy = figure_policy
        self.counters = IngestCounters()

    async def publish(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the name of the field on the wire
        payload: JsonObject,
        *,
        user_id: str | None = None,
        event_id: str | None = None,
        timestamp: str | None = None,
        persist: bool = False,
        origin: Origin = Origin.PRODUCER,
        chat_writer: ChatWriter | None = None,
    ) -> PublishResult:
        """Publish one event; see ``EventMethods.publish``.

        Args:
            chat_writer: the condition on which the store accepts an event of a chat.

        Raises:
            Refusal: ``unknown_event``, ``invalid_event`` with the path of what is wrong, ``too_large``,
                ``forbidden``; ``overloaded`` or ``unavailable`` when the store cannot accept it.
        """
        draft = {
            "tenant_id": tenant_id,
            "type": type,
            "payload": payload,
            "user_id": user_id,
            "event_id": event_id,
            "timestamp": timestamp,
            "persist": persist,
        }
        (outcome,) = await self.publish_batch([draft], origin=origin, trusted=True, chat_writer=chat_writer)
        if isinstance(outcome, Refusal):
            raise outcome.copy()
        return outcome

    async def publish_batch(
        self,
        drafts: Sequence[object],
        *,
        authority: str = EVERY_TENANT,
        origin: Origin = Origin.PRODUCER,
        trusted: bool = False,
        chat_writer: ChatWriter | None = None,
    ) -> list[PublishResult | Refusal]:
        """Publish many events; return one outcome per draft, in order. A refused event does not affect the others.

        Args:
            drafts: decoded JSON objects with the fields of ``PublishEvent`` (``docs/senders.rst``, "The commands"); a
                Refusal for one that could not be decoded.
            authority: the tenant for which the publisher may publish; ``*``: all. Events of other tenants are refused
                with ``forbidden``.
            trusted: whether the publisher is part of this process, and may publish ``source.up`` and ``source.down``.
            chat_writer: the condition on which the store accepts events of chats.
        """
        outcomes: list[PublishResult | Refusal | None] = [None] * len(drafts)
        events: list[Event] = []
        indexes: list[int] = []
        now, received_at = self._clock.time(), self._clock.monotonic()
        refused = 0
        for index, draft in enumerate(drafts):
            try:
                event = self.validate(draft, authority, origin, now, received_at, refused < MAX_EXPLAINED_REFUSALS)
                _check_publisher(event, origin, trusted)
                if self.is_unused(event):
                    outcomes[index] = unused_result(event.event_id)
                    continue
                events.append(event)
                indexes.append(index)
            except Refusal as refusal:
                outcomes[index] = refusal
                refused += 1
        if chat_writer is not None:
            for event in events:
                event.chat_writer = chat_writer
        if events:
            for index, outcome in zip(indexes, await self._broker.publish(events), strict=True):
                outcomes[index] = outcome
        known = [outcome for outcome in outcomes if outcome is not None]
        for outcome in known:
            self.counters.count(outcome)
        return known

    def is_unused(self, event: Event) -> bool:
        """Return whether an event is accepted, but not published: the gateway derives what it says."""
        if event.type.name != QUEUE_STATS or self._figure_policy is None:
            return False
        return not self._figure_policy.takes_producers(event.tenant_id, event.queue_name)

    def validate(
        self, draft: object, authority: str, origin: Origin, now: float, received_at: float, explain: bool
    ) -> Event:
        """Return the event of a draft; see ``publish_batch``.

        Args:
            now: Unix time in seconds.
            received_at: seconds of the monotonic clock.
            explain: whether a refusal names all mistakes.

        Raises:
            Refusal: the draft is not valid.
        """
        if not isinstance(draft, dict):
            if isinstance(draft, Refusal):
                raise draft.copy()
            raise Refusal(ErrorCode.INVALID_EVENT, "expected an object with tenant_id, type and payload")
        if not draft.keys() <= _FIELDS:
            if "source_seq" in draft:
                raise Refusal(ErrorCode.INVALID_EVENT, "source_seq: only after Hello, over AMP")
            raise Refusal(ErrorCode.INVALID_EVENT, unknown_fields(draft, _FIELDS, suggest=explain))
        if authority not in (EVERY_TENANT, draft.get("tenant_id")):
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token is for another tenant")
        event_id = draft.get("event_id")
        event = make_event(
            tenant_id=draft.get("tenant_id"),
            type_=draft.get("type"),
            payload=draft.get("payload"),
            user_id=draft.get("user_id"),
            event_id=self._new_id() if event_id is None else event_id,
            timestamp=draft.get("timestamp"),
            persist=draft.get("persist", False),
            now=now,
            received_at=received_at,
            origin=origin,
            max_bytes=self._max_payload_bytes,
            explain=explain,
        )
        if event_id is None:
            event.has_new_id = True
        self.counters.valid[event.type.name] += 1
        return event


def unused_result(event_id: str) -> PublishResult:
    """Return the outcome of an event that is accepted, but not published: it has no position."""
    return PublishResult("", 0, event_id)


def only_for_gateway(event: Event) -> Refusal:
    """Return the refusal of an event of a sender that only the gateway itself makes."""
    return Refusal(ErrorCode.FORBIDDEN, f"type: only the gateway itself makes {event.type.name}")


def _check_publisher(event: Event, origin: Origin, trusted: bool) -> None:
    """Refuse an event of a type that the publisher may not publish."""
    if event.type.name in SOURCE_TYPES and not trusted:
        text = f"type: only a source itself publishes {event.type.name}, after Hello"
        raise Refusal(ErrorCode.FORBIDDEN, text)
    if event.type.by_gateway and origin is not Origin.GATEWAY:
        raise only_for_gateway(event)
