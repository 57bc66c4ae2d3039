"""CatchUp: replays, resets, snapshots and gaps of clients that reconnect or lag."""

from __future__ import annotations

import pytest
from doubles import SlowBroker
from sample_events import ACME
from world import Peer, World, seqs_of, types_of

from callcenter_ws.delivery import catch_up, replay_cache
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.interfaces import Position, Snapshot


class TestResume:
    def test_a_position_in_the_url_is_answered_with_missed_events_then_resumed_then_live_ones(
        self, world: World
    ) -> None:
        world.publish_alerts(5)
        peer = world.resume(2)
        messages = peer.read()
        assert types_of(messages) == ["welcome", "alert", "alert", "alert", "resumed"]
        assert seqs_of(messages) == [3, 4, 5]
        assert messages[-1]["payload"] == {"epoch": world.epoch, "from_seq": 2, "to_seq": 5, "count": 3}
        assert "in_reply_to" not in messages[-1]
        world.publish_alerts()
        assert peer.seqs() == [6]

    def test_a_resume_message_is_answered_with_missed_events_and_in_reply_to(self, world: World) -> None:
        world.publish_alerts(5)
        peer = world.live()
        peer.send("resume", {"epoch": world.epoch, "seq": 3}, id_="r-1")
        messages = peer.read()
        assert seqs_of(messages) == [4, 5]
        assert messages[-1]["type"] == "resumed"
        assert messages[-1]["in_reply_to"] == "r-1"
        world.publish_alerts()
        assert peer.seqs() == [6]

    def test_a_client_at_the_head_is_sent_resumed_only(self, world: World) -> None:
        world.publish_alerts(5)
        (_, resumed) = world.resume(5).read()
        assert resumed["payload"] == {"epoch": world.epoch, "from_seq": 5, "to_seq": 5, "count": 0}

    def test_position_zero_of_an_empty_stream_is_resumed(self, world: World) -> None:
        (_, resumed) = world.resume(0).read()
        assert resumed["payload"] == {"epoch": world.epoch, "from_seq": 0, "to_seq": 0, "count": 0}

    def test_a_replay_of_several_pages_is_complete_and_in_order(self, world: World) -> None:
        total = 3 * catch_up.PAGE_EVENTS + 7
        world.publish_alerts(total)
        messages = world.resume(0).read()
        assert seqs_of(messages) == list(range(1, total + 1))
        assert messages[-1]["payload"]["count"] == total

    def test_a_page_ends_at_its_byte_limit(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catch_up, "PAGE_BYTES", 1)
        monkeypatch.setattr(replay_cache, "BATCH_BYTES", 1)
        world.publish_alerts(30)
        peer = world.resume(0)
        assert peer.seqs() == list(range(1, 31))
        assert peer.writes >= 30

    def test_only_visible_events_are_replayed_and_counted(self, world: World) -> None:
        world.publish_alerts(2)
        world.publish("notification", user_id="another")
        world.publish("notification", user_id="me")
        world.publish("agent.login", {"user_id": "me", "username": "m"}, user_id="another")
        world.publish("agent.login", {"user_id": "me", "username": "m"}, user_id="me")
        messages = world.resume(1, user_id="me").read()
        # The mailbox is sent before the replay, which does not repeat it.
        assert seqs_of(messages) == [4, 2, 6]
        assert messages[-1]["payload"] == {"epoch": world.epoch, "from_seq": 1, "to_seq": 6, "count": 2}

    def test_only_subscribed_types_are_replayed(self, world: World) -> None:
        peer = world.live()
        peer.send("subscribe", {"events": ["queue.stats"]})
        world.publish_alerts(3)
        world.publish_queue_stats(1)
        peer.read()
        peer.send("resume", {"epoch": world.epoch, "seq": 0})
        messages = peer.read()
        assert types_of(messages) == ["queue.stats", "resumed"]

    def test_conflatable_events_are_all_replayed(self, world: World) -> None:
        for waiting in range(4):
            world.publish_queue_stats(waiting)
        assert world.resume(0).seqs() == [1, 2, 3, 4]

    def test_events_of_another_tenant_are_not_replayed(self, world: World) -> None:
        world.publish_alerts(3)
        world.publish_alerts(3, tenant_id="globex")
        messages = world.resume(0).read()
        assert {message["tenant_id"] for message in messages if "seq" in message} == {ACME}
        assert messages[-1]["payload"]["count"] == 3

    def test_events_published_during_a_replay_follow_once_in_order(self, world: World) -> None:
        world.publish_alerts(250)
        peer = world.resume(0)
        for _ in range(5):
            world.publish_alerts(3)
            world.hub.flush()
        messages = peer.read()
        world.publish_alerts(2)
        assert seqs_of(messages) + peer.seqs() == list(range(1, 268))

    def test_several_requests_are_answered_in_order(self, world: World) -> None:
        world.publish_alerts(4)
        peer = world.live()
        peer.send("resume", {"epoch": world.epoch, "seq": 2}, id_=1)
        peer.send("resume", {"epoch": world.epoch, "seq": 1}, id_=2)
        messages = peer.read()
        assert [message.get("seq", message["type"]) for message in messages] == [3, 4, "resumed", 2, 3, 4, "resumed"]
        assert [m["in_reply_to"] for m in messages if m["type"] == "resumed"] == [1, 2]

    def test_a_request_above_the_limit_is_refused_and_the_earlier_ones_are_answered(self, world: World) -> None:
        world.publish_alerts(2)
        peer = world.live()
        for number in range(catch_up.MAX_REQUESTS + 1):
            peer.send("resume", {"epoch": world.epoch, "seq": 0}, id_=number)
        messages = peer.read("resumed", "error")
        assert types_of(messages) == ["error"] + ["resumed"] * catch_up.MAX_REQUESTS
        assert messages[0]["payload"]["code"] == "rate_limited"
        assert messages[0]["payload"]["retry_after_ms"] == 1000
        assert messages[0]["in_reply_to"] == catch_up.MAX_REQUESTS


class TestReset:
    def check(self, world: World, peer: Peer, reason: str) -> None:
        messages = peer.read()
        index = types_of(messages).index("reset")
        assert "resumed" not in types_of(messages)
        reset, snapshot = messages[index : index + 2]
        assert reset["payload"] == {"reason": reason, "epoch": world.epoch, "seq": world.hub._tenants[ACME].head or 6}
        assert snapshot["type"] == "snapshot"
        assert snapshot["payload"]["seq"] == reset["payload"]["seq"]
        world.publish_alerts()
        assert peer.seqs() == [reset["payload"]["seq"] + 1]

    def test_a_position_of_another_epoch_is_answered_with_epoch_changed(self, world: World) -> None:
        world.publish_alerts(6)
        self.check(world, world.resume(3, epoch="another"), "epoch_changed")

    def test_a_position_after_the_head_is_answered_with_ahead(self, world: World) -> None:
        world.publish_alerts(6)
        self.check(world, world.resume(7), "ahead")

    def test_a_position_before_the_history_is_answered_with_too_old(self) -> None:
        world = World(memory_events=3)
        world.publish_alerts(6)
        self.check(world, world.resume(2), "too_old")

    def test_the_position_directly_before_the_history_is_resumed(self) -> None:
        world = World(memory_events=3)
        world.publish_alerts(6)
        assert world.resume(3).seqs() == [4, 5, 6]

    def test_more_events_than_the_replay_limit_are_answered_with_too_many(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(catch_up, "MAX_REPLAY_EVENTS", 5)
        world.publish_alerts(6)
        self.check(world, world.resume(0), "too_many")
        assert world.resume(2).seqs() == [3, 4, 5, 6, 7]

    def test_a_reset_of_a_resume_message_has_in_reply_to(self, world: World) -> None:
        world.publish_alerts(6)
        peer = world.live()
        peer.send("resume", {"epoch": "another", "seq": 0}, id_="r")
        (reset, snapshot) = peer.read()
        assert reset["in_reply_to"] == "r"
        assert snapshot["type"] == "snapshot"

    def test_history_trimmed_during_a_replay_is_answered_with_reset(self) -> None:
        """``resumed`` would mean that the replay was complete."""
        world = World(memory_events=250)
        world.publish_alerts(250)
        peer = world.live()
        peer.high_water = 0
        peer.send("resume", {"epoch": world.epoch, "seq": 0}, id_="r")
        assert peer.seqs() == list(range(1, catch_up.PAGE_EVENTS + 1))
        world.publish_alerts(240)
        peer.drain()
        peer.high_water = None
        reset, snapshot = peer.read()
        assert reset["type"] == "reset"
        assert reset["payload"] == {"reason": "too_old", "epoch": world.epoch, "seq": 490}
        assert reset["in_reply_to"] == "r"
        assert snapshot["payload"]["seq"] == 490
        world.publish_alerts()
        assert peer.seqs() == [491]


class TestSnapshot:
    def test_a_snapshot_requested_in_the_url_follows_the_welcome(self, world: World) -> None:
        world.publish_queue_stats(1)
        world.publish_queue_stats(2)
        (welcome, snapshot) = world.connect(options=ConnectOptions(snapshot=True)).read()
        assert welcome["type"] == "welcome"
        assert snapshot["tenant_id"] == ACME
        assert "in_reply_to" not in snapshot
        payload = snapshot["payload"]
        assert (payload["epoch"], payload["seq"]) == (world.epoch, 2)
        assert [(event["seq"], event["payload"]["calls_waiting"]) for event in payload["events"]] == [(2, 2)]

    def test_the_snapshot_of_an_empty_stream_is_empty(self, world: World) -> None:
        (_, snapshot) = world.connect(options=ConnectOptions(snapshot=True)).read()
        assert snapshot["payload"] == {"epoch": world.epoch, "seq": 0, "events": []}

    def test_a_snapshot_requested_by_message_has_in_reply_to(self, world: World) -> None:
        peer = world.live()
        peer.send("snapshot", id_=7)
        assert peer.read()[0]["in_reply_to"] == 7

    def test_a_snapshot_has_the_visible_events_in_the_view_of_the_client(self, world: World) -> None:
        world.publish("call.incoming", {"unique_id": "1", "caller_id": "+49301", "destination": "2"})
        world.publish("chat.session.started", {"session_id": "s"})
        (snapshot,) = world.connect(Role.WALLBOARD, ConnectOptions(snapshot=True)).read("snapshot")
        (call,) = snapshot["payload"]["events"]
        assert call["payload"]["caller_id"] == "***"

    def test_a_snapshot_among_live_events_is_at_its_position(self, world: World) -> None:
        peer = world.live()
        world.publish_alerts(3)
        peer.send("snapshot")
        world.publish_alerts(2)
        messages = peer.read()
        index = types_of(messages).index("snapshot")
        seq = messages[index]["payload"]["seq"]
        assert seqs_of(messages) == [1, 2, 3, 4, 5]
        assert all(before <= seq for before in seqs_of(messages[:index]))
        assert all(after > seq for after in seqs_of(messages[index:]))

    def test_history_trimmed_before_a_snapshot_does_not_make_it_outdated(self) -> None:
        """The snapshot must not be older than what the client was sent before it."""
        world = World(slow=True, memory_events=5)
        peer = world.connect()
        peer.read()
        peer.send("snapshot", id_="s")
        for _ in range(10):
            world.clock.step()
            world.publish_alerts(6)
        messages = peer.read()
        position = 0
        for message in messages:
            if message["type"] == "snapshot":
                assert message["payload"]["seq"] >= position
            position = max(position, message.get("seq", 0), message["payload"].get("seq", 0))
        answers = [message for message in messages if message.get("in_reply_to") == "s"]
        assert types_of(answers) == ["snapshot"]


class TestLagging:
    def block(self, world: World, total: int = 300) -> Peer:
        """Return a paused peer that has read event 1 of ``total``."""
        peer = world.live()
        world.publish_alerts()
        peer.read()
        peer.client.pause()
        world.publish_alerts(total - 1)
        world.turn()
        return peer

    def test_a_paused_client_with_room_in_its_outbox_does_not_lag(self, world: World) -> None:
        peer = self.block(world, 1 + 256)
        assert not peer.client.lagging
        assert len(peer.client.outbox.frames) == 256
        peer.client.drained()
        assert peer.seqs() == list(range(2, 258))

    def test_a_client_whose_outbox_overflowed_is_fed_from_the_history_in_order(self, world: World) -> None:
        peer = self.block(world, 700)
        assert peer.client.lagging
        assert peer.client.outbox.frames == []
        assert world.hub.stats()["lagging"] == world.hub.counters.lagging == 1
        assert peer.seqs() == []
        peer.client.drained()
        assert peer.seqs() == list(range(2, 701))
        assert not peer.client.lagging
        assert world.hub.stats()["lagging"] == world.hub.counters.lagging == 0
        world.publish_alerts()
        assert peer.seqs() == [701]

    def test_a_lagging_client_is_fed_no_faster_than_it_reads(self, world: World) -> None:
        peer = self.block(world, 700)
        peer.high_water = 0
        expected = 2
        for _ in range(100):
            peer.drain()
            seqs = peer.seqs()
            assert len(seqs) <= catch_up.PAGE_EVENTS
            assert seqs == list(range(expected, expected + len(seqs)))
            expected += len(seqs)
            assert len(peer.client.outbox.frames) <= world.limits.outbox
        assert expected == 701

    def test_after_several_overflows_every_event_was_sent_once(self, world: World) -> None:
        peer = world.live()
        seqs: list[int] = []
        for _ in range(5):
            peer.client.pause()
            world.publish_alerts(150)
            world.publish_alerts(150)
            seqs += peer.seqs()
            peer.client.drained()
            world.publish_alerts(7)
            seqs += peer.seqs()
        assert seqs == list(range(1, 5 * 307 + 1))

    def test_a_lagging_client_whose_history_is_lost_is_reset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The loss is detected when the snapshot after a gap is read from the store."""
        world = World(memory_events=300)
        peer = self.block(world, 700)
        snapshot = world.broker.snapshot

        async def snapshot_after_loss(tenant_id: str) -> Snapshot:
            if world.epoch != "another":
                world.broker._epoch, world.broker._tenants = "another", {}
                world.hub.interrupted(ACME, Position("another", 0))
            answer: Snapshot = await snapshot(tenant_id)
            return answer

        monkeypatch.setattr(world.broker, "snapshot", snapshot_after_loss)
        peer.client.drained()
        reset, state = peer.read()
        assert reset["payload"] == {"reason": "epoch_changed", "epoch": "another", "seq": 0}
        assert (state["type"], state["payload"]["epoch"], state["payload"]["seq"]) == ("snapshot", "another", 0)
        assert not world.hub.counters.dropped

    def test_a_client_that_lags_behind_the_history_is_sent_gap_and_snapshot(self) -> None:
        world = World(memory_events=300)
        peer = self.block(world, 700)
        peer.client.drained()
        gap, snapshot = peer.read()
        assert gap["type"] == "gap"
        assert gap["payload"] == {"from_seq": 2, "to_seq": 700, "reason": "history_exceeded"}
        assert snapshot["type"] == "snapshot"
        assert snapshot["payload"]["seq"] == 700
        assert world.hub.counters.dropped == {"history_exceeded": 699}
        assert world.hub.stats(ACME)["messages"]["dropped"] == 699
        world.publish_alerts()
        assert peer.seqs() == [701]

    def test_a_lagging_client_is_sent_only_the_newest_conflatable_event(self, world: World) -> None:
        peer = self.block(world, 300)
        for waiting in range(5):
            world.publish_queue_stats(waiting)
            world.publish_queue_stats(waiting, "support")
        world.publish_alerts()
        peer.client.drained()
        assert peer.seqs() == [*range(2, 301), 309, 310, 311]

    def test_a_paused_client_that_does_not_lag_is_sent_all_conflatable_events(self, world: World) -> None:
        peer = world.live()
        peer.client.pause()
        for waiting in range(5):
            world.publish_queue_stats(waiting)
        peer.client.drained()
        assert peer.seqs() == [1, 2, 3, 4, 5]

    def test_a_client_that_is_connecting_is_sent_all_conflatable_events(self) -> None:
        world = World(slow=True)
        peer = world.connect()
        for waiting in range(5):
            world.publish_queue_stats(waiting)
        messages = peer.read()
        assert seqs_of(messages) == list(range(messages[0]["payload"]["seq"] + 1, 6))
        assert len(messages) > 2

    def test_a_replay_for_a_lagging_client_has_all_conflatable_events(self, world: World) -> None:
        for waiting in range(5):
            world.publish_queue_stats(waiting)
        peer = self.block(world, 300)
        world.publish_queue_stats(5)
        peer.send("resume", {"epoch": world.epoch, "seq": 0})
        peer.client.drained()
        messages = peer.read()
        assert seqs_of(messages) == list(range(1, 307))
        assert messages[-1]["payload"]["count"] == 306

    def test_answers_are_kept_in_an_overflow(self, world: World) -> None:
        peer = world.live()
        peer.client.pause()
        world.publish_alerts(200)
        peer.send("ping", id_="a")
        world.publish_alerts(100)
        peer.send("ping", id_="b")
        peer.client.drained()
        messages = peer.read()
        assert [m["in_reply_to"] for m in messages if m["type"] == "pong"] == ["a", "b"]
        assert seqs_of(messages) == list(range(1, 301))

    def test_an_overflow_caused_by_answers_repeats_no_event(self) -> None:
        world = World(limits=Limits(outbox=5))
        peer = world.live()
        world.publish_alerts(3)
        assert peer.seqs() == [1, 2, 3]
        peer.client.pause()
        for _ in range(5):
            peer.send("ping")
        world.publish_alerts(2)
        peer.client.drained()
        assert peer.seqs() == [4, 5]

    @pytest.mark.parametrize("outbox", [1, 2, 3, 5, 8])
    def test_replayed_events_are_kept_in_an_overflow_by_live_ones(self, outbox: int) -> None:
        world = World(limits=Limits(outbox=outbox), burst=1000)
        world.publish_alerts(20)
        peer = world.resume(0)
        while peer.client.state is not SessionState.LIVE:
            assert world.clock.step()
        world.publish_alerts(2 * outbox)
        seqs = peer.seqs()
        assert seqs == list(range(1, 21 + 2 * outbox))

    def test_an_overflow_before_a_requested_snapshot_is_written_repeats_no_event(self) -> None:
        world = World(limits=Limits(outbox=6), slow=True, burst=1000)
        peer = world.live()
        peer.send("snapshot")
        world.clock.step()
        peer.client.pause()
        world.publish_alerts(4)
        world.turn()
        world.publish_alerts(10)
        world.turn()
        peer.client.drained()
        position = 0
        for message in peer.read():
            if message["type"] == "snapshot":
                position = message["payload"]["seq"]
            elif "seq" in message:
                assert message["seq"] == position + 1
                position = message["seq"]
        assert position == 14

    def test_a_lagging_client_may_request_a_snapshot(self, world: World) -> None:
        peer = self.block(world)
        peer.send("snapshot")
        peer.client.drained()
        messages = peer.read()
        assert seqs_of(messages) == list(range(2, 301))
        assert messages[-1]["type"] == "snapshot"
        assert messages[-1]["payload"]["seq"] == 300

    def test_a_lagging_client_may_request_a_replay(self, world: World) -> None:
        peer = self.block(world)
        peer.send("resume", {"epoch": world.epoch, "seq": 290})
        peer.client.drained()
        messages = peer.read()
        assert seqs_of(messages) == list(range(291, 301))
        assert messages[-1]["type"] == "resumed"

    def test_a_closed_client_is_not_counted_as_lagging(self, world: World) -> None:
        peer = self.block(world)
        peer.client.connection_lost(CloseCode.ABNORMAL)
        assert world.hub.counters.lagging == 0
        world.turn()

    def test_a_slow_client_does_not_delay_another(self, world: World) -> None:
        slow, fast = world.live(), world.live()
        slow.client.pause()
        for start in range(1, 601, 100):
            world.publish_alerts(100)
            assert fast.seqs() == list(range(start, start + 100))
        assert slow.seqs() == []


class TestUnavailableStore:
    """The catch-up when reading the store fails for a while."""

    @pytest.mark.parametrize("refusals", [1, 2, 5])
    @pytest.mark.parametrize("type_", ["resume", "snapshot"])
    def test_a_request_is_answered_once_the_store_is_available(self, type_: str, refusals: int) -> None:
        world = World(slow=True)
        world.publish_alerts(150)
        peer = world.live()
        broker: SlowBroker = world.broker
        failures = iter([True] * refusals)
        broker.fails = lambda: next(failures, False)
        peer.send(type_, {"epoch": world.epoch, "seq": 0} if type_ == "resume" else {}, id_="r")
        assert peer.read() == []
        world.publish_alerts(2)
        world.clock.advance(refusals * catch_up.RETRY_SECONDS)
        messages = peer.read()
        (answer,) = [message for message in messages if message.get("in_reply_to") == "r"]
        assert answer["type"] == ("resumed" if type_ == "resume" else "snapshot")
        assert seqs_of(messages) == list(range(1 if type_ == "resume" else 151, 153))

    def test_a_lagging_client_is_fed_once_the_store_is_available(self) -> None:
        world = World(slow=True)
        peer = world.live()
        peer.client.pause()
        world.publish_alerts(300)
        world.turn()
        failures = iter([True, True])
        world.broker.fails = lambda: next(failures, False)
        peer.client.drained()
        assert peer.seqs() == []
        world.clock.advance(2 * catch_up.RETRY_SECONDS)
        assert peer.seqs() == list(range(1, 301))

    def test_an_unhandled_error_closes_the_connection(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = world.live()

        async def broken(tenant_id: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(world.broker, "snapshot", broken)
        peer.send("snapshot")
        world.clock.turn()
        assert peer.closed_with is CloseCode.INTERNAL_ERROR
        assert [failure.type for failure in world.failures] == [ZeroDivisionError]
