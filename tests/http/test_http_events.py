"""POST /ws/events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from doubles import SteppingClock
from http_world import MINE, OTHER, HttpWorld, ReceivedResponse, parse, request
from twisted.internet.error import ConnectionLost
from twisted.logger import LogLevel
from twisted.python.failure import Failure

ALERT = {"type": "alert", "payload": {"title": "Fire", "message": "Leave the building"}}


def post(world: HttpWorld, body: Any, token: str = f"service:{MINE}:u1", **headers: str) -> ReceivedResponse:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return world.ask("POST", "/ws/events", token, raw, **headers)


def test_one_event(world: HttpWorld) -> None:
    response = post(world, ALERT | {"event_id": "e1"})
    assert response.status == 200
    assert response.json["seq"] == 1
    assert response.json["event_id"] == "e1"
    assert response.json["duplicate"] is False
    (message,) = world.delivered
    assert (message.event.tenant_id, message.event.type.name) == (MINE, "alert")
    assert response.json["epoch"]


def test_the_same_event_again(world: HttpWorld) -> None:
    first = post(world, ALERT | {"event_id": "e1"}).json
    second = post(world, ALERT | {"event_id": "e1"}).json
    assert second == first | {"duplicate": True}
    assert len(world.delivered) == 1


def test_a_list_keeps_its_order_and_its_valid_events(world: HttpWorld) -> None:
    foreign = ALERT | {"tenant_id": OTHER}
    response = post(world, [ALERT, {"type": "nonsense"}, 7, None, foreign, ALERT | {"tenant_id": MINE}])
    assert response.status == 200
    results = response.json["results"]
    assert [result.get("seq") for result in results] == [1, None, None, None, None, 2]
    codes = [result["error"]["code"] for result in results if "error" in result]
    assert codes == ["unknown_event", "invalid_event", "invalid_event", "forbidden"]
    assert response.json["epoch"] == results[0]["epoch"]
    assert {message.event.tenant_id for message in world.delivered} == {MINE}


def test_an_epoch_belongs_to_a_tenant(world: HttpWorld) -> None:
    mixed = post(world, [ALERT | {"tenant_id": MINE}, ALERT | {"tenant_id": OTHER}], "admin:*:u1").json
    assert "epoch" not in mixed
    assert all(result["epoch"] for result in mixed["results"])
    assert "epoch" not in post(world, [{"type": "nonsense"}]).json


def test_a_token_for_all_tenants_requires_a_tenant_id(world: HttpWorld) -> None:
    response = post(world, ALERT, "service:*:u1")
    assert (response.status, response.error) == (400, "invalid_event")
    assert "tenant_id" in response.json["error"]["message"]
    assert post(world, ALERT | {"tenant_id": "*"}, "service:*:u1").status == 403
    assert post(world, ALERT | {"tenant_id": OTHER}, "service:*:u1").status == 200


@pytest.mark.parametrize("token", ["agent:acme:u1", "supervisor:acme:u1", "wallboard:acme:u1", "visitor:acme:u1"])
def test_other_roles_may_not_publish(world: HttpWorld, token: str) -> None:
    assert post(world, ALERT, token).status == 403
    assert world.delivered == []


@pytest.mark.parametrize("kind", ["source.up", "source.down"])
@pytest.mark.parametrize("token", [f"service:{MINE}:u1", f"admin:{MINE}:u1", "service:*:u1"])
def test_nobody_announces_a_source_over_http(world: HttpWorld, kind: str, token: str) -> None:
    event = {"tenant_id": MINE, "type": kind, "payload": {"source": "pbx1"}}
    assert post(world, event, token).error == "forbidden"


def test_a_number_is_refused_over_http(world: HttpWorld) -> None:
    assert post(world, ALERT | {"source_seq": 1}).error == "invalid_event"


def test_another_tenant_is_forbidden(world: HttpWorld) -> None:
    assert post(world, ALERT | {"tenant_id": OTHER}).error == "forbidden"
    assert world.delivered == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "invalid_json"),
        (b"{", 400, "invalid_json"),
        (b"\xff\xfe", 400, "invalid_json"),
        (b"[" * 16_000, 400, "invalid_json"),
        (b'{"a":' * 3_000, 400, "invalid_json"),
        (b"7", 400, "invalid_event"),
        (b"null", 400, "invalid_event"),
        (b'"text"', 400, "invalid_event"),
        (b"{}", 400, "unknown_event"),
        (b'{"type": "alert", "payload": []}', 400, "invalid_event"),
        (b'{"type": "alert", "payload": {"title": 1, "message": "x"}}', 400, "invalid_event"),
        (b'{"type": "alert", "payload": {"title": "x", "message": "x"}, "more": 1}', 400, "invalid_event"),
    ],
)
def test_invalid_bodies(world: HttpWorld, body: bytes, status: int, code: str) -> None:
    response = post(world, body)
    assert (response.status, response.error) == (status, code)
    assert world.delivered == []


@pytest.mark.parametrize(
    "content_type", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "nonsense"]
)
def test_the_content_type_does_not_matter(world: HttpWorld, content_type: str) -> None:
    assert post(world, ALERT, Content_Type=content_type).status == 200


def test_an_event_over_its_limit(world: HttpWorld) -> None:
    response = post(world, {"type": "alert", "payload": {"title": "x" * 524_288, "message": "x"}})
    assert (response.status, response.error) == (413, "too_large")


def test_an_empty_list(world: HttpWorld) -> None:
    assert post(world, []).json == {"results": []}


def test_the_number_of_events_is_bounded(world: HttpWorld) -> None:
    assert len(post(world, [ALERT] * 1_000).json["results"]) == 1_000
    assert post(world, [ALERT] * 1_001).error == "too_large"
    assert len(world.delivered) == 1_000


def test_a_closed_store_is_503(world: HttpWorld) -> None:
    from callcenter_ws.testing import run

    run(world.broker.stop())
    assert (post(world, ALERT).status, post(world, ALERT).error) == (503, "unavailable")
    assert post(world, [ALERT]).json["results"][0]["error"]["code"] == "unavailable"


def test_a_large_body_causes_one_additional_verification(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    verified: list[str] = []
    verify = world.tokens.verify
    monkeypatch.setattr(world.tokens, "verify", lambda token: verified.append(token) or verify(token))
    channel, transport = world.connect()
    channel.dataReceived(request("POST", "/ws/events", "service:acme:u1", Content_Length="100000"))
    for piece in [b" " * 1_000] * 99 + [b"[]".rjust(1_000)]:
        channel.dataReceived(piece)
    assert parse(transport.value())[0].json == {"results": []}
    assert verified == ["service:acme:u1"] * 2


def test_a_long_list_has_the_results_of_a_short_one() -> None:
    clock = SteppingClock()
    world = HttpWorld(clock=clock)
    large = {"type": "alert", "payload": {"title": "x", "message": "x" * 600_000}}
    full = {"type": "alert", "payload": {"title": "x", "message": "x" * 3_000}}
    body = json.dumps([*[full] * 400, large, {"type": "nonsense"}, *[full] * 500]).encode()
    channel, transport = world.connect()
    channel.dataReceived(request("POST", "/ws/events", f"service:{MINE}:u1", body))
    turns = []
    while not transport.value():
        before = len(world.delivered)
        assert clock.step()
        turns.append(len(world.delivered) - before)
    assert max(turns) <= 90
    results = parse(transport.value())[0].json["results"]
    assert [result.get("seq") for result in results] == [*range(1, 401), None, None, *range(401, 901)]
    assert [result["error"]["code"] for result in results if "error" in result] == ["too_large", "unknown_event"]


def test_a_long_list_is_published_completely_after_the_connection_is_lost(logged: list[dict[str, Any]]) -> None:
    clock = SteppingClock()
    world = HttpWorld(clock=clock)
    full = {"type": "alert", "payload": {"title": "x", "message": "x" * 3_000}}
    channel, transport = world.connect()
    channel.dataReceived(request("POST", "/ws/events", f"service:{MINE}:u1", json.dumps([full] * 500).encode()))
    assert clock.step()
    assert world.delivered == []
    channel.connectionLost(Failure(ConnectionLost()))
    clock.turn()
    assert len(world.delivered) == 500
    assert transport.value() == b""
    assert [event for event in logged if event["log_level"] >= LogLevel.warn] == []


def test_requests_after_a_long_list_keep_their_place() -> None:
    clock = SteppingClock()
    world = HttpWorld(clock=clock)
    full = {"type": "alert", "payload": {"title": "x", "message": "x" * 3_000}}
    channel, transport = world.connect()
    long = request("POST", "/ws/events", f"service:{MINE}:u1", json.dumps([full] * 200).encode())
    channel.dataReceived(long + request("POST", "/ws/events", f"service:{MINE}:u1", json.dumps(ALERT).encode()))
    assert (transport.value(), world.delivered) == (b"", [])
    clock.turn()
    world.run_turns()
    first, rest = parse(transport.value())
    second, rest = parse(rest)
    assert [result["seq"] for result in first.json["results"]] == [*range(1, 201)]
    assert (second.json["seq"], rest) == (201, b"")


def test_a_single_event_of_megabytes_is_not_decoded(world: HttpWorld) -> None:
    response = post(world, {"type": "alert", "payload": {"title": "x" * 2_000_000, "message": "x"}})
    assert (response.status, response.error) == (413, "too_large")
