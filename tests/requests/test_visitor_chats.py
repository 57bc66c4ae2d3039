"""``chat.start``, ``chat.delivered`` and ``chat.end`` where a daemon owns chats, without rights, and against floods."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import SlowBroker, SteppingClock
from sample_events import principal
from world import Peer, World

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.events.principal import Role

VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1")
BOSS = principal(Role.SUPERVISOR, "boss")
STAFF = [principal(role, "x") for role in (Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.WALLBOARD)]


def start(peer: Peer, body: str = "hello", number: int = 1, **fields: Any) -> str:
    """Begin a chat; return ``accepted`` or the code of the error."""
    return outcome(peer, "chat.start", {"body": body, "client_message_id": str(number), **fields})


def outcome(peer: Peer, type_: str, payload: dict[str, Any]) -> str:
    answers = [one for one in peer.request(type_, payload, id=1) if one["type"] in ("accepted", "error")]
    return str(answers[0]["payload"].get("code", "accepted")) if answers else "none"


def chats(peer: Peer) -> list[str]:
    return [one["payload"].get("body", one["type"]) for one in peer.events() if one["type"].startswith("chat.")]


def test_where_a_daemon_owns_chats_it_begins_and_ends_them(world: World) -> None:
    world.sources.own_chats = True
    boss, visitor = world.live(BOSS), world.live(VISITOR)
    assert start(visitor) == "unknown_session"
    assert chats(boss) == []
    world.publish("chat.session.started", {"session_id": "s-1"})
    assert start(visitor) == "unknown_session"
    assert outcome(visitor, "chat.end", {"session_id": "s-1"}) == "forbidden"
    # What the page has received is said to the agents all the same.
    assert outcome(visitor, "chat.delivered", {"session_id": "s-1", "message_id": "m"}) == "none"
    assert chats(boss) == ["chat.session.started", "chat.delivered"]


@pytest.mark.parametrize("user", STAFF, ids=lambda user: user.role)
def test_only_visitors_do_this(world: World, user: Any) -> None:
    world.publish("chat.session.started", {"session_id": "s-1"})
    peer = world.live(user)
    assert start(peer) == "forbidden"
    for type_ in ("chat.end", "chat.delivered"):
        assert outcome(peer, type_, {"session_id": "s-1", "message_id": "m"}) == "forbidden"


def test_a_visitor_without_a_session_has_no_chat(world: World) -> None:
    assert start(world.live(principal(Role.VISITOR, "v-1"))) == "forbidden"


def test_sessions_that_were_never_opened_have_no_receipts_and_no_end(world: World) -> None:
    del world
    world = World(open_sessions=True)
    boss, visitor = world.live(BOSS), world.live(VISITOR)
    for type_ in ("chat.end", "chat.delivered"):
        assert outcome(visitor, type_, {"session_id": "s-1", "message_id": "m"}) == "unknown_session"
    assert chats(boss) == []
    # Where clients may write into any session, one that has ended is not begun again.
    assert start(visitor) == "accepted"
    assert outcome(visitor, "chat.end", {"session_id": "s-1"}) == "accepted"
    assert start(visitor, number=2) == "unknown_session"
    assert chats(boss) == ["chat.session.started", "hello", "chat.session.ended"]


def test_what_the_token_says_takes_precedence(world: World) -> None:
    named = principal(Role.VISITOR, "v-1", session_id="s-1", name="Rui", queues=frozenset({"gold"}))
    boss, visitor = world.live(BOSS), world.live(named)
    world.widgets.default, world.widgets.further = "web", frozenset({"vip"})
    assert start(visitor, queue_name="silver") == "forbidden"
    assert start(visitor, visitor_name="Someone else", queue_name="gold") == "accepted"
    started = boss.events()[0]["payload"]
    assert (started["visitor_name"], started["queue_name"]) == ("Rui", "gold")


@pytest.mark.parametrize(
    ("given", "queue"), [({}, "web"), ({"queue_name": "vip"}, "vip"), ({"queue_name": "web"}, "web")]
)
def test_the_queue_is_one_that_the_settings_open(world: World, given: dict[str, Any], queue: str) -> None:
    world.widgets.default, world.widgets.further = "web", frozenset({"vip"})
    boss = world.live(BOSS)
    assert start(world.live(VISITOR), **given) == "accepted"
    assert boss.events()[0]["payload"]["queue_name"] == queue


def test_empty_names_and_addresses_are_none(world: World) -> None:
    boss = world.live(BOSS)
    assert start(world.live(VISITOR), visitor_name="  ", visitor_email="") == "accepted"
    assert boss.events()[0]["payload"].keys() == {"session_id", "status"}


def test_the_first_message_follows_the_beginning_also_if_more_is_sent_at_once() -> None:
    clock = SteppingClock()
    world = World(clock=clock, broker=SlowBroker(MemoryBroker(clock), clock, lambda: 3))
    boss, visitor, second = world.live(BOSS), world.live(VISITOR), world.live(VISITOR)
    visitor.send("chat.start", {"body": "one", "client_message_id": "1"}, id_=1)
    second.send("chat.start", {"body": "other", "client_message_id": "2"}, id_=2)
    visitor.send("chat.message", {"session_id": "s-1", "body": "two"}, id_=3)
    visitor.send("chat.end", {"session_id": "s-1"}, id_=4)
    visitor.send("chat.message", {"session_id": "s-1", "body": "late"}, id_=5)
    for _ in range(40):
        world.turn()
    assert chats(boss) == ["chat.session.started", "one", "other", "two", "chat.session.ended"]
    assert [one["in_reply_to"] for one in visitor.read("error")] == [5]


def test_receipts_cannot_flood(world: World) -> None:
    boss, visitor = world.live(BOSS), world.live(VISITOR)
    start(visitor)
    boss.read()
    for number in range(20):
        message = {"session_id": "s-1", "message_id": f"m-{number}"}
        assert outcome(visitor, "chat.delivered", message) in ("none", "rate_limited")
    assert chats(boss) == ["chat.delivered"]
    for number in range(3):
        world.clock.advance(10)
        message = {"session_id": "s-1", "message_id": f"n-{number}"}
        assert [outcome(visitor, "chat.delivered", message) for _ in range(3)] == ["none"] * 3
    assert chats(boss) == ["chat.delivered"] * 3


def test_visitors_together_use_no_more_than_their_share_of_the_history() -> None:
    world = World(
        limits=Limits(visitor_history_share=0.001, visitor_rate=1000, visitor_burst=1000, rate=1000, burst=1000)
    )
    visitors = [world.live(principal(Role.VISITOR, f"v-{number}", session_id=f"s-{number}")) for number in range(20)]
    outcomes = [start(visitor) for visitor in visitors]
    assert outcomes[0] == "accepted"
    assert outcomes[-1] == "rate_limited"
    (answer,) = [one for one in visitors[-1].request("chat.end", {"session_id": "s-19"}) if one["type"] == "error"]
    assert answer["payload"]["code"] == "rate_limited"
    assert answer["payload"]["retry_after_ms"] > 0
