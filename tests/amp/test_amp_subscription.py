"""Subscriptions of daemons: ``Subscribe`` and the calls of ``ClientEvent``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.protocols import amp

from callcenter_ws.amp import commands
from callcenter_ws.events.event import Origin
from callcenter_ws.testing import run


def subscribe(peer: Any, *kinds: str) -> Any:
    return peer.call(commands.Subscribe, kinds=json.dumps(kinds).encode())


def answer(peer: Any, box: dict[bytes, bytes], **error: bytes) -> None:
    reply = amp.AmpBox(_answer=box[b"_ask"])
    if error:
        reply = amp.AmpBox(_error=box[b"_ask"], _error_code=error["code"], _error_description=b"no")
    peer.send(reply.serialize())


def ids(boxes: list[dict[bytes, bytes]]) -> list[str]:
    assert all(box[b"_command"] == b"ClientEvent" for box in boxes)
    return [box[b"event_id"].decode() for box in boxes]


@pytest.fixture
def peer(server: Any) -> Any:
    peer = server.unix()
    assert subscribe(peer, "chat.*") == {}
    return peer


def test_events_of_clients_and_of_the_gateway_are_sent(server: Any) -> None:
    peer = server.unix()
    subscribe(peer, "chat.message", "presence.changed")
    server.publish_chat_message(1)
    presence = {"user_id": "7", "online": True}
    run(server.broadcaster.publish("acme", "presence.changed", presence, user_id="9", origin=Origin.GATEWAY))
    chat, changed = peer.boxes()
    assert {name: chat[name] for name in (b"_command", b"tenant_id", b"type", b"event_id")} == {
        b"_command": b"ClientEvent",
        b"tenant_id": b"acme",
        b"type": b"chat.message",
        b"event_id": b"acme-1",
    }
    assert b"user_id" not in chat
    assert json.loads(chat[b"payload"])["body"] == "hello"
    assert changed[b"user_id"] == b"9"


def test_events_of_daemons_are_not_sent(server: Any, peer: Any) -> None:
    payload = json.dumps({"session_id": "s", "sender_type": "agent", "is_typing": True}).encode()
    peer.call(commands.PublishEvent, tenant_id="acme", type="chat.typing", payload=payload)
    assert peer.boxes() == []


def test_service_token_receives_events_of_its_tenant_only(server: Any) -> None:
    peer = server.tcp()
    peer.call(commands.Authenticate, token="acme-service")
    subscribe(peer, "*")
    server.publish_chat_message(1, tenant_id="globex")
    server.publish_chat_message(2, tenant_id="acme")
    assert ids(peer.boxes()) == ["acme-2"]


@pytest.mark.parametrize(
    ("kinds", "where"),
    [
        (b'["chat.*", "nope"]', "kinds[1]: "),
        (b'["nope.*"]', "kinds[0]: "),
        (b'["chat*"]', "kinds[0]: "),
        (b"[7]", "kinds[0]: "),
        (b'"chat.*"', "kinds: "),
        (b"{", "kinds: "),
    ],
)
def test_unknown_kinds_leave_the_subscription_unchanged(server: Any, peer: Any, kinds: bytes, where: str) -> None:
    code, message = peer.call(commands.Subscribe, kinds=kinds)
    assert code == b"INVALID_EVENT"
    assert message.startswith(where)
    server.publish_chat_message(1)
    assert len(peer.boxes()) == 1


def test_new_list_replaces_the_first_and_an_empty_list_ends_the_subscription(server: Any, peer: Any) -> None:
    subscribe(peer, "presence.changed")
    server.publish_chat_message(1)
    assert peer.boxes() == []
    subscribe(peer)
    assert server.directory.listeners == []


def test_same_list_leaves_the_subscription_unchanged(server: Any, peer: Any) -> None:
    server.publish_chat_message(1)
    assert len(peer.boxes()) == 1
    subscribe(peer, "chat.*")
    server.publish_chat_message(2)
    assert ids(peer.boxes()) == ["acme-2"]
    assert len(server.directory.listeners) == 1


def test_at_most_64_calls_are_in_flight_and_answers_release_the_next_in_order(server: Any, peer: Any) -> None:
    for number in range(200):
        server.publish_chat_message(number)
    received = []
    while boxes := peer.boxes():
        assert len(boxes) <= 64
        received += ids(boxes)
        for box in boxes:
            answer(peer, box)
    assert received == [f"acme-{number}" for number in range(200)]


def test_peer_that_does_not_answer_is_disconnected_after_30_s(server: Any, peer: Any, logged_warnings: Any) -> None:
    server.publish_chat_message(1)
    (box,) = peer.boxes()
    server.clock.advance(29)
    answer(peer, box)
    server.clock.advance(29)
    assert peer.connected
    server.publish_chat_message(2)
    server.clock.advance(31)
    assert not peer.connected
    (line,) = logged_warnings()
    assert line.startswith("daemon */unix (connection 1) from unix:/run/callcenter-ws.sock is closed by the gateway: ")
    assert ": it left a ClientEvent unanswered for 30 s; after " in line


def test_full_queue_disconnects_the_peer(server: Any, peer: Any, logged_warnings: Any) -> None:
    for number in range(1000):
        server.publish_chat_message(number)
    assert peer.connected
    server.publish_chat_message(1000)
    assert not peer.connected
    (line,) = logged_warnings()
    assert "is closed by the gateway: 1001 events" in line
    assert server.directory.listeners == []


def test_queue_is_limited_in_bytes(server: Any, peer: Any, logged_warnings: Any) -> None:
    for number in range(40):
        server.publish_chat_message(number, body="x" * 500_000)
    assert not peer.connected
    assert len(logged_warnings()) == 1


def test_peer_that_does_not_read_is_not_called(server: Any, peer: Any) -> None:
    peer.stop_reading()
    server.publish_chat_message(1)
    assert peer.boxes() == []
    peer.read_all()
    assert ids(peer.boxes()) == ["acme-1"]


def test_reconnected_peer_gets_unacknowledged_events(server: Any, peer: Any, logged_warnings: Any) -> None:
    for number in range(3):
        server.publish_chat_message(number)
    first, *_ = peer.boxes()
    answer(peer, first)
    peer.transport.loseConnection()
    server.publish_chat_message(3)
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = again.boxes()
    assert ids([box for box in boxes if b"_command" in box]) == ["acme-1", "acme-2", "acme-3"]
    assert len(server.directory.listeners) == 1
    server.clock.advance(20)
    assert again.connected
    assert logged_warnings() == []


def test_subscription_is_not_given_to_another_principal(server: Any) -> None:
    lost = server.tcp()
    lost.call(commands.Authenticate, token="acme-service")
    subscribe(lost, "chat.*")
    lost.transport.loseConnection()
    server.publish_chat_message(1)
    for token in ("globex-service", "a-shared-secret-of-the-tests"):
        other = server.tcp()
        other.call(commands.Authenticate, token=token)
        subscribe(other, "chat.*")
        assert other.boxes() == []


def test_subscription_ends_60_s_after_its_connection(server: Any, peer: Any, logged_warnings: Any) -> None:
    server.publish_chat_message(1)
    peer.transport.loseConnection()
    server.clock.advance(61)
    assert server.directory.listeners == []
    assert logged_warnings() == ["daemon */unix did not reconnect in time: 1 events for it are dropped"]


def test_queue_of_a_disconnected_peer_is_limited(server: Any, peer: Any, logged_warnings: Any) -> None:
    peer.transport.loseConnection()
    for number in range(1001):
        server.publish_chat_message(number)
    assert server.directory.listeners == []
    assert len(logged_warnings()) == 1


def test_subscriptions_of_disconnected_peers_are_limited(server: Any) -> None:
    kinds = ["chat.message", "chat.typing", "chat.transferred", "chat.session.started", "chat.session.ended", "alert"]
    peers = [server.unix() for _ in range(100)]
    for peer in peers:
        subscribe(peer, *kinds)
    for peer in peers:
        peer.transport.loseConnection()
    assert len(server.directory.listeners) == 64


ACKNOWLEDGING = [b"INVALID_EVENT", b"UNAUTHENTICATED", b"FORBIDDEN", b"TOO_LARGE"]
TRANSIENT = [b"OVERLOADED", b"UNAVAILABLE", amp.UNHANDLED_ERROR_CODE, amp.UNKNOWN_ERROR_CODE, b"WHAT"]


@pytest.mark.parametrize("code", TRANSIENT)
def test_events_refused_by_a_busy_peer_are_sent_again_in_order(
    server: Any, peer: Any, logged_warnings: Any, code: bytes
) -> None:
    for number in range(4):
        server.publish_chat_message(number)
    first, second, third, fourth = peer.boxes()
    answer(peer, third, code=code)
    answer(peer, second, code=code)
    answer(peer, fourth)
    server.publish_chat_message(4)
    server.clock.advance(10)
    assert peer.boxes() == []
    answer(peer, first)
    server.clock.advance(0.4)
    assert peer.boxes() == []
    server.clock.advance(0.2)
    received = []
    while boxes := peer.boxes():
        (box,) = boxes
        received += ids(boxes)
        answer(peer, box)
    assert received == ["acme-1", "acme-2", "acme-4"]
    assert len(server.directory.listeners[0]) == 0
    assert logged_warnings() == []


@pytest.mark.parametrize("code", TRANSIENT)
def test_peer_that_stays_busy_is_disconnected_and_gets_the_event_after_reconnecting(
    server: Any, peer: Any, logged_warnings: Any, code: bytes
) -> None:
    server.publish_chat_message(1)
    server.publish_chat_message(2)
    boxes = peer.boxes()
    answer(peer, boxes.pop())
    pauses = []
    while boxes:
        answer(peer, *boxes, code=code)
        paused_at = server.clock.time()
        while peer.connected and not (boxes := peer.boxes()):
            assert server.clock.time() < paused_at + 60
            server.clock.advance(0.5)
        pauses.append(server.clock.time() - paused_at)
        boxes = boxes if peer.connected else []
    assert pauses == [0.5, 1, 2, 4, 0]
    (line,) = logged_warnings()
    assert "is closed by the gateway: it refused a ClientEvent 5 times" in line
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = [box for box in again.boxes() if b"_command" in box]
    assert ids(boxes) == ["acme-1"]
    answer(again, boxes[0], code=code)
    assert again.connected


def test_peer_that_reconnects_during_the_retry_delay_gets_all_events_in_order(server: Any, peer: Any) -> None:
    for number in range(3):
        server.publish_chat_message(number)
    boxes = peer.boxes()
    for index in (2, 0, 1):
        answer(peer, boxes[index], code=b"OVERLOADED")
    server.publish_chat_message(3)
    peer.transport.loseConnection()
    server.clock.advance(10)
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = [box for box in again.boxes() if b"_command" in box]
    assert ids(boxes) == [f"acme-{number}" for number in range(4)]
    server.clock.advance(10)
    assert again.boxes() == []


def test_queue_of_a_busy_peer_is_limited(server: Any, peer: Any) -> None:
    server.publish_chat_message(0)
    (box,) = peer.boxes()
    answer(peer, box, code=b"OVERLOADED")
    for number in range(1, 1001):
        assert peer.connected
        server.publish_chat_message(number)
    assert not peer.connected


@pytest.mark.parametrize("code", ACKNOWLEDGING)
def test_other_errors_acknowledge_the_event_and_are_logged_once(
    server: Any, peer: Any, logged_warnings: Any, code: bytes
) -> None:
    for number in range(3):
        server.publish_chat_message(number)
    for box in peer.boxes():
        answer(peer, box, code=code)
    server.clock.advance(60)
    assert peer.connected
    assert len(server.directory.listeners[0]) == 0
    assert peer.boxes() == []
    assert logged_warnings() == [
        line for line in logged_warnings() if "unix:/run/callcenter-ws.sock refuses a ClientEvent: " in line
    ]
    assert len(logged_warnings()) == 1


def test_new_token_of_another_user_ends_the_subscription(server: Any) -> None:
    peer = server.tcp()
    peer.call(commands.Authenticate, token="acme-service")
    subscribe(peer, "chat.*")
    peer.call(commands.Authenticate, token="globex-service")
    server.publish_chat_message(1)
    assert peer.boxes() == []
    assert server.directory.listeners == []


def test_drain_ends_every_subscription(server: Any, peer: Any) -> None:
    disconnected = server.tcp()
    disconnected.call(commands.Authenticate, token="acme-service")
    subscribe(disconnected, "*")
    disconnected.transport.loseConnection()
    server.factory.drain()
    server.clock.turn()
    assert server.directory.listeners == []
