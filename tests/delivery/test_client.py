"""Client: one connection's session, from its welcome to its end."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, Socket, Stage
from msgspec import structs

from callcenter_ws.delivery.client import MAX_ANSWERS
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.json import rfc3339


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def slow_store() -> Stage:
    """A stage whose store answers in a later turn."""
    return Stage(slow=True)


class TestWelcome:
    def test_says_who_and_where(self, stage: Stage) -> None:
        stage.alerts(3)
        expires_at = stage.clock.time() + 3600
        (welcome,) = stage.connect(Role.AGENT, user_id="7", expires_at=expires_at).read()
        assert welcome["type"] == "welcome"
        assert welcome["tenant_id"] == TENANT
        assert "id" not in welcome
        assert "seq" not in welcome
        assert welcome["payload"] == {
            "connection_id": "c1",
            "user_id": "7",
            "tenant_id": TENANT,
            "role": "agent",
            "epoch": stage.epoch,
            "seq": 3,
            "server_time": rfc3339(stage.clock.time()),
            "ping_interval": 54,
            "token_expires_at": rfc3339(expires_at),
        }

    def test_of_an_anonymous_visitor(self, stage: Stage) -> None:
        (welcome,) = stage.connect(Role.VISITOR, session_id="s-1", session_token="secret").read()
        assert welcome["payload"]["session_id"] == "s-1"
        assert welcome["payload"]["session_token"] == "secret"
        assert welcome["payload"]["token_expires_at"] is None

    @pytest.mark.parametrize("early", ["ping", "resume", "snapshot", "subscribe", "nonsense"])
    def test_comes_before_the_answer_to_whoever_asks_too_early(self, slow_store: Stage, early: str) -> None:
        slow_store.alerts(5)
        slow_store.settle()
        socket = slow_store.connect()
        payloads = {"resume": {"epoch": slow_store.epoch, "seq": 3}, "subscribe": {"events": ["alert"]}}
        socket.say(early, payloads.get(early), id_="e")
        slow_store.alerts(2)
        messages = socket.read()
        assert messages[0]["type"] == "welcome"
        (answer,) = [message for message in messages if message.get("in_reply_to") == "e"]
        assert answer["type"] == {"ping": "pong", "resume": "resumed", "subscribe": "subscribed"}.get(
            early, "snapshot" if early == "snapshot" else "error"
        )
        after = 3 if early == "resume" else messages[0]["payload"]["seq"]
        assert [message["seq"] for message in messages if "seq" in message] == list(range(after + 1, 8))

    def test_comes_before_the_end_of_the_token_is_announced(self, slow_store: Stage) -> None:
        socket = slow_store.connect(expires_at=slow_store.clock.time() + 60)
        slow_store.clock.advance(0)
        assert types(socket.read()) == ["welcome", "session.expiring"]

    def test_the_wish_is_served_before_what_was_asked_too_early(self, slow_store: Stage) -> None:
        slow_store.alerts(2)
        slow_store.settle()
        socket = slow_store.resume(1)
        socket.say("snapshot", id_="s")
        assert types(socket.read()) == ["welcome", "alert", "resumed", "snapshot"]

    def test_events_that_came_meanwhile_follow(self, slow_store: Stage) -> None:
        slow_store.alerts(2)
        socket = slow_store.connect()
        slow_store.alerts(2)
        messages = socket.read()
        seq = messages[0]["payload"]["seq"]
        assert [message["seq"] for message in messages[1:]] == list(range(seq + 1, 5))

    def test_a_store_that_does_not_answer_is_told_in_its_place(self, slow_store: Stage) -> None:
        slow_store.broker.fails = lambda: True
        socket = slow_store.connect()
        socket.say("ping")
        messages = socket.read()
        assert types(messages) == ["error"]
        assert messages[0]["payload"]["code"] == "unavailable"
        assert socket.closed_with is CloseCode.INTERNAL_ERROR
        assert slow_store.hub.connections() == 0

    def test_a_bug_in_the_store_ends_the_connection(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        async def broken(tenant_id: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(stage.broker, "position", broken)
        socket = stage.connect()
        assert socket.closed_with is CloseCode.INTERNAL_ERROR
        assert [failure.type for failure in stage.failures] == [ZeroDivisionError]

    def test_a_socket_that_is_lost_meanwhile_gets_nothing(self, slow_store: Stage) -> None:
        socket = slow_store.connect()
        socket.client.lost(CloseCode.ABNORMAL)
        assert socket.read() == []
        assert slow_store.hub.connections() == 0


class TestWriting:
    def test_one_write_a_turn(self, stage: Stage) -> None:
        sockets = [stage.live() for _ in range(3)]
        before = [socket.writes for socket in sockets]
        for _ in range(20):
            stage.alerts(3)
        stage.settle()
        assert [socket.writes for socket in sockets] == [writes + 1 for writes in before]
        assert all(len(socket.take()) == 60 for socket in sockets)

    def test_a_large_batch_overflows_nobody_who_reads(self, stage: Stage) -> None:
        socket = stage.live()
        stage.alerts(1000)
        assert not socket.client.lagging
        assert socket.seqs() == list(range(1, 1001))

    def test_equal_outboxes_are_joined_once(self, stage: Stage) -> None:
        sockets = [stage.live() for _ in range(3)]
        stage.alerts(5)
        stage.settle()
        assert sockets[0].latest is sockets[1].latest is sockets[2].latest

    def test_unequal_outboxes_are_not_mixed_up(self, stage: Stage) -> None:
        ada, bob, eve = (stage.live(user_id=name) for name in ("ada", "bob", "eve"))
        stage.alerts()
        stage.publish("notification", {"type": "x", "title": "t", "message": "m"}, user_id="bob")
        stage.alerts()
        assert (ada.seqs(), bob.seqs(), eve.seqs()) == ([1, 3], [1, 2, 3], [1, 3])

    def test_delivered_is_counted(self, stage: Stage) -> None:
        socket = stage.live()
        before = stage.hub.counters.delivered
        stage.alerts(4)
        socket.say("ping")
        socket.read()
        assert stage.hub.counters.delivered - before == 5
        assert stage.hub.counters.received == 1


class TestSlowClients:
    def block(self, stage: Stage, unsent: int = 1000) -> Socket:
        socket = stage.live()
        socket.unsent = unsent
        socket.client.pause()
        return socket

    def test_reads_nothing(self, stage: Stage) -> None:
        socket = self.block(stage)
        stage.clock.advance(29.9)
        assert socket.closed_with is None
        stage.clock.advance(0.2)
        assert socket.closed_with is CloseCode.SLOW_CONSUMER
        assert stage.log.closes == [CloseCode.SLOW_CONSUMER]
        assert stage.hub.connections() == 0

    def test_reads_a_little(self, stage: Stage) -> None:
        socket = self.block(stage)
        for _ in range(10):
            socket.unsent -= 1
            stage.clock.advance(30)
        assert socket.closed_with is None
        stage.clock.advance(30)
        assert socket.closed_with is CloseCode.SLOW_CONSUMER

    def test_drained_in_time(self, stage: Stage) -> None:
        socket = self.block(stage)
        stage.clock.advance(29)
        socket.drain()
        stage.clock.advance(100)
        assert socket.closed_with is None
        socket.unsent = 5
        socket.client.pause()
        stage.clock.advance(29)
        assert socket.closed_with is None

    def test_is_given_nothing_more_as_it_ends(self, stage: Stage) -> None:
        socket = self.block(stage)
        stage.alerts(3)
        stage.clock.advance(31)
        assert socket.take() == []

    def test_who_never_reads_its_answers_ends(self, stage: Stage) -> None:
        socket = self.block(stage)
        for _ in range(stage.limits.outbox + MAX_ANSWERS):
            socket.say("ping")
            stage.clock.advance(0.05)
        assert socket.closed_with is None
        socket.say("ping")
        assert socket.closed_with is CloseCode.SLOW_CONSUMER
        assert stage.hub.connections() == 0

    def test_a_small_outbox_still_takes_answers(self) -> None:
        stage = Stage(limits=Limits(outbox=1))
        assert types(stage.connect(options=ConnectOptions("another", 0)).read()) == ["welcome", "reset", "snapshot"]


class TestTokenEnds:
    def connect(self, stage: Stage, lives: float) -> Socket:
        return stage.connect(Role.AGENT, user_id="7", expires_at=stage.clock.time() + lives)

    def fresh(self, stage: Stage, lives: float, **claims: Any) -> None:
        principal = Principal(TENANT, "7", Role.AGENT, expires_at=stage.clock.time() + lives)
        stage.tokens.known["fresh"] = structs.replace(principal, **claims)

    def test_is_announced_a_minute_before(self, stage: Stage) -> None:
        socket = self.connect(stage, 600)
        assert types(socket.read()) == ["welcome"]
        end = rfc3339(stage.clock.time() + 600)
        stage.clock.advance(539)
        assert socket.read() == []
        stage.clock.advance(1.5)
        (expiring,) = socket.read()
        assert expiring == {"type": "session.expiring", "payload": {"expires_at": end}}
        stage.clock.advance(59)
        assert socket.read() == []
        assert socket.closed_with is None
        stage.clock.advance(1)
        assert socket.closed_with is CloseCode.TOKEN_EXPIRED

    def test_is_announced_at_once_when_it_is_near(self, stage: Stage) -> None:
        socket = self.connect(stage, 30)
        assert types(socket.read()) == ["welcome", "session.expiring"]
        stage.clock.advance(29)
        assert socket.read() == []
        stage.clock.advance(1)
        assert socket.closed_with is CloseCode.TOKEN_EXPIRED

    def test_a_fresh_token_extends_the_session(self, stage: Stage) -> None:
        socket = self.connect(stage, 90)
        stage.clock.advance(80)
        socket.read()
        self.fresh(stage, 600)
        socket.say("auth", {"token": "fresh"}, id_="a")
        (extended,) = socket.read()
        assert extended["in_reply_to"] == "a"
        assert extended["payload"] == {"expires_at": rfc3339(stage.clock.time() + 600)}
        stage.clock.advance(530)
        assert socket.closed_with is None
        assert socket.read() == []
        stage.clock.advance(11)
        assert types(socket.read()) == ["session.expiring"]
        stage.clock.advance(60)
        assert socket.closed_with is CloseCode.TOKEN_EXPIRED

    def test_a_fresh_token_that_ends_soon_is_announced_behind_the_answer(self, stage: Stage) -> None:
        socket = self.connect(stage, 600)
        socket.read()
        self.fresh(stage, 20)
        socket.say("auth", {"token": "fresh"})
        assert types(socket.read()) == ["session.extended", "session.expiring"]

    def test_the_claims_of_the_fresh_token_hold(self, stage: Stage) -> None:
        socket = self.connect(stage, 600)
        socket.read()
        self.fresh(stage, 600, queues=frozenset({"support"}))
        socket.say("auth", {"token": "fresh"})
        socket.read()
        stage.stats(1, "sales")
        stage.stats(1, "support")
        assert socket.seqs() == [2]

    @pytest.mark.parametrize("claims", [{"user_id": "8"}, {"tenant_id": "globex"}, {"role": Role.SUPERVISOR}])
    def test_another_identity_is_refused(self, stage: Stage, claims: dict[str, Any]) -> None:
        socket = self.connect(stage, 90)
        socket.read()
        self.fresh(stage, 600, **claims)
        socket.say("auth", {"token": "fresh"})
        (error,) = socket.read()
        assert error["payload"]["code"] == "forbidden"
        stage.clock.advance(90)
        assert socket.closed_with is CloseCode.TOKEN_EXPIRED

    def test_after_weeks(self, stage: Stage) -> None:
        socket = self.connect(stage, 30 * 86_400)
        stage.clock.advance(30 * 86_400 - 61)
        assert types(socket.read()) == ["welcome"]
        stage.clock.advance(2)
        assert types(socket.read()) == ["session.expiring"]

    def test_nothing_happens_after_the_end(self, stage: Stage) -> None:
        socket = self.connect(stage, 90)
        socket.read()
        socket.client.lost(CloseCode.NORMAL)
        stage.clock.advance(1000)
        assert socket.read() == []
        assert socket.closed_with is None


class TestRequests:
    @pytest.mark.parametrize(
        ("text", "code"),
        [
            (b"", "invalid_json"),
            (b"{", "invalid_json"),
            (b"\xff", "invalid_json"),
            (b"[]", "invalid_message"),
            (b"7", "invalid_message"),
            (b"null", "invalid_message"),
            (b"{}", "invalid_message"),
            (b'{"type":7}', "invalid_message"),
            (b'{"type":"hack"}', "unknown_type"),
            (b'{"type":"resume"}', "invalid_message"),
            (b'{"type":"resume","payload":{"epoch":"e","seq":-1}}', "invalid_message"),
            (b'{"type":"resume","payload":{"epoch":"e","seq":"1"}}', "invalid_message"),
            (b'{"type":"resume","payload":{"epoch":1,"seq":1}}', "invalid_message"),
            (b'{"type":"ping","id":true}', "invalid_message"),
            (b'{"type":"ping","id":[]}', "invalid_message"),
            (b'{"type":"ping","id":"' + 256 * b"x" + b'"}', "invalid_message"),
            (b"[" * 100_000, "invalid_json"),
        ],
    )
    def test_what_cannot_be_understood_is_answered(self, stage: Stage, text: bytes, code: str) -> None:
        socket = stage.live()
        socket.client.receive(text)
        (error,) = socket.read()
        assert (error["type"], error["payload"]["code"]) == ("error", code)
        assert "in_reply_to" not in error
        socket.say("ping")
        assert types(socket.read()) == ["pong"]

    def test_an_error_names_the_request(self, stage: Stage) -> None:
        socket = stage.live()
        socket.say("hack", id_="h")
        assert socket.read()[0]["in_reply_to"] == "h"

    def test_too_many_mistakes_in_a_minute(self, stage: Stage) -> None:
        socket = stage.live()
        for _ in range(20):
            socket.client.receive(b"{")
            stage.clock.advance(1)
        assert socket.closed_with is None
        socket.client.receive(b"{")
        assert socket.closed_with is CloseCode.PROTOCOL_ABUSE
        assert types(socket.take()) == ["error"] * 21

    def test_mistakes_are_forgiven(self, stage: Stage) -> None:
        socket = stage.live()
        for _ in range(100):
            socket.client.receive(b"{")
            stage.clock.advance(3.1)
        assert socket.closed_with is None

    def test_too_many_messages_are_refused_then_the_client_is_sent_away(self, stage: Stage) -> None:
        socket = stage.live()
        for _ in range(40):
            socket.say("ping")
        assert types(socket.read()) == ["pong"] * 40
        socket.say("ping", id_="x")
        (error,) = socket.read()
        assert error["payload"]["code"] == "rate_limited"
        assert 0 < error["payload"]["retry_after_ms"] <= 50
        for _ in range(20):
            socket.say("ping")
        assert socket.closed_with is CloseCode.RATE_LIMITED


class TestEnd:
    def test_what_is_queued_goes_out_first(self, stage: Stage) -> None:
        socket = stage.live()
        stage.alerts(2)
        socket.client.close(CloseCode.REVOKED)
        assert socket.seqs() == [1, 2]
        assert socket.closed_with is CloseCode.REVOKED

    def test_only_once(self, stage: Stage) -> None:
        socket = stage.live()
        socket.client.close(CloseCode.REVOKED)
        socket.client.close(CloseCode.DRAINING)
        socket.client.lost(CloseCode.ABNORMAL)
        assert stage.log.closes == [CloseCode.REVOKED]
        assert stage.hub.counters.closed == {"revoked": 1}

    def test_a_transport_that_breaks_under_the_last_write(self, stage: Stage) -> None:
        socket = stage.live()
        stage.alerts(2)
        socket.write = lambda data: socket.client.lost(CloseCode.ABNORMAL)  # type: ignore[method-assign] - a broken pipe
        socket.client.close(CloseCode.REVOKED)
        assert stage.hub.counters.closed == {"abnormal": 1}
        assert stage.hub.connections() == 0

    def test_nothing_is_taken_or_sent_afterwards(self, stage: Stage) -> None:
        socket = stage.live()
        socket.client.lost(CloseCode.NORMAL)
        socket.say("ping")
        socket.client.pause()
        socket.client.drained()
        stage.alerts(3)
        assert socket.read() == []
        stage.clock.advance(100)
        assert socket.closed_with is None

    def test_a_client_that_goes_amid_a_replay(self) -> None:
        stage = Stage(slow=True)
        stage.alerts(500)
        stage.settle()
        socket = stage.resume(0)
        for _ in range(10):
            stage.clock.step()
        socket.client.lost(CloseCode.ABNORMAL)
        before = socket.writes
        stage.settle()
        assert socket.writes == before
        assert stage.hub.connections() == 0
