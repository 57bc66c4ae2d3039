"""OutgoingBytes: one bound for what waits to be read, and who pays when it is exceeded."""

from __future__ import annotations

from collections.abc import Sequence

from world import World

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.outgoing import ASSUMED_BYTES, OutgoingBytes
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.testing import FakeClock

LIMIT = 1_600


class Reader:
    """An UnsentPeer."""

    def __init__(self, buffered: int = 0, frames: Sequence[bytes] = (), *, is_stranger: bool = False) -> None:
        self.buffered = buffered
        self.frames = frames
        self.is_stranger = is_stranger
        self.is_closed = False

    def buffered_bytes(self) -> int:
        return self.buffered

    def unsent_frames(self) -> Sequence[bytes]:
        return self.frames

    def close_slow(self) -> None:
        self.is_closed = True


class Harness:
    def __init__(self, limit: int = LIMIT) -> None:
        self.clock = FakeClock()
        self.closed = 0
        self.outgoing = OutgoingBytes(self.clock, Slicer(self.clock), limit, self._count)

    def _count(self) -> None:
        self.closed += 1

    def add(self, *readers: Reader) -> None:
        for reader in readers:
            self.outgoing.add(reader)


def closed(*readers: Reader) -> list[bool]:
    return [reader.is_closed for reader in readers]


def test_what_several_peers_hold_counts_once() -> None:
    harness = Harness()
    shared = b"x" * 1_000
    harness.add(Reader(10, [shared]), Reader(20, [shared, b"own"]))
    harness.clock.advance(2)
    assert harness.outgoing.total == 1_033
    assert harness.closed == 0


def test_above_the_limit_most_bytes_for_the_longest_pay() -> None:
    harness = Harness()
    long, large, small = Reader(500), Reader(900), Reader(300)
    harness.add(long)
    harness.clock.advance(8)
    harness.add(large, small)
    harness.clock.advance(1.5)
    # 500 bytes for 9 s are more than 900 bytes for 1 s.
    assert closed(long, large, small) == [True, False, False]
    assert harness.outgoing.total == 1_200
    assert harness.closed == 1


def test_strangers_pay_before_others() -> None:
    harness = Harness()
    staff, visitor = Reader(1_300), Reader(400, is_stranger=True)
    harness.add(staff)
    harness.clock.advance(5)
    harness.add(visitor)
    harness.clock.advance(0.9)
    assert closed(staff, visitor) == [False, False]
    harness.clock.advance(2)
    assert closed(staff, visitor) == [False, True]


def test_a_peer_that_has_just_begun_to_wait_never_pays() -> None:
    harness = Harness()
    reader = Reader(5_000)
    for _ in range(20):
        harness.add(reader)
        harness.clock.advance(0.9)
        harness.outgoing.discard(reader)
    assert not reader.is_closed


def test_closing_one_that_holds_only_what_others_hold_frees_nothing() -> None:
    harness = Harness()
    shared = b"x" * 2_000
    first, second = Reader(1, [shared]), Reader(2, [shared])
    harness.add(first, second)
    harness.clock.advance(3)
    assert closed(first, second) == [True, True]
    assert harness.outgoing.total == 0


def test_peers_are_closed_until_a_part_of_the_limit_is_free() -> None:
    harness = Harness()
    readers = [Reader(170) for _ in range(10)]
    harness.add(*readers)
    harness.clock.advance(3)
    # 1,700 bytes; at most 1,500 may remain.
    assert sum(closed(*readers)) == 2


def test_the_bytes_of_others_count_and_do_not_pay() -> None:
    harness = Harness()
    harness.outgoing.others.append(lambda: 1_550)
    reader = Reader(100)
    harness.add(reader)
    harness.clock.advance(3)
    assert reader.is_closed
    assert harness.outgoing.total == 1_550


def test_many_new_peers_are_counted_soon() -> None:
    harness = Harness(limit=10 * ASSUMED_BYTES)
    readers = [Reader(ASSUMED_BYTES) for _ in range(11)]
    harness.add(*readers)
    harness.clock.advance(0.2)
    assert harness.outgoing.total == 11 * ASSUMED_BYTES
    assert harness.closed == 0
    harness.clock.advance(2)
    assert harness.closed == 2


def test_nothing_is_scheduled_when_nobody_waits() -> None:
    harness = Harness()
    reader = Reader(1)
    harness.add(reader)
    harness.outgoing.discard(reader)
    harness.clock.advance(2)
    assert not [timer for *_, timer in harness.clock._due if not timer.cancelled]
    assert harness.outgoing.peers == 0


def test_clients_that_read_nothing_of_different_snapshots_are_closed_and_others_are_not() -> None:
    world = World(limits=Limits(outgoing_bytes=16_777_216, slow_timeout=3_600))
    healthy = world.live()
    stuck = [world.live(Role.AGENT) for _ in range(6)]
    for number, peer in enumerate(stuck):
        peer.unsent = 3_000_000 + number
        peer.client.pause()
    world.clock.advance(3)
    assert [peer.closed_with for peer in stuck].count(CloseCode.SLOW_CONSUMER) == 1
    assert stuck[-1].closed_with is CloseCode.SLOW_CONSUMER
    assert world.hub.counters.closed_for_outgoing_bytes == 1
    world.publish_alerts(1)
    assert len(healthy.events()) == 1


def test_a_client_that_drains_is_not_counted() -> None:
    world = World()
    peer = world.live()
    peer.unsent = 1_000
    peer.client.pause()
    assert world.hub.outgoing.peers == 1
    peer.drain()
    assert world.hub.outgoing.peers == 0
    peer.client.pause()
    world.hub.disconnect_user("acme", peer.client.principal.user_id)
    assert world.hub.outgoing.peers == 0
