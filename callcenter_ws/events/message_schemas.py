"""JSON Schemas (draft 2020-12) of the messages that clients receive of each event type, made from the catalogue."""

from __future__ import annotations

import msgspec

from callcenter_ws.events.catalogue import CATALOGUE, EventType
from callcenter_ws.events.identifiers import MAX_ID_LENGTH
from callcenter_ws.runtime.json import JsonObject

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_ID: JsonObject = {"type": "string", "minLength": 1, "maxLength": MAX_ID_LENGTH}


def message_schemas() -> dict[str, JsonObject]:
    """Return the schema of the messages of each event type, by its name."""
    return {name: _message_schema(declared) for name, declared in CATALOGUE.items()}


def _message_schema(declared: EventType) -> JsonObject:
    """Return the schema of a message: its envelope, with the payload in the full view.

    Unknown fields are allowed everywhere, as senders may add them.
    """
    properties: JsonObject = {
        "type": {"const": declared.name},
        "tenant_id": _ID,
        "id": _ID,
        "seq": {"type": "integer", "minimum": 1},
        "timestamp": {"type": "string", "format": "date-time"},
        "user_id": _ID,
        "redelivered": {"const": True},
    }
    payload, definitions = _payload_schema(declared)
    # Figures that the gateway derives have no place in the stream.
    numbered = ["id", "seq"] if declared.figure is None else []
    required = ["type", "tenant_id", *numbered, "timestamp", "payload"]
    if declared.needs_user:
        required.append("user_id")
    return {
        "$schema": DIALECT,
        "title": declared.name,
        "type": "object",
        "properties": {**properties, "payload": payload},
        "required": required,
        "$defs": definitions,
    }


def _payload_schema(declared: EventType) -> tuple[JsonObject, JsonObject]:
    (payload,), definitions = msgspec.json.schema_components(
        [declared.figure or declared.payload], ref_template="#/$defs/{name}"
    )
    return payload, definitions
