"""Everything that a client may say, and everything that it may say wrong."""

from __future__ import annotations

from typing import Any

import pytest
from core_world import ACME, GLOBEX, Person, World, principal
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from callcenter_ws.errors import CloseCode
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.testing import run, text_payloads

VISITOR = principal(Role.VISITOR, "v-1", session_id="s-1", name="Rui")
ANA = principal(Role.AGENT, "7", name="Ana")
REQUESTS = ["subscribe", "unsubscribe", "snapshot", "resume", "ack", "auth", "ping", "chat.message", "chat.typing"]
WRITERS = [Role.AGENT, Role.SUPERVISOR, Role.ADMIN]


def only(messages: list[dict[str, Any]], type_: str) -> dict[str, Any]:
    (found,) = [message for message in messages if message["type"] == type_]
    return found


def error(messages: list[dict[str, Any]]) -> dict[str, Any]:
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
    def test_text_that_is_not_json(self, world: World, text: bytes) -> None:
        person = world.connect(ANA)
        assert error(person.sends(text))["payload"]["code"] == "invalid_json"
        assert person.says("ping")

    @pytest.mark.parametrize("text", [b"[]", b"null", b"5", b'"ping"', b"true", b'[{"type":"ping"}]'])
    def test_json_that_is_no_object(self, world: World, text: bytes) -> None:
        answer = error(world.connect(ANA).sends(text))["payload"]
        assert answer == {"code": "invalid_message", "message": "expected a JSON object with type and payload"}

    @pytest.mark.parametrize("text", [b"{}", b'{"type":null}', b'{"type":5}', b'{"type":["ping"]}', b'{"payload":{}}'])
    def test_no_type(self, world: World, text: bytes) -> None:
        answer = error(world.connect(ANA).sends(text))["payload"]
        assert answer == {"code": "invalid_message", "message": "type: expected a string"}

    @pytest.mark.parametrize(
        "type_",
        ["", "PING", "ping ", "call.incoming", "agent.login", "alert", "welcome", "error", "resumed", "x" * 10_000],
    )
    def test_a_type_that_clients_do_not_send(self, world: World, type_: str) -> None:
        code, text = world.connect(ANA).is_refused(type_)
        assert code == "unknown_type"
        assert text == f"there is no message type {type_[:64]!r}"

    @pytest.mark.parametrize("id_", ["a", "", 0, -1, 2**70, "x" * 255, 'quo"te'])
    def test_an_answer_carries_the_id_of_its_request(self, world: World, id_: Any) -> None:
        person = world.connect(ANA)
        assert only(person.says("ping", id=id_), "pong")["in_reply_to"] == id_
        assert error(person.says("nonsense", id=id_))["in_reply_to"] == id_
        assert error(person.says("subscribe", {}, id=id_))["in_reply_to"] == id_

    def test_without_an_id_it_carries_none(self, world: World) -> None:
        person = world.connect(ANA)
        assert "in_reply_to" not in only(person.says("ping"), "pong")
        assert "in_reply_to" not in only(person.says("ping", id=None), "pong")

    @pytest.mark.parametrize("id_", [True, 1.5, [], {}, "x" * 256, 10**300])
    def test_an_id_is_a_short_text_or_an_integer(self, world: World, id_: Any) -> None:
        answer = error(world.connect(ANA).says("ping", id=id_))
        assert answer["payload"]["code"] == "invalid_message"
        assert answer["payload"]["message"].startswith("id: expected")
        assert "in_reply_to" not in answer

    @pytest.mark.parametrize(
        "type_", ["subscribe", "unsubscribe", "resume", "ack", "auth", "chat.message", "chat.typing"]
    )
    @pytest.mark.parametrize("payload", [[], "x", 5, True])
    def test_a_payload_is_an_object(self, world: World, type_: str, payload: Any) -> None:
        code, text = world.connect(ANA).is_refused(type_, payload)
        assert code == "invalid_message"
        assert text.startswith("payload: expected `object`")

    @pytest.mark.parametrize("type_", ["ping", "snapshot"])
    @pytest.mark.parametrize("more", [{}, {"payload": None}, {"payload": {}}, {"payload": {"x": 1}}, {"extra": [1]}])
    def test_an_empty_payload_may_be_left_out(self, world: World, type_: str, more: dict[str, Any]) -> None:
        (answer,) = world.connect(ANA).says(type_, **more)
        assert answer["type"] == {"ping": "pong", "snapshot": "snapshot"}[type_]

    def test_a_field_nested_deeply_costs_nobody_anything(self, world: World) -> None:
        person = world.connect(ANA)
        deep = b'{"type":"ping","x":' + b"[" * 900 + b"]" * 900 + b"}"
        (answer,) = person.sends(deep)
        assert answer["type"] in ("pong", "error")
        assert person.says("ping")[0]["type"] == "pong"

    @given(
        st.dictionaries(
            st.sampled_from(["type", "id", "payload"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text()
                | st.sampled_from(REQUESTS),
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
    def test_nothing_that_a_client_sends_is_a_bug(self, message: dict[str, Any]) -> None:
        """A bug would be raised by ``spawn``."""
        world = World()
        person = world.connect(VISITOR)
        type_ = message.pop("type", None)
        person.says(type_, **message)
        assert person.closed_with is None
        assert person.says("ping")[0]["type"] == "pong"


class TestSubscribe:
    def test_answers_with_the_whole_list(self, world: World) -> None:
        person = world.connect(ANA)
        (answer,) = person.says("subscribe", {"events": ["call.*"]}, id=1)
        assert answer == {"type": "subscribed", "in_reply_to": 1, "payload": {"events": ["call.*"]}}
        (answer,) = person.says("subscribe", {"events": ["alert", "call.*"]})
        assert answer["payload"]["events"] == ["call.*", "alert"]
        (answer,) = person.says("unsubscribe", {"events": ["call.*", "alert"]})
        assert answer["payload"]["events"] == []

    def test_decides_what_comes(self, world: World) -> None:
        person = world.connect(ANA)
        person.says("subscribe", {"events": ["call.*"]})
        world.publish("call.incoming")
        world.publish("alert")
        assert [message["type"] for message in person.events()] == ["call.incoming"]
        person.says("unsubscribe", {"events": ["call.incoming"]})
        world.publish("call.incoming")
        world.publish("call.ended")
        assert [message["type"] for message in person.events()] == ["call.ended"]

    def test_takes_effect_between_two_events_and_loses_none(self, world: World) -> None:
        person = world.connect(ANA)
        world.publish("alert")
        person.client.receive(b'{"type":"subscribe","payload":{"events":["call.*"]}}')
        world.publish("alert")
        world.publish("call.incoming")
        assert [message["type"] for message in person.hears()] == ["alert", "subscribed", "call.incoming"]

    @pytest.mark.parametrize("act", ["subscribe", "unsubscribe"])
    @pytest.mark.parametrize(
        ("payload", "text"),
        [
            ({}, "payload.events: required"),
            ({"events": None}, "payload.events: expected `array`"),
            ({"events": "call.*"}, "payload.events: expected `array`"),
            ({"events": []}, "payload.events: expected `array` of length >= 1"),
            ({"events": [1]}, "payload.events[0]: expected `str`"),
            ({"events": ["alert", None]}, "payload.events[1]: expected `str`"),
            ({"events": [""]}, "payload.events[0]: expected `str` of length >= 1"),
            ({"events": ["x" * 256]}, "payload.events[0]: expected `str` of length <= 255"),
            ({"events": ["alert"] * 101}, "payload.events: expected `array` of length <= 100"),
        ],
    )
    def test_a_wrong_field_is_named(self, world: World, act: str, payload: Any, text: str) -> None:
        code, said = world.connect(ANA).is_refused(act, payload)
        assert code == "invalid_message"
        assert said.startswith(text)

    @pytest.mark.parametrize(
        ("who", "events", "code"),
        [
            (ANA, ["alert", "no.such"], "unknown_event"),
            (ANA, ["presence.changed"], "forbidden"),
            (VISITOR, ["call.incoming"], "forbidden"),
            (VISITOR, ["chat.message", "agent.*"], "forbidden"),
            (principal(Role.WALLBOARD), ["chat.*"], "forbidden"),
            (principal(Role.SERVICE), ["*"], "forbidden"),
        ],
    )
    def test_what_may_not_be_had_changes_nothing(self, world: World, who: Any, events: list[str], code: str) -> None:
        person = world.connect(who)
        before = person.client.subscription.events
        assert person.is_refused("subscribe", {"events": events})[0] == code
        assert person.client.subscription.events == before

    def test_everything_does_not_widen_what_a_visitor_sees(self, world: World) -> None:
        person = world.connect(VISITOR)
        person.says("subscribe", {"events": ["*"]})
        for type_ in ("call.incoming", "alert", "agent.login", "queue.stats"):
            world.publish(type_)
        world.publish("chat.message", {"session_id": "s-2"})
        assert person.events() == []


class TestSmallRequests:
    def test_ping(self, world: World) -> None:
        (answer,) = world.connect(ANA).says("ping", id="p")
        assert answer == {
            "type": "pong", "in_reply_to": "p", "payload": {"server_time": "2027-01-15T08:00:00.000Z"},
        }  # fmt: skip

    def test_ack_is_accepted_in_silence(self, world: World) -> None:
        person = world.connect(ANA)
        assert person.says("ack", {"ids": ["a", "b"]}) == []
        assert person.says("ack", {"ids": []}) == []

    @pytest.mark.parametrize("payload", [{}, {"ids": "a"}, {"ids": [1]}, {"ids": [""]}, {"ids": ["a"] * 1001}])
    def test_ack_takes_identifiers(self, world: World, payload: Any) -> None:
        code, text = world.connect(ANA).is_refused("ack", payload)
        assert (code, text.startswith("payload.ids")) == ("invalid_message", True)

    def test_snapshot(self, world: World) -> None:
        person = world.connect(principal(Role.WALLBOARD))
        world.publish("agent.login")
        world.publish("call.incoming")
        world.publish("chat.session.started")
        person.hears()
        (answer,) = person.says("snapshot", id="s")
        assert (answer["in_reply_to"], answer["payload"]["seq"]) == ("s", 3)
        assert [(e["type"], e["seq"]) for e in answer["payload"]["events"]] == [
            ("agent.login", 1),
            ("call.incoming", 2),
        ]
        assert answer["payload"]["events"][1]["payload"]["caller_id"] == "***"

    def test_resume(self, world: World) -> None:
        person = world.connect(ANA)
        epoch = world.publish("alert").epoch
        world.publish("alert")
        person.hears()
        *missed, answer = person.says("resume", {"epoch": epoch, "seq": 1}, id="r")
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
    def test_resume_takes_a_position(self, world: World, payload: Any, path: str) -> None:
        code, text = world.connect(ANA).is_refused("resume", payload)
        assert code == "invalid_message"
        assert text.startswith(f"{path}: ")

    @pytest.mark.parametrize("seq", [0, 5, 2**53])
    def test_resume_in_a_foreign_epoch_resets(self, world: World, seq: int) -> None:
        reset, snapshot = world.connect(ANA).says("resume", {"epoch": "other", "seq": seq}, id="r")
        assert (reset["type"], reset["in_reply_to"], reset["payload"]["reason"]) == ("reset", "r", "epoch_changed")
        assert snapshot["type"] == "snapshot"


class TestAuth:
    def renew(self, world: World, person: Person, fresh: Any) -> dict[str, Any]:
        world.tokens.principals["fresh"] = fresh
        (answer,) = person.says("auth", {"token": "fresh"}, id="a")
        assert answer["in_reply_to"] == "a"
        return answer

    def test_extends_the_session_in_place(self, world: World) -> None:
        ends = world.clock.time() + 100
        person = world.connect(replace(ANA, expires_at=ends))
        answer = self.renew(world, person, replace(ANA, expires_at=ends + 500))
        assert answer["type"] == "session.extended"
        assert answer["payload"] == {"expires_at": "2027-01-15T08:10:00.000Z"}
        world.clock.advance(500)
        assert person.closed_with is None
        world.clock.advance(100)
        assert person.closed_with is CloseCode.TOKEN_EXPIRED

    def test_the_fresh_claims_hold_at_once(self, world: World) -> None:
        person = world.connect(replace(ANA, queues=frozenset({"sales"})))
        person.says("subscribe", {"events": ["queue.stats"]})
        self.renew(world, person, replace(ANA, queues=frozenset({"help"})))
        world.publish("queue.stats", {"queue_name": "sales"})
        world.publish("queue.stats", {"queue_name": "help"})
        assert [message["payload"]["queue_name"] for message in person.events()] == ["help"]

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
    def test_a_session_cannot_become_somebody_elses(self, world: World, fresh: Any) -> None:
        person = world.connect(ANA)
        answer = self.renew(world, person, fresh)
        assert answer["payload"]["code"] == "forbidden"
        assert person.client.principal == ANA
        assert world.hub.connections(ACME) == 1

    def test_a_bad_token_leaves_the_session_as_it_is(self, world: World) -> None:
        person = world.connect(ANA)
        assert person.is_refused("auth", {"token": "stolen"}) == ("unauthorized", "the token's signature is wrong")
        assert person.closed_with is None
        assert all("stolen" not in str(refusal) for _, refusal in world.notes.refusals)

    def test_a_revoked_token_is_refused(self, world: World) -> None:
        person = world.connect(replace(ANA, jti="t-1"))
        world.hub.revoke(ACME, jti="t-2")
        assert self.renew(world, person, replace(ANA, jti="t-2"))["payload"]["code"] == "unauthorized"

    def test_a_token_for_every_tenant_extends_a_session_that_one_opened(self, world: World) -> None:
        root = principal(Role.ADMIN, "root")
        person = world.connect(root)
        answer = self.renew(world, person, replace(root, tenant_id="*"))
        assert answer["type"] == "session.extended"
        assert person.client.principal.tenant_id == ACME
        world.publish("alert")
        world.publish("alert", tenant_id=GLOBEX)
        assert [message["tenant_id"] for message in person.events()] == [ACME]

    @pytest.mark.parametrize("payload", [{}, {"token": None}, {"token": 5}, {"token": ["t"]}])
    def test_a_token_is_a_text(self, world: World, payload: Any) -> None:
        code, text = world.connect(ANA).is_refused("auth", payload)
        assert (code, text.startswith("payload.token: ")) == ("invalid_message", True)


FORGED = {
    "sender_id": "1", "sender_type": "system", "sender_name": "The boss", "message_id": "forged", "private": True,
    "timestamp": "1999-01-01T00:00:00Z", "tenant_id": GLOBEX, "user_id": "1", "visitor_email": "a@example.org",
}  # fmt: skip
"""What a client might say about itself."""


class TestChatMessage:
    def say(self, person: Person, **fields: Any) -> dict[str, Any]:
        return only(person.says("chat.message", {"session_id": "s-1", "body": "hello", **fields}), "accepted")[
            "payload"
        ]

    @pytest.mark.parametrize("who", [VISITOR, ANA], ids=["visitor", "agent"])
    def test_is_stamped_by_the_token_whatever_the_client_says(self, world: World, who: Any) -> None:
        watcher = world.connect(principal(Role.SUPERVISOR, "boss"))
        person = world.connect(who)
        message = {"session_id": "s-1", "body": "hello", **FORGED}
        person.says("chat.message", message, timestamp="1999-01-01T00:00:00Z", user_id="1", tenant_id=GLOBEX)
        (seen,) = watcher.events()
        assert seen["payload"] == {
            "session_id": "s-1", "message_id": seen["id"], "body": "hello", "sender_id": who.user_id,
            "sender_type": who.role.value, "sender_name": who.name,
        }  # fmt: skip
        assert seen["timestamp"] == "2027-01-15T08:00:00.000Z"
        assert "user_id" not in seen
        assert seen["tenant_id"] == ACME

    def test_is_answered_with_its_position(self, world: World) -> None:
        world.publish("alert")
        person = world.connect(VISITOR)
        event_, accepted = person.says(
            "chat.message", {"session_id": "s-1", "body": "hi", "client_message_id": "x"}, id=9
        )
        assert accepted["in_reply_to"] == 9
        assert accepted["payload"] == {
            "session_id": "s-1", "message_id": event_["payload"]["message_id"], "client_message_id": "x",
            "id": event_["id"], "seq": 2, "duplicate": False,
        }  # fmt: skip

    def test_is_marked_as_a_clients(self, world: World) -> None:
        seen: list[Publication] = []
        world.hub.listen(seen.append)
        self.say(world.connect(VISITOR))
        assert [message.event.origin for message in seen] == [Origin.CLIENT]

    def test_a_repeated_id_is_answered_with_the_first_result(self, world: World) -> None:
        watcher = world.connect(ANA)
        person = world.connect(VISITOR)
        first = self.say(person, client_message_id="x", body="hello")
        world.publish("alert")
        again = self.say(person, client_message_id="x", body="something else")
        assert again == {**first, "duplicate": True}
        reconnected = self.say(world.connect(VISITOR), client_message_id="x")
        assert reconnected == again
        bodies = [message["payload"]["body"] for message in watcher.events() if message["type"] == "chat.message"]
        assert bodies == ["hello"]

    @pytest.mark.parametrize(
        ("who", "session", "id_"),
        [
            (VISITOR, "s-1", "y"),
            (principal(Role.VISITOR, "v-2", session_id="s-1"), "s-1", "x"),
            (principal(Role.AGENT, "v-1"), "s-1", "x"),
            (principal(Role.VISITOR, "v-1", GLOBEX, session_id="s-1"), "s-1", "x"),
            (principal(Role.VISITOR, "v-1", session_id="s-2"), "s-2", "x"),
        ],
        ids=["another id", "another visitor", "an agent", "another tenant", "another session"],
    )
    def test_the_id_is_one_senders_in_one_session(self, world: World, who: Any, session: str, id_: str) -> None:
        first = self.say(world.connect(VISITOR), client_message_id="x")
        other = self.say(world.connect(who), client_message_id=id_, session_id=session)
        assert not other["duplicate"]
        assert other["message_id"] != first["message_id"]

    def test_without_an_id_each_is_new(self, world: World) -> None:
        person = world.connect(VISITOR)
        assert self.say(person)["message_id"] != self.say(person)["message_id"]

    def test_a_visitor_writes_in_its_own_session_only(self, world: World) -> None:
        person = world.connect(VISITOR)
        assert person.is_refused("chat.message", {"session_id": "s-2", "body": "x"})[0] == "forbidden"
        nobody = world.connect(principal(Role.VISITOR, "v-9"))
        assert nobody.is_refused("chat.message", {"session_id": "None", "body": "x"})[0] == "forbidden"
        assert run(world.broker.position(ACME)).seq == 0

    @pytest.mark.parametrize("role", WRITERS)
    def test_staff_write_as_agents(self, world: World, role: Role) -> None:
        visitor = world.connect(VISITOR)
        self.say(world.connect(principal(role)))
        assert [message["payload"]["sender_type"] for message in visitor.events()] == ["agent"]

    @pytest.mark.parametrize("type_", ["chat.message", "chat.typing"])
    @pytest.mark.parametrize("role", [Role.WALLBOARD, Role.SERVICE])
    def test_others_do_not_chat(self, world: World, role: Role, type_: str) -> None:
        message = {"session_id": "s-1", "body": "x", "is_typing": True}
        assert world.connect(principal(role)).is_refused(type_, message)[0] == "forbidden"

    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            ({"session_id": None}, "payload.session_id: expected"), ({"session_id": ""}, "payload.session_id: "),
            ({"session_id": 1.5}, "payload.session_id: expected"), ({"session_id": "x" * 256}, "payload.session_id: "),
            ({"body": None}, "payload.body: expected `str`"), ({"body": 5}, "payload.body: expected `str`"),
            ({"body": ""}, "payload.body: expected `str` of length >= 1"), ({"body": ["x"]}, "payload.body: "),
            ({"client_message_id": ""}, "payload.client_message_id: "),
            ({"client_message_id": []}, "payload.client_message_id: "),
        ],
    )  # fmt: skip
    def test_a_wrong_field_is_named(self, world: World, fields: dict[str, Any], text: str) -> None:
        code, said = world.connect(VISITOR).is_refused("chat.message", {"session_id": "s-1", "body": "x", **fields})
        assert code == "invalid_message"
        assert said.startswith(text)

    @pytest.mark.parametrize("field", ["session_id", "body"])
    def test_a_missing_field_is_named(self, world: World, field: str) -> None:
        message = {"session_id": "s-1", "body": "x"}
        del message[field]
        assert world.connect(ANA).is_refused("chat.message", message) == (
            "invalid_message",
            f"payload.{field}: required",
        )

    def test_a_session_named_by_a_number_is_the_same_session(self, world: World) -> None:
        visitor = world.connect(principal(Role.VISITOR, "v-1", session_id="5"))
        assert self.say(visitor, session_id=5)
        assert self.say(world.connect(ANA), session_id="5")
        assert [message["payload"]["session_id"] for message in visitor.events()] == ["5"]

    def test_a_closed_store_is_told(self, world: World) -> None:
        person = world.connect(VISITOR)
        run(world.broker.stop())
        assert person.is_refused("chat.message", {"session_id": "s-1", "body": "x"})[0] == "unavailable"
        assert person.closed_with is None


class TestTypingIsStamped:
    """With the predecessor a visitor could type in anybody's name, and as fast as it liked."""

    @pytest.mark.parametrize("who", [VISITOR, ANA], ids=["visitor", "agent"])
    def test_by_the_token_whatever_the_client_says(self, world: World, who: Any) -> None:
        watcher = world.connect(principal(Role.SUPERVISOR, "boss"))
        world.connect(who).says("chat.typing", {"session_id": "s-1", "is_typing": True, **FORGED})
        (seen,) = watcher.events()
        assert seen["payload"] == {
            "session_id": "s-1", "is_typing": True, "sender_id": who.user_id, "sender_type": who.role.value,
            "sender_name": who.name,
        }  # fmt: skip

    def test_and_is_seen_in_its_session_only(self, world: World) -> None:
        here, elsewhere = world.connect(VISITOR), world.connect(replace(VISITOR, user_id="v-2", session_id="s-2"))
        world.connect(ANA).says("chat.typing", {"session_id": "s-1", "is_typing": True})
        assert [message["type"] for message in here.events()] == ["chat.typing"]
        assert elsewhere.events() == []

    def test_in_its_own_session_only(self, world: World) -> None:
        person = world.connect(VISITOR)
        assert person.is_refused("chat.typing", {"session_id": "s-2", "is_typing": True})[0] == "forbidden"

    @pytest.mark.parametrize(
        "wrong",
        [{}, {"is_typing": None}, {"is_typing": 1}, {"is_typing": "true"}, {"is_typing": True, "session_id": []}],
    )
    def test_a_wrong_field_is_named(self, world: World, wrong: dict[str, Any]) -> None:
        code, text = world.connect(VISITOR).is_refused("chat.typing", {"session_id": "s-1", **wrong})
        assert code == "invalid_message"
        assert text.startswith(("payload.is_typing: ", "payload.session_id: "))

    def test_at_most_once_a_second(self, world: World) -> None:
        watcher = world.connect(ANA)
        person = world.connect(VISITOR)
        person.says("chat.typing", {"session_id": "s-1", "is_typing": True})
        world.clock.advance(0.75)
        answer = error(person.says("chat.typing", {"session_id": "s-1", "is_typing": True}))["payload"]
        assert (answer["code"], answer["retry_after_ms"]) == ("rate_limited", 250)
        world.clock.advance(0.25)
        person.says("chat.typing", {"session_id": "s-1", "is_typing": False})
        assert [message["payload"]["is_typing"] for message in watcher.events()] == [True, False]

    def test_each_sender_and_each_session_has_its_own_second(self, world: World) -> None:
        watcher = world.connect(principal(Role.ADMIN, "boss"))
        agent, visitor = world.connect(ANA), world.connect(VISITOR)
        for person, session in ((agent, "s-1"), (agent, "s-2"), (visitor, "s-1")):
            person.says("chat.typing", {"session_id": session, "is_typing": True})
        assert len(watcher.events()) == 3

    def test_a_second_connection_does_not_double_the_pace(self, world: World) -> None:
        world.connect(VISITOR).says("chat.typing", {"session_id": "s-1", "is_typing": True})
        assert (
            world.connect(VISITOR).is_refused("chat.typing", {"session_id": "s-1", "is_typing": True})[0]
            == "rate_limited"
        )

    def test_who_types_too_fast_is_not_thrown_out(self, world: World) -> None:
        """Widgets that send an event per keystroke are common; only ignoring the connection's own limit is abuse."""
        person = world.connect(VISITOR)
        for _ in range(100):
            person.says("chat.typing", {"session_id": "s-1", "is_typing": True})
            world.clock.advance(0.2)
        assert person.closed_with is None

    def test_typists_are_forgotten(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("callcenter_ws.requests.handlers.MAX_TYPISTS", 2)
        person = world.connect(ANA)
        for session in "abc":
            person.says("chat.typing", {"session_id": session, "is_typing": True})
        assert person.says("chat.typing", {"session_id": "a", "is_typing": True})[0]["type"] == "chat.typing"
        assert person.is_refused("chat.typing", {"session_id": "c", "is_typing": True})[0] == "rate_limited"


class TestPace:
    PING = b'{"type":"ping"}'

    def test_a_burst_is_answered_and_then_the_rate_holds(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(40):
            person.client.receive(self.PING)
        assert {message["type"] for message in person.hears()} == {"pong"}
        answer = error(person.sends(self.PING))["payload"]
        assert (answer["code"], answer["retry_after_ms"]) == ("rate_limited", 50)
        world.clock.advance(1)
        answers = [person.sends(self.PING)[0]["type"] for _ in range(21)]
        assert answers == ["pong"] * 20 + ["error"]

    def test_what_comes_too_fast_is_not_done(self, world: World) -> None:
        watcher = world.connect(ANA)
        person = world.connect(VISITOR)
        for _ in range(45):
            person.client.receive(b'{"type":"chat.message","payload":{"session_id":"s-1","body":"x"}}')
        assert len(watcher.events()) == 40

    def test_who_does_not_slow_down_is_closed_with_4004(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(60):
            person.client.receive(self.PING)
        assert person.closed_with is None
        person.client.receive(self.PING)
        assert person.closed_with is CloseCode.RATE_LIMITED
        assert [message["type"] for message in person.hears()] == ["pong"] * 40 + ["error"] * 21
        assert world.hub.connections(ACME) == 0

    def test_one_flood_costs_nobody_else_anything(self, world: World) -> None:
        other = world.connect(principal(user_id="8"))
        person = world.connect(ANA)
        for _ in range(100):
            person.client.receive(self.PING)
        assert other.says("ping")[0]["type"] == "pong"


class TestAbuse:
    BAD = b"{"

    def test_twenty_bad_messages_a_minute_are_borne(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(20):
            person.client.receive(self.BAD)
        assert person.closed_with is None
        assert len(person.hears()) == 20
        world.clock.advance(60)
        for _ in range(20):
            person.client.receive(self.BAD)
        assert person.closed_with is None

    def test_the_twenty_first_is_answered_and_closes_with_4501(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(21):
            person.client.receive(self.BAD)
        assert person.closed_with is CloseCode.PROTOCOL_ABUSE
        assert [message["payload"]["code"] for message in person.hears()] == ["invalid_json"] * 21
        assert world.hub.connections(ACME) == 0

    def test_the_minute_slides(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(21):
            person.client.receive(self.BAD)
            world.clock.advance(2.9)
        assert person.closed_with is CloseCode.PROTOCOL_ABUSE

    def test_slow_mistakes_are_borne_for_ever(self, world: World) -> None:
        person = world.connect(ANA)
        for _ in range(200):
            person.client.receive(self.BAD)
            world.clock.advance(3.1)
        assert person.closed_with is None

    @pytest.mark.parametrize(
        "text",
        [
            b"[]", b'{"type":"nonsense"}', b'{"type":"subscribe"}',
            b'{"type":"subscribe","payload":{"events":["no.such"]}}',
            b'{"type":"subscribe","payload":{"events":["presence.changed"]}}',
            b'{"type":"auth","payload":{"token":"guess"}}',
        ],
    )  # fmt: skip
    def test_every_mistake_counts(self, world: World, text: bytes) -> None:
        person = world.connect(ANA)
        for _ in range(21):
            person.client.receive(text)
        assert person.closed_with is CloseCode.PROTOCOL_ABUSE

    def test_a_store_in_trouble_is_not_the_clients_mistake(self, world: World) -> None:
        person = world.connect(VISITOR)
        run(world.broker.stop())
        for _ in range(30):
            person.client.receive(b'{"type":"chat.message","payload":{"session_id":"s-1","body":"x"}}')
        assert person.closed_with is None

    def test_after_the_close_nothing_is_read_or_written(self, world: World) -> None:
        person = world.connect(VISITOR)
        for _ in range(21):
            person.client.receive(self.BAD)
        person.hears()
        assert person.says("chat.message", {"session_id": "s-1", "body": "x"}) == []
        assert run(world.broker.position(ACME)).seq == 0

    def test_the_operator_is_told_who_and_why(self, world: World) -> None:
        person = world.connect(ANA)
        person.is_refused("nonsense")
        person.client.close(CloseCode.NORMAL)
        who = "acme/7 (agent, connection c-1)"
        assert [(name, refusal.code) for name, refusal in world.notes.refusals] == [(who, "unknown_type")]
        assert world.notes.closings == [(who, CloseCode.NORMAL)]


def test_never_two_json_objects_in_one_frame(world: World) -> None:
    """The predecessor joined what was waiting into one frame; here a burst is many frames in one write."""
    person = world.connect(principal(Role.ADMIN))
    person.transport.take()
    writes = person.transport.writes
    for _ in range(30):
        world.publish("alert", {"message": 'a\nb}{"type":"ping"}'})
        person.client.receive(b'{"type":"ping"}')
    world.settle()
    assert person.transport.writes == writes + 1
    texts = text_payloads(person.transport.written)
    assert len(texts) == len(person.hears()) == 60
    assert not any(b"\n" in text for text in texts)
