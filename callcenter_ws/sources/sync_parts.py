"""The parts of a ``SyncState``, until the last one has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakSet

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import EntityKey
from callcenter_ws.events.state_sync import (
    MAX_PART_ENTITIES,
    MAX_PARTS,
    MAX_SYNC_BYTES,
    MAX_SYNC_ENTITIES,
    Scope,
    check_entity,
)
from callcenter_ws.runtime.json import JsonObject, JsonValue

MAX_HELD_BYTES = 67_108_864
"""Bytes of JSON in the unfinished syncs of all connections; above that, the one longest without a part is forgotten."""


@dataclass(frozen=True, slots=True)
class SyncPart:
    """One call of ``SyncState``.

    Attributes:
        number: ``source_seq`` of the sync.
        part: from 1.
        last: whether the sync takes effect with it.
        size: bytes of JSON of the entities.
        timestamp: of the events that make up the difference; None: now.
        problem: why the entities could not be decoded.
    """

    tenant_id: str
    scope: Scope
    number: int
    part: int
    last: bool
    entities: Sequence[JsonValue]
    size: int
    timestamp: str | None = None
    problem: Refusal | None = None


class SyncParts:
    """What has come of one ``SyncState``.

    Args:
        first: the first part, which is added like every other one.

    Attributes:
        entities: by their keys.
        size: bytes of their JSON.
        is_forgotten: whether other syncs have taken its place.
        added_last: orders syncs by their last part.
    """

    __slots__ = ("__weakref__", "_count", "added_last", "entities", "first", "is_forgotten", "size")

    def __init__(self, first: SyncPart) -> None:
        self.first = first
        self._count = self.added_last = 0
        self.entities: dict[EntityKey, JsonObject] = {}
        self.size = 0
        self.is_forgotten = False

    def add(self, part: SyncPart) -> None:
        """Add the next part.

        Raises:
            Refusal: it is not the next one, or not valid; ``too_large``: beyond the limits.
        """
        first = self.first
        if (part.number, part.tenant_id, part.scope) != (first.number, first.tenant_id, first.scope):
            raise Refusal(ErrorCode.INVALID_EVENT, "part: of another sync; its first part has the number 1")
        if part.part != self._count + 1:
            raise Refusal(ErrorCode.INVALID_EVENT, f"part: expected {self._count + 1}, not {part.part}")
        if part.problem is not None:
            raise part.problem.copy()
        self.size += part.size
        if part.part > MAX_PARTS or self.size > MAX_SYNC_BYTES or len(part.entities) > MAX_PART_ENTITIES:
            text = f"more than {MAX_PARTS} parts, {MAX_PART_ENTITIES} entities in a part or {MAX_SYNC_BYTES} bytes"
            raise Refusal(ErrorCode.TOO_LARGE, f"entities: {text}")
        self._count += 1
        for index, entity in enumerate(part.entities):
            self._add(part.scope, entity, index)
        if len(self.entities) > MAX_SYNC_ENTITIES:
            raise Refusal(ErrorCode.TOO_LARGE, f"entities: more than {MAX_SYNC_ENTITIES} in one sync")

    def _add(self, scope: Scope, entity: JsonValue, index: int) -> None:
        if isinstance(entity, Refusal):
            raise Refusal(entity.code, f"entities[{index}]: {entity.message}")
        check_entity(scope, entity, lambda: f"entities[{index}]")
        key = scope.key_of(entity)
        if key in self.entities:
            raise Refusal(ErrorCode.INVALID_EVENT, f"entities[{index}]: the same {scope.kind} twice")
        self.entities[key] = entity


class HeldParts:
    """The unfinished syncs of all connections, within ``MAX_HELD_BYTES``. A connection that ends takes its own away."""

    def __init__(self, max_bytes: int = MAX_HELD_BYTES) -> None:
        self._max_bytes = max_bytes
        self._held: WeakSet[SyncParts] = WeakSet()
        self._added = 0

    @property
    def bytes(self) -> int:
        """Bytes of JSON in all of them."""
        return sum(parts.size for parts in self._held)

    def added(self, parts: SyncParts) -> None:
        """Count a part that was added to a sync, and forget other syncs if there are too many bytes."""
        self._held.add(parts)
        self._added += 1
        parts.added_last = self._added
        size = self.bytes
        for one in sorted(self._held, key=lambda one: one.added_last):
            if size <= self._max_bytes:
                break
            if one is not parts:
                size -= one.size
                one.entities, one.size, one.is_forgotten = {}, 0, True

    def release(self, parts: SyncParts) -> None:
        """Count a sync no longer: it is complete, or refused."""
        self._held.discard(parts)
