"""Turns: work per turn, fairness among shares and peers."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from callcenter_ws.runtime.turns import Turns


class Reactor:
    """Makes each call in the next turn."""

    def __init__(self) -> None:
        self.calls: list[Callable[[], None]] = []

    def call_soon(self, call: Callable[[], None]) -> None:
        self.calls.append(call)

    def turn(self) -> None:
        calls, self.calls = self.calls, []
        for call in calls:
            call()


class Peer:
    """Has pieces of work, and does one in each of its turns."""

    def __init__(self, turns: Turns, share: str, pieces: int, done: list[Peer], units: int = 1) -> None:
        self._turns = turns
        self.share = share
        self._pieces = pieces
        self._done = done
        self._units = units
        turns.wait(share, self)

    def take_turn(self) -> None:
        self._turns.take(self._units)
        self._done.append(self)
        self._pieces -= 1
        if self._pieces:
            self._turns.wait(self.share, self)

    def evict(self) -> None:
        raise AssertionError("no peer is evicted here")


@pytest.fixture
def reactor() -> Reactor:
    return Reactor()


def test_a_turn_has_a_number_of_units(reactor: Reactor) -> None:
    turns = Turns(reactor.call_soon, units=8)
    assert [turns.take() for _ in range(10)] == [True] * 8 + [False] * 2
    reactor.turn()
    assert turns.take()


def test_few_units_schedule_nothing(reactor: Reactor) -> None:
    turns = Turns(reactor.call_soon, units=64)
    for _ in range(40):
        turns.take()
    assert reactor.calls == []


def test_a_backlog_is_divided_over_turns_and_leaves_room_for_newcomers(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon, units=64), list[Peer]()
    Peer(turns, "a", 1_000, done)
    turns_needed = 0
    while not turns.is_idle:
        before = len(done)
        reactor.turn()
        turns_needed += 1
        assert 0 < len(done) - before <= 48
        assert turns.left > 0
    assert len(done) == 1_000
    assert turns_needed >= 1_000 // 48


def test_shares_take_turns_whatever_their_number_of_peers(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon, units=64), list[Peer]()
    for _ in range(30):
        Peer(turns, "many", 1_000, done)
    Peer(turns, "one", 1_000, done)
    for _ in range(20):
        reactor.turn()
    of_one = sum(peer.share == "one" for peer in done)
    assert abs(len(done) - 2 * of_one) <= 1


def test_the_peers_of_a_share_take_turns(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon, units=64), list[Peer]()
    peers = [Peer(turns, "a", 100, done) for _ in range(4)]
    reactor.turn()
    counts = [done.count(peer) for peer in peers]
    assert max(counts) - min(counts) <= 1


def test_a_large_piece_of_work_is_paid_back_by_later_turns(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon, units=8), list[Peer]()
    Peer(turns, "a", 2, done, units=32)
    reactor.turn()
    assert len(done) == 1
    for _ in range(3):
        reactor.turn()
        assert len(done) == 1
    for _ in range(2):
        reactor.turn()
    assert len(done) == 2


def test_debt_does_not_use_up_the_reserve(reactor: Reactor) -> None:
    turns = Turns(reactor.call_soon, units=64)
    turns.spend(250)
    assert not turns.take(1, "innocent")
    for _ in range(2):
        reactor.turn()
        assert turns.left < 0
        assert [turns.take(1, "innocent") for _ in range(17)] == [True] * 16 + [False]


def test_the_reserve_is_not_for_those_who_have_just_waited(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon, units=64), list[Peer]()
    greedy = Peer(turns, "a", 1, done, units=127)
    reactor.turn()
    assert turns.left == -64
    assert not turns.take(1, greedy)
    assert turns.take(1, "innocent")
    reactor.turn()
    assert not turns.take(1, greedy)
    assert turns.take(1, "innocent")
    for _ in range(3):
        reactor.turn()
    assert turns.take(1, greedy)
    assert reactor.calls == []


def test_a_cancelled_peer_gets_no_turn(reactor: Reactor) -> None:
    turns, done = Turns(reactor.call_soon), list[Peer]()
    gone, here = Peer(turns, "a", 1, done), Peer(turns, "a", 1, done)
    turns.cancel("a", gone)
    turns.cancel("a", gone)
    turns.cancel("b", gone)
    reactor.turn()
    assert done == [here]
    assert turns.is_idle


@pytest.mark.logs_errors
def test_an_error_of_one_peer_ends_its_connection_and_no_other(reactor: Reactor) -> None:
    class Broken:
        evicted = False

        def take_turn(self) -> None:
            raise ValueError

        def evict(self) -> None:
            self.evicted = True

    turns, done, broken = Turns(reactor.call_soon), list[Peer](), Broken()
    turns.wait("a", broken)
    Peer(turns, "a", 1, done)
    reactor.turn()
    assert len(done) == 1
    assert broken.evicted
