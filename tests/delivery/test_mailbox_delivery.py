"""Delivery of a user's mailbox to one connection (``docs/protocol.rst``, "Mailbox")."""

from __future__ import annotations

from typing import Any

import pytest
from sample_events import ACME
from world import Message, Peer, World, types_of

from callcenter_ws.broker import mailboxes as mailbox
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.mailbox_acks import PING_SPACING_SECONDS
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.testing import run

USER = "7"


def notify(world: World, *event_ids: str, user_id: str = USER, **fields: Any) -> None:
    for event_id in event_ids:
        world.publish("notification", fields, user_id=user_id, event_id=event_id)


def mailbox_of(world: World, user_id: str = USER) -> list[str]:
    """Return the ids of the events in a user's mailbox."""
    return [item.publication.event.event_id for item in run(world.broker.read_mailbox(ACME, user_id, 0, 2_000)).items]


def summary(messages: list[Message]) -> list[tuple[Any, ...]]:
    """Return id, ``offline`` and ``redelivered`` of each stream event, and the type of each other message."""
    return [
        (message["id"], message.get("offline", False), message.get("redelivered", False))
        if "seq" in message
        else (message["type"],)
        for message in messages
    ]


def connect(world: World, *, ack: bool = False, user_id: str = USER, **options: Any) -> Peer:
    return world.connect(options=ConnectOptions(ack=ack, **options), user_id=user_id)


def test_the_mailbox_is_sent_after_the_welcome_and_before_a_replay(world: World) -> None:
    world.publish_alerts(2)
    notify(world, "a", "b")
    world.publish_alerts(1)
    peer = connect(world, epoch=world.epoch, seq=1)
    messages = peer.read()
    assert types_of(messages) == [
        "welcome", "notification", "notification", "alert", "alert", "resumed",
    ]  # fmt: skip
    assert [message.get("offline") for message in messages[1:]] == [True, True, None, None, None]
    assert messages[-1]["payload"]["count"] == 2
    assert "redelivered" not in messages[1]


def test_the_mailbox_is_sent_before_a_snapshot(world: World) -> None:
    notify(world, "a")
    assert summary(connect(world, snapshot=True).read()) == [("welcome",), ("a", True, False), ("snapshot",)]


def test_live_mail_is_not_marked_as_offline(world: World) -> None:
    peer = connect(world)
    peer.read()
    notify(world, "a")
    assert summary(peer.read()) == [("a", False, False)]


def test_without_ack_mail_is_acknowledged_once_a_ping_after_it_is_answered(world: World) -> None:
    notify(world, "a")
    peer = connect(world)
    peer.read()
    assert mailbox_of(world) == ["a"]
    peer.answer_pings()
    assert mailbox_of(world) == []


def test_other_input_after_mail_acknowledges_nothing(world: World) -> None:
    """It may have waited in the socket since before the mail was written, although the peer has gone."""
    notify(world, "a")
    peer = connect(world)
    peer.read()
    peer.send("ping")
    peer.client.mailbox_acks.ping_answered(b"unsolicited")
    assert mailbox_of(world) == ["a"]
    peer.client.connection_lost(CloseCode.ABNORMAL)
    assert summary(connect(world).read()) == [("welcome",), ("a", True, True)]


def test_mail_written_after_a_ping_is_not_acknowledged_by_its_pong(world: World) -> None:
    notify(world, "a")
    peer = connect(world)
    peer.read()
    notify(world, "b")
    peer.read()
    peer.answer_pings()
    assert mailbox_of(world) == ["b"]
    world.clock.advance(PING_SPACING_SECONDS)
    peer.answer_pings()
    assert mailbox_of(world) == []


def test_a_burst_of_mail_is_confirmed_by_few_pings(world: World) -> None:
    peer = connect(world)
    peer.read()
    answered = 0
    for number in range(100):
        notify(world, str(number))
        peer.read()
        answered += len(peer.pings)
        peer.answer_pings()
    world.clock.advance(PING_SPACING_SECONDS)
    answered += len(peer.pings)
    peer.answer_pings()
    assert answered == 2
    assert mailbox_of(world) == []


def test_the_answer_to_a_later_ping_of_the_keepalive_suffices(world: World) -> None:
    """A peer may answer only the latest of several pings (RFC 6455 section 5.5.3)."""
    notify(world, "a")
    peer = connect(world)
    peer.read()
    peer.client.mailbox_acks.ping_sent(b"keepalive")
    notify(world, "b")
    peer.read()
    peer.client.mailbox_acks.ping_answered(b"keepalive")
    assert mailbox_of(world) == ["b"]
    world.clock.advance(PING_SPACING_SECONDS)
    assert len(peer.pings) == 2
    peer.answer_pings()
    assert mailbox_of(world) == []


def test_a_peer_that_answers_no_ping_is_sent_one(world: World) -> None:
    peer = connect(world)
    peer.read()
    for number in range(2_000):
        notify(world, str(number))
        peer.read()
        world.clock.advance(PING_SPACING_SECONDS)
    assert len(peer.pings) == 1


def test_clients_without_mail_and_those_that_acknowledge_are_sent_no_pings(world: World) -> None:
    notify(world, "a")
    peer = connect(world, ack=True)
    assert summary(peer.read()) == [("welcome",), ("a", True, False)]
    other = connect(world, user_id="8")
    other.read()
    world.publish_alerts(1)
    other.read()
    assert peer.pings == other.pings == []


def test_mail_that_is_not_confirmed_is_redelivered(world: World) -> None:
    notify(world, "a")
    first = connect(world)
    first.read()
    first.client.connection_lost(CloseCode.ABNORMAL)
    notify(world, "b")
    assert summary(connect(world).read()) == [("welcome",), ("a", True, True), ("b", True, False)]


def test_mail_that_was_not_written_is_not_acknowledged(world: World) -> None:
    peer = connect(world)
    peer.read()
    peer.client.pause()
    notify(world, "a")
    world.turn()
    assert peer.pings == []
    peer.client.connection_lost(CloseCode.ABNORMAL)
    assert mailbox_of(world) == ["a"]
    assert summary(connect(world).read()) == [("welcome",), ("a", True, False)]


def test_with_ack_only_the_acknowledged_mail_is_removed(world: World) -> None:
    notify(world, "a", "b")
    peer = connect(world, ack=True)
    peer.read()
    peer.send("ping")
    notify(world, "c")
    peer.read()
    assert mailbox_of(world) == ["a", "b", "c"]
    peer.send("ack", {"ids": ["a", "c", "unknown"]})
    assert summary(peer.read()) == []
    assert mailbox_of(world) == ["b"]
    assert summary(connect(world, ack=True).read()) == [("welcome",), ("b", True, True)]


def test_mail_is_sent_to_all_connections_of_a_user_until_one_acknowledges_it(world: World) -> None:
    first, second = connect(world, ack=True), connect(world, ack=True)
    for peer in (first, second):
        peer.read()
    notify(world, "a")
    assert summary(first.read()) == summary(second.read()) == [("a", False, False)]
    second.send("ack", {"ids": ["a"]})
    assert summary(connect(world, ack=True).read()) == [("welcome",)]


def test_mail_of_another_user_is_neither_sent_nor_acknowledged(world: World) -> None:
    notify(world, "a", user_id="8")
    assert summary(connect(world).read()) == [("welcome",)]
    connect(world).send("ack", {"ids": ["a"]})
    assert mailbox_of(world, "8") == ["a"]


def test_a_visitor_with_the_same_user_id_neither_sees_nor_acknowledges_mail(world: World) -> None:
    notify(world, "a")
    visitor = world.connect(Role.VISITOR, ConnectOptions(ack=True), user_id=USER, session_id="s")
    assert summary(visitor.read()) == [("welcome",)]
    visitor.send("ack", {"ids": ["a"]})
    assert mailbox_of(world) == ["a"]


def test_a_visitor_has_a_mailbox(world: World) -> None:
    text = {"session_id": "s", "message_id": "m", "sender_id": "1", "sender_type": "agent", "body": "hi"}
    world.publish("chat.message", text, user_id="v", event_id="a", persist=True)
    visitor = world.connect(Role.VISITOR, ConnectOptions(ack=True), user_id="v", session_id="s")
    assert summary(visitor.read()) == [("welcome",), ("a", True, False)]
    visitor.send("ack", {"ids": ["a"]})
    assert mailbox_of(world, "v") == []


def test_mail_that_the_role_may_not_see_stays_in_the_mailbox(world: World) -> None:
    online = {"user_id": "9", "online": True}
    world.publish("presence.changed", online, user_id=USER, event_id="a", persist=True, origin=Origin.GATEWAY)
    agent = world.connect(Role.AGENT, ConnectOptions(), user_id=USER)
    assert summary(agent.read()) == [("welcome",)]
    agent.answer_pings()
    assert summary(connect(world).read()) == [("welcome",), ("a", True, False)]


def test_the_mailbox_is_sent_in_pages_that_fit_the_outbox() -> None:
    world = World(limits=Limits(outbox=4))
    notify(world, *[str(number) for number in range(30)])
    peer = connect(world)
    for _ in range(60):
        world.turn()
        assert len(peer.client.outbox.frames) <= 4
    assert [message["id"] for message in peer.read() if "seq" in message] == [str(number) for number in range(30)]


def test_a_slow_client_is_sent_its_mailbox_as_it_reads(world: World) -> None:
    notify(world, *[str(number) for number in range(600)])
    peer = world.connect(options=ConnectOptions(), user_id=USER)
    peer.high_water = 5_000
    for _ in range(500):
        world.turn()
        peer.drain()
    ids = [message["id"] for message in peer.messages if "seq" in message]
    assert ids == [str(number) for number in range(600)]


def test_evicted_mail_is_reported_by_a_gap(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "MAX_ITEMS", 3)
    notify(world, *"abcde")
    messages = connect(world, ack=True).read()
    assert summary(messages) == [("welcome",), ("gap",), ("c", True, False), ("d", True, False), ("e", True, False)]
    assert messages[1]["payload"] == {"from_seq": 1, "to_seq": 2, "reason": "mailbox"}
    reconnected = connect(world, ack=True)
    assert summary(reconnected.read())[1] == ("gap",)
    reconnected.send("ack", {"ids": ["c"]})
    assert summary(connect(world, ack=True).read())[1] == ("d", True, True)


def test_a_replay_on_the_same_connection_does_not_repeat_mail(world: World) -> None:
    world.publish_alerts(1)
    notify(world, "a")
    peer = connect(world)
    peer.read()
    peer.send("resume", {"epoch": world.epoch, "seq": 0}, id_=1)
    messages = peer.read()
    assert [message.get("seq") for message in messages] == [1, None]
    assert messages[-1]["payload"]["count"] == 1


def test_mail_sent_by_a_replay_is_marked_as_redelivered_later(world: World) -> None:
    peer = connect(world, ack=True)
    peer.read()
    notify(world, "a")
    peer.client.connection_lost(CloseCode.ABNORMAL)
    reconnected = connect(world, ack=True)
    reconnected.read()
    reconnected.send("resume", {"epoch": world.epoch, "seq": 0})
    reconnected.read()
    reconnected.client.connection_lost(CloseCode.ABNORMAL)
    assert summary(connect(world, ack=True).read()) == [("welcome",), ("a", True, True)]


def test_mail_is_removed_at_its_own_expiry(world: World) -> None:
    notify(world, "a", expires_at="2027-01-15T08:00:30Z")
    assert world.clock.time() == 1_800_000_000.0  # 2027-01-15T08:00:00Z
    world.clock.advance(29)
    assert mailbox_of(world) == ["a"]
    world.clock.advance(2)
    assert summary(connect(world).read()) == [("welcome",)]


def test_the_oldest_mail_is_evicted_at_the_memory_limit() -> None:
    world = World(memory_bytes=100_000)
    for number in range(200):
        notify(world, str(number), title="x" * 1_000)
        assert world.broker.state()["memory_bytes"] <= 100_000 + 5_000
    remaining = mailbox_of(world)
    assert remaining == [str(number) for number in range(200 - len(remaining), 200)]
    assert len(remaining) > 20
    assert run(world.broker.read_mailbox(ACME, USER, 0, 1)).gap is not None
