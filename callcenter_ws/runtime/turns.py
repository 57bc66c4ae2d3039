"""Turns: the work on what peers have sent, divided over turns of the reactor and fairly among the peers.

One read from a socket can hold thousands of requests, boxes or frames. Parsing one of them costs units
of work. When a turn's units are used up, the rest of the read waits for later turns, and nothing more is read from that
peer meanwhile.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Protocol

from twisted.logger import Logger

UNITS_PER_TURN = 64
"""Units of work in one turn of the reactor. A unit is about 0.1 ms: an AMP box, a WebSocket frame, half a request."""

BACKLOG_UNITS = 48
"""Units of a turn for peers that wait; the others, the reserve, are left for peers whose data arrives in this turn."""

_log = Logger()


class WaitingPeer(Protocol):
    """A connection with data that was received and not parsed yet."""

    def take_turn(self) -> None:
        """Parse a part of the data, and ``wait`` again if there is more."""

    def evict(self) -> None:
        """Abort the connection: ``take_turn`` has raised an exception, which is logged."""


class Turns:
    """Limits the work in one turn of the reactor.

    Shares take turns, and so do the peers of one share: a share with many peers gets no more than a share with one.
    The reserve of each turn is there whatever the last turn has used too much, for peers that have not just waited.

    Args:
        call_soon: makes a call in the next turn of the reactor.

    Attributes:
        left: the units that are left in this turn; negative if the last piece of work was larger.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], object], units: int = UNITS_PER_TURN) -> None:
        self._call_soon = call_soon
        self._units = units
        self._reserve = units - units * BACKLOG_UNITS // UNITS_PER_TURN
        self._waiting: dict[Hashable, deque[WaitingPeer]] = {}
        self._is_scheduled = False
        # What is left of the reserve beside ``left``.
        self._reserve_left = 0
        # The peers that had their turn in this turn of the reactor, and in the last one.
        self._served: set[object] = set()
        self._served_before: set[object] = set()
        self.left = units

    @property
    def is_idle(self) -> bool:
        """Whether no peer waits."""
        return not self._waiting

    def take(self, units: int = 1, peer: object = None) -> bool:
        """Take units of this turn; return whether there were any left before.

        Args:
            peer: takes the units; None: the reserve is not kept free for it.
        """
        if self.left <= self._reserve and peer is not None:
            if (self.left <= 0 and self._reserve_left <= 0) or peer in self._served or peer in self._served_before:
                return False
        elif self.left <= 0:
            return False
        self.spend(units)
        return True

    def spend(self, units: int) -> None:
        """Count work that has been done."""
        self.left -= units
        if self.left < 0:
            self._reserve_left -= min(units, -self.left)
        # Not at the first unit: under a light load a new turn needs not be counted every time.
        if self.left < self._reserve and not self._is_scheduled:
            self._schedule()

    def wait(self, share: Hashable, peer: WaitingPeer) -> None:
        """Have ``peer.take_turn`` called once, in this or a later turn; the peer must not wait already.

        Args:
            share: those who share one place: the network of an unauthenticated peer, an authenticated peer itself.
        """
        queue = self._waiting.get(share)
        if queue is None:
            queue = self._waiting[share] = deque()
        queue.append(peer)
        if not self._is_scheduled:
            self._schedule()

    def cancel(self, share: Hashable, peer: WaitingPeer) -> None:
        """Remove a peer that waits, because its connection has ended."""
        queue = self._waiting.get(share)
        if queue is not None and peer in queue:
            queue.remove(peer)
            if not queue:
                del self._waiting[share]

    def _schedule(self) -> None:
        self._is_scheduled = True
        self._call_soon(self._begin_turn)

    def _begin_turn(self) -> None:
        self._is_scheduled = False
        # What the last turn used too much is missing in this one.
        self.left = min(self._units, self.left + self._units)
        self._served_before, self._served = self._served, set()
        # One unit more than the reserve: the first is taken before the peer begins.
        while self._waiting and self.left > self._reserve + 1:
            self._run_next()
        self._reserve_left = max(0, self._reserve - max(0, self.left))
        # Once more after the last peer, to forget who was served.
        if (self._waiting or self._served or self.left < self._reserve) and not self._is_scheduled:
            self._schedule()

    def _run_next(self) -> None:
        share, queue = next(iter(self._waiting.items()))
        del self._waiting[share]
        peer = queue.popleft()
        if queue:
            self._waiting[share] = queue
        self._served.add(peer)
        self.left -= 1  # Also a peer that finds nothing to do makes progress towards the end of the turn.
        try:
            peer.take_turn()
        except Exception:
            _log.failure("unhandled error in a turn of {peer}", peer=type(peer).__name__)
            peer.evict()
