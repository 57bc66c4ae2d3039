"""Live figures over time: switched off and on, many of them, clients that are slow or were away for long."""

from __future__ import annotations

import pytest
from figure_world import OFF, ON, FigureWorld, figure, newest_of
from world import ACME, Message, types_of

from callcenter_ws.delivery import figure_feed, figure_updates
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.figures.plan import Plan, TenantPlan

SALES, HELP = "queue.stats:sales", "queue.stats:help"

PRODUCER = Plan(default=TenantPlan(producers_of={"sales": True}))
"""Statistics are on, but the figures of one queue are those of its senders."""


@pytest.fixture
def world() -> FigureWorld:
    return FigureWorld()


def figures_in(messages: list[Message]) -> dict[str, int]:
    return newest_of(message for message in messages if "seq" not in message)


class TestReload:
    def test_switched_off_and_on_clients_are_sent_the_figures_of_the_new_table(self, world: FigureWorld) -> None:
        synced, paused, agent = world.live(), world.live(), world.live(Role.AGENT, user_id="7")
        for seq in range(1, 51):
            world.change(figure(SALES, seq))
        paused.client.pause()
        world.use(OFF)
        world.stored.figures.clear()
        world.use(ON)
        for peer in (synced, paused, agent):
            peer.read()
        world.change(figure(SALES, 60), figure("agent.stats:7", 60))
        world.change(figure(HELP, 61))
        assert newest_of(synced.read()) == {SALES: 60, "agent.stats:7": 60, HELP: 61}
        assert newest_of(agent.read()) == {SALES: 60, "agent.stats:7": 60, HELP: 61}
        assert paused.read() == []
        paused.client.drained()
        assert newest_of(paused.read()) == {SALES: 60, "agent.stats:7": 60, HELP: 61}

    def test_switched_on_connected_clients_are_sent_what_is_in_the_store(self) -> None:
        world = FigureWorld(OFF)
        peer, paused = world.live(), world.live()
        world.store(figure(SALES, 5))
        paused.client.pause()
        world.use(ON)
        assert newest_of(peer.read()) == {SALES: 5}
        paused.client.drained()
        assert newest_of(paused.read()) == {SALES: 5}

    @pytest.mark.parametrize("steps", range(12))
    def test_after_switching_off_no_figure_is_sent(
        self, world: FigureWorld, monkeypatch: pytest.MonkeyPatch, steps: int
    ) -> None:
        monkeypatch.setattr(figure_updates, "FIGURES_PER_STEP", 2)
        monkeypatch.setattr(figure_updates, "MAX_CHANGED", 4)
        monkeypatch.setattr(figure_feed, "FIGURES_PER_STEP", 2)
        monkeypatch.setattr(figure_feed, "GROUPS_PER_STEP", 1)
        peers = [world.live(role) for role in (Role.SUPERVISOR, Role.WALLBOARD)]
        world.announce_figures(*(figure(f"queue.stats:{number}", 1) for number in range(12)))
        for _ in range(steps):
            world.clock.step()
        world.hub.flush()
        for peer in peers:
            peer.take()
        world.use(OFF)
        assert [peer.read() for peer in peers] == [[], []]
        world.change(figure(SALES, 9))
        assert [peer.read() for peer in peers] == [[], []]
        assert types_of(world.connect().read()) == ["welcome"]

    def test_switched_off_while_the_store_is_read_nothing_is_sent(self, world: FigureWorld) -> None:
        world.store(figure(SALES, 5))
        world.stored.is_slow = True
        peer = world.live()
        world.use(OFF)
        world.stored.waiting.pop().callback(None)
        assert peer.read() == []
        world.use(ON)
        world.stored.waiting.pop().callback(None)
        assert newest_of(peer.read()) == {SALES: 5}

    def test_off_the_figures_of_senders_are_events_again(self, world: FigureWorld) -> None:
        peer = world.live()
        world.publish_queue_stats(3)
        assert peer.read() == []
        world.use(OFF)
        world.publish_queue_stats(4)
        (event,) = peer.read()
        assert (event["type"], event["seq"], event["payload"]["calls_waiting"]) == ("queue.stats", 2, 4)
        snapshot = world.connect(options=ConnectOptions(snapshot=True)).read()[1]["payload"]
        assert types_of(snapshot["events"]) == ["queue.stats"]
        assert "figures" not in snapshot
        world.use(ON)
        snapshot = world.connect(options=ConnectOptions(snapshot=True)).read()[1]["payload"]
        assert (snapshot["events"], snapshot["figures"]) == ([], [])

    def test_a_queue_whose_figures_are_derived_from_now_on(self) -> None:
        world = FigureWorld(PRODUCER)
        peer = world.live()
        world.publish_queue_stats(3)
        world.change(figure(SALES, 1), figure(HELP, 1))
        messages = peer.read()
        assert [message["payload"].get("calls_waiting") for message in messages if "seq" in message] == [3]
        assert figures_in(messages) == {HELP: 1}
        world.use(ON)
        assert figures_in(peer.read()) == {SALES: 1}, "it has not changed, but was not sent before"
        snapshot = world.connect(options=ConnectOptions(snapshot=True)).read()[1]["payload"]
        assert (snapshot["events"], figures_in(snapshot["figures"])) == ([], {SALES: 1, HELP: 1})

    def test_a_queue_whose_senders_figures_are_shown_from_now_on(self, world: FigureWorld) -> None:
        peer = world.live()
        world.publish_queue_stats(3)
        world.change(figure(SALES, 1), figure(HELP, 1))
        peer.read()
        world.use(PRODUCER)
        world.change(figure(SALES, 2), figure(HELP, 2))
        assert figures_in(peer.read()) == {HELP: 2}
        snapshot = world.connect(options=ConnectOptions(snapshot=True)).read()[1]["payload"]
        assert types_of(snapshot["events"]) == ["queue.stats"]
        assert figures_in(snapshot["figures"]) == {HELP: 2}

    def test_a_tenant_that_had_no_clients_at_the_reload(self, world: FigureWorld) -> None:
        world.connect().client.close(CloseCode.NORMAL)
        world.turn()
        world.use(OFF)
        assert types_of(world.connect(options=ConnectOptions(snapshot=True)).read()) == ["welcome", "snapshot"]


class TestSlowClients:
    def test_a_client_that_does_not_read_is_sent_the_newest_of_each_once(self, world: FigureWorld) -> None:
        peer = world.live()
        world.change(figure(SALES, 1), figure(HELP, 1))
        peer.read()
        peer.client.pause()
        for seq in range(2, 50):
            world.change(figure(SALES, seq))
        peer.client.drained()
        assert [message["payload"]["as_of_seq"] for message in peer.read()] == [49]

    def test_figures_alone_never_disconnect_a_client_and_queue_nothing(self) -> None:
        world = FigureWorld(limits=Limits(outbox=4))
        peer, other = world.live(), world.live()
        peer.client.pause()
        for seq in range(1, 1_000):
            world.change(figure(SALES, seq), figure(HELP, seq))
            other.take()
        assert peer.client.outbox.frames == []
        assert peer.client.state is SessionState.LIVE
        assert peer.closed_with is None
        peer.client.drained()
        assert newest_of(peer.read()) == {SALES: 999, HELP: 999}
        assert world.hub.counters.lags == 0

    def test_figures_take_no_room_from_events_and_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("callcenter_ws.delivery.figure_table.FIGURES_BYTES", 1)
        world = FigureWorld(limits=Limits(outbox=4))
        peer, other = world.live(), world.live(Role.WALLBOARD)
        world.announce_figures(*(figure(f"queue.stats:{number}", 1) for number in range(40)))
        while not peer.client.outbox.group._pending:  # type: ignore[union-attr]
            world.clock.step()
        # In the turn of the figures, which are 40 pieces.
        peer.client.outbox.detach()
        assert len(peer.client.outbox.frames) == 40
        world.publish_alerts(4)
        messages = peer.read()
        assert len(figures_in(messages)) == 40
        assert types_of(messages)[40:] == ["alert"] * 4
        assert world.hub.counters.lags == 0
        assert peer.client.outbox.room == 4
        assert len(other.read()) == 44

    def test_a_client_that_overflows_is_sent_the_figures_that_were_discarded(self) -> None:
        world = FigureWorld(limits=Limits(outbox=4))
        peer = world.live()
        world.announce_figures(figure(SALES, 1), figure(HELP, 1))
        while not peer.client.outbox.group._pending:  # type: ignore[union-attr]
            world.clock.step()
        peer.client.pause()
        world.publish_alerts(9)
        assert peer.client.lagging
        peer.client.drained()
        messages = peer.read()
        assert figures_in(messages) == {SALES: 1, HELP: 1}
        assert [message["seq"] for message in messages if "seq" in message] == list(range(1, 10))
        assert peer.client.outbox.room == 4
        assert peer.client.delivered == 1 + 2 + 9

    def test_while_a_client_lags_it_is_sent_the_newest_at_the_end(self) -> None:
        world = FigureWorld(limits=Limits(outbox=4))
        peer = world.live()
        peer.client.pause()
        world.publish_alerts(9)
        assert peer.client.lagging
        for seq in range(1, 20):
            world.change(figure(SALES, seq))
        peer.client.drained()
        messages = peer.read()
        assert [message["payload"]["as_of_seq"] for message in messages if "seq" not in message] == [19]
        world.change(figure(SALES, 20))
        assert newest_of(peer.read()) == {SALES: 20}

    def test_an_agent_that_does_not_read_is_sent_its_newest_own_figure(self, world: FigureWorld) -> None:
        peer = world.live(Role.AGENT, user_id="7")
        world.change(figure(SALES, 1), figure("agent.stats:7", 1))
        peer.read()
        peer.client.pause()
        for seq in range(2, 9):
            world.change(figure("agent.stats:7", seq))
        peer.client.drained()
        assert [message["payload"]["as_of_seq"] for message in peer.read()] == [8]


class TestMany:
    def test_three_hundred_queues_do_not_make_a_healthy_client_lag(self, world: FigureWorld) -> None:
        peer = world.live()
        for seq in (1, 2):
            world.change(*(figure(f"queue.stats:q{number}", seq) for number in range(300)))
            assert len(peer.read()) == 300
        assert world.hub.counters.lags == 0

    @pytest.mark.parametrize(
        ("role", "claims", "count"),
        [
            (Role.SUPERVISOR, {}, 1_400),
            (Role.WALLBOARD, {"queues": frozenset(["399"])}, 1),
            (Role.AGENT, {}, 401),
            (Role.SUPERVISOR, {"queues": frozenset(["none"])}, 0),
        ],
    )
    def test_of_a_large_table_a_client_is_sent_a_part_at_a_time(
        self, world: FigureWorld, role: Role, claims: dict[str, frozenset[str]], count: int
    ) -> None:
        world.store(*(figure(f"queue.stats:{number}", 1) for number in range(400)))
        world.store(*(figure(f"agent.stats:{number}", 1, queues=["sales"]) for number in range(1_000)))
        world.live(Role.WALLBOARD)
        peer = world.connect(role, user_id="999", **claims)
        peer.high_water = 0
        parts = []
        for _ in range(20):
            parts.append(len(figures_in([one for one in peer.read() if one["type"] != "welcome"])))
            assert parts[-1] <= figure_feed.MAX_AT_ONCE + figure_updates.FIGURES_PER_STEP
            peer.drain()
        assert sum(parts) == count
        world.change(figure("queue.stats:399", 2), figure("agent.stats:999", 2, queues=["sales"]))
        seen = newest_of(peer.read())
        assert seen == {key: 2 for key in ("queue.stats:399", "agent.stats:999") if key in seen}
        assert bool(seen) is bool(count)

    def test_what_changes_meanwhile_is_sent_in_its_newest_value(self, world: FigureWorld) -> None:
        world.store(*(figure(f"agent.stats:{number}", 1) for number in range(1_000)))
        world.live(Role.WALLBOARD)
        peer = world.connect()
        peer.high_water = 0
        newest: dict[str, int] = {}
        for seq in range(2, 12):
            newest.update(figures_in([one for one in peer.read() if one["type"] != "welcome"]))
            world.change(*(figure(f"agent.stats:{number}", seq) for number in range(0, 1_000, 100)))
            peer.drain()
        newest.update(newest_of(peer.read()))
        assert newest == {f"agent.stats:{number}": 1 if number % 100 else 11 for number in range(1_000)}


class TestAway:
    def test_a_client_that_was_away_for_an_hour_of_figures_still_resumes(self) -> None:
        world = FigureWorld(memory_events=100)
        peer, other = world.live(), world.live()
        world.publish_alerts(3)
        assert peer.seqs() == [1, 2, 3]
        peer.client.connection_lost(CloseCode.NORMAL)
        for second in range(3_600):
            world.change(*(figure(f"queue.stats:{number}", second) for number in range(3)))
            other.take()
        world.publish_alerts(50)
        messages = world.resume(3).read()
        assert types_of(messages)[:52] == ["welcome", *["alert"] * 50, "resumed"]
        assert messages[51]["payload"]["to_seq"] == 53
        assert newest_of(messages[52:]) == {f"queue.stats:{number}": 3_599 for number in range(3)}

    def test_figures_never_move_a_position(self, world: FigureWorld) -> None:
        peer = world.live()
        world.publish_alerts(1)
        world.change(*(figure(SALES, seq) for seq in range(10)))
        peer.read()
        assert world.hub.tenant_to_read(ACME).head == 1
        messages = world.resume(1).read()
        assert types_of(messages) == ["welcome", "resumed", "queue.stats"]
        assert (messages[1]["payload"]["count"], messages[1]["payload"]["to_seq"]) == (0, 1)
