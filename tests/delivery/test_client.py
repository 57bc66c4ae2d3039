"""Client: the session of one connection, from its welcome to its close."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs
from sample_events import ACME
from world import Peer, World, seqs_of, types_of

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.outbox import MAX_ANSWERS
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.runtime.json import rfc3339


@pytest.fixture
def slow_store() -> World:
    """Return a world whose store answers in a later turn."""
    return World(slow=True)


class TestWelcome:
    def test_the_welcome_has_the_principal_and_the_position(self, world: World) -> None:
        world.publish_alerts(3)
        expires_at = world.clock.time() + 3600
        (welcome,) = world.connect(Role.AGENT, user_id="7", expires_at=expires_at).read()
        assert welcome["type"] == "welcome"
        assert welcome["tenant_id"] == ACME
        assert "id" not in welcome
        assert "seq" not in welcome
        assert welcome["payload"] == {
            "connection_id": "c1",
            "user_id": "7",
            "tenant_id": ACME,
            "role": "agent",
            "extension": None,
            "epoch": world.epoch,
            "seq": 3,
            "server_time": rfc3339(world.clock.time()),
            "ping_interval": 54,
            "token_expires_at": rfc3339(expires_at),
            "policy": {"agent_calls": "all", "agent_chats": "own"},
        }

    def test_the_welcome_has_the_extension_of_the_token(self, world: World) -> None:
        (welcome,) = world.connect(Role.AGENT, extension="2001").read()
        assert welcome["payload"]["extension"] == "2001"

    def test_the_welcome_of_other_roles_has_no_policy_for_agents(self, world: World) -> None:
        for role in set(Role) - {Role.AGENT}:
            (welcome,) = world.connect(role, session_id="s-1").read()
            assert "policy" not in welcome["payload"]

    def test_the_welcome_of_an_anonymous_visitor_has_its_session(self, world: World) -> None:
        (welcome,) = world.connect(Role.VISITOR, session_id="s-1", session_token="secret").read()
        assert welcome["payload"]["session_id"] == "s-1"
        assert welcome["payload"]["session_token"] == "secret"
        assert welcome["payload"]["token_expires_at"] is None

    @pytest.mark.parametrize("type_", ["ping", "resume", "snapshot", "subscribe", "nonsense"])
    def test_the_welcome_precedes_the_answer_to_an_early_request(self, slow_store: World, type_: str) -> None:
        slow_store.publish_alerts(5)
        slow_store.turn()
        peer = slow_store.connect()
        payloads = {"resume": {"epoch": slow_store.epoch, "seq": 3}, "subscribe": {"events": ["alert"]}}
        peer.send(type_, payloads.get(type_), id_="e")
        slow_store.publish_alerts(2)
        messages = peer.read()
        assert messages[0]["type"] == "welcome"
        (answer,) = [message for message in messages if message.get("in_reply_to") == "e"]
        assert answer["type"] == {"ping": "pong", "resume": "resumed", "subscribe": "subscribed"}.get(
            type_, "snapshot" if type_ == "snapshot" else "error"
        )
        after = 3 if type_ == "resume" else messages[0]["payload"]["seq"]
        assert seqs_of(messages) == list(range(after + 1, 8))

    def test_the_welcome_precedes_session_expiring(self, slow_store: World) -> None:
        peer = slow_store.connect(expires_at=slow_store.clock.time() + 60)
        slow_store.clock.advance(0)
        assert peer.types() == ["welcome", "session.expiring"]

    def test_the_request_in_the_url_is_answered_before_an_early_request(self, slow_store: World) -> None:
        slow_store.publish_alerts(2)
        slow_store.turn()
        peer = slow_store.resume(1)
        peer.send("snapshot", id_="s")
        assert peer.types() == ["welcome", "alert", "resumed", "snapshot"]

    def test_events_published_before_the_welcome_follow_it(self, slow_store: World) -> None:
        slow_store.publish_alerts(2)
        peer = slow_store.connect()
        slow_store.publish_alerts(2)
        messages = peer.read()
        seq = messages[0]["payload"]["seq"]
        assert [message["seq"] for message in messages[1:]] == list(range(seq + 1, 5))

    def test_an_unavailable_store_is_answered_with_an_error_and_a_close(self, slow_store: World) -> None:
        slow_store.broker.fails = lambda: True
        peer = slow_store.connect()
        peer.send("ping")
        messages = peer.read()
        assert types_of(messages) == ["error"]
        assert messages[0]["payload"]["code"] == "unavailable"
        assert peer.closed_with is CloseCode.INTERNAL_ERROR
        assert slow_store.hub.connections() == 0

    def test_a_store_that_will_be_back_is_no_internal_error(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def away(tenant_id: str) -> None:
            raise Refusal(ErrorCode.UNAVAILABLE, "Redis cannot be reached", retry_after=1.0)

        monkeypatch.setattr(world.broker, "position", away)
        peer = world.connect()
        (message,) = peer.read()
        assert (message["payload"]["code"], message["payload"]["retry_after_ms"]) == ("unavailable", 1000)
        # INTERNAL_ERROR is counted as a bug, and an alert reports it.
        assert peer.closed_with is CloseCode.TRY_LATER

    def test_an_unhandled_error_in_the_store_closes_the_connection(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def broken(tenant_id: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(world.broker, "position", broken)
        peer = world.connect()
        assert peer.closed_with is CloseCode.INTERNAL_ERROR
        assert [failure.type for failure in world.failures] == [ZeroDivisionError]

    def test_a_connection_lost_before_the_welcome_is_sent_nothing(self, slow_store: World) -> None:
        peer = slow_store.connect()
        peer.client.connection_lost(CloseCode.ABNORMAL)
        assert peer.read() == []
        assert slow_store.hub.connections() == 0


class TestWriting:
    def test_each_client_is_written_once_in_a_turn(self, world: World) -> None:
        peers = [world.live() for _ in range(3)]
        before = [peer.writes for peer in peers]
        for _ in range(20):
            world.publish_alerts(3)
        world.turn()
        assert [peer.writes for peer in peers] == [writes + 1 for writes in before]
        assert all(len(peer.take()) == 60 for peer in peers)

    def test_a_large_batch_overflows_no_client_that_reads(self, world: World) -> None:
        peer = world.live()
        world.publish_alerts(1000)
        assert not peer.client.lagging
        assert peer.seqs() == list(range(1, 1001))

    def test_equal_outboxes_are_joined_once(self, world: World) -> None:
        peers = [world.live() for _ in range(3)]
        world.publish_alerts(5)
        world.turn()
        assert peers[0].latest is peers[1].latest is peers[2].latest

    def test_different_outboxes_are_written_separately(self, world: World) -> None:
        ada, bob, eve = (world.live(user_id=name) for name in ("ada", "bob", "eve"))
        world.publish_alerts()
        world.publish("notification", user_id="bob")
        world.publish_alerts()
        assert (ada.seqs(), bob.seqs(), eve.seqs()) == ([1, 3], [1, 2, 3], [1, 3])

    def test_received_and_delivered_messages_are_counted(self, world: World) -> None:
        peer = world.live()
        before = world.hub.counters.delivered
        world.publish_alerts(4)
        peer.send("ping")
        peer.read()
        assert world.hub.counters.delivered - before == 5
        assert world.hub.counters.received == 1


class TestSlowClients:
    def block(self, world: World, unsent: int = 1000) -> Peer:
        peer = world.live()
        peer.unsent = unsent
        peer.client.pause()
        return peer

    def test_a_client_that_reads_nothing_is_closed_after_the_timeout(self, world: World) -> None:
        peer = self.block(world)
        world.clock.advance(29.9)
        assert peer.closed_with is None
        world.clock.advance(0.2)
        assert peer.closed_with is CloseCode.SLOW_CONSUMER
        assert [code for _, code in world.log.closes] == [CloseCode.SLOW_CONSUMER]
        assert world.hub.connections() == 0

    def test_a_client_that_reads_at_the_minimum_rate_stays_connected(self, world: World) -> None:
        peer = self.block(world, 10_000_000)
        for _ in range(10):
            peer.unsent -= 30 * int(world.limits.min_rate)
            world.clock.advance(30)
        assert peer.closed_with is None
        peer.unsent -= 29 * int(world.limits.min_rate)
        world.clock.advance(30)
        assert peer.closed_with is CloseCode.SLOW_CONSUMER

    def test_a_client_that_drains_in_time_stays_connected(self, world: World) -> None:
        peer = self.block(world)
        world.clock.advance(29)
        peer.drain()
        world.clock.advance(100)
        assert peer.closed_with is None
        peer.unsent = 5
        peer.client.pause()
        world.clock.advance(29)
        assert peer.closed_with is None

    def test_a_blocked_client_is_closed_without_what_is_queued(self, world: World) -> None:
        peer = self.block(world)
        world.publish_alerts(3)
        world.clock.advance(31)
        assert peer.take() == []

    def test_a_client_with_too_many_unread_answers_is_closed(self, world: World) -> None:
        peer = self.block(world)
        for _ in range(world.limits.outbox + MAX_ANSWERS):
            peer.send("ping")
            world.clock.advance(0.05)
        assert peer.closed_with is None
        peer.send("ping")
        assert peer.closed_with is CloseCode.SLOW_CONSUMER
        assert world.hub.connections() == 0

    def test_answers_are_queued_beyond_the_limit_of_a_small_outbox(self) -> None:
        world = World(limits=Limits(outbox=1))
        assert world.connect(options=ConnectOptions("another", 0)).types() == ["welcome", "reset", "snapshot"]


class TestTokenExpiry:
    def connect(self, world: World, lifetime: float) -> Peer:
        return world.connect(Role.AGENT, user_id="7", expires_at=world.clock.time() + lifetime)

    def fresh(self, world: World, lifetime: float, **claims: Any) -> None:
        principal = Principal(ACME, "7", Role.AGENT, expires_at=world.clock.time() + lifetime)
        world.tokens.principals["fresh"] = structs.replace(principal, **claims)

    def test_the_expiry_is_announced_a_minute_before(self, world: World) -> None:
        peer = self.connect(world, 600)
        assert peer.types() == ["welcome"]
        expires_at = rfc3339(world.clock.time() + 600)
        world.clock.advance(539)
        assert peer.read() == []
        world.clock.advance(1.5)
        (expiring,) = peer.read()
        assert expiring == {"type": "session.expiring", "payload": {"expires_at": expires_at}}
        world.clock.advance(59)
        assert peer.read() == []
        assert peer.closed_with is None
        world.clock.advance(1)
        assert peer.closed_with is CloseCode.TOKEN_EXPIRED

    def test_an_expiry_within_a_minute_is_announced_at_once(self, world: World) -> None:
        peer = self.connect(world, 30)
        assert peer.types() == ["welcome", "session.expiring"]
        world.clock.advance(29)
        assert peer.read() == []
        world.clock.advance(1)
        assert peer.closed_with is CloseCode.TOKEN_EXPIRED

    def test_a_fresh_token_extends_the_session(self, world: World) -> None:
        peer = self.connect(world, 90)
        world.clock.advance(80)
        peer.read()
        self.fresh(world, 600)
        peer.send("auth", {"token": "fresh"}, id_="a")
        (extended,) = peer.read()
        assert extended["in_reply_to"] == "a"
        assert extended["payload"] == {"expires_at": rfc3339(world.clock.time() + 600)}
        world.clock.advance(530)
        assert peer.closed_with is None
        assert peer.read() == []
        world.clock.advance(11)
        assert peer.types() == ["session.expiring"]
        world.clock.advance(60)
        assert peer.closed_with is CloseCode.TOKEN_EXPIRED

    def test_the_expiry_of_a_fresh_token_is_announced_after_the_answer(self, world: World) -> None:
        peer = self.connect(world, 600)
        peer.read()
        self.fresh(world, 20)
        peer.send("auth", {"token": "fresh"})
        assert peer.types() == ["session.extended", "session.expiring"]

    def test_the_claims_of_the_fresh_token_apply(self, world: World) -> None:
        peer = self.connect(world, 600)
        peer.read()
        self.fresh(world, 600, queues=frozenset({"support"}))
        peer.send("auth", {"token": "fresh"})
        peer.read()
        world.publish_queue_stats(1, "sales")
        world.publish_queue_stats(1, "support")
        assert peer.seqs() == [2]

    @pytest.mark.parametrize("claims", [{"user_id": "8"}, {"tenant_id": "globex"}, {"role": Role.SUPERVISOR}])
    def test_another_identity_is_refused(self, world: World, claims: dict[str, Any]) -> None:
        peer = self.connect(world, 90)
        peer.read()
        self.fresh(world, 600, **claims)
        peer.send("auth", {"token": "fresh"})
        (error,) = peer.read()
        assert error["payload"]["code"] == "forbidden"
        world.clock.advance(90)
        assert peer.closed_with is CloseCode.TOKEN_EXPIRED

    def test_an_expiry_after_weeks_is_announced_in_time(self, world: World) -> None:
        peer = self.connect(world, 30 * 86_400)
        world.clock.advance(30 * 86_400 - 61)
        assert peer.types() == ["welcome"]
        world.clock.advance(2)
        assert peer.types() == ["session.expiring"]

    def test_after_the_connection_was_lost_no_expiry_is_announced(self, world: World) -> None:
        peer = self.connect(world, 90)
        peer.read()
        peer.client.connection_lost(CloseCode.NORMAL)
        world.clock.advance(1000)
        assert peer.read() == []
        assert peer.closed_with is None


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
    def test_an_invalid_message_is_answered_with_an_error(self, world: World, text: bytes, code: str) -> None:
        peer = world.live()
        peer.dispatcher.receive(text)
        (error,) = peer.read()
        assert (error["type"], error["payload"]["code"]) == ("error", code)
        assert "in_reply_to" not in error
        peer.send("ping")
        assert peer.types() == ["pong"]

    def test_an_error_has_in_reply_to(self, world: World) -> None:
        peer = world.live()
        peer.send("hack", id_="h")
        assert peer.read()[0]["in_reply_to"] == "h"

    def test_too_many_mistakes_in_a_minute_close_the_connection(self, world: World) -> None:
        peer = world.live()
        for _ in range(20):
            peer.dispatcher.receive(b"{")
            world.clock.advance(1)
        assert peer.closed_with is None
        peer.dispatcher.receive(b"{")
        assert peer.closed_with is CloseCode.PROTOCOL_ABUSE
        assert types_of(peer.take()) == ["error"] * 21

    def test_mistakes_at_a_slower_rate_do_not_close_the_connection(self, world: World) -> None:
        peer = world.live()
        for _ in range(100):
            peer.dispatcher.receive(b"{")
            world.clock.advance(3.1)
        assert peer.closed_with is None

    def test_messages_over_the_rate_are_refused_and_too_many_close_the_connection(self, world: World) -> None:
        peer = world.live()
        for _ in range(40):
            peer.send("ping")
        assert peer.types() == ["pong"] * 40
        peer.send("ping", id_="x")
        (error,) = peer.read()
        assert error["payload"]["code"] == "rate_limited"
        assert 0 < error["payload"]["retry_after_ms"] <= 50
        for _ in range(20):
            peer.send("ping")
        assert peer.closed_with is CloseCode.RATE_LIMITED


class TestClose:
    def test_queued_messages_are_written_before_the_close(self, world: World) -> None:
        peer = world.live()
        world.publish_alerts(2)
        peer.client.close(CloseCode.REVOKED)
        assert peer.seqs() == [1, 2]
        assert peer.closed_with is CloseCode.REVOKED

    def test_only_the_first_close_counts(self, world: World) -> None:
        peer = world.live()
        peer.client.close(CloseCode.REVOKED)
        peer.client.close(CloseCode.DRAINING)
        peer.client.connection_lost(CloseCode.ABNORMAL)
        assert [code for _, code in world.log.closes] == [CloseCode.REVOKED]
        assert world.hub.counters.closed == {"revoked": 1}

    def test_a_connection_lost_in_the_last_write_is_closed_once(self, world: World) -> None:
        peer = world.live()
        world.publish_alerts(2)
        peer.write = lambda data: peer.client.connection_lost(CloseCode.ABNORMAL)  # type: ignore[method-assign]  # as a broken pipe
        peer.client.close(CloseCode.REVOKED)
        assert world.hub.counters.closed == {"abnormal": 1}
        assert world.hub.connections() == 0

    def test_a_lost_connection_is_neither_read_nor_written(self, world: World) -> None:
        peer = world.live()
        peer.client.connection_lost(CloseCode.NORMAL)
        peer.send("ping")
        peer.client.pause()
        peer.client.drained()
        world.publish_alerts(3)
        assert peer.read() == []
        world.clock.advance(100)
        assert peer.closed_with is None

    def test_a_connection_lost_during_a_replay_is_not_written(self) -> None:
        world = World(slow=True)
        world.publish_alerts(500)
        world.turn()
        peer = world.resume(0)
        for _ in range(10):
            world.clock.step()
        peer.client.connection_lost(CloseCode.ABNORMAL)
        before = peer.writes
        world.turn()
        assert peer.writes == before
        assert world.hub.connections() == 0
