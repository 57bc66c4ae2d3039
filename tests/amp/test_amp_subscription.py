"""``Subscribe`` and the calls of ``ClientEvent`` that follow."""

from __future__ import annotations

import json
from typing import Any

import pytest
from twisted.protocols import amp

from callcenter_ws.amp import commands
from callcenter_ws.events.event import Origin
from callcenter_ws.testing import run


def subscribe(peer: Any, *kinds: str) -> Any:
    return peer.ask(commands.Subscribe, kinds=json.dumps(kinds).encode())


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


def test_what_clients_and_the_gateway_say_is_told(server: Any) -> None:
    peer = server.unix()
    subscribe(peer, "chat.message", "presence.changed")
    server.chat(1)
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


def test_what_daemons_say_is_not_told(server: Any, peer: Any) -> None:
    payload = json.dumps({"session_id": "s", "sender_type": "agent", "is_typing": True}).encode()
    peer.ask(commands.PublishEvent, tenant_id="acme", type="chat.typing", payload=payload)
    assert peer.boxes() == []


def test_a_tenant_s_token_hears_that_tenant_alone(server: Any) -> None:
    peer = server.tcp()
    peer.ask(commands.Authenticate, token="acme-service")
    subscribe(peer, "*")
    server.chat(1, tenant_id="globex")
    server.chat(2, tenant_id="acme")
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
def test_kinds_that_do_not_exist_change_nothing(server: Any, peer: Any, kinds: bytes, where: str) -> None:
    code, message = peer.ask(commands.Subscribe, kinds=kinds)
    assert code == b"INVALID_EVENT"
    assert message.startswith(where)
    server.chat(1)
    assert len(peer.boxes()) == 1


def test_another_list_takes_the_place_of_the_first_and_an_empty_one_ends_it(server: Any, peer: Any) -> None:
    subscribe(peer, "presence.changed")
    server.chat(1)
    assert peer.boxes() == []
    subscribe(peer)
    assert server.directory.listeners == []


def test_the_same_list_again_changes_nothing(server: Any, peer: Any) -> None:
    server.chat(1)
    assert len(peer.boxes()) == 1
    subscribe(peer, "chat.*")
    server.chat(2)
    assert ids(peer.boxes()) == ["acme-2"]
    assert len(server.directory.listeners) == 1


def test_a_window_of_calls_is_open_and_answers_move_it_on_in_order(server: Any, peer: Any) -> None:
    for number in range(200):
        server.chat(number)
    heard = []
    while boxes := peer.boxes():
        assert len(boxes) <= 64
        heard += ids(boxes)
        for box in boxes:
            answer(peer, box)
    assert heard == [f"acme-{number}" for number in range(200)]


def test_a_peer_that_answers_nothing_is_cut_off_after_30_s(server: Any, peer: Any, warnings_logged: Any) -> None:
    server.chat(1)
    (box,) = peer.boxes()
    server.clock.advance(29)
    answer(peer, box)
    server.clock.advance(29)
    assert peer.connected
    server.chat(2)
    server.clock.advance(31)
    assert not peer.connected
    assert warnings_logged() == [
        "AMP peer unix:/run/callcenter-ws.sock is cut off: it left a ClientEvent unanswered for 30 s"
    ]


def test_a_full_queue_cuts_the_peer_off(server: Any, peer: Any, warnings_logged: Any) -> None:
    for number in range(1000):
        server.chat(number)
    assert peer.connected
    server.chat(1000)
    assert not peer.connected
    (line,) = warnings_logged()
    assert "is cut off: 1001 messages" in line
    assert server.directory.listeners == []


def test_the_queue_is_bounded_in_bytes(server: Any, peer: Any, warnings_logged: Any) -> None:
    for number in range(40):
        server.chat(number, body="x" * 500_000)
    assert not peer.connected
    assert len(warnings_logged()) == 1


def test_a_peer_that_does_not_read_is_not_called(server: Any, peer: Any) -> None:
    peer.stop_reading()
    server.chat(1)
    assert peer.boxes() == []
    peer.read_on()
    assert ids(peer.boxes()) == ["acme-1"]


def test_a_peer_that_comes_back_gets_what_it_had_not_acknowledged(server: Any, peer: Any, warnings_logged: Any) -> None:
    for number in range(3):
        server.chat(number)
    first, *_ = peer.boxes()
    answer(peer, first)
    peer.transport.loseConnection()
    server.chat(3)
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = again.boxes()
    assert ids([box for box in boxes if b"_command" in box]) == ["acme-1", "acme-2", "acme-3"]
    assert len(server.directory.listeners) == 1
    server.clock.advance(20)
    assert again.connected
    assert warnings_logged() == []


def test_another_daemon_does_not_take_over_a_foreign_subscription(server: Any) -> None:
    lost = server.tcp()
    lost.ask(commands.Authenticate, token="acme-service")
    subscribe(lost, "chat.*")
    lost.transport.loseConnection()
    server.chat(1)
    for token in ("globex-service", "a-shared-secret-of-the-tests"):
        other = server.tcp()
        other.ask(commands.Authenticate, token=token)
        subscribe(other, "chat.*")
        assert other.boxes() == []


def test_a_peer_that_stays_away_is_forgotten(server: Any, peer: Any, warnings_logged: Any) -> None:
    server.chat(1)
    peer.transport.loseConnection()
    server.clock.advance(61)
    assert server.directory.listeners == []
    assert warnings_logged() == ["an AMP peer did not come back: 1 messages for it are dropped"]


def test_the_queue_of_an_absent_peer_is_bounded(server: Any, peer: Any, warnings_logged: Any) -> None:
    peer.transport.loseConnection()
    for number in range(1001):
        server.chat(number)
    assert server.directory.listeners == []
    assert len(warnings_logged()) == 1


def test_absent_peers_are_bounded(server: Any) -> None:
    kinds = ["chat.message", "chat.typing", "chat.transferred", "chat.session.started", "chat.session.ended", "alert"]
    peers = [server.unix() for _ in range(100)]
    for peer in peers:
        subscribe(peer, *kinds)
    for peer in peers:
        peer.transport.loseConnection()
    assert len(server.directory.listeners) == 64


HEARD = [b"INVALID_EVENT", b"UNAUTHENTICATED", b"FORBIDDEN", b"TOO_LARGE"]
PASSING = [b"OVERLOADED", b"UNAVAILABLE", amp.UNHANDLED_ERROR_CODE, amp.UNKNOWN_ERROR_CODE, b"WHAT"]


@pytest.mark.parametrize("code", PASSING)
def test_what_a_busy_peer_refuses_comes_again_in_order(
    server: Any, peer: Any, warnings_logged: Any, code: bytes
) -> None:
    for number in range(4):
        server.chat(number)
    first, second, third, fourth = peer.boxes()
    answer(peer, third, code=code)
    answer(peer, second, code=code)
    answer(peer, fourth)
    server.chat(4)
    server.clock.advance(10)
    assert peer.boxes() == []
    answer(peer, first)
    server.clock.advance(0.4)
    assert peer.boxes() == []
    server.clock.advance(0.2)
    heard = []
    while boxes := peer.boxes():
        (box,) = boxes
        heard += ids(boxes)
        answer(peer, box)
    assert heard == ["acme-1", "acme-2", "acme-4"]
    assert len(server.directory.listeners[0]) == 0
    assert warnings_logged() == []


@pytest.mark.parametrize("code", PASSING)
def test_a_peer_that_stays_busy_is_dropped_and_gets_it_when_it_comes_back(
    server: Any, peer: Any, warnings_logged: Any, code: bytes
) -> None:
    server.chat(1)
    server.chat(2)
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
    (line,) = warnings_logged()
    assert "is cut off: it refused a ClientEvent 5 times" in line
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = [box for box in again.boxes() if b"_command" in box]
    assert ids(boxes) == ["acme-1"]
    answer(again, boxes[0], code=code)
    assert again.connected


def test_a_peer_that_goes_while_it_is_given_a_pause_gets_everything_in_order(server: Any, peer: Any) -> None:
    for number in range(3):
        server.chat(number)
    boxes = peer.boxes()
    for place in (2, 0, 1):
        answer(peer, boxes[place], code=b"OVERLOADED")
    server.chat(3)
    peer.transport.loseConnection()
    server.clock.advance(10)
    again = server.unix()
    again.send(again.box(commands.Subscribe, kinds=b'["chat.*"]'))
    boxes = [box for box in again.boxes() if b"_command" in box]
    assert ids(boxes) == [f"acme-{number}" for number in range(4)]
    server.clock.advance(10)
    assert again.boxes() == []


def test_the_queue_of_a_busy_peer_is_bounded(server: Any, peer: Any) -> None:
    server.chat(0)
    (box,) = peer.boxes()
    answer(peer, box, code=b"OVERLOADED")
    for number in range(1, 1001):
        assert peer.connected
        server.chat(number)
    assert not peer.connected


@pytest.mark.parametrize("code", HEARD)
def test_an_error_about_the_message_counts_as_heard_and_is_logged_once(
    server: Any, peer: Any, warnings_logged: Any, code: bytes
) -> None:
    for number in range(3):
        server.chat(number)
    for box in peer.boxes():
        answer(peer, box, code=code)
    server.clock.advance(60)
    assert peer.connected
    assert len(server.directory.listeners[0]) == 0
    assert peer.boxes() == []
    assert warnings_logged() == ["AMP peer unix:/run/callcenter-ws.sock refuses a ClientEvent: 'no'"]


def test_a_new_token_ends_the_subscription_of_the_old_one(server: Any) -> None:
    peer = server.tcp()
    peer.ask(commands.Authenticate, token="acme-service")
    subscribe(peer, "chat.*")
    peer.ask(commands.Authenticate, token="globex-service")
    server.chat(1)
    assert peer.boxes() == []
    assert server.directory.listeners == []


def test_draining_ends_every_subscription(server: Any, peer: Any) -> None:
    away = server.tcp()
    away.ask(commands.Authenticate, token="acme-service")
    subscribe(away, "*")
    away.transport.loseConnection()
    server.factory.drain()
    server.clock.turn()
    assert server.directory.listeners == []
