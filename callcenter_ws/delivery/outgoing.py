"""OutgoingBytes: everything that waits to be read by peers, in one bound for the process, and who is closed above it.

The bytes are counted only of peers that do not read as fast as they are written to, and at intervals: the way of an
event to a socket knows nothing of it. What several connections hold counts once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.slicer import Slicer

CHECK_INTERVAL_SECONDS = 1.0
"""Time between two counts while bytes wait for any peer."""

MIN_INTERVAL_SECONDS = 0.1
"""The same while the bound may be exceeded."""

HEALTHY_SECONDS = 1.0
"""A peer for which bytes wait for less than this is never closed."""

PEERS_PER_STEP = 20
"""Peers whose bytes are counted in one step."""

ASSUMED_BYTES = 262_144
"""Bytes that are assumed to wait for a peer until they are counted: what its transport buffers."""


class UnsentPeer(Protocol):
    """A connection whose peer has not read what was written to it."""

    @property
    def is_stranger(self) -> bool:
        """Whether it is a visitor, or has not authenticated."""

    def buffered_bytes(self) -> int:
        """Return the bytes that are copied into the buffers of its transport."""

    def unsent_frames(self) -> Iterable[bytes]:
        """Return what else waits to be written to it; other connections may hold the same objects."""

    def close_slow(self) -> None:
        """Close the connection because its peer does not read."""


class OutgoingBytes:
    """Counts the bytes that wait for all peers together, and closes peers while there are more than ``limit``.

    Above the limit peers are closed in order of waiting bytes times waiting time: unauthenticated peers and visitors
    first, then all others. A peer for which nothing waited one second ago is never closed.

    Args:
        closed: called for each connection that is closed, before.

    Attributes:
        limit: bytes; may be changed.
        total: the bytes that waited when they were counted last.
        others: functions that return bytes that wait and are bounded by themselves: deliveries to daemons.
    """

    def __init__(self, clock: Clock, slicer: Slicer, limit: int, closed: Callable[[], None]) -> None:
        self._clock = clock
        self._slicer = slicer
        self.limit = limit
        self._closed = closed
        self.others: list[Callable[[], int]] = []
        self._counted = 0
        # When bytes began to wait for each peer, in seconds of the monotonic clock.
        self._since: dict[UnsentPeer, float] = {}
        self._added = 0
        self._counts_soon = False
        self._is_counting = False
        self._is_scheduled = False

    @property
    def total(self) -> int:
        """The bytes that waited when they were counted last, and those of ``others`` now."""
        return self._counted + sum(other() for other in self.others)

    @property
    def peers(self) -> int:
        """The number of peers for which bytes wait."""
        return len(self._since)

    def add(self, peer: UnsentPeer) -> None:
        """Count a peer from now on: bytes wait for it."""
        self._since.setdefault(peer, self._clock.monotonic())
        self._added += ASSUMED_BYTES
        if not self._is_scheduled:
            self._is_scheduled = True
            self._clock.call_later(CHECK_INTERVAL_SECONDS, self._count)
        if not self._counts_soon and self.total + self._added > self.limit:
            self._counts_soon = True
            self._clock.call_later(MIN_INTERVAL_SECONDS, self._count_soon)

    def discard(self, peer: UnsentPeer) -> None:
        """Count a peer no longer: everything was written to it, or its connection is closed."""
        self._since.pop(peer, None)

    def _count_soon(self) -> None:
        self._counts_soon = False
        self._start_counting()

    def _count(self) -> None:
        self._is_scheduled = bool(self._since)
        if self._is_scheduled:
            self._clock.call_later(CHECK_INTERVAL_SECONDS, self._count)
        self._start_counting()

    def _start_counting(self) -> None:
        if not self._is_counting:
            self._is_counting = True
            self._slicer.run(self._count_steps())

    def _count_steps(self) -> Iterator[None]:
        """Count in slices; peers that drain meanwhile are counted as they were."""
        self._added = 0
        try:
            count = _Count()
            peers = list(self._since)
            for begin in range(0, len(peers), PEERS_PER_STEP):
                for peer in peers[begin : begin + PEERS_PER_STEP]:
                    if peer in self._since:
                        count.add(peer)
                yield
            self._counted = count.total
            if self.total > self.limit:
                yield from self._enforce(count)
        finally:
            self._is_counting = False

    def _enforce(self, count: _Count) -> Iterator[None]:
        """Close peers until the bytes are well below the limit, so that the next event does not exceed it again."""
        target = self.limit - self.limit // 16
        latest = self._clock.monotonic() - HEALTHY_SECONDS
        # Of those that may be healthy: if they are not, they pay in the next count, before those that come after them.
        spared = 0
        for peer in sorted(count.unsent, key=lambda peer: self._rank(peer, count)):
            if self.total - spared <= target:
                return
            if self._since.get(peer, latest) > latest:
                spared += count.unsent[peer]
            elif peer in self._since:
                freed = count.remove(peer)
                self._counted -= freed
                self._closed()
                peer.close_slow()
                self.discard(peer)
                yield

    def _rank(self, peer: UnsentPeer, count: _Count) -> tuple[bool, float]:
        waited = self._clock.monotonic() - self._since.get(peer, self._clock.monotonic())
        return not peer.is_stranger, -count.unsent[peer] * waited


class _Count:
    """One count.

    Attributes:
        unsent: the bytes that wait for each peer, shared or not.
    """

    def __init__(self) -> None:
        self.total = 0
        self.unsent: dict[UnsentPeer, int] = {}
        self._buffered: dict[UnsentPeer, int] = {}
        self._frames: dict[UnsentPeer, list[bytes]] = {}
        # How many peers hold each frame, by its identity. The frames are referred to above, so that it stays theirs.
        self._holders: dict[int, int] = {}

    def add(self, peer: UnsentPeer) -> None:
        """Add what waits for a peer."""
        buffered, frames, holders = peer.buffered_bytes(), list(peer.unsent_frames()), self._holders
        self._buffered[peer], self._frames[peer] = buffered, frames
        self.unsent[peer] = buffered + sum(map(len, frames))
        self.total += buffered
        for frame in frames:
            known = holders.get(id(frame), 0)
            holders[id(frame)] = known + 1
            if not known:
                self.total += len(frame)

    def remove(self, peer: UnsentPeer) -> int:
        """Remove a peer; return the bytes that waited for it alone."""
        freed = self._buffered.pop(peer)
        for frame in self._frames.pop(peer):
            self._holders[id(frame)] -= 1
            if not self._holders[id(frame)]:
                freed += len(frame)
        self.total -= freed
        return freed
