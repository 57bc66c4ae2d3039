"""Batches of history, prepared once for all clients that are sent the same.

When a thousand agents reconnect together, they missed about the same publications. Which of these a group may see is
decided, encoded and joined once, and what is read from disk is read once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass

from callcenter_ws.events.frames import WireFormat
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock, Timer

KEPT_SECONDS = 1.0
"""Time for which batches are kept after one of them was used last."""

MAX_BYTES = 16_777_216
"""Size of all batches together; the least recently used is evicted first."""

BATCH_BYTES = 262_144
"""Size of its frames at which a batch ends."""


@dataclass(frozen=True, slots=True)
class ReplayBatch:
    """What a group of clients is sent of the publications between two positions.

    Attributes:
        to_seq: the position after the batch.
        frames: all frames in one piece.
        count: the number of frames.
        users: the users for whom alone some of the publications are, or to whom a chat is assigned. They may see more
            than their group, and cannot use the batch.
    """

    to_seq: int
    frames: bytes
    count: int
    users: frozenset[str]

    @classmethod
    def prepare(
        cls, publications: Iterable[Publication], group_may_see: Callable[[Publication], bool], wire_format: WireFormat
    ) -> ReplayBatch:
        """Return the batch of publications, of which there must be at least one.

        Args:
            group_may_see: whether every client of the group may see a publication.
        """
        frames: list[bytes] = []
        users = set()
        size = to_seq = 0
        for publication in publications:
            to_seq = publication.seq
            if publication.event.user_id is not None:
                users.add(publication.event.user_id)
            elif group_may_see(publication):
                frames.append(publication.frame(wire_format))
                size += len(frames[-1])
            elif publication.event.type.of_chat:
                users.update(publication.event.agents)
            if size > BATCH_BYTES:
                break
        return cls(to_seq, b"".join(frames), len(frames), frozenset(users))


class ReplayCache:
    """Keeps batches for a moment, and coordinates their preparation."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._batches: OrderedDict[Hashable, ReplayBatch] = OrderedDict()
        self._bytes = 0
        self._waiting: dict[Hashable, list[Callable[[], None]]] = {}
        self._used_at = 0.0
        self._timer: Timer | None = None

    def get(self, key: Hashable) -> ReplayBatch | None:
        """Return the batch of that key, if it is cached."""
        found = self._batches.get(key)
        if found is not None:
            self._batches.move_to_end(key)
            self._used_at = self._clock.monotonic()
        return found

    def wait_for(self, key: Hashable, prepared: Callable[[], None]) -> bool:
        """Return whether another client prepares the batch; then ``prepared`` is called when that is done.

        When it returns False, the caller must prepare the batch and call ``done``.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            return False
        waiting.append(prepared)
        return True

    def done(self, key: Hashable, batch: ReplayBatch | None) -> None:
        """Cache a batch, or None if it could not be prepared, and continue the clients that wait for it."""
        if batch is not None:
            self._keep(key, batch)
        for prepared in self._waiting.pop(key):
            prepared()

    def _keep(self, key: Hashable, batch: ReplayBatch) -> None:
        self._batches[key] = batch
        self._bytes += len(batch.frames)
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._batches.popitem(last=False)[1].frames)
        self._used_at = self._clock.monotonic()
        if self._timer is None:
            self._timer = self._clock.call_later(KEPT_SECONDS, self._evict_unused)

    def _evict_unused(self) -> None:
        self._timer = None
        unused = self._clock.monotonic() - self._used_at
        if unused < KEPT_SECONDS:
            self._timer = self._clock.call_later(KEPT_SECONDS - unused, self._evict_unused)
        else:
            self._batches.clear()
            self._bytes = 0
