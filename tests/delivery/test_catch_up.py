"""CatchUp: what a client that was away, or that is slow, gets to see."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, SlowBroker, Socket, Stage

from callcenter_ws.delivery import catch_up as catch_up
from callcenter_ws.delivery import replay_cache
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role


def types(messages: list[dict[str, Any]]) -> list[str]:
    return [message["type"] for message in messages]


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages if "seq" in message]


@pytest.fixture
def stage() -> Stage:
    return Stage()


class TestResume:
    def test_url_wish_brings_the_missed_events_then_resumed_then_live(self, stage: Stage) -> None:
        stage.alerts(5)
        socket = stage.resume(2)
        messages = socket.read()
        assert types(messages) == ["welcome", "alert", "alert", "alert", "resumed"]
        assert seqs(messages) == [3, 4, 5]
        assert messages[-1]["payload"] == {"epoch": stage.epoch, "from_seq": 2, "to_seq": 5, "count": 3}
        assert "in_reply_to" not in messages[-1]
        stage.alerts()
        assert socket.seqs() == [6]

    def test_message_brings_them_again_and_names_the_request(self, stage: Stage) -> None:
        stage.alerts(5)
        socket = stage.live()
        socket.say("resume", {"epoch": stage.epoch, "seq": 3}, id_="r-1")
        messages = socket.read()
        assert seqs(messages) == [4, 5]
        assert messages[-1]["type"] == "resumed"
        assert messages[-1]["in_reply_to"] == "r-1"
        stage.alerts()
        assert socket.seqs() == [6]

    def test_nothing_missed(self, stage: Stage) -> None:
        stage.alerts(5)
        (_, resumed) = stage.resume(5).read()
        assert resumed["payload"] == {"epoch": stage.epoch, "from_seq": 5, "to_seq": 5, "count": 0}

    def test_of_a_tenant_that_never_published(self, stage: Stage) -> None:
        (_, resumed) = stage.resume(0).read()
        assert resumed["payload"] == {"epoch": stage.epoch, "from_seq": 0, "to_seq": 0, "count": 0}

    def test_many_chunks_come_whole_and_in_order(self, stage: Stage) -> None:
        total = 3 * catch_up.CHUNK_EVENTS + 7
        stage.alerts(total)
        messages = stage.resume(0).read()
        assert seqs(messages) == list(range(1, total + 1))
        assert messages[-1]["payload"]["count"] == total

    def test_a_chunk_ends_where_it_grows_too_large(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catch_up, "CHUNK_BYTES", 1)
        monkeypatch.setattr(replay_cache, "BATCH_BYTES", 1)
        stage.alerts(30)
        socket = stage.resume(0)
        assert seqs(socket.read()) == list(range(1, 31))
        assert socket.writes >= 30

    def test_only_what_the_client_may_see_is_counted(self, stage: Stage) -> None:
        stage.alerts(2)
        stage.publish("notification", {"type": "x", "title": "t", "message": "m"}, user_id="someone-else")
        stage.publish("notification", {"type": "x", "title": "t", "message": "m"}, user_id="me")
        stage.publish("agent.login", {"user_id": "me", "username": "m"}, user_id="someone-else")
        stage.publish("agent.login", {"user_id": "me", "username": "m"}, user_id="me")
        messages = stage.resume(1, user_id="me").read()
        # What waited in the mailbox comes first, and once.
        assert seqs(messages) == [4, 2, 6]
        assert messages[-1]["payload"] == {"epoch": stage.epoch, "from_seq": 1, "to_seq": 6, "count": 2}

    def test_only_what_the_client_subscribed_to(self, stage: Stage) -> None:
        socket = stage.live()
        socket.say("subscribe", {"events": ["queue.stats"]})
        stage.alerts(3)
        stage.stats(1)
        socket.read()
        socket.say("resume", {"epoch": stage.epoch, "seq": 0})
        messages = socket.read()
        assert types(messages) == ["queue.stats", "resumed"]

    def test_older_figures_are_replayed_although_newer_ones_exist(self, stage: Stage) -> None:
        for waiting in range(4):
            stage.stats(waiting)
        assert seqs(stage.resume(0).read()) == [1, 2, 3, 4]

    def test_events_of_another_tenant_never_come(self, stage: Stage) -> None:
        stage.alerts(3)
        stage.alerts(3, tenant_id="globex")
        messages = stage.resume(0).read()
        assert {message["tenant_id"] for message in messages if "seq" in message} == {TENANT}
        assert messages[-1]["payload"]["count"] == 3

    def test_events_published_meanwhile_follow_once_in_order(self, stage: Stage) -> None:
        stage.alerts(250)
        socket = stage.resume(0)
        for _ in range(5):
            stage.alerts(3)
            stage.hub.flush()
        messages = socket.read()
        stage.alerts(2)
        assert seqs(messages) + socket.seqs() == list(range(1, 268))

    def test_several_requests_are_served_one_after_the_other(self, stage: Stage) -> None:
        stage.alerts(4)
        socket = stage.live()
        socket.say("resume", {"epoch": stage.epoch, "seq": 2}, id_=1)
        socket.say("resume", {"epoch": stage.epoch, "seq": 1}, id_=2)
        messages = socket.read()
        assert [message.get("seq", message["type"]) for message in messages] == [3, 4, "resumed", 2, 3, 4, "resumed"]
        assert [m["in_reply_to"] for m in messages if m["type"] == "resumed"] == [1, 2]

    def test_too_many_requests_are_refused_and_the_earlier_ones_answered(self, stage: Stage) -> None:
        stage.alerts(2)
        socket = stage.live()
        for number in range(catch_up.MAX_JOBS + 1):
            socket.say("resume", {"epoch": stage.epoch, "seq": 0}, id_=number)
        messages = socket.read("resumed", "error")
        assert types(messages) == ["error"] + ["resumed"] * catch_up.MAX_JOBS
        assert messages[0]["payload"]["code"] == "rate_limited"
        assert messages[0]["payload"]["retry_after_ms"] == 1000
        assert messages[0]["in_reply_to"] == catch_up.MAX_JOBS


class TestReset:
    def check(self, stage: Stage, socket: Socket, reason: str) -> None:
        messages = socket.read()
        at = types(messages).index("reset")
        assert "resumed" not in types(messages)
        reset, snapshot = messages[at : at + 2]
        assert reset["payload"] == {"reason": reason, "epoch": stage.epoch, "seq": stage.hub._tenants[TENANT].head or 6}
        assert snapshot["type"] == "snapshot"
        assert snapshot["payload"]["seq"] == reset["payload"]["seq"]
        stage.alerts()
        assert socket.seqs() == [reset["payload"]["seq"] + 1]

    def test_epoch_changed(self, stage: Stage) -> None:
        stage.alerts(6)
        self.check(stage, stage.resume(3, epoch="another"), "epoch_changed")

    def test_ahead(self, stage: Stage) -> None:
        stage.alerts(6)
        self.check(stage, stage.resume(7), "ahead")

    def test_too_old(self) -> None:
        stage = Stage(memory_events=3)
        stage.alerts(6)
        self.check(stage, stage.resume(2), "too_old")

    def test_the_oldest_that_is_reachable(self) -> None:
        stage = Stage(memory_events=3)
        stage.alerts(6)
        assert seqs(stage.resume(3).read()) == [4, 5, 6]

    def test_too_many(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(catch_up, "MAX_REPLAY", 5)
        stage.alerts(6)
        self.check(stage, stage.resume(0), "too_many")
        assert seqs(stage.resume(2).read()) == [3, 4, 5, 6, 7]

    def test_by_message_names_the_request(self, stage: Stage) -> None:
        stage.alerts(6)
        socket = stage.live()
        socket.say("resume", {"epoch": "another", "seq": 0}, id_="r")
        (reset, snapshot) = socket.read()
        assert reset["in_reply_to"] == "r"
        assert snapshot["type"] == "snapshot"

    def test_history_that_runs_away_during_a_replay(self) -> None:
        """`resumed` would say that everything was sent; the promise allows an explicit reset only."""
        stage = Stage(memory_events=250)
        stage.alerts(250)
        socket = stage.live()
        socket.high_water = 0
        socket.say("resume", {"epoch": stage.epoch, "seq": 0}, id_="r")
        assert socket.seqs() == list(range(1, catch_up.CHUNK_EVENTS + 1))
        stage.alerts(240)
        socket.drain()
        socket.high_water = None
        reset, snapshot = socket.read()
        assert reset["type"] == "reset"
        assert reset["payload"] == {"reason": "too_old", "epoch": stage.epoch, "seq": 490}
        assert reset["in_reply_to"] == "r"
        assert snapshot["payload"]["seq"] == 490
        stage.alerts()
        assert socket.seqs() == [491]


class TestSnapshot:
    def test_url_wish(self, stage: Stage) -> None:
        stage.stats(1)
        stage.stats(2)
        (welcome, snapshot) = stage.connect(options=ConnectOptions(snapshot=True)).read()
        assert welcome["type"] == "welcome"
        assert snapshot["tenant_id"] == TENANT
        assert "in_reply_to" not in snapshot
        payload = snapshot["payload"]
        assert (payload["epoch"], payload["seq"]) == (stage.epoch, 2)
        assert [(event["seq"], event["payload"]["calls_waiting"]) for event in payload["events"]] == [(2, 2)]

    def test_of_nothing(self, stage: Stage) -> None:
        (_, snapshot) = stage.connect(options=ConnectOptions(snapshot=True)).read()
        assert snapshot["payload"] == {"epoch": stage.epoch, "seq": 0, "events": []}

    def test_by_message_names_the_request(self, stage: Stage) -> None:
        socket = stage.live()
        socket.say("snapshot", id_=7)
        assert socket.read()[0]["in_reply_to"] == 7

    def test_holds_what_the_client_may_see_as_it_may_see_it(self, stage: Stage) -> None:
        stage.publish("call.incoming", {"unique_id": "1", "caller_id": "+49301", "destination": "2"})
        stage.publish("chat.session.started", {"session_id": "s"})
        (snapshot,) = stage.connect(Role.WALLBOARD, ConnectOptions(snapshot=True)).read("snapshot")
        (call,) = snapshot["payload"]["events"]
        assert call["payload"]["caller_id"] == "***"

    def test_stands_at_its_place_in_live_traffic(self, stage: Stage) -> None:
        socket = stage.live()
        stage.alerts(3)
        socket.say("snapshot")
        stage.alerts(2)
        messages = socket.read()
        at = types(messages).index("snapshot")
        seq = messages[at]["payload"]["seq"]
        assert seqs(messages) == [1, 2, 3, 4, 5]
        assert all(before <= seq for before in seqs(messages[:at]))
        assert all(after > seq for after in seqs(messages[at:]))

    def test_history_that_runs_away_before_a_snapshot(self) -> None:
        """The asked snapshot must not be older than what the client was already told."""
        stage = Stage(slow=True, memory_events=5)
        socket = stage.connect()
        socket.read()
        socket.say("snapshot", id_="s")
        for _ in range(10):
            stage.clock.step()
            stage.alerts(6)
        messages = socket.read()
        position = 0
        for message in messages:
            if message["type"] == "snapshot":
                assert message["payload"]["seq"] >= position
            position = max(position, message.get("seq", 0), message["payload"].get("seq", 0))
        answers = [message for message in messages if message.get("in_reply_to") == "s"]
        assert types(answers) == ["snapshot"]


class TestLagging:
    def fall_behind(self, stage: Stage, total: int = 300) -> Socket:
        """A client that has read 1 and does not read the rest."""
        socket = stage.live()
        stage.alerts()
        socket.read()
        socket.client.pause()
        stage.alerts(total - 1)
        stage.settle()
        return socket

    def test_a_paused_client_keeps_its_outbox(self, stage: Stage) -> None:
        socket = self.fall_behind(stage, 1 + 256)
        assert not socket.client.lagging
        assert len(socket.client.outbox) == 256
        socket.client.drained()
        assert socket.seqs() == list(range(2, 258))

    def test_overflow_is_fed_from_the_history_in_order(self, stage: Stage) -> None:
        socket = self.fall_behind(stage, 700)
        assert socket.client.lagging
        assert socket.client.outbox == []
        assert stage.hub.stats()["lagging"] == stage.hub.counters.lagging == 1
        assert socket.seqs() == []
        socket.client.drained()
        assert socket.seqs() == list(range(2, 701))
        assert not socket.client.lagging
        assert stage.hub.stats()["lagging"] == stage.hub.counters.lagging == 0
        stage.alerts()
        assert socket.seqs() == [701]

    def test_it_is_fed_no_faster_than_it_reads(self, stage: Stage) -> None:
        socket = self.fall_behind(stage, 700)
        socket.high_water = 0
        expected = 2
        for _ in range(100):
            socket.drain()
            got = socket.seqs()
            assert len(got) <= catch_up.CHUNK_EVENTS
            assert got == list(range(expected, expected + len(got)))
            expected += len(got)
            assert len(socket.client.outbox) <= stage.limits.outbox
        assert expected == 701

    def test_several_overflows(self, stage: Stage) -> None:
        socket = stage.live()
        got: list[int] = []
        for _ in range(5):
            socket.client.pause()
            stage.alerts(150)
            stage.alerts(150)
            got += socket.seqs()
            socket.client.drained()
            stage.alerts(7)
            got += socket.seqs()
        assert got == list(range(1, 5 * 307 + 1))

    def test_gap_and_snapshot_when_the_history_is_exceeded(self) -> None:
        stage = Stage(memory_events=300)
        socket = self.fall_behind(stage, 700)
        socket.client.drained()
        gap, snapshot = socket.read()
        assert gap["type"] == "gap"
        assert gap["payload"] == {"from_seq": 2, "to_seq": 700, "reason": "history_exceeded"}
        assert snapshot["type"] == "snapshot"
        assert snapshot["payload"]["seq"] == 700
        assert stage.hub.counters.dropped == {"history_exceeded": 699}
        assert stage.hub.stats(TENANT)["messages"]["dropped"] == 699
        stage.alerts()
        assert socket.seqs() == [701]

    def test_only_the_newest_figures_while_behind(self, stage: Stage) -> None:
        socket = self.fall_behind(stage, 300)
        for waiting in range(5):
            stage.stats(waiting)
            stage.stats(waiting, "support")
        stage.alerts()
        socket.client.drained()
        assert socket.seqs() == [*range(2, 301), 309, 310, 311]

    def test_all_figures_while_not_behind(self, stage: Stage) -> None:
        socket = stage.live()
        socket.client.pause()
        for waiting in range(5):
            stage.stats(waiting)
        socket.client.drained()
        assert socket.seqs() == [1, 2, 3, 4, 5]

    def test_all_figures_to_whoever_has_just_come(self) -> None:
        stage = Stage(slow=True)
        socket = stage.connect()
        for waiting in range(5):
            stage.stats(waiting)
        messages = socket.read()
        assert seqs(messages) == list(range(messages[0]["payload"]["seq"] + 1, 6))
        assert len(messages) > 2

    def test_all_figures_when_a_lagging_client_asks_for_them(self, stage: Stage) -> None:
        for waiting in range(5):
            stage.stats(waiting)
        socket = self.fall_behind(stage, 300)
        stage.stats(5)
        socket.say("resume", {"epoch": stage.epoch, "seq": 0})
        socket.client.drained()
        messages = socket.read()
        assert seqs(messages) == list(range(1, 307))
        assert messages[-1]["payload"]["count"] == 306

    def test_answers_survive_the_overflow(self, stage: Stage) -> None:
        socket = stage.live()
        socket.client.pause()
        stage.alerts(200)
        socket.say("ping", id_="a")
        stage.alerts(100)
        socket.say("ping", id_="b")
        socket.client.drained()
        messages = socket.read()
        assert [m["in_reply_to"] for m in messages if m["type"] == "pong"] == ["a", "b"]
        assert seqs(messages) == list(range(1, 301))

    def test_an_outbox_full_of_answers_repeats_no_event(self) -> None:
        stage = Stage(limits=Limits(outbox=5))
        socket = stage.live()
        stage.alerts(3)
        assert socket.seqs() == [1, 2, 3]
        socket.client.pause()
        for _ in range(5):
            socket.say("ping")
        stage.alerts(2)
        socket.client.drained()
        assert socket.seqs() == [4, 5]

    @pytest.mark.parametrize("outbox", [1, 2, 3, 5, 8])
    def test_events_of_a_replay_survive_an_overflow_by_live_ones(self, outbox: int) -> None:
        stage = Stage(limits=Limits(outbox=outbox), burst=1000)
        stage.alerts(20)
        socket = stage.resume(0)
        got = []
        while not socket.client.live:
            assert stage.clock.step()
        stage.alerts(2 * outbox)
        got = socket.seqs()
        assert got == list(range(1, 21 + 2 * outbox))

    def test_a_snapshot_is_not_followed_by_what_it_holds(self) -> None:
        """Asked for in live traffic, overtaken by an overflow before it could be written."""
        stage = Stage(limits=Limits(outbox=6), slow=True, burst=1000)
        socket = stage.live()
        socket.say("snapshot")
        stage.clock.step()
        socket.client.pause()
        stage.alerts(4)
        stage.settle()
        stage.alerts(10)
        stage.settle()
        socket.client.drained()
        position = 0
        for message in socket.read():
            if message["type"] == "snapshot":
                position = message["payload"]["seq"]
            elif "seq" in message:
                assert message["seq"] == position + 1
                position = message["seq"]
        assert position == 14

    def test_asks_for_a_snapshot(self, stage: Stage) -> None:
        socket = self.fall_behind(stage)
        socket.say("snapshot")
        socket.client.drained()
        messages = socket.read()
        assert seqs(messages) == list(range(2, 301))
        assert messages[-1]["type"] == "snapshot"
        assert messages[-1]["payload"]["seq"] == 300

    def test_asks_to_resume(self, stage: Stage) -> None:
        socket = self.fall_behind(stage)
        socket.say("resume", {"epoch": stage.epoch, "seq": 290})
        socket.client.drained()
        messages = socket.read()
        assert seqs(messages) == list(range(291, 301))
        assert messages[-1]["type"] == "resumed"

    def test_closing_counts_it_no_more(self, stage: Stage) -> None:
        socket = self.fall_behind(stage)
        socket.client.lost(CloseCode.ABNORMAL)
        assert stage.hub.counters.lagging == 0
        stage.settle()

    def test_no_slow_client_delays_another(self, stage: Stage) -> None:
        slow, swift = stage.live(), stage.live()
        slow.client.pause()
        for start in range(1, 601, 100):
            stage.alerts(100)
            assert swift.seqs() == list(range(start, start + 100))
        assert slow.seqs() == []


class TestStoreInTrouble:
    """What a job meets when the store does not answer for a while."""

    @pytest.mark.parametrize("refusals", [1, 2, 5])
    @pytest.mark.parametrize("options", ["resume", "snapshot"])
    def test_a_request_outlives_it(self, options: str, refusals: int) -> None:
        stage = Stage(slow=True)
        stage.alerts(150)
        socket = stage.live()
        broker: SlowBroker = stage.broker
        answers = iter([True] * refusals)
        broker.fails = lambda: next(answers, False)
        socket.say(options, {"epoch": stage.epoch, "seq": 0} if options == "resume" else {}, id_="r")
        assert socket.read() == []
        stage.alerts(2)
        stage.clock.advance(refusals * catch_up.RETRY)
        messages = socket.read()
        (answer,) = [message for message in messages if message.get("in_reply_to") == "r"]
        assert answer["type"] == ("resumed" if options == "resume" else "snapshot")
        assert seqs(messages) == list(range(1 if options == "resume" else 151, 153))

    def test_a_lagging_client_outlives_it(self) -> None:
        stage = Stage(slow=True)
        socket = stage.live()
        socket.client.pause()
        stage.alerts(300)
        stage.settle()
        answers = iter([True, True])
        stage.broker.fails = lambda: next(answers, False)
        socket.client.drained()
        assert socket.seqs() == []
        stage.clock.advance(2 * catch_up.RETRY)
        assert socket.seqs() == list(range(1, 301))

    def test_a_bug_ends_the_connection(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        socket = stage.live()

        async def broken(tenant_id: str) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(stage.broker, "snapshot", broken)
        socket.say("snapshot")
        stage.clock.turn()
        assert socket.closed_with is CloseCode.INTERNAL_ERROR
        assert [failure.type for failure in stage.failures] == [ZeroDivisionError]
