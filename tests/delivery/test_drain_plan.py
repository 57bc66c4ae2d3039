"""The drain of a node's clients: its plan, and what each client is sent before it is closed."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from doubles import SteppingClock
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from world import Peer, World, types_of

from callcenter_ws.delivery.drain import (
    FLUSH_TIMEOUT_SECONDS,
    STALL_TIMEOUT_SECONDS,
    TICK_SECONDS,
    ClientDrain,
    DrainPlan,
    longest_absence,
    longest_timeout,
)
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role

TIMEOUT = 30.0

TIMEOUTS = st.one_of(st.just(0.0), st.floats(0.1, 120))
"""Values of ``limits.drain_timeout``."""

# The plan


def test_the_plan_of_a_node_that_others_replace() -> None:
    plan = DrainPlan.make(4, TIMEOUT, others_take_over=True)
    assert plan == DrainPlan(4, close_window=24, first_reconnect=1, reconnect_window=24, end=27)
    assert [plan.due(elapsed) for elapsed in (0, 5.99, 6, 12, 18, 24, 100)] == [1, 1, 2, 3, 4, 4, 4]
    assert [plan.reconnect_after_ms(index) for index in range(4)] == [1_000, 7_000, 13_000, 19_000]


def test_the_plan_of_a_node_without_others() -> None:
    plan = DrainPlan.make(4_000, TIMEOUT, others_take_over=False)
    assert plan == DrainPlan(4_000, close_window=2, first_reconnect=5, reconnect_window=30, end=27)
    assert plan.reconnect_after_ms(2_000) == 20_000


def test_the_plan_without_a_timeout_closes_all_at_once() -> None:
    for others_take_over in (True, False):
        plan = DrainPlan.make(3, 0, others_take_over=others_take_over)
        assert (plan.due(0), plan.end, plan.max_connects()) == (3, 0, 3)
        assert {plan.reconnect_after_ms(index) for index in range(3)} == {1_000}


def test_a_node_without_clients() -> None:
    plan = DrainPlan.make(0, TIMEOUT, others_take_over=True)
    assert (plan.due(0), plan.due(30), plan.max_connects()) == (0, 0, 0)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), TIMEOUTS, st.booleans(), st.sampled_from([10, 100, 1_000]))
def test_the_connects_of_any_window_are_bounded(
    clients: int, timeout: float, others_take_over: bool, window: int
) -> None:
    plan = DrainPlan.make(clients, timeout, others_take_over=others_take_over)
    moments = [plan.reconnect_after_ms(index) for index in range(clients)]
    assert moments == sorted(moments)
    first = 0
    for last, moment in enumerate(moments):
        while moments[first] <= moment - window:
            first += 1
        assert last - first + 1 <= plan.max_connects(window)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3_000), TIMEOUTS, st.booleans())
def test_every_client_is_due_within_the_timeout_and_absent_for_a_bounded_time(
    clients: int, timeout: float, others_take_over: bool
) -> None:
    plan = DrainPlan.make(clients, timeout, others_take_over=others_take_over)
    assert plan.close_window <= plan.end <= timeout
    assert plan.due(plan.close_window) == clients
    assert plan.reconnect_after_ms(clients - 1) <= 1_000 * (plan.close_window + longest_absence(timeout))


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 120), st.booleans())
def test_the_longest_timeout_ends_within_the_seconds_that_are_left(seconds: float, others_take_over: bool) -> None:
    timeout = longest_timeout(seconds)
    assert DrainPlan.make(3, timeout, others_take_over=others_take_over).end <= seconds + 1e-9
    assert DrainPlan.make(3, timeout + 0.1, others_take_over=others_take_over).end > seconds


# The clients


def start(world: World, *, others_take_over: bool = False, timeout: float = TIMEOUT) -> ClientDrain:
    drain = ClientDrain(world.hub)
    drain.start(timeout, others_take_over=others_take_over)
    world.turn()
    return drain


def reconnect_times(peer: Peer) -> list[int]:
    return [message["payload"]["reconnect_after_ms"] for message in peer.read() if message["type"] == "drain"]


def test_clients_of_all_tenants_are_closed_at_their_moments(world: World) -> None:
    peers = [world.live(), world.live(tenant_id="globex"), world.live(Role.AGENT)]
    drain = start(world, others_take_over=True)
    assert sorted(itertools.chain.from_iterable(map(reconnect_times, peers))) == [1_000, 9_000, 17_000]
    assert [peer.closed_with for peer in peers].count(CloseCode.DRAINING) == 1
    world.clock.advance(8.5)
    assert [peer.closed_with for peer in peers].count(CloseCode.DRAINING) == 2
    assert drain.remaining == 1
    world.clock.advance(8)
    assert {peer.closed_with for peer in peers} == {CloseCode.DRAINING}
    assert world.hub.connections() == drain.remaining == 0


def test_a_client_that_leaves_meanwhile_is_not_waited_for(world: World) -> None:
    peers = [world.live() for _ in range(3)]
    drain = start(world)
    peers[2].client.connection_lost(CloseCode.ABNORMAL)
    world.clock.advance(2 * TICK_SECONDS)
    assert drain.remaining == 0
    assert [peer.closed_with for peer in peers] == [CloseCode.DRAINING, CloseCode.DRAINING, None]


def test_a_client_is_sent_events_and_answers_until_it_is_closed(world: World) -> None:
    first, last = world.live(), world.live()
    start(world, others_take_over=True)
    world.clock.advance(6)
    assert first.closed_with is CloseCode.DRAINING
    world.publish("alert")
    assert types_of(last.request("ping")) == ["drain", "alert", "pong"]
    world.publish("alert")
    world.clock.advance(7)
    assert last.closed_with is CloseCode.DRAINING
    assert types_of(last.read()) == ["alert"]
    assert types_of(first.read()) == ["drain"]


def test_a_replay_is_complete_before_the_close() -> None:
    world = World(slow=True, limits=Limits(outbox=16), memory_events=10_000)
    world.publish_alerts(500)
    world.clock.turn()
    peer = world.resume(0)
    start(world)
    world.clock.advance(FLUSH_TIMEOUT_SECONDS / 2)
    assert peer.closed_with is CloseCode.DRAINING
    messages = peer.read()
    assert [message["seq"] for message in messages if "seq" in message] == list(range(1, 501))
    assert {"welcome", "drain", "resumed"} < set(types_of(messages))


def test_a_lagging_client_is_sent_what_it_missed_before_the_close() -> None:
    world = World(limits=Limits(outbox=4), memory_events=10_000)
    peer = world.live()
    peer.client.pause()
    world.publish_alerts(50)
    world.turn()
    assert peer.client.state is SessionState.LAGGING
    start(world)
    world.clock.advance(STALL_TIMEOUT_SECONDS / 2)
    assert peer.closed_with is None
    peer.client.drained()
    world.clock.advance(2 * TICK_SECONDS)
    assert peer.closed_with is CloseCode.DRAINING
    assert [message["seq"] for message in peer.read() if "seq" in message] == list(range(1, 51))


def test_a_client_that_does_not_read_holds_up_no_other(world: World) -> None:
    mute, others = world.live(), [world.live() for _ in range(10)]
    mute.unsent = 100_000
    mute.client.pause()
    drain = start(world)
    world.clock.advance(3 * TICK_SECONDS)
    assert {peer.closed_with for peer in others} == {CloseCode.DRAINING}
    assert mute.closed_with is None
    world.clock.advance(STALL_TIMEOUT_SECONDS)
    assert mute.closed_with is CloseCode.DRAINING
    assert drain.remaining == 0


def test_a_client_that_reads_slowly_is_closed_after_the_flush_timeout(world: World) -> None:
    slow = world.live()
    slow.unsent = 1_000_000
    slow.client.pause()
    start(world)
    for _ in range(int(FLUSH_TIMEOUT_SECONDS) - 1):
        slow.unsent -= 10_000
        world.clock.advance(1)
    assert slow.closed_with is None
    world.clock.advance(1 + TICK_SECONDS)
    assert slow.closed_with is CloseCode.DRAINING


def test_all_are_closed_at_the_end_of_the_plan(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    # The store answers nothing: the client is not even welcomed.
    monkeypatch.setattr(world.broker, "position", lambda tenant_id: Deferred())
    opening = world.connect()
    start(world, others_take_over=True, timeout=4)
    end = DrainPlan.make(1, 4, others_take_over=True).end
    assert end < FLUSH_TIMEOUT_SECONDS
    world.clock.advance(end - TICK_SECONDS)
    assert opening.closed_with is None
    world.clock.advance(2 * TICK_SECONDS)
    assert opening.closed_with is CloseCode.DRAINING


def test_a_client_without_a_subscription_is_not_waited_for(world: World) -> None:
    peer = world.connect(Role.SERVICE)
    world.turn()
    assert peer.client.state is SessionState.CATCHING_UP
    start(world)
    world.clock.advance(TICK_SECONDS)
    assert peer.closed_with is CloseCode.DRAINING


def test_a_request_is_answered_before_the_close(world: World) -> None:
    slow = World(slow=True)
    peer = slow.connect(Role.AGENT)
    slow.clock.advance(1)
    peer.read()
    waits = 40
    slow.broker.delays = lambda: waits
    peer.send("snapshot", id_="s")
    peer.client.requests_in_progress += 1
    start(slow)
    slow.clock.advance(3 * TICK_SECONDS)
    assert peer.closed_with is None
    peer.client.requests_in_progress -= 1
    slow.clock.advance(FLUSH_TIMEOUT_SECONDS)
    assert peer.closed_with is CloseCode.DRAINING
    assert types_of(peer.read())[-1] == "snapshot"


def test_hurry_closes_all_at_once(world: World) -> None:
    peers = [world.live() for _ in range(20)]
    peers[3].client.pause()
    drain = start(world, others_take_over=True)
    drain.hurry()
    world.clock.advance(TICK_SECONDS)
    assert {peer.closed_with for peer in peers} == {CloseCode.DRAINING}
    assert drain.remaining == 0


def test_a_suspended_process_closes_all_that_are_due_meanwhile() -> None:
    world = World(clock=SteppingClock())
    peers = [world.live() for _ in range(10)]
    start(world, others_take_over=True)
    world.clock.freeze(12)
    world.turn()
    assert [peer.closed_with for peer in peers].count(CloseCode.DRAINING) == 6


@pytest.mark.parametrize(
    ("code", "presence_code"),
    [
        (CloseCode.NORMAL, CloseCode.DRAINING),
        (CloseCode.ABNORMAL, CloseCode.DRAINING),
        (CloseCode.REVOKED, CloseCode.REVOKED),
    ],
)
def test_clients_that_leave_by_themselves_do_as_asked(
    world: World, code: CloseCode, presence_code: CloseCode, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes: list[Any] = []
    monkeypatch.setattr(world.presence, "client_unregistered", lambda client, code: codes.append(code))
    before, after = world.live(), world.live()
    before.client.connection_lost(code)
    world.hub.begin_drain()
    after.client.connection_lost(code)
    assert codes == [code, presence_code]
