"""The Dispatcher and the handlers: valid and invalid messages of each type, rate limits and too many mistakes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from sample_events import ACME, GLOBEX, principal
from world import Message, Peer, World, types_of

from callcenter_ws.errors import CloseCode, ErrorCode
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.testing import run, text_payloads

VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1", name="Rui")
ANA = principal(Role.AGENT, "7", name="Ana")
REQUEST_TYPES = ["subscribe", "unsubscribe", "snapshot", "resume", "ack", "auth", "ping", "chat.message", "chat.typing"]
CHATTING_ROLES = [Role.AGENT, Role.SUPERVISOR, Role.ADMIN]


def only(messages: list[Message], type_: str) -> Message:
    """Return the only message of a type."""
    (found,) = [message for message in messages if message["type"] == type_]
    return found


def error(messages: list[Message]) -> Message:
    """Return the only message, which must be an ``error``."""
    (message,) = messages
    assert message["type"] == "error"
    return message


class TestEnvelope:
    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"{",
            b"hello",
            b"\xff",
            b'{"type":"ping"}{"type":"ping"}',
            b'{"type":"ping"}\n{"type":"ping"}',
            b"[" * 5000,
        ],
    )
    def test_text_that_is_not_json_is_answered_with_invalid_json(self, world: World, text: bytes) -> None:
        peer = world.live(ANA)
        assert error(peer.request_text(text))["payload"]["code"] == "invalid_json"
        assert peer.request("ping")

    @pytest.mark.parametrize("text", [b"[]", b"null", b"5", b'"ping"', b"true", b'[{"type":"ping"}]'])
    def test_json_that_is_not_an_object_is_refused(self, world: World, text: bytes) -> None:
        answer = error(world.live(ANA).request_text(text))["payload"]
        assert answer == {"code": "invalid_message", "message": "expected a JSON object with type and payload"}

    @pytest.mark.parametrize("text", [b"{}", b'{"type":null}', b'{"type":5}', b'{"type":["ping"]}', b'{"payload":{}}'])
    def test_a_message_without_a_string_type_is_refused(self, world: World, text: bytes) -> None:
        answer = error(world.live(ANA).request_text(text))["payload"]
        assert answer == {"code": "invalid_message", "message": "type: expected a string"}

    @pytest.mark.parametrize(
        "type_",
        ["", "call.incoming", "agent.login", "notification", "welcome", "error", "x" * 10_000],
    )
    def test_an_unknown_type_is_refused(self, world: World, type_: str) -> None:
        code, text = world.live(ANA).request_error(type_)
        assert code == "unknown_type"
        assert text == f"there is no message type {type_[:64]!r}"

    @pytest.mark.parametrize(
        ("sent", "meant"), [("PING", "ping"), ("resumed", "resume"), ("chat_message", "chat.message")]
    )
    def test_a_similar_type_is_suggested(self, world: World, sent: str, meant: str) -> None:
        code, text = world.live(ANA).request_error(sent)
        assert (code, text) == ("unknown_type", f"there is no message type {sent!r}; did you mean {meant}?")

    @pytest.mark.parametrize("id_", ["a", "", 0, -1, 2**63 - 1, "x" * 255, 'quo"te'])
    def test_an_answer_repeats_the_id_of_its_request(self, world: World, id_: Any) -> None:
        peer = world.live(ANA)
        assert only(peer.request("ping", id=id_), "pong")["in_reply_to"] == id_
        assert error(peer.request("nonsense", id=id_))["in_reply_to"] == id_
        assert error(peer.request("subscribe", {}, id=id_))["in_reply_to"] == id_

    def test_an_answer_to_a_request_without_id_has_no_in_reply_to(self, world: World) -> None:
        peer = world.live(ANA)
        assert "in_reply_to" not in only(peer.request("ping"), "pong")
        assert "in_reply_to" not in only(peer.request("ping", id=None), "pong")

    @pytest.mark.parametrize("id_", [True, 1.5, [], {}, "x" * 256, 10**300])
    def test_an_id_of_another_type_or_length_is_refused(self, world: World, id_: Any) -> None:
        answer = error(world.live(ANA).request("ping", id=id_))
        assert answer["payload"]["code"] == "invalid_message"
        assert answer["payload"]["message"].startswith("id: expected")
        assert "in_reply_to" not in answer

    @pytest.mark.parametrize(
        "type_", ["subscribe", "unsubscribe", "resume", "ack", "auth", "chat.message", "chat.typing"]
    )
    @pytest.mark.parametrize("payload", [[], "x", 5, True])
    def test_a_payload_that_is_not_an_object_is_refused(self, world: World, type_: str, payload: Any) -> None:
        code, text = world.live(ANA).request_error(type_, payload)
        assert code == "invalid_message"
        assert text.startswith("payload: expected an object")

    @pytest.mark.parametrize("type_", ["ping", "snapshot"])
    @pytest.mark.parametrize("fields", [{}, {"payload": None}, {"payload": {}}, {"payload": {"x": 1}}, {"extra": [1]}])
    def test_an_empty_payload_may_be_omitted(self, world: World, type_: str, fields: dict[str, Any]) -> None:
        (answer,) = world.live(ANA).request(type_, **fields)
        assert answer["type"] == {"ping": "pong", "snapshot": "snapshot"}[type_]

    def test_a_deeply_nested_field_is_answered(self, world: World) -> None:
        peer = world.live(ANA)
        deep = b'{"type":"ping","x":' + b"[" * 900 + b"]" * 900 + b"}"
        (answer,) = peer.request_text(deep)
        assert answer["type"] in ("pong", "error")
        assert peer.request("ping")[0]["type"] == "pong"

    @given(
        st.dictionaries(
            st.sampled_from(["type", "id", "payload"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text()
                | st.sampled_from(REQUEST_TYPES),
                lambda inner: st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["events", "epoch", "seq", "ids", "token", "session_id", "body", "is_typing", "x"]),
                    inner,
                    max_size=5,
                ),
                max_leaves=8,
            ),
        )
    )  # fmt: skip
    def test_no_message_causes_an_unhandled_error(self, message: dict[str, Any]) -> None:
        """``World.turn`` would raise it."""
        world = World()
        peer = world.live(VISITOR)
        type_ = message.pop("type", None)
        peer.request(type_, **message)
        assert peer.closed_with is None
        assert peer.request("ping")[0]["type"] == "pong"


class TestSubscribe:
    def test_the_answer_has_the_complete_list(self, world: World) -> None:
        peer = world.live(ANA)
        (answer,) = peer.request("subscribe", {"events": ["call.*"]}, id=1)
        in_force = {"events": ["call.*"], "queues": None, "epoch": world.epoch, "seq": 0}
        assert answer == {"type": "subscribed", "in_reply_to": 1, "payload": in_force}
        (answer,) = peer.request("subscribe", {"events": ["alert", "call.*"]})
        assert answer["payload"]["events"] == ["call.*", "alert"]
        (answer,) = peer.request("unsubscribe", {"events": ["call.*", "alert"]})
        assert answer["payload"]["events"] == []

    @pytest.mark.parametrize("type_", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(("misspelled", "meant"), [("queue", "queues"), ("Events", "events"), ("event", "events")])
    def test_a_misspelled_field_is_refused(self, world: World, type_: str, misspelled: str, meant: str) -> None:
        peer = world.live(ANA)
        (answer,) = peer.request(type_, {"events": ["call.*"], misspelled: ["sales"]})
        assert answer["payload"]["code"] == "invalid_message"
        assert f"unknown field '{misspelled}'; did you mean {meant}?" in answer["payload"]["message"]
        (answer,) = peer.request("subscribe", {"events": ["alert"], "colour": "red"})
        assert answer["payload"]["events"] == ["alert"]

    def test_only_subscribed_types_are_sent(self, world: World) -> None:
        peer = world.live(ANA)
        peer.request("subscribe", {"events": ["call.*"]})
        world.publish("call.incoming")
        world.publish("alert")
        assert types_of(peer.events()) == ["call.incoming"]
        peer.request("unsubscribe", {"events": ["call.incoming"]})
        world.publish("call.incoming")
        world.publish("call.ended")
        assert types_of(peer.events()) == ["call.ended"]

    def test_a_subscription_takes_effect_between_two_events(self, world: World) -> None:
        peer = world.live(ANA)
        world.publish("alert")
        peer.dispatcher.receive(b'{"type":"subscribe","payload":{"events":["call.*"]}}')
        world.publish("alert")
        world.publish("call.incoming")
        assert peer.types() == ["alert", "subscribed", "call.incoming"]

    @pytest.mark.parametrize("type_", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ({}, "payload.events: required"),
            ({"events": None}, "payload.events: expected an array"),
            ({"events": "call.*"}, "payload.events: expected an array"),
            ({"events": []}, "payload.events: expected an array of length >= 1"),
            ({"events": [1]}, "payload.events[0]: expected a string"),
            ({"events": ["alert", None]}, "payload.events[1]: expected a string"),
            ({"events": [""]}, "payload.events[0]: expected a string of length >= 1"),
            ({"events": ["x" * 256]}, "payload.events[0]: expected a string of length <= 255"),
            ({"events": ["alert"] * 101}, "payload.events: expected an array of length <= 100"),
        ],
    )
    def test_an_invalid_field_is_refused_by_name(self, world: World, type_: str, payload: Any, text: str) -> None:
        code, message = world.live(ANA).request_error(type_, payload)
        assert code == "invalid_message"
        assert message.startswith(text)

    @pytest.mark.parametrize(
        ("user", "events", "code"),
        [
            (ANA, ["alert", "no.such"], "unknown_event"),
            (ANA, ["presence.changed"], "forbidden"),
            (VISITOR, ["call.incoming"], "forbidden"),
            (VISITOR, ["chat.message", "agent.*"], "forbidden"),
            (principal(Role.WALLBOARD), ["chat.*"], "forbidden"),
            (principal(Role.SERVICE), ["*"], "forbidden"),
        ],
    )
    def test_a_refused_subscription_changes_nothing(
        self, world: World, user: Any, events: list[str], code: str
    ) -> None:
        peer = world.connect(user)
        peer.read()
        before = peer.client.subscription.events
        assert peer.request_error("subscribe", {"events": events})[0] == code
        assert peer.client.subscription.events == before

    def test_a_subscription_to_everything_does_not_widen_what_a_visitor_sees(self, world: World) -> None:
        peer = world.live(VISITOR)
        peer.request("subscribe", {"events": ["*"]})
        for type_ in ("call.incoming", "alert", "agent.login", "queue.stats"):
            world.publish(type_)
        world.publish("chat.message", {"session_id": "s-2"})
        assert peer.events() == []


class TestSmallRequests:
    def test_ping_is_answered_with_pong(self, world: World) -> None:
        (answer,) = world.live(ANA).request("ping", id="p")
        assert answer == {
            "type": "pong", "in_reply_to": "p", "payload": {"server_time": "2027-01-15T08:00:00.000Z"},
        }  # fmt: skip

    def test_ack_is_not_answered(self, world: World) -> None:
        peer = world.live(ANA)
        assert peer.request("ack", {"ids": ["a", "b"]}) == []
        assert peer.request("ack", {"ids": []}) == []

    @pytest.mark.parametrize("payload", [{}, {"ids": "a"}, {"ids": [1]}, {"ids": [""]}, {"ids": ["a"] * 1001}])
    def test_ack_without_valid_ids_is_refused(self, world: World, payload: Any) -> None:
        code, text = world.live(ANA).request_error("ack", payload)
        assert (code, text.startswith("payload.ids")) == ("invalid_message", True)

    def test_snapshot_is_answered_with_the_state(self, world: World) -> None:
        peer = world.live(principal(Role.WALLBOARD))
        world.publish("agent.login")
        world.publish("call.incoming")
        world.publish("chat.session.started")
        peer.read()
        (answer,) = peer.request("snapshot", id="s")
        assert (answer["in_reply_to"], answer["payload"]["seq"]) == ("s", 3)
        assert [(event["type"], event["seq"]) for event in answer["payload"]["events"]] == [
            ("agent.login", 1),
            ("call.incoming", 2),
        ]
        assert answer["payload"]["events"][1]["payload"]["caller_id"] == "***"

    def test_resume_is_answered_with_the_missed_events(self, world: World) -> None:
        peer = world.live(ANA)
        epoch = world.publish("alert").epoch
        world.publish("alert")
        peer.read()
        *missed, answer = peer.request("resume", {"epoch": epoch, "seq": 1}, id="r")
        assert [message["seq"] for message in missed] == [2]
        assert answer == {
            "type": "resumed", "in_reply_to": "r", "payload": {"epoch": epoch, "from_seq": 1, "to_seq": 2, "count": 1},
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("payload", "path"),
        [
            ({}, "payload.epoch"), ({"epoch": "e"}, "payload.seq"), ({"seq": 1}, "payload.epoch"),
            ({"epoch": 1, "seq": 1}, "payload.epoch"), ({"epoch": "", "seq": 1}, "payload.epoch"),
            ({"epoch": "e", "seq": -1}, "payload.seq"), ({"epoch": "e", "seq": "1"}, "payload.seq"),
            ({"epoch": "e", "seq": 1.5}, "payload.seq"), ({"epoch": "e", "seq": True}, "payload.seq"),
            ({"epoch": "e", "seq": 2**53 + 1}, "payload.seq"), ({"epoch": "e", "seq": 10**100}, "payload.seq"),
            ({"epoch": "e", "seq": None}, "payload.seq"),
        ],
    )  # fmt: skip
    def test_resume_without_a_valid_position_is_refused(self, world: World, payload: Any, path: str) -> None:
        code, text = world.live(ANA).request_error("resume", payload)
        assert code == "invalid_message"
        assert text.startswith(f"{path}: ")

    @pytest.mark.parametrize("seq", [0, 5, 2**53])
    def test_resume_in_another_epoch_is_answered_with_reset(self, world: World, seq: int) -> None:
        reset, snapshot = world.live(ANA).request("resume", {"epoch": "other", "seq": seq}, id="r")
        assert (reset["type"], reset["in_reply_to"], reset["payload"]["reason"]) == ("reset", "r", "epoch_changed")
        assert snapshot["type"] == "snapshot"


class TestAuth:
    def renew(self, world: World, peer: Peer, fresh: Any) -> dict[str, Any]:
        world.tokens.principals["fresh"] = fresh
        (answer,) = peer.request("auth", {"token": "fresh"}, id="a")
        assert answer["in_reply_to"] == "a"
        return answer

    def test_a_fresh_token_extends_the_session(self, world: World) -> None:
        expires_at = world.clock.time() + 100
        peer = world.live(replace(ANA, expires_at=expires_at))
        answer = self.renew(world, peer, replace(ANA, expires_at=expires_at + 500))
        assert answer["type"] == "session.extended"
        assert answer["payload"] == {"expires_at": "2027-01-15T08:10:00.000Z"}
        world.clock.advance(500)
        assert peer.closed_with is None
        world.clock.advance(100)
        assert peer.closed_with is CloseCode.TOKEN_EXPIRED

    def test_the_claims_of_the_fresh_token_apply_at_once(self, world: World) -> None:
        peer = world.live(replace(ANA, queues=frozenset({"sales"})))
        peer.request("subscribe", {"events": ["queue.stats"]})
        self.renew(world, peer, replace(ANA, queues=frozenset({"help"})))
        world.publish("queue.stats", {"queue_name": "sales"})
        world.publish("queue.stats", {"queue_name": "help"})
        assert [message["payload"]["queue_name"] for message in peer.events()] == ["help"]

    @pytest.mark.parametrize(
        "fresh",
        [
            replace(ANA, user_id="8"),
            replace(ANA, tenant_id=GLOBEX),
            replace(ANA, role=Role.ADMIN),
            replace(ANA, role=Role.VISITOR, session_id="s-1"),
            replace(ANA, session_id="s-1"),
        ],
        ids=["user", "tenant", "role", "visitor", "session"],
    )
    def test_a_token_of_another_identity_is_refused(self, world: World, fresh: Any) -> None:
        peer = world.live(ANA)
        answer = self.renew(world, peer, fresh)
        assert answer["payload"]["code"] == "forbidden"
        assert peer.client.principal == ANA
        assert world.hub.connections(ACME) == 1

    def test_an_invalid_token_does_not_change_the_session(self, world: World) -> None:
        peer = world.live(ANA)
        assert peer.request_error("auth", {"token": "stolen"}) == ("unauthorized", "signature: does not match any key")
        assert peer.closed_with is None
        assert all("stolen" not in str(refusal) for _, refusal in world.log.refusals)

    def test_a_revoked_token_is_refused(self, world: World) -> None:
        peer = world.live(replace(ANA, jti="t-1"))
        world.hub.revoke(ACME, jti="t-2")
        assert self.renew(world, peer, replace(ANA, jti="t-2"))["payload"]["code"] == "unauthorized"

    def test_a_token_for_all_tenants_extends_a_session_of_one_tenant(self, world: World) -> None:
        root = principal(Role.ADMIN, "root")
        peer = world.live(root)
        answer = self.renew(world, peer, replace(root, tenant_id="*"))
        assert answer["type"] == "session.extended"
        assert peer.client.principal.tenant_id == ACME
        world.publish("alert")
        world.publish("alert", tenant_id=GLOBEX)
        assert [message["tenant_id"] for message in peer.events()] == [ACME]

    @pytest.mark.parametrize("payload", [{}, {"token": None}, {"token": 5}, {"token": ["t"]}])
    def test_a_token_that_is_not_a_string_is_refused(self, world: World, payload: Any) -> None:
        code, text = world.live(ANA).request_error("auth", payload)
        assert (code, text.startswith("payload.token: ")) == ("invalid_message", True)


FORGED = {
    "sender_id": "1", "sender_type": "system", "sender_name": "The boss", "message_id": "forged", "private": True,
    "timestamp": "1999-01-01T00:00:00Z", "tenant_id": GLOBEX, "user_id": "1", "visitor_email": "a@example.org",
}  # fmt: skip
"""Fields in which a client could claim to be another sender."""


class TestChatMessage:
    @pytest.fixture
    def world(self) -> World:
        """A world whose clients may write into any session; tests/requests/test_chat_sessions.py tests the others."""
        return World(open_sessions=True)

    def send_chat(self, peer: Peer, **fields: Any) -> dict[str, Any]:
        """Send ``chat.message``; return the payload of its ``accepted``."""
        messages = peer.request("chat.message", {"session_id": "s-1", "body": "hello", **fields})
        payload: dict[str, Any] = only(messages, "accepted")["payload"]
        return payload

    @pytest.mark.parametrize("user", [VISITOR, ANA], ids=["visitor", "agent"])
    def test_the_sender_is_that_of_the_token(self, world: World, user: Any) -> None:
        observer = world.live(principal(Role.SUPERVISOR, "boss"))
        peer = world.live(user)
        message = {"session_id": "s-1", "body": "hello", **FORGED}
        peer.request("chat.message", message, timestamp="1999-01-01T00:00:00Z", user_id="1", tenant_id=GLOBEX)
        (event,) = observer.events()
        assert event["payload"] == {
            "session_id": "s-1", "message_id": event["id"], "body": "hello", "sender_id": user.user_id,
            "sender_type": user.role.value, "sender_name": user.name,
        }  # fmt: skip
        assert event["timestamp"] == "2027-01-15T08:00:00.000Z"
        assert "user_id" not in event
        assert event["tenant_id"] == ACME

    def test_the_answer_has_the_position_of_the_event(self, world: World) -> None:
        world.publish("alert")
        peer = world.live(VISITOR)
        event, accepted = peer.request(
            "chat.message", {"session_id": "s-1", "body": "hi", "client_message_id": "x"}, id=9
        )
        assert accepted["in_reply_to"] == 9
        assert accepted["payload"] == {
            "session_id": "s-1", "message_id": event["payload"]["message_id"], "client_message_id": "x",
            "id": event["id"], "seq": 2, "duplicate": False,
        }  # fmt: skip

    def test_the_origin_is_client(self, world: World) -> None:
        received: list[Publication] = []
        world.hub.listen(received.append)
        self.send_chat(world.live(VISITOR))
        assert [publication.event.origin for publication in received] == [Origin.CLIENT]

    def test_a_repeated_id_is_answered_with_the_first_result(self, world: World) -> None:
        observer = world.live(ANA)
        peer = world.live(VISITOR)
        first = self.send_chat(peer, client_message_id="x", body="hello")
        world.publish("alert")
        repeated = self.send_chat(peer, client_message_id="x", body="something else")
        assert repeated == {**first, "duplicate": True}
        reconnected = self.send_chat(world.live(VISITOR), client_message_id="x")
        assert reconnected == repeated
        bodies = [message["payload"]["body"] for message in observer.events() if message["type"] == "chat.message"]
        assert bodies == ["hello"]

    @pytest.mark.parametrize(
        ("user", "session", "id_"),
        [
            (VISITOR, "s-1", "y"),
            (principal(Role.VISITOR, "v-2", session_id="s-1"), "s-1", "x"),
            (principal(Role.AGENT, "v-1"), "s-1", "x"),
            (principal(Role.VISITOR, "v-1", GLOBEX, session_id="s-1"), "s-1", "x"),
            (principal(Role.VISITOR, "v-1", session_id="s-2"), "s-2", "x"),
        ],
        ids=["another id", "another visitor", "an agent", "another tenant", "another session"],
    )
    def test_a_client_message_id_is_unique_within_one_sender_and_session(
        self, world: World, user: Any, session: str, id_: str
    ) -> None:
        first = self.send_chat(world.live(VISITOR), client_message_id="x")
        other = self.send_chat(world.live(user), client_message_id=id_, session_id=session)
        assert not other["duplicate"]
        assert other["message_id"] != first["message_id"]

    def test_messages_without_an_id_are_never_repetitions(self, world: World) -> None:
        peer = world.live(VISITOR)
        assert self.send_chat(peer)["message_id"] != self.send_chat(peer)["message_id"]

    def test_a_visitor_may_write_in_its_own_session_only(self, world: World) -> None:
        peer = world.live(VISITOR)
        assert peer.request_error("chat.message", {"session_id": "s-2", "body": "x"})[0] == "forbidden"
        without_session = world.live(principal(Role.VISITOR, "v-9"))
        assert without_session.request_error("chat.message", {"session_id": "None", "body": "x"})[0] == "forbidden"
        assert run(world.broker.position(ACME)).seq == 0

    @pytest.mark.parametrize("role", CHATTING_ROLES)
    def test_the_sender_type_of_staff_is_agent(self, world: World, role: Role) -> None:
        visitor = world.live(VISITOR)
        self.send_chat(world.live(principal(role)))
        assert [message["payload"]["sender_type"] for message in visitor.events()] == ["agent"]

    @pytest.mark.parametrize("type_", ["chat.message", "chat.typing"])
    @pytest.mark.parametrize("role", [Role.WALLBOARD, Role.SERVICE])
    def test_other_roles_may_not_chat(self, world: World, role: Role, type_: str) -> None:
        message = {"session_id": "s-1", "body": "x", "is_typing": True}
        peer = world.connect(principal(role))
        peer.read()
        assert peer.request_error(type_, message)[0] == "forbidden"

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"session_id": None}, "payload.session_id: expected"), ({"session_id": ""}, "payload.session_id: "),
            ({"session_id": 1.5}, "payload.session_id: expected"), ({"session_id": "x" * 256}, "payload.session_id: "),
            ({"body": None}, "payload.body: expected a string"), ({"body": 5}, "payload.body: expected a string"),
            ({"body": ""}, "payload.body: expected a string of length >= 1"), ({"body": ["x"]}, "payload.body: "),
            ({"client_message_id": ""}, "payload.client_message_id: "),
            ({"client_message_id": []}, "payload.client_message_id: "),
        ],
    )  # fmt: skip
    def test_an_invalid_field_is_refused_by_name(self, world: World, fields: dict[str, Any], text: str) -> None:
        payload = {"session_id": "s-1", "body": "x", **fields}
        code, message = world.live(VISITOR).request_error("chat.message", payload)
        assert code == "invalid_message"
        assert message.startswith(text)

    @pytest.mark.parametrize("field", ["session_id", "body"])
    def test_a_missing_field_is_refused_by_name(self, world: World, field: str) -> None:
        message = {"session_id": "s-1", "body": "x"}
        del message[field]
        assert world.live(ANA).request_error("chat.message", message) == (
            "invalid_message",
            f"payload.{field}: required",
        )

    def test_an_integer_session_id_is_the_same_as_its_decimal_string(self, world: World) -> None:
        visitor = world.live(principal(Role.VISITOR, "v-1", session_id="5"))
        assert self.send_chat(visitor, session_id=5)
        assert self.send_chat(world.live(ANA), session_id="5")
        assert [message["payload"]["session_id"] for message in visitor.events()] == ["5"]

    def test_a_closed_store_is_answered_with_unavailable(self, world: World) -> None:
        peer = world.live(VISITOR)
        run(world.broker.stop())
        assert peer.request_error("chat.message", {"session_id": "s-1", "body": "x"})[0] == "unavailable"
        assert peer.closed_with is None


class TestChatTyping:
    @pytest.fixture
    def world(self) -> World:
        """A world whose clients may write into any session."""
        return World(open_sessions=True)

    @pytest.mark.parametrize("user", [VISITOR, ANA], ids=["visitor", "agent"])
    def test_the_sender_is_that_of_the_token(self, world: World, user: Any) -> None:
        observer = world.live(principal(Role.SUPERVISOR, "boss"))
        world.live(user).request("chat.typing", {"session_id": "s-1", "is_typing": True, **FORGED})
        (event,) = observer.events()
        assert event["payload"] == {
            "session_id": "s-1", "is_typing": True, "sender_id": user.user_id, "sender_type": user.role.value,
            "sender_name": user.name,
        }  # fmt: skip

    def test_it_is_sent_to_visitors_of_its_session_only(self, world: World) -> None:
        visitor, other = world.live(VISITOR), world.live(replace(VISITOR, user_id="v-2", session_id="s-2"))
        world.live(ANA).request("chat.typing", {"session_id": "s-1", "is_typing": True})
        assert types_of(visitor.events()) == ["chat.typing"]
        assert other.events() == []

    def test_a_visitor_may_type_in_its_own_session_only(self, world: World) -> None:
        peer = world.live(VISITOR)
        assert peer.request_error("chat.typing", {"session_id": "s-2", "is_typing": True})[0] == "forbidden"

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"is_typing": None}, {"is_typing": 1}, {"is_typing": "true"}, {"is_typing": True, "session_id": []}],
    )
    def test_an_invalid_field_is_refused_by_name(self, world: World, wrong: dict[str, Any]) -> None:
        code, text = world.live(VISITOR).request_error("chat.typing", {"session_id": "s-1", **wrong})
        assert code == "invalid_message"
        assert text.startswith(("payload.is_typing: ", "payload.session_id: "))

    def test_more_than_one_in_a_second_is_refused(self, world: World) -> None:
        observer = world.live(ANA)
        peer = world.live(VISITOR)
        peer.request("chat.typing", {"session_id": "s-1", "is_typing": True})
        world.clock.advance(0.75)
        answer = error(peer.request("chat.typing", {"session_id": "s-1", "is_typing": True}))["payload"]
        assert (answer["code"], answer["retry_after_ms"]) == ("rate_limited", 250)
        world.clock.advance(0.25)
        peer.request("chat.typing", {"session_id": "s-1", "is_typing": False})
        assert [message["payload"]["is_typing"] for message in observer.events()] == [True, False]

    def test_the_limit_is_for_each_sender_and_session(self, world: World) -> None:
        observer = world.live(principal(Role.ADMIN, "boss"))
        agent, visitor = world.live(ANA), world.live(VISITOR)
        for peer, session in ((agent, "s-1"), (agent, "s-2"), (visitor, "s-1")):
            peer.request("chat.typing", {"session_id": session, "is_typing": True})
        assert len(observer.events()) == 3

    def test_connections_of_one_user_share_the_limit(self, world: World) -> None:
        world.live(VISITOR).request("chat.typing", {"session_id": "s-1", "is_typing": True})
        assert (
            world.live(VISITOR).request_error("chat.typing", {"session_id": "s-1", "is_typing": True})[0]
            == "rate_limited"
        )

    def test_a_client_over_the_typing_limit_is_not_closed(self, world: World) -> None:
        """Many chat widgets send an event for each keystroke; only excess over ``limits.rate`` closes a connection."""
        peer = world.live(VISITOR)
        for _ in range(100):
            peer.request("chat.typing", {"session_id": "s-1", "is_typing": True})
            world.clock.advance(0.2)
        assert peer.closed_with is None

    def test_the_number_of_remembered_typing_senders_is_limited(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("callcenter_ws.requests.sender_rate.MAX_SENDERS", 2)
        peer = world.live(ANA)
        for session in "abc":
            peer.request("chat.typing", {"session_id": session, "is_typing": True})
        assert peer.request("chat.typing", {"session_id": "a", "is_typing": True})[0]["type"] == "chat.typing"
        assert peer.request_error("chat.typing", {"session_id": "c", "is_typing": True})[0] == "rate_limited"


class TestRateLimit:
    PING = b'{"type":"ping"}'

    def test_a_burst_is_answered_and_then_the_rate_applies(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(40):
            peer.dispatcher.receive(self.PING)
        assert {message["type"] for message in peer.read()} == {"pong"}
        answer = error(peer.request_text(self.PING))["payload"]
        assert (answer["code"], answer["retry_after_ms"]) == ("rate_limited", 50)
        world.clock.advance(1)
        answers = [peer.request_text(self.PING)[0]["type"] for _ in range(21)]
        assert answers == ["pong"] * 20 + ["error"]

    def test_requests_over_the_rate_are_not_handled(self) -> None:
        world = World(open_sessions=True)
        observer = world.live(ANA)
        peer = world.live(VISITOR)
        for _ in range(45):
            peer.dispatcher.receive(b'{"type":"chat.message","payload":{"session_id":"s-1","body":"x"}}')
        assert len(observer.events()) == 10

    def test_a_client_that_stays_over_the_rate_is_closed_with_4004(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(60):
            peer.dispatcher.receive(self.PING)
        assert peer.closed_with is None
        peer.dispatcher.receive(self.PING)
        assert peer.closed_with is CloseCode.RATE_LIMITED
        assert peer.types() == ["pong"] * 40 + ["error"] * 21
        assert world.hub.connections(ACME) == 0

    def test_a_flooding_client_does_not_affect_others(self, world: World) -> None:
        other = world.live(principal(user_id="8"))
        peer = world.live(ANA)
        for _ in range(100):
            peer.dispatcher.receive(self.PING)
        assert other.request("ping")[0]["type"] == "pong"


class TestMistakes:
    INVALID = b"{"

    def test_twenty_mistakes_a_minute_are_allowed(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(20):
            peer.dispatcher.receive(self.INVALID)
        assert peer.closed_with is None
        assert len(peer.read()) == 20
        world.clock.advance(60)
        for _ in range(20):
            peer.dispatcher.receive(self.INVALID)
        assert peer.closed_with is None

    def test_the_twenty_first_mistake_is_answered_and_closes_with_4501(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(21):
            peer.dispatcher.receive(self.INVALID)
        assert peer.closed_with is CloseCode.PROTOCOL_ABUSE
        assert [message["payload"]["code"] for message in peer.read()] == ["invalid_json"] * 21
        assert world.hub.connections(ACME) == 0

    def test_mistakes_are_counted_in_a_sliding_minute(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(21):
            peer.dispatcher.receive(self.INVALID)
            world.clock.advance(2.9)
        assert peer.closed_with is CloseCode.PROTOCOL_ABUSE

    def test_mistakes_at_a_slower_rate_do_not_close(self, world: World) -> None:
        peer = world.live(ANA)
        for _ in range(200):
            peer.dispatcher.receive(self.INVALID)
            world.clock.advance(3.1)
        assert peer.closed_with is None

    @pytest.mark.parametrize(
        "text",
        [
            b"[]", b'{"type":"nonsense"}', b'{"type":"subscribe"}',
            b'{"type":"subscribe","payload":{"events":["no.such"]}}',
            b'{"type":"subscribe","payload":{"events":["presence.changed"]}}',
            b'{"type":"auth","payload":{"token":"guess"}}',
        ],
    )  # fmt: skip
    def test_each_kind_of_mistake_counts(self, world: World, text: bytes) -> None:
        peer = world.live(ANA)
        for _ in range(21):
            peer.dispatcher.receive(text)
        assert peer.closed_with is CloseCode.PROTOCOL_ABUSE

    def test_an_unavailable_store_is_not_counted_as_a_mistake(self, world: World) -> None:
        peer = world.live(VISITOR)
        run(world.broker.stop())
        for _ in range(30):
            peer.dispatcher.receive(b'{"type":"chat.message","payload":{"session_id":"s-1","body":"x"}}')
        assert peer.closed_with is None

    def test_a_closed_client_is_neither_read_nor_written(self, world: World) -> None:
        peer = world.live(VISITOR)
        for _ in range(100):
            peer.dispatcher.receive(self.INVALID)
        peer.read()
        assert peer.request("chat.message", {"session_id": "s-1", "body": "x"}) == []
        assert run(world.broker.position(ACME)).seq == 0

    def test_refusals_and_closes_are_logged_with_the_client(self, world: World) -> None:
        peer = world.live(ANA)
        peer.request_error("nonsense")
        peer.client.close(CloseCode.NORMAL)
        client = "acme/7 (agent, connection c1)"
        assert [(name, refusal.code) for name, refusal in world.log.refusals] == [(client, ErrorCode.UNKNOWN_TYPE)]
        assert world.log.closes == [(client, CloseCode.NORMAL)]


def test_each_json_object_of_a_burst_is_a_frame_of_its_own_in_one_write(world: World) -> None:
    peer = world.live(principal(Role.ADMIN))
    peer.take()
    writes = peer.writes
    for _ in range(30):
        world.publish("alert", {"message": 'a\nb}{"type":"ping"}'})
        peer.dispatcher.receive(b'{"type":"ping"}')
    world.turn()
    assert peer.writes == writes + 1
    texts = text_payloads(peer.written)
    assert len(texts) == len(peer.read()) == 60
    assert not any(b"\n" in text for text in texts)
