"""FewAtATime: bounds how many pieces of long work are under way at the same time.

It is for work that holds memory from its first step on, as the views of large snapshots. If all were begun at once, a
thousand agents with different queues who reconnect together would hold a thousand half-prepared views, and all would
be ready at the very end.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Hashable, Iterator

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.slicer import Slicer

MAX_RUNNING = 4
"""Pieces of work, with all keys, that are under way at the same time."""

MAX_WAITING = 1_024
"""Pieces of work that may wait for that; when it is reached, each key has an equal share of it."""

MAX_WAITING_OF_KEY = 256
"""The same with one key."""

RETRY_AFTER_SECONDS = 1.0
"""The ``retry_after`` of the refusal when there are more."""


class FewAtATime:
    """Takes the steps of a few pieces of work at the same time; the others wait, and their keys take turns.

    Args:
        what: what waits, for the text of the refusal: ``"snapshots"``.

    Attributes:
        running: how many are under way.
    """

    def __init__(self, slicer: Slicer, what: str) -> None:
        self._slicer = slicer
        self._what = what
        self.running = 0
        self._waiting: OrderedDict[Hashable, deque[tuple[Iterator[None], Deferred[None]]]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of pieces of work that wait."""
        return sum(map(len, self._waiting.values()))

    def check_room(self, key: Hashable) -> None:
        """Check that more work with this key may wait.

        Raises:
            Refusal: ``unavailable`` if too much of it waits.
        """
        of_key = len(self._waiting.get(key, ()))
        # A key of which little waits has room also while a few others fill the queue: it would be refused for as long.
        share = max(1, MAX_WAITING // (len(self._waiting) + (key not in self._waiting)))
        if of_key >= MAX_WAITING_OF_KEY or (of_key >= share and len(self) >= MAX_WAITING):
            raise Refusal(ErrorCode.UNAVAILABLE, f"too many {self._what} are waiting", retry_after=RETRY_AFTER_SECONDS)

    def run(self, key: Hashable, steps: Iterator[None]) -> Awaitable[None]:
        """Take the steps as soon as it is their turn; ``Slicer.run`` describes the result."""
        if self.running < MAX_RUNNING:
            return self._start(steps)
        finished: Deferred[None] = Deferred()
        self._waiting.setdefault(key, deque()).append((steps, finished))
        return finished

    def _start(self, steps: Iterator[None]) -> Deferred[None]:
        self.running += 1
        return self._slicer.run(self._counted(steps))

    def _counted(self, steps: Iterator[None]) -> Iterator[None]:
        try:
            yield from steps
        finally:
            self.running -= 1
            self._start_next()

    def _start_next(self) -> None:
        if not self._waiting:
            return
        key, works = self._waiting.popitem(last=False)
        steps, finished = works.popleft()
        if works:
            self._waiting[key] = works
        self._start(steps).chainDeferred(finished)
