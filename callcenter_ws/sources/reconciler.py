"""Reconciler: publishes the difference between the state and what a source says of its entities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain

from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import QUEUE_STATS
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.entity import NO_VERSION, Entity, Version
from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.reconciliation import Reconciliation, reconciling_event
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.events.state_sync import Scope
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject, encode_json
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.sources.difference import DIFFERENCES, Change
from callcenter_ws.sources.known_event import known_events
from callcenter_ws.statistics.store import FigurePolicy

MAX_COMPARISONS = 8
"""Comparisons of one sync. While other senders change its entities each time, it is refused with ``unavailable``."""

RETRY_SECONDS = 0.1
"""The wait before an entity that has changed is compared again; it grows with each comparison."""

PART_EVENTS = 200
PART_BYTES = 1_048_576
"""Events, and bytes of payload, of one transaction; the events of one entity are in one."""

ENTITIES_PER_STEP = 20
STEP_BYTES = 262_144
"""Entities that are compared, or bytes of payloads that are read and made, in one step of a turn."""


@dataclass(frozen=True, slots=True)
class SourceState:
    """What a source has told of its entities.

    Attributes:
        source: its name.
        number: of the sync.
        entities: those of the source in the tenant and scope, by their keys.
        timestamp: that of the events; None: now.
    """

    tenant_id: str
    scope: Scope
    source: str
    number: SourceNumber
    entities: Mapping[EntityKey, JsonObject]
    timestamp: str | None


@dataclass(slots=True)
class Reconciled:
    """What was published.

    Attributes:
        result: the position of the last event; a duplicate if the sync is known.
        introduced, corrected, ended: how many entities.
        foreign: listed entities that belong to another source, and are left as they are.
        events: how many events.
    """

    result: PublishResult
    introduced: int = 0
    corrected: int = 0
    ended: int = 0
    foreign: int = 0
    events: int = 0


class _Part:
    """The events of one transaction, with the versions of their entities."""

    __slots__ = ("_size", "events", "guards", "kinds")

    def __init__(self) -> None:
        self.guards: list[tuple[EntityKey, Version]] = []
        self.events: list[Event] = []
        # Of each entity, the field of Reconciled that counts it.
        self.kinds: list[str] = []
        self._size = 0

    def has_room(self, events: Sequence[Event]) -> bool:
        """Return whether the events of another entity fit."""
        size = self._size + _bytes(events)
        return not self.events or (len(self.events) + len(events) <= PART_EVENTS and size <= PART_BYTES)

    def add(self, kind: str, key: EntityKey, version: Version, events: Sequence[Event]) -> None:
        """Add the events of one entity."""
        self.kinds.append(kind)
        self.guards.append((key, version))
        self.events += events
        self._size += _bytes(events)


_EntityChange = tuple[str, EntityKey, Version, list[Event]]
"""What becomes of an entity: the field of Reconciled that counts it, its key and version, and its events."""


class Reconciler:
    """Compares entities of the state with those that a source lists, and publishes the events of the difference.

    The events are published in parts. The store appends a part if none of its entities has changed since they were
    compared; otherwise all are compared again. The number of the sync is stored with the last part.

    Args:
        figure_policy: for which queues ``queue.stats`` of senders are published; None: for all.
    """

    def __init__(self, broker: Broker, clock: Clock, figure_policy: FigurePolicy | None = None) -> None:
        self._broker = broker
        self._figure_policy = figure_policy
        self._clock = clock
        self._slicer = Slicer(clock)

    async def reconcile(self, state: SourceState) -> Reconciled:
        """Publish the difference.

        Raises:
            Refusal: of the store; ``unavailable`` if entities change all the time; that of an event that is not valid.
        """
        done = Reconciled(PublishResult("", 0, ""))
        for attempt in range(MAX_COMPARISONS):
            if attempt:
                await self._wait(attempt * RETRY_SECONDS)
            if await self._publish_difference(state, done):
                return done
        text = f"the {state.scope.name} of {state.tenant_id} are changed by other senders all the time; send again"
        raise Refusal(ErrorCode.UNAVAILABLE, text)

    def _wait(self, seconds: float) -> Deferred[None]:
        waited: Deferred[None] = Deferred()
        self._clock.call_later(seconds, waited.callback, None)
        return waited

    async def _publish_difference(self, state: SourceState, done: Reconciled) -> bool:
        """Compare, and publish each part when the next one is begun; return False if an entity has changed."""
        done.foreign = 0
        changes = self._compare(state, await self._broker.entities(state.tenant_id, state.scope.kind), done)
        part = _Part()
        while (change := await self._next_change(changes)) is not None:
            kind, key, version, events = change
            if not part.has_room(events):
                if not await self._publish(state, part, done, is_last=False):
                    return False
                if done.result.duplicate:
                    return True
                part = _Part()
            part.add(kind, key, version, events)
        return await self._publish(state, part, done, is_last=True)

    async def _publish(self, state: SourceState, part: _Part, done: Reconciled, *, is_last: bool) -> bool:
        """Publish a part; return False if an entity has changed.

        Raises:
            Refusal: of the store.
        """
        number = state.number
        rule = Reconciliation(
            generation=number.generation,
            seq=number.seq,
            after=number.after,
            lease=number.lease,
            guards=tuple(part.guards),
            events=tuple(part.events),
            is_last=is_last,
        )
        event = reconciling_event(state.tenant_id, state.source, rule, self._clock.monotonic())
        (outcome,) = await self._broker.publish([event])
        if isinstance(outcome, Refusal):
            if outcome.code is ErrorCode.TRY_LATER:
                return False
            raise outcome.copy()
        done.result = outcome
        if not outcome.duplicate:
            done.events += len(part.events)
            done.introduced += part.kinds.count("introduced")
            done.corrected += part.kinds.count("corrected")
            done.ended += part.kinds.count("ended")
        return True

    # Comparing

    async def _next_change(self, changes: Iterator[_EntityChange | None]) -> _EntityChange | None:
        """Return the next change; None if there is no more. Each step of the comparison waits for its turn."""
        for change in changes:
            if change is not None:
                return change
            turn: Deferred[None] = Deferred()
            self._slicer.call(partial(turn.callback, None))
            await turn
        return None

    def _compare(
        self, state: SourceState, entities: Sequence[tuple[EntityKey, Entity]], done: Reconciled
    ) -> Iterator[_EntityChange | None]:
        """Yield the changes of the entities that differ, and None after each step."""
        known = dict(entities)
        yield None
        # What has ended comes first: an agent may be in another call by now.
        gone = (("ended", key, entity, None) for key, entity in entities if _is_gone(state, key, entity))
        listed = ((_kind(known.get(key), state), key, known.get(key), each) for key, each in state.entities.items())
        work = 0
        for kind, key, entity, description in chain(gone, listed):
            if kind == "foreign":
                done.foreign += 1
            else:
                publications = [] if entity is None else entity.publications()
                version = NO_VERSION if entity is None else entity.version
                changes = DIFFERENCES[state.scope.name](known_events(publications), description)
                events = [self._event(state, key, version, one) for one in changes if self._is_used(state, one)]
                if events:
                    yield kind, key, version, events
                work += _bytes(events) + sum(len(publication.event.payload) for publication in publications)
            work += STEP_BYTES // ENTITIES_PER_STEP
            if work >= STEP_BYTES:
                work = 0
                yield None

    def _is_used(self, state: SourceState, change: Change) -> bool:
        """Return whether an event is published; not the figures of a queue whose figures the gateway derives."""
        type_, payload = change
        if type_ != QUEUE_STATS or self._figure_policy is None:
            return True
        return self._figure_policy.takes_producers(state.tenant_id, str(payload["queue_name"]))

    def _event(self, state: SourceState, key: EntityKey, version: Version, change: Change) -> Event:
        type_, payload = change
        event = make_event(
            tenant_id=state.tenant_id,
            type_=type_,
            payload={**payload, "reconciled": True},
            event_id=_event_id(state, key, version, type_),
            timestamp=state.timestamp,
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
        )
        event.source = state.source
        # The number of the sync makes sure that it is appended once.
        event.has_new_id = True
        return event


def _event_id(state: SourceState, key: EntityKey, version: Version, type_: str) -> str:
    """Return the id of an event: the same whenever the same sync makes the same change."""
    digest = hashlib.blake2b(encode_json((key, version, type_)), digest_size=12).hexdigest()
    return f"{state.source}-{state.number.generation}-{state.number.seq}-{digest}"


def _is_gone(state: SourceState, key: EntityKey, entity: Entity) -> bool:
    return entity.owner == state.source and key not in state.entities


def _kind(entity: Entity | None, state: SourceState) -> str:
    """Return what may become of a listed entity: the field of Reconciled that counts it."""
    if entity is None:
        return "introduced"
    return "corrected" if entity.owner in (None, state.source) else "foreign"


def _bytes(events: Sequence[Event]) -> int:
    return sum(len(event.payload) for event in events)
