"""The table of effects on the snapshot has everything by which the gateway reduces its stream."""

from __future__ import annotations

from dataclasses import fields
from typing import Any, cast

from callcenter_ws.events.catalogue import CATALOGUE, Slot
from callcenter_ws.events.slot_table import slot_table
from callcenter_ws.runtime.json import decode_json, encode_json

EFFECTS: dict[str, Any] = cast(dict[str, Any], decode_json(encode_json(slot_table()["types"])))


def test_each_event_type_with_a_slot_is_in_the_table() -> None:
    assert set(EFFECTS) == {name for name, declared in CATALOGUE.items() if declared.slot}


def test_an_effect_has_all_fields_of_a_slot() -> None:
    defaults = {field.name: field.default for field in fields(Slot)}
    for name, effect in EFFECTS.items():
        complete = {**defaults, **effect, "entity": tuple(tuple(alternatives) for alternatives in effect["entity"])}
        assert Slot(**complete) == CATALOGUE[name].slot


def test_the_table_has_the_key_of_each_figure() -> None:
    assert slot_table()["figures"] == {"queue.stats": ["queue_name"], "agent.stats": ["user_id"], "tenant.stats": []}


def test_the_fields_of_slots_are_those_that_clients_know() -> None:
    """A new field is a new version of the table's form, unless clients that do not know it keep the right state."""
    known = {"kind", "entity", "keeps", "drops", "appends", "while_true", "lasting"}
    assert ({field.name for field in fields(Slot)}, slot_table()["version"]) == (known, 1)
