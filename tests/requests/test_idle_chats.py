"""IdleChats: which chats are ended for their silence, and which never."""

from __future__ import annotations

from typing import Any

import pytest
from sample_events import ACME, principal
from world import World

from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.requests.idle_chats import CHECK_SECONDS, IdleChats

IDLE = 600.0
BOSS = principal(Role.SUPERVISOR, "boss")
VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1")


@pytest.fixture
def chats(world: World) -> Any:
    chats = IdleChats(world.broker, world.clock, world.spawn, world.hub.tenants, seconds=IDLE)
    chats.start()
    return chats


def open_chat(world: World, session: str = "s-1", origin: Origin = Origin.GATEWAY, **fields: Any) -> None:
    world.publish("chat.session.started", {"session_id": session, "status": "waiting", **fields}, origin=origin)


def ended(world: World, peer: Any) -> list[str]:
    world.turn()
    return [one["payload"]["session_id"] for one in peer.events() if one["type"] == "chat.session.ended"]


def wait(world: World, seconds: float) -> None:
    """Let time pass in steps of a check."""
    for _ in range(int(seconds / CHECK_SECONDS)):
        world.clock.advance(CHECK_SECONDS)
        world.turn()


@pytest.mark.usefixtures("chats")
def test_a_chat_without_an_event_is_ended_and_its_visitor_told(world: World) -> None:
    boss, visitor = world.live(BOSS), world.live(VISITOR)
    open_chat(world)
    wait(world, IDLE - CHECK_SECONDS)
    assert ended(world, boss) == []
    visitor.request("chat.message", {"session_id": "s-1", "body": "still here"})
    wait(world, IDLE - CHECK_SECONDS)
    assert ended(world, boss) == []
    wait(world, 3 * CHECK_SECONDS)
    (event,) = [one for one in visitor.events() if one["type"] == "chat.session.ended"]
    assert event["payload"] == {"session_id": "s-1", "reason": "idle", "ended_by": "gateway"}
    assert ended(world, boss) == ["s-1"]
    assert visitor.request_error("chat.message", {"session_id": "s-1", "body": "late"})[0] == "unknown_session"


@pytest.mark.usefixtures("chats")
def test_messages_that_were_left_and_chats_of_senders_stay(world: World) -> None:
    boss = world.live(BOSS)
    open_chat(world, "left", status="offline_message")
    open_chat(world, "sender", Origin.PRODUCER)
    world.publish("chat.transferred", {"session_id": "never-started", "to_agent_id": "8"})
    open_chat(world, "mine")
    wait(world, 3 * IDLE)
    assert ended(world, boss) == ["mine"]


def test_it_may_be_turned_off_and_on(world: World, chats: IdleChats) -> None:
    boss = world.live(BOSS)
    chats.seconds = 0
    open_chat(world)
    wait(world, 3 * IDLE)
    assert ended(world, boss) == []
    chats.seconds = IDLE
    wait(world, 2 * CHECK_SECONDS)
    assert ended(world, boss) == ["s-1"]


@pytest.mark.usefixtures("chats")
def test_a_tenant_without_clients_is_checked_when_one_comes(world: World) -> None:
    open_chat(world)
    wait(world, 3 * IDLE)
    boss = world.live(BOSS)
    assert [one.event.type.name for one in world.broker._tenants[ACME].stream.state.publications()] == [
        "chat.session.started"
    ]
    wait(world, 2 * CHECK_SECONDS)
    assert ended(world, boss) == ["s-1"]


@pytest.mark.usefixtures("chats")
def test_many_chats_are_ended_in_several_turns(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callcenter_ws.requests.open_chats.CHATS_AT_ONCE", 2)
    boss = world.live(BOSS)
    for number in range(7):
        open_chat(world, f"s-{number}")
    wait(world, IDLE + 2 * CHECK_SECONDS)
    assert sorted(ended(world, boss)) == [f"s-{number}" for number in range(7)]


@pytest.mark.usefixtures("chats")
def test_a_chat_in_which_something_is_written_meanwhile_is_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    boss, visitor = world.live(BOSS), world.live(VISITOR)
    open_chat(world)
    entities = world.broker.entities

    async def read_then_write(tenant_id: str, kind: str) -> Any:
        found = await entities(tenant_id, kind)
        copies = [(key, type(entity)(entity.changed_at, entity.changed_by, entity.slots)) for key, entity in found]
        if kind == "chat" and world.clock.monotonic() - found[0][1].changed_at >= IDLE:
            visitor.send("chat.message", {"session_id": "s-1", "body": "wait"})
        return copies

    monkeypatch.setattr(world.broker, "entities", read_then_write)
    wait(world, IDLE + CHECK_SECONDS)
    assert ended(world, boss) == []
