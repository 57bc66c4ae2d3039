"""SyncState as the sender has it: one entry of the buffer and of the spool, sent in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from callcenter_ws.amp.commands import SyncState
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.state_sync import MAX_SYNC_BYTES, MAX_SYNC_ENTITIES, scope_named
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.runtime.json import encode_json

PART_ENTITIES = 500
PART_BYTES = 200_000
"""Entities, and bytes of their JSON, in one part; a larger entity is sent alone. The gateway takes twice as much."""

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def encode_state(
    tenant_id: object, scope: object, entities: Iterable[object], event_id: str, timestamp: str
) -> PendingEvent:
    """Return the entry of a sync. What the entities hold is checked by the gateway.

    Raises:
        Refusal: ``invalid_event`` or ``too_large``.
    """
    checked = scope_named(scope)
    listed = list(entities)
    if not isinstance(tenant_id, str) or not all(isinstance(entity, dict) for entity in listed):
        raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id, entities: expected a string, and a list of objects")
    if len(listed) > MAX_SYNC_ENTITIES:
        raise Refusal(ErrorCode.TOO_LARGE, f"entities: {len(listed)}, the limit is {MAX_SYNC_ENTITIES}")
    try:
        text = encode_json(listed)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        reason = f"entities: they cannot be encoded as JSON ({type(error).__name__})"
        raise Refusal(ErrorCode.INVALID_EVENT, reason) from None
    if len(text) > MAX_SYNC_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"entities: {len(text)} bytes of JSON, the limit is {MAX_SYNC_BYTES}")
    return PendingEvent.of_state(tenant_id, checked.name, text, event_id, timestamp)


def parts_of(entities: bytes) -> Iterator[bytes]:
    """Divide a JSON list into lists that are sent one after the other, at least one."""
    part: list[msgspec.Raw] = []
    size = 0
    for entity in _split(entities):
        length = memoryview(entity).nbytes
        if part and (len(part) == PART_ENTITIES or size + length > PART_BYTES):
            yield _joined(part)
            part, size = [], 0
        part.append(entity)
        size += length
    yield _joined(part)


def _joined(part: Iterable[msgspec.Raw]) -> bytes:
    return b"[" + b",".join(part) + b"]"


async def send_state(connection: GatewayConnection, event: PendingEvent) -> PublishResult:
    """Send all parts of a sync; return the answer to the last one.

    Raises:
        Refusal: that of one of the parts.
    """
    parts = list(parts_of(event.payload))
    answer: CommandResponse = {}
    for number, part in enumerate(parts, 1):
        answer = await connection.call(
            SyncState,
            tenant_id=event.tenant_id,
            scope=event.scope,
            source_seq=event.source_seq,
            part=number,
            last=number == len(parts),
            entities=part,
            timestamp=event.fields["timestamp"],
        )
    return PublishResult(answer["epoch"], answer["seq"], event.fields["event_id"])
