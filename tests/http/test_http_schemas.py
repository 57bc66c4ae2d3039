"""The JSON Schemas of events: every message that clients receive is valid, and others are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_world import HttpWorld
from sample_events import REQUIRED, event

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.redaction import View

jsonschema = pytest.importorskip("jsonschema")


def schema_of(world: HttpWorld, name: str) -> Any:
    response = world.ask("GET", f"/schemas/{name}")
    assert (response.status, response.headers["content-type"]) == (200, "application/schema+json")
    return response.json


def validator_of(world: HttpWorld, name: str) -> Any:
    validator = jsonschema.Draft202012Validator
    schema = schema_of(world, name)
    validator.check_schema(schema)
    return validator(schema, format_checker=validator.FORMAT_CHECKER)


def message_of(name: str, view: View = View.FULL, **payload: Any) -> Any:
    return json.loads(Publication(event(name, payload), 1).body(view))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_message_is_valid(world: HttpWorld, name: str) -> None:
    validator = validator_of(world, name)
    for view in View:
        validator.validate(message_of(name, view))
    validator.validate(message_of(name, unknown_field={"nested": [1, None]}))


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_message_that_lacks_something_is_invalid(world: HttpWorld, name: str) -> None:
    validator = validator_of(world, name)
    message = message_of(name)
    numbered = () if CATALOGUE[name].figure else ("id", "seq")
    for missing in ("type", "tenant_id", *numbered, "timestamp", "payload"):
        assert not validator.is_valid({key: value for key, value in message.items() if key != missing})
    for field in REQUIRED[name]:
        assert not validator.is_valid({**message, "payload": {**message["payload"], field: None}})
        rest = {key: value for key, value in message["payload"].items() if key != field}
        assert not validator.is_valid({**message, "payload": rest})
    for changed in ({"type": "another"}, {"seq": 0}, {"seq": "1"}, {"payload": []}, {"id": ""}, {"tenant_id": 5}):
        assert not validator.is_valid({**message, **changed})


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("call.incoming", {"direction": "sideways"}),
        ("call.incoming", {"unique_id": "x" * 256}),
        ("call.ended", {"duration": "long"}),
        ("queue.stats", {"calls_waiting": -1}),
        ("agent.state.changed", {"state": "asleep"}),
    ],
)
def test_a_payload_with_a_wrong_value_is_invalid(world: HttpWorld, name: str, payload: Any) -> None:
    message = message_of(name)
    assert not validator_of(world, name).is_valid({**message, "payload": {**message["payload"], **payload}})


def test_a_notification_has_a_user(world: HttpWorld) -> None:
    message = message_of("notification")
    assert message.pop("user_id")
    assert not validator_of(world, "notification").is_valid(message)


def test_the_index_names_all_schemas(world: HttpWorld) -> None:
    for path in ("/schemas", "/schemas/"):
        response = world.ask("GET", path)
        assert response.headers["content-type"] == "application/json"
        assert set(response.json["schemas"]) == set(CATALOGUE)
    for name, path in response.json["schemas"].items():
        assert schema_of(world, name)["$id"] == path
        assert world.ask("GET", f"{path}.json").body == world.ask("GET", path).body


def test_schemas_are_cached_by_their_tag(world: HttpWorld) -> None:
    first = world.ask("GET", "/schemas/alert")
    assert first.headers["cache-control"] == "public, max-age=3600"
    tag = first.headers["etag"]
    for tags in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = world.ask("GET", "/schemas/alert", If_None_Match=tags)
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
    assert world.ask("GET", "/schemas/alert", If_None_Match='"other"').status == 200
    assert world.ask("GET", "/schemas/notification").headers["etag"] != tag


def test_the_probable_name_of_an_unknown_schema_is_shown(world: HttpWorld) -> None:
    response = world.ask("GET", "/schemas/call.incomin.json")
    assert response.error == "not_found"
    assert b"there is no event type 'call.incomin'; did you mean call.incoming?" in response.body


@pytest.mark.parametrize("path", ["/schemas/nothing", "/schemas/alert/x", "/schemas/..", "/schemas/%00"])
def test_another_path_is_not_found(world: HttpWorld, path: str) -> None:
    assert world.ask("GET", path).error == "not_found"


def test_the_table_of_slots(world: HttpWorld) -> None:
    assert "slots" not in CATALOGUE
    assert world.ask("GET", "/schemas/").json["slots"] == "/schemas/slots"
    response = world.ask("GET", "/schemas/slots")
    assert (response.status, response.headers["content-type"]) == (200, "application/json")
    assert response.json["types"]["queue.left"] == {
        "kind": "call",
        "entity": [["call_id", "unique_id"]],
        "drops": "joined",
    }
