"""Reconciler: publishes the difference between the state and what a source says of its entities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from twisted.internet.defer import Deferred

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

MAX_COMPARISONS = 8
"""Comparisons of one sync. While other senders change its entities each time, it is refused with ``unavailable``."""

RETRY_SECONDS = 0.1
"""The wait before an entity that has changed is compared again; it grows with each comparison."""

PART_EVENTS = 200
PART_BYTES = 1_048_576
"""Events, and bytes of payload, of one transaction; the events of one entity are in one."""

ENTITIES_PER_STEP = 20
"""Entities that are compared in one step of a turn."""


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


@dataclass(slots=True)
class _Comparison:
    """The outcome of one comparison.

    Attributes:
        parts: the events by transaction, with the versions of their entities.
    """

    parts: list[tuple[list[tuple[EntityKey, Version]], list[Event]]] = field(default_factory=list)
    introduced: int = 0
    corrected: int = 0
    ended: int = 0
    foreign: int = 0
    size: int = 0

    def add(self, key: EntityKey, version: Version, events: list[Event]) -> None:
        """Add the events of one entity to the last part, or begin another one."""
        size = sum(len(event.payload) for event in events)
        if not self.parts or len(self.parts[-1][1]) + len(events) > PART_EVENTS or self.size + size > PART_BYTES:
            self.parts.append(([], []))
            self.size = 0
        guards, part = self.parts[-1]
        guards.append((key, version))
        part += events
        self.size += size


class Reconciler:
    """Compares entities of the state with those that a source lists, and publishes the events of the difference.

    The events are published in parts. The store appends a part if none of its entities has changed since they were
    compared; otherwise all are compared again. The number of the sync is stored with the last part.
    """

    def __init__(self, broker: Broker, clock: Clock) -> None:
        self._broker = broker
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
            entities = await self._broker.entities(state.tenant_id, state.scope.kind)
            comparison = _Comparison()
            await self._slicer.run(self._compare(state, entities, comparison))
            if await self._publish(state, comparison, done):
                return done
        text = f"the {state.scope.name} of {state.tenant_id} are changed by other senders all the time; send again"
        raise Refusal(ErrorCode.UNAVAILABLE, text)

    def _wait(self, seconds: float) -> Deferred[None]:
        waited: Deferred[None] = Deferred()
        self._clock.call_later(seconds, waited.callback, None)
        return waited

    async def _publish(self, state: SourceState, comparison: _Comparison, done: Reconciled) -> bool:
        """Publish the parts of a comparison; return whether the sync is done.

        Raises:
            Refusal: of the store.
        """
        parts = comparison.parts or [([], [])]
        for index, (guards, events) in enumerate(parts, 1):
            number = state.number
            rule = Reconciliation(
                generation=number.generation,
                seq=number.seq,
                after=number.after,
                lease=number.lease,
                guards=tuple(guards),
                events=tuple(events),
                is_last=index == len(parts),
            )
            event = reconciling_event(state.tenant_id, state.source, rule, self._clock.monotonic())
            (outcome,) = await self._broker.publish([event])
            if isinstance(outcome, Refusal):
                if outcome.code is ErrorCode.TRY_LATER:
                    return False
                raise outcome.copy()
            done.result = outcome
            if outcome.duplicate:
                return True
            done.events += len(events)
        done.introduced += comparison.introduced
        done.corrected += comparison.corrected
        done.ended += comparison.ended
        done.foreign = comparison.foreign
        return True

    # Comparing

    def _compare(
        self, state: SourceState, entities: list[tuple[EntityKey, Entity]], comparison: _Comparison
    ) -> Iterator[None]:
        known = dict(entities)
        yield
        # What has ended comes first: an agent may be in another call by now.
        for number, (key, entity) in enumerate(entities, 1):
            if entity.owner == state.source and key not in state.entities:
                comparison.ended += self._compare_entity(state, key, entity, None, comparison)
            if number % ENTITIES_PER_STEP == 0:
                yield
        for number, (key, listed) in enumerate(state.entities.items(), 1):
            self._compare_listed(state, key, known.get(key), listed, comparison)
            if number % ENTITIES_PER_STEP == 0:
                yield

    def _compare_listed(
        self, state: SourceState, key: EntityKey, entity: Entity | None, listed: JsonObject, comparison: _Comparison
    ) -> None:
        if entity is None:
            comparison.introduced += self._compare_entity(state, key, None, listed, comparison)
        elif entity.owner not in (None, state.source):
            comparison.foreign += 1
        else:
            comparison.corrected += self._compare_entity(state, key, entity, listed, comparison)

    def _compare_entity(
        self,
        state: SourceState,
        key: EntityKey,
        entity: Entity | None,
        listed: JsonObject | None,
        comparison: _Comparison,
    ) -> bool:
        """Add the events of one entity; return whether there are any."""
        version = NO_VERSION if entity is None else entity.version
        changes = DIFFERENCES[state.scope.name]([] if entity is None else entity.publications(), listed)
        if changes:
            comparison.add(key, version, [self._event(state, key, version, change) for change in changes])
        return bool(changes)

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
