"""The work of one turn of the reactor is bounded, whatever is delivered, closed or announced at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sample_events import event
from twisted.internet.task import Clock as ReactorTime
from world import World

from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.drain import ClientDrain, _WaitingClient
from callcenter_ws.delivery.hub import CLOSED_AT_ONCE, CLOSED_PER_STEP
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.interfaces import Position
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.slicer import STEPS_PER_TURN
from callcenter_ws.runtime.timers import CoarseTimer

CLIENTS = 400

MAX_CLOSED = max(CLOSED_AT_ONCE, STEPS_PER_TURN * CLOSED_PER_STEP)


class Counted:
    """Counts the calls of a method, and the largest number of them in one turn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, amount: Callable[..., int]) -> None:
        self.total = 0
        original = getattr(owner, name)

        def counted(instance: Any, *args: Any) -> Any:
            self.total += amount(*args)
            return original(instance, *args)

        monkeypatch.setattr(owner, name, counted)

    def most_in_a_turn(self, world: World, first: Callable[[], object]) -> int:
        """Make the first call, then all calls of the clock, each of which counts as a turn."""
        before = self.total
        first()
        most, before = self.total - before, self.total
        while world.clock.step():
            most, before = max(most, self.total - before), self.total
        return most


@pytest.fixture
def world() -> World:
    world = World(limits=Limits(connections_per_user=0))
    for number in range(CLIENTS):
        world.connect(Role.AGENT, user_id=f"u{number}")
    world.turn()
    return world


@pytest.fixture
def closes(monkeypatch: pytest.MonkeyPatch) -> Counted:
    return Counted(monkeypatch, Client, "close", lambda code: 1)


def test_revoking_many_tokens(world: World, closes: Counted) -> None:
    for number in range(CLIENTS):
        world.hub.revocations.revoke_user("acme", f"u{number}", world.clock.time())
    closed: list[int] = []
    most = closes.most_in_a_turn(world, lambda: closed.append(world.hub.close_revoked("acme")))
    assert (closed, closes.total, world.hub.connections()) == ([CLIENTS], CLIENTS, 0)
    assert most <= MAX_CLOSED


def test_draining(world: World, closes: Counted) -> None:
    drain = ClientDrain(world.hub)
    closes.most_in_a_turn(world, lambda: drain.start(30, others_take_over=True))
    # As if the process had been suspended for the whole drain.
    most = closes.most_in_a_turn(world, lambda: world.clock.freeze(30))
    assert closes.total == CLIENTS
    assert most <= MAX_CLOSED
    assert world.hub.counters.closed == {"draining": CLIENTS}


def test_all_clients_of_a_drain_that_is_ended_early_are_due_in_slices(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    due = Counted(monkeypatch, _WaitingClient, "__init__", lambda *_: 1)
    monkeypatch.setattr("callcenter_ws.delivery.drain.BEGUN_PER_STEP", 5)
    drain = ClientDrain(world.hub)
    drain.start(30, others_take_over=True)
    world.turn()
    drain.hurry()
    most = due.most_in_a_turn(world, lambda: world.clock.freeze(1))
    assert (due.total, drain.remaining) == (CLIENTS, 0)
    assert most <= MAX_CLOSED


def test_a_failure_in_one_client_does_not_keep_the_others_open(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    close = Client.close

    def broken_close(client: Client, code: CloseCode) -> None:
        if client.principal.user_id in ("u3", "u300"):
            raise ValueError("broken")
        close(client, code)

    monkeypatch.setattr(Client, "close", broken_close)
    errors: list[str] = []
    monkeypatch.setattr(world.log, "unhandled_error", errors.append)
    ClientDrain(world.hub).start(30, others_take_over=False)
    world.clock.advance(1)
    assert world.hub.connections() == 2
    assert len(errors) == 2


def test_a_large_batch_is_delivered_in_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(memory_events=10_000)
    peers = [world.live() for _ in range(3)]
    delivered = Counted(monkeypatch, Tenant, "deliver", lambda publications: len(publications))
    events = [event("alert", event_id=f"e{number}") for number in range(3_000)]
    most = delivered.most_in_a_turn(world, lambda: world.spawn(world.broker.publish(events)))
    assert delivered.total == 3_000
    assert most == 128
    assert all(peer.seqs() == list(range(1, 3_001)) for peer in peers)
    assert not any(peer.client.lagging for peer in peers)


def test_what_follows_a_large_batch_is_delivered_after_it() -> None:
    world = World(memory_events=10_000)
    peer = world.live()
    world.spawn(world.broker.publish([event("alert", event_id=f"e{number}") for number in range(500)]))
    world.spawn(world.broker.publish([event("alert", event_id="last")]))
    late = world.connect(Role.SUPERVISOR)
    world.spawn(world.broker.publish([event("alert", event_id="after")]))
    assert peer.seqs() == list(range(1, 503))
    # Its welcome says 501: it is sent what follows, and nothing before.
    welcome, *events = late.read()
    assert welcome["payload"]["seq"] in (501, 502)
    assert [one["seq"] for one in events] == list(range(welcome["payload"]["seq"] + 1, 503))


def test_publishers_that_are_faster_than_the_deliveries_are_slowed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(memory_events=100_000, memory_bytes=1 << 30)
    world.live()
    delivered = Counted(monkeypatch, Tenant, "deliver", lambda publications: len(publications))
    events = [event("alert", event_id=f"e{number}") for number in range(128 * 100)]
    most = delivered.most_in_a_turn(world, lambda: world.spawn(world.broker.publish(events)))
    # 100 bursts wait: four in a turn.
    assert most == 4 * 128
    assert delivered.total == 128 * 100


def test_an_interruption_comes_after_what_was_delivered_before_it() -> None:
    world = World(memory_events=10_000)
    peer = world.live()
    world.spawn(world.broker.publish([event("alert", event_id=f"e{number}") for number in range(500)]))
    world.hub.interrupted("acme", Position(world.epoch, 500))
    world.turn()
    assert peer.seqs() == list(range(1, 501))


def test_the_grace_of_many_users_ends_in_slices() -> None:
    # CoarseTimers makes a bounded number of calls in each turn; exact timers of the reactor are all called in one.
    clock = ReactorClock(ReactorTime())
    assert isinstance(clock.call_later(Limits().presence_grace, int), CoarseTimer)


def test_the_statistics_of_all_tenants_are_those_of_its_clients(world: World) -> None:
    every, one = world.hub.stats(), world.hub.stats("acme")
    assert every["connections"]["total"] == CLIENTS
    assert every["connections"]["by_role"] == one["connections"]["by_role"] == {"agent": CLIENTS}
    assert every["connections"]["by_endpoint"] == one["connections"]["by_endpoint"] == {"ws": CLIENTS}
    assert every["lagging"] == one["lagging"] == 0
