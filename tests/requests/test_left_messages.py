"""LeftMessages: what visitors leave while no agent is there outlives the day, and ends at last."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sample_events import ACME, principal
from world import World

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.requests import left_messages
from callcenter_ws.requests.left_messages import CHECK_SECONDS, KEPT_SECONDS, LeftMessages

DAY = 86_400
BOSS = principal(Role.SUPERVISOR, "boss")
VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1")


@pytest.fixture(autouse=True)
def kept(world: World) -> LeftMessages:
    kept = LeftMessages(world.broker, world.clock, world.spawn, [ACME, "without-events"])
    kept.start()
    return kept


def leave(world: World, **fields: Any) -> None:
    visitor = world.live(VISITOR)
    left = {"body": "call me", "client_message_id": "1", "is_offline": True, **fields}
    (answer,) = [one for one in visitor.request("chat.start", left) if one["type"] in ("accepted", "error")]
    assert answer["type"] == "accepted"


def wait(world: World, seconds: float) -> None:
    for _ in range(int(seconds / CHECK_SECONDS)):
        world.clock.advance(CHECK_SECONDS)
        world.turn()


def shown(world: World) -> list[Any]:
    """Return the events of the state, each with its type, payload and timestamp."""
    events = [one.event for one in world.broker._tenants[ACME].stream.state.publications()]
    return [(one.type.name, json.loads(one.payload), one.timestamp) for one in events]


def test_a_message_that_was_left_outlives_the_weekend(world: World) -> None:
    leave(world, visitor_email="rui@example.org")
    before = shown(world)
    wait(world, 3 * DAY)
    assert sorted(shown(world), key=str) == sorted(before, key=str)
    assert [name for name, *_ in before] == ["chat.session.started", "chat.message"]
    # An agent takes it up.
    agent = world.live(principal(Role.AGENT, "101"))
    answer = agent.request("chat.message", {"session_id": "s-1", "body": "I called you"})
    assert [one["type"] for one in answer if one["type"] != "chat.message"] == ["accepted"]


def test_it_stays_with_its_agent(world: World) -> None:
    leave(world)
    world.publish("chat.transferred", {"session_id": "s-1", "to_agent_id": "101"})
    wait(world, 2 * DAY)
    (started,) = [payload for name, payload, _ in shown(world) if name == "chat.session.started"]
    assert started["agent_id"] == "101"
    assert world.broker._tenants[ACME].stream.chats.get("s-1").agent == "101"


def test_it_is_not_kept_for_ever(world: World) -> None:
    leave(world)
    wait(world, KEPT_SECONDS - DAY)
    assert shown(world) != []
    wait(world, 3 * DAY)
    world.publish_alerts()
    assert shown(world) == []


def test_the_newest_are_kept(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left_messages, "MAX_KEPT", 60)
    left = {"status": "offline_message", "visitor_name": "Rui"}
    for number in range(180):
        world.publish("chat.session.started", {"session_id": f"s-{number}", **left}, origin=Origin.GATEWAY)
        world.clock.advance(1)
    wait(world, 2 * DAY)
    world.publish_alerts()
    assert {payload["session_id"] for _, payload, _ in shown(world)} == {f"s-{number}" for number in range(120, 180)}


def test_other_chats_end_as_before(world: World) -> None:
    leave(world, is_offline=False)
    world.publish("chat.session.started", {"session_id": "of-a-sender", "status": "offline_message"})
    leaving = {"session_id": "ended", "status": "offline_message"}
    world.publish("chat.session.started", leaving, origin=Origin.GATEWAY)
    world.publish("chat.session.ended", {"session_id": "ended"})
    wait(world, 2 * DAY)
    world.publish_alerts()
    assert shown(world) == []


def test_a_store_that_does_not_answer_is_asked_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(world)

    async def refuse(tenant_id: str, kind: str) -> Any:
        raise Refusal(ErrorCode.UNAVAILABLE)

    with monkeypatch.context() as patched:
        patched.setattr(world.broker, "entities", refuse)
        wait(world, DAY / 2 + 2 * CHECK_SECONDS)
    wait(world, DAY)
    assert shown(world) != []
