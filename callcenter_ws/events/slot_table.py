"""The effect of each event type on the snapshot, as JSON: with it a client reduces the stream as the gateway does."""

from __future__ import annotations

from dataclasses import fields

from callcenter_ws.events.catalogue import CATALOGUE, Slot
from callcenter_ws.runtime.json import JsonObject, JsonValue

VERSION = 1
"""The version of the table's form. A client that knows another one cannot use the table."""

ENTITY_LIFETIME = 86_400.0
"""Seconds after its last publication at which an entity without an end is removed from the state."""

MAX_SLOTS = 50_000
"""Publications in the state of one tenant; above that the entity longest unchanged is removed first."""

MAX_LASTING = 50_000
"""Lasting entities (users who are online) in the state of one tenant; above that the one longest unchanged is removed
first."""


def slot_table() -> JsonObject:
    """Return the table (``docs/http.rst``).

    ``types`` has the fields of ``Slot`` of each event type with one, without those that are None or false; ``figures``
    has, for each type of live figures, the fields that identify a figure.
    """
    types: JsonObject = {name: _effect(declared.slot) for name, declared in CATALOGUE.items() if declared.slot}
    figures: JsonObject = {name: _key(name) for name, declared in CATALOGUE.items() if declared.figure}
    return {
        "version": VERSION,
        "entity_lifetime_seconds": ENTITY_LIFETIME,
        "max_slots": MAX_SLOTS,
        "max_lasting": MAX_LASTING,
        "types": types,
        "figures": figures,
    }


def _effect(slot: Slot) -> JsonObject:
    values = {field.name: getattr(slot, field.name) for field in fields(slot)}
    effect: JsonObject = {name: value for name, value in values.items() if value not in (None, False)}
    effect["entity"] = [list(alternatives) for alternatives in slot.entity]
    return effect


def _key(name: str) -> list[JsonValue]:
    """Return the required fields of a figure, which are those of its subject and not of its values."""
    figure = CATALOGUE[name].figure
    identifying = ("queue_name", "user_id")
    return [field for field in identifying if figure is not None and field in figure.__struct_fields__]
