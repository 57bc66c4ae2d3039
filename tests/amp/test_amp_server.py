"""The responders of all commands, as seen by a daemon that follows the protocol."""

from __future__ import annotations

import json
from typing import Any
from unittest.mock import ANY

import pytest
from twisted.logger import capturedLogs, formatEvent

from callcenter_ws import __version__
from callcenter_ws.amp import commands
from callcenter_ws.broker.batch import EVENTS_PER_TURN
from callcenter_ws.errors import ErrorCode, Refusal

CALL = {"unique_id": "u1", "caller_id": "+3212345", "destination": "100"}
NOTE = {"type": "a", "title": "b", "message": "c"}
EVENT: dict[str, Any] = {"tenant_id": "acme", "type": "call.incoming"}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def publish(peer: Any, **changes: Any) -> Any:
    return peer.call(commands.PublishEvent, **{**EVENT, "payload": encoded(CALL), **changes})


def batch(peer: Any, events: Any) -> Any:
    answer = peer.call(commands.PublishBatch, events=encoded(events))
    return answer if isinstance(answer, tuple) else (answer["epoch"], json.loads(answer["results"]))


@pytest.fixture
def peer(server: Any) -> Any:
    return server.unix()


def test_event_with_every_argument(server: Any, peer: Any) -> None:
    answer = publish(
        peer, event_id="e1", user_id="7", timestamp="2026-11-22T20:40:00+01:00", persist=True, type="call.incoming"
    )
    (message,) = server.delivered
    assert answer == {"epoch": answer["epoch"], "seq": 1, "event_id": "e1"}
    event = message.event
    assert (event.tenant_id, event.type.name, event.user_id) == ("acme", "call.incoming", "7")
    assert (event.event_id, event.timestamp, event.persist) == ("e1", "2026-11-22T19:40:00.000Z", True)
    assert json.loads(event.payload) == CALL


def test_event_id_is_published_once(server: Any, peer: Any) -> None:
    assert publish(peer, event_id="e1") == publish(peer, event_id="e1")
    assert len(server.delivered) == 1


def test_event_without_id_gets_one(peer: Any) -> None:
    assert len(publish(peer)["event_id"]) == 26


def test_payload_over_64_kib(server: Any, peer: Any) -> None:
    assert publish(peer, payload=encoded({**CALL, "note": "x" * 300_000}))["seq"] == 1
    assert len(json.loads(server.delivered[0].event.payload)["note"]) == 300_000


def test_box_split_at_every_byte(server: Any) -> None:
    whole = server.tcp()
    box = whole.box(commands.PublishEvent, **EVENT, payload=encoded(CALL))
    for at in range(1, len(box)):
        peer = server.unix()
        peer.send(box[:at])
        assert peer.boxes() == []
        peer.send(box[at:])
        assert b"_answer" in peer.boxes()[0]
    one_by_one = server.unix()
    for at in range(len(box)):
        one_by_one.send(box[at : at + 1])
    assert b"_answer" in one_by_one.boxes()[0]
    assert [message.seq for message in server.delivered] == list(range(1, len(box) + 1))


def test_boxes_in_one_segment_are_answered_in_order(server: Any, peer: Any) -> None:
    peer.send(b"".join(peer.box(commands.PublishEvent, **EVENT, payload=encoded(CALL)) for _ in range(50)))
    assert [int(answer[b"seq"]) for answer in peer.boxes()] == list(range(1, 51))


@pytest.mark.parametrize(
    ("changes", "code", "where"),
    [
        ({"payload": b"{"}, b"INVALID_EVENT", "payload: malformed JSON"),
        ({"payload": b"\xff"}, b"INVALID_EVENT", "payload: malformed JSON"),
        ({"payload": b"[1]"}, b"INVALID_EVENT", "payload: "),
        ({"payload": b"[" * 60_000}, b"INVALID_EVENT", "payload: "),
        ({"payload": encoded({"unique_id": "u1"})}, b"INVALID_EVENT", "payload.caller_id: required"),
        ({"type": "call.exploded"}, b"INVALID_EVENT", "type: there is no event type 'call.exploded'"),
        ({"tenant_id": "*"}, b"FORBIDDEN", "tenant_id: "),
        ({"tenant_id": ""}, b"INVALID_EVENT", "tenant_id: "),
        ({"timestamp": "yesterday"}, b"INVALID_EVENT", "timestamp: "),
        ({"event_id": "x" * 256}, b"INVALID_EVENT", "event_id: "),
        (
            {"type": "notification", "payload": encoded({"type": "a", "title": "b", "message": "c"})},
            b"INVALID_EVENT",
            "user_id: ",
        ),
    ],
)
def test_error_of_an_invalid_event_names_the_field(
    server: Any, peer: Any, changes: dict[str, Any], code: bytes, where: str
) -> None:
    answer = publish(peer, **changes)
    assert answer[0] == code
    assert answer[1].startswith(where)
    assert server.delivered == []
    assert peer.connected
    assert publish(peer)["seq"] == 1


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"type": b"alert", "payload": b"{}"}, "tenant_id: required"),
        ({"tenant_id": b"a", "type": b"alert"}, "payload: required"),
        ({"tenant_id": b"\xff", "type": b"alert", "payload": b"{}"}, "tenant_id: not an AMP Unicode"),
        ({"tenant_id": b"a", "type": b"alert", "payload": b"{}", "persist": b"yes"}, "persist: not an AMP Boolean"),
        ({"tenant_id": b"a", "type": b"alert", "payload": b"{}", "payload.2": b"{}"}, "payload: part 1 of it"),
    ],
)
def test_error_of_a_malformed_argument_names_it(peer: Any, arguments: dict[str, bytes], where: str) -> None:
    code, message = peer.call(b"PublishEvent", **arguments)
    assert code == b"INVALID_EVENT"
    assert message.startswith(where)
    assert peer.connected


def test_event_without_ask_is_published_and_its_refusal_is_not_logged(
    server: Any, peer: Any, logged_warnings: Any
) -> None:
    box = peer.box(commands.PublishEvent, **EVENT, payload=encoded(CALL))
    bad = peer.box(commands.PublishEvent, **EVENT, payload=b"{")
    peer.send(b"".join(part.replace(b"\x00\x04_ask\x00\x01", b"\x00\x04_nix\x00\x01") for part in (bad, box)))
    assert peer.boxes() == []
    assert len(server.delivered) == 1
    assert peer.connected
    assert logged_warnings() == []


def test_invalid_event_of_a_batch_does_not_affect_the_others(server: Any, peer: Any) -> None:
    good = {**EVENT, "payload": CALL}
    epoch, results = batch(
        peer, [good, {**good, "type": "nope"}, 7, {**good, "extra": 1}, good, {**good, "payload": {}}, good]
    )
    assert epoch
    assert [result if isinstance(result, int) else result["code"] for result in results] == [
        1,
        "INVALID_EVENT",
        "INVALID_EVENT",
        "INVALID_EVENT",
        2,
        "INVALID_EVENT",
        3,
    ]
    text = "payload.unique_id: required; payload.caller_id: required; payload.destination: required"
    assert results[5] == {"code": "INVALID_EVENT", "message": text}
    assert [message.seq for message in server.delivered] == [1, 2, 3]


def test_batch_of_tenants_with_different_epochs_has_no_epoch(server: Any, peer: Any) -> None:
    server.broker.epoch_per_tenant = True
    here, there = ({**EVENT, "tenant_id": tenant_id, "payload": CALL} for tenant_id in ("acme", "globex"))
    acme, globex = publish(peer)["epoch"], publish(peer, tenant_id="globex")["epoch"]
    assert acme != globex
    assert batch(peer, [here, {}, here]) == (acme, [2, ANY, 3])
    assert batch(peer, [here, there]) == ("", [4, 2])


def test_batch_of_invalid_events_has_no_epoch(peer: Any) -> None:
    epoch, results = batch(peer, [{}])
    assert epoch == ""
    assert results[0]["code"] == "INVALID_EVENT"


def test_batches_are_limited_to_1000_events(server: Any, peer: Any) -> None:
    good = {**EVENT, "payload": CALL}
    assert len(batch(peer, [good] * 1000)[1]) == 1000
    assert batch(peer, [good] * 1001)[0] == b"TOO_LARGE"
    assert len(server.delivered) == 1000


def test_a_large_batch_takes_several_turns_and_keeps_its_place(server: Any, peer: Any) -> None:
    events = [{**EVENT, "payload": CALL, "event_id": f"b{number}"} for number in range(1_000)]
    after = peer.box(commands.PublishEvent, **{**EVENT, "payload": encoded(CALL), "event_id": "after"})
    peer.protocol.dataReceived(peer.box(commands.PublishBatch, events=encoded(events)) + after)
    assert 0 < len(server.delivered) <= EVENTS_PER_TURN
    turns = 0
    while len(server.delivered) < 1_001:
        before = len(server.delivered)
        assert server.clock.step()
        assert len(server.delivered) - before <= EVENTS_PER_TURN
        turns += len(server.delivered) > before
    assert turns >= 1_000 // EVENTS_PER_TURN
    assert [one.event.event_id for one in server.delivered] == [*(f"b{number}" for number in range(1_000)), "after"]


def test_the_answer_to_a_large_batch_does_not_let_the_next_one_be_overtaken(server: Any, peer: Any) -> None:
    first, second = (
        peer.box(
            commands.PublishBatch,
            events=encoded([{**EVENT, "payload": CALL, "event_id": f"{name}{number}"} for number in range(1_000)]),
        )
        for name in ("a", "b")
    )
    after = peer.box(commands.PublishEvent, **{**EVENT, "payload": encoded(CALL), "event_id": "after"})
    server.broker.is_blocked = True
    peer.protocol.dataReceived(first + second + after)
    while server.broker.attempts <= 1_000 // EVENTS_PER_TURN:
        assert server.clock.step()
    # The second batch has begun; now the first is answered.
    server.broker.unblock()
    while len(server.delivered) < 2_001:
        assert server.clock.step()
    assert [one.event.event_id for one in server.delivered][-1] == "after"


def test_errors_of_a_full_batch_fit_into_the_answer(peer: Any) -> None:
    bad = {"tenant_id": "a", "type": "\U0001f4de" * 64, "payload": {}}
    _, results = batch_utf8(peer, [bad] * 1000)
    assert len(results) == 1000


def batch_utf8(peer: Any, events: Any) -> Any:
    encoded = json.dumps(events, ensure_ascii=False).encode()
    answer = peer.call(commands.PublishBatch, events=encoded)
    return answer["epoch"], json.loads(answer["results"])


@pytest.mark.parametrize("events", [b"{}", b"nonsense", b"1"])
def test_batch_that_is_not_a_list_is_refused(peer: Any, events: bytes) -> None:
    code, message = peer.call(commands.PublishBatch, events=events)
    assert code == b"INVALID_EVENT"
    assert message.startswith("events: ")


def test_refusal_of_the_broker_reaches_the_peer(server: Any, peer: Any) -> None:
    server.broker.error = Refusal(ErrorCode.OVERLOADED, "the queue of the store is full")
    assert publish(peer) == (b"OVERLOADED", "the queue of the store is full")
    assert batch(peer, [{**EVENT, "payload": CALL}]) == (b"OVERLOADED", "the queue of the store is full")


@pytest.mark.logs_errors
def test_unhandled_error_is_logged_with_context_and_hidden_from_the_peer(
    server: Any, peer: Any, logged_warnings: Any
) -> None:
    server.broker.error = RuntimeError("the secret is swordfish")
    code, message = publish(peer)
    assert code == b"UNAVAILABLE"
    assert "swordfish" not in message
    (line,) = logged_warnings()
    assert "PublishEvent" in line
    assert "/run/callcenter-ws.sock" in line
    assert "+3212345" not in line
    server.broker.error = None
    assert publish(peer)["seq"] == 1


def test_commands_of_the_directory(server: Any, peer: Any) -> None:
    assert peer.call(commands.UserOnline, tenant_id="acme", user_id="7") == {"online": True, "connections": 2}
    assert peer.call(commands.DisconnectUser, tenant_id="acme", user_id="7", reason="left") == {"closed": 3}
    assert peer.call(commands.DisconnectUser, tenant_id="acme", user_id="7") == {"closed": 3}
    assert peer.call(commands.RevokeToken, tenant_id="acme", jti="j") == {"closed": 4}
    assert peer.call(commands.RevokeToken, tenant_id="acme", user_id="7") == {"closed": 4}
    assert peer.call(commands.RevokeToken, tenant_id="*", jti="root") == {"closed": 4}
    assert server.directory.calls == [
        ("user_presence", "acme", "7"),
        ("disconnect_user", "acme", "7"),
        ("disconnect_user", "acme", "7"),
        ("revoke", "acme", "j", None),
        ("revoke", "acme", None, "7"),
        ("revoke", "*", "root", None),
    ]
    assert server.directory.revoked_for_all == [True, True, True]


def test_a_token_of_one_tenant_revokes_within_the_share_of_its_tenant(server: Any) -> None:
    peer = server.tcp()
    peer.call(commands.Authenticate, token="acme-service")
    peer.call(commands.RevokeToken, tenant_id="acme", jti="j")
    assert server.directory.revoked_for_all == [False]


def test_revoke_needs_a_token_or_a_user(server: Any) -> None:
    server.use_hub(server.clock)
    refusal = (b"INVALID_EVENT", "jti or user_id: one of them is required")
    assert server.unix().call(commands.RevokeToken, tenant_id="acme") == refusal


@pytest.mark.parametrize("value", ["", "x" * 256])
@pytest.mark.parametrize(
    ("command", "field"),
    [
        (commands.UserOnline, "tenant_id"),
        (commands.UserOnline, "user_id"),
        (commands.DisconnectUser, "tenant_id"),
        (commands.DisconnectUser, "user_id"),
        (commands.RevokeToken, "tenant_id"),
        (commands.RevokeToken, "user_id"),
        (commands.RevokeToken, "jti"),
    ],
)
def test_identifiers_are_limited_to_255_characters(
    server: Any, peer: Any, command: Any, field: str, value: str
) -> None:
    arguments = {"tenant_id": "acme", "user_id": "7", field: value}
    refusal = (b"INVALID_EVENT", f"{field}: expected a string of 1 to 255 characters")
    assert peer.call(command, **arguments) == refusal
    assert server.directory.calls == []
    assert isinstance(peer.call(command, **{**arguments, field: "x" * 255}), dict)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (commands.UserOnline, {"tenant_id": "t\n", "user_id": "u"}),
        (commands.DisconnectUser, {"tenant_id": "t", "user_id": "u\0"}),
        (commands.RevokeToken, {"tenant_id": "t", "user_id": "\x7f"}),
        (commands.RevokeToken, {"tenant_id": "t", "jti": "j\x85"}),
        (commands.PublishEvent, {"tenant_id": "t\x1b", "type": "alert", "payload": b"{}"}),
    ],
)
def test_identifiers_with_control_characters_are_refused(
    server: Any, peer: Any, command: Any, arguments: dict[str, Any]
) -> None:
    code, text = peer.call(command, **arguments)
    assert code == b"INVALID_EVENT"
    assert "control characters are not allowed" in text
    assert server.directory.calls == []


def test_a_reason_from_a_peer_is_escaped_in_the_log(peer: Any) -> None:
    with capturedLogs() as captured:
        peer.call(commands.DisconnectUser, tenant_id="t é", user_id="u", reason="r\n")
    (line,) = map(formatEvent, captured)
    assert "\n" not in line
    assert repr("t é") in line and repr("r\n") in line


# Revocation


@pytest.mark.parametrize("revoked", [{"jti": "j1"}, {"user_id": "dialer"}])
def test_revoking_a_token_disconnects_its_sessions(server: Any, logged_warnings: Any, revoked: Any) -> None:
    server.use_hub(server.clock)
    revoked_peer, other, foreign, admin = server.tcp(), server.tcp(), server.tcp(), server.unix()
    for peer, token in ((revoked_peer, "acme-jti"), (other, "acme-service"), (foreign, "globex-service")):
        peer.call(commands.Authenticate, token=token)
    assert admin.call(commands.RevokeToken, tenant_id="globex", **revoked) == {"closed": 0}
    assert revoked_peer.connected
    assert admin.call(commands.RevokeToken, tenant_id="acme", **revoked) == {"closed": 1}
    # The session is still closing: it is counted once.
    assert admin.call(commands.RevokeToken, tenant_id="acme", **revoked) == {"closed": 0}
    assert not revoked_peer.connected
    assert other.connected
    assert foreign.connected
    assert admin.connected
    (line,) = logged_warnings()
    assert line.startswith("daemon acme/")
    assert " from 192.0.2.7:5000 is closed by the gateway: its token was revoked; after " in line
    again = server.tcp()
    assert again.call(commands.Authenticate, token="acme-jti") == (b"UNAUTHENTICATED", "the token was revoked")


def test_peer_that_revokes_its_own_token_gets_the_answer(server: Any) -> None:
    server.use_hub(server.clock)
    peer = server.tcp()
    peer.call(commands.Authenticate, token="acme-jti")
    assert peer.call(commands.RevokeToken, tenant_id="acme", jti="j1") == {"closed": 1}
    assert not peer.connected


def test_peers_without_a_token_are_not_revoked(server: Any) -> None:
    server.use_hub(server.clock)
    admin, shared, named = server.unix(), server.tcp(), server.tcp()
    shared.call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    named.call(commands.Authenticate, token="root-unix")
    for user_id, closed in (("unix", 1), ("token-file", 0)):
        assert admin.call(commands.RevokeToken, tenant_id="*", user_id=user_id) == {"closed": closed}
    assert admin.connected
    assert shared.connected
    assert not named.connected


def test_ping(peer: Any) -> None:
    answer = peer.call(commands.Ping)
    assert (answer["version"], answer["node"]) == (__version__, "node-1")
    assert answer["server_time_ms"] > 0


# Authority


def test_service_token_authorizes_for_its_tenant_only(server: Any) -> None:
    peer = server.tcp()
    principal = json.loads(peer.call(commands.Authenticate, token="acme-service")["principal"])
    assert principal["tenant_id"] == "acme"
    assert principal["role"] == "service"
    assert publish(peer)["seq"] == 1
    assert publish(peer, tenant_id="globex")[0] == b"FORBIDDEN"
    good = {**EVENT, "payload": CALL}
    _, results = batch(peer, [good, {**good, "tenant_id": "globex"}])
    assert results[0] == 2
    assert results[1]["code"] == "FORBIDDEN"
    for command in (commands.UserOnline, commands.DisconnectUser, commands.RevokeToken):
        for tenant_id, code in (("globex", b"FORBIDDEN"), ("*", b"INVALID_EVENT")):
            assert peer.call(command, tenant_id=tenant_id, user_id="7")[0] == code
    assert server.directory.calls == []


def test_shared_secret_authorizes_for_all_tenants(server: Any) -> None:
    peer = server.tcp()
    answer = peer.call(commands.Authenticate, token="a-shared-secret-of-the-tests")
    assert json.loads(answer["principal"])["tenant_id"] == "*"
    assert publish(peer, tenant_id="acme")["seq"] == 1
    assert publish(peer, tenant_id="globex")["seq"] == 1


def test_token_restricts_a_peer_on_a_unix_socket(server: Any, peer: Any) -> None:
    assert publish(peer, tenant_id="globex")["seq"] == 1
    peer.call(commands.Authenticate, token="acme-service")
    assert publish(peer, tenant_id="globex")[0] == b"FORBIDDEN"


def test_token_of_another_role_is_refused(server: Any) -> None:
    peer = server.tcp()
    assert peer.call(commands.Authenticate, token="acme-agent")[0] == b"FORBIDDEN"
    assert publish(peer)[0] == b"UNAUTHENTICATED"


def test_peer_may_authenticate_after_wrong_tokens(server: Any) -> None:
    peer = server.tcp()
    assert peer.call(commands.Authenticate, token="acme-ser")[0] == b"UNAUTHENTICATED"
    assert peer.call(commands.Authenticate, token="wrong")[0] == b"UNAUTHENTICATED"
    peer.call(commands.Authenticate, token="acme-service")
    server.clock.advance(60)
    assert peer.connected
    assert publish(peer)["seq"] == 1


def test_peer_is_disconnected_when_its_token_expires_unless_renewed(server: Any, logged_warnings: Any) -> None:
    late, renewed = server.tcp(), server.tcp()
    for peer in (late, renewed):
        peer.call(commands.Authenticate, token="acme-service")
    server.clock.advance(3599)
    assert late.connected
    renewed.call(commands.Authenticate, token="globex-service")
    server.clock.advance(2)
    assert not late.connected
    assert renewed.connected
    (line,) = logged_warnings()
    assert " from 192.0.2.7:5000 is closed by the gateway: its token has expired; after " in line


# Draining


def test_drain_answers_what_is_in_flight_and_closes(server: Any) -> None:
    busy, idle = server.unix(), server.tcp()
    server.broker.is_blocked = True
    busy.send(busy.box(commands.PublishEvent, **EVENT, payload=encoded(CALL)))
    drained = server.factory.drain()
    server.clock.turn()
    assert idle.transport.disconnected
    assert not drained.called
    assert server.factory.buildProtocol(None) is None
    server.broker.unblock()
    assert b"_answer" in busy.boxes()[0]
    server.clock.turn()
    assert drained.called
    assert server.factory.sessions == {}


def test_abort_ends_a_drain(server: Any, logged_warnings: Any) -> None:
    peer = server.unix()
    server.broker.is_blocked = True
    peer.send(peer.box(commands.PublishEvent, **EVENT, payload=encoded(CALL)))
    drained = server.factory.drain()
    server.factory.abort()
    assert drained.called
    server.broker.unblock()
    server.clock.advance(60)
    assert logged_warnings() == []


def test_without_secret_and_authenticator_every_token_is_refused(server: Any) -> None:
    from callcenter_ws.amp.authenticator import PeerAuthenticator

    with pytest.raises(Refusal) as refused:
        PeerAuthenticator(None, None).verify("")
    assert refused.value.code is ErrorCode.UNAUTHORIZED
    with pytest.raises(ValueError, match="empty"):
        PeerAuthenticator(b" \n", None)
