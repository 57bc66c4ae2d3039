"""Stretches of history, prepared once for all clients that are sent the same.

When a thousand agents come back at once they missed about the same. What a group of them may see of a stretch is
decided, encoded and joined once; and a stretch that is read from disk is read once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client

KEPT_FOR = 1.0
"""Seconds for which stretches are kept after they were last of use."""

MAX_BYTES = 16_777_216
"""What all stretches together may take; the one longest unused goes first."""

BATCH_BYTES = 262_144
"""Bytes of frames after which a stretch ends."""


@dataclass(frozen=True, slots=True)
class ReplayBatch:
    """What a group of clients sees between two positions.

    Attributes:
        to_seq: the position after it.
        frames: all frames in one piece.
        count: how many they are.
        users: whom messages in between are for alone. They see more than the group, and share nothing here.
    """

    to_seq: int
    frames: bytes
    count: int
    users: frozenset[str]

    @classmethod
    def seen_by(cls, client: Client, publications: Iterable[Publication]) -> ReplayBatch:
        """What the group of ``client`` sees of messages, of which there is one at least."""
        frames: list[bytes] = []
        users = set()
        size = to_seq = 0
        for publication in publications:
            to_seq = publication.seq
            if publication.event.user_id is not None:
                users.add(publication.event.user_id)
            elif client.tenant.sees(client, publication):
                frames.append(publication.frame(client.wire_format))
                size += len(frames[-1])
            if size > BATCH_BYTES:
                break
        return cls(to_seq, b"".join(frames), len(frames), frozenset(users))


class ReplayCache:
    """Keeps stretches for a moment, and knows which are being prepared."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[Hashable, ReplayBatch] = OrderedDict()
        self._bytes = 0
        self._waiting: dict[Hashable, list[Callable[[], None]]] = {}
        self._used_at = 0.0
        self._timer: Timer | None = None

    def get(self, key: Hashable) -> ReplayBatch | None:
        """The stretch of that key, if it is here."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            self._used_at = self._clock.monotonic()
        return found

    def waits_for(self, key: Hashable, go_on: Callable[[], None]) -> bool:
        """Whether somebody prepares the stretch; then ``go_on`` is called when that is done.

        If nobody does, the caller is expected to, and to say so with ``done``.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            self._waiting[key] = []
            return False
        waiting.append(go_on)
        return True

    def done(self, key: Hashable, stretch: ReplayBatch | None) -> None:
        """The stretch is prepared; None: it could not be."""
        if stretch is not None:
            self._keep(key, stretch)
        for go_on in self._waiting.pop(key):
            go_on()

    def _keep(self, key: Hashable, stretch: ReplayBatch) -> None:
        self._kept[key] = stretch
        self._bytes += len(stretch.frames)
        while self._bytes > MAX_BYTES:
            self._bytes -= len(self._kept.popitem(last=False)[1].frames)
        self._used_at = self._clock.monotonic()
        if self._timer is None:
            self._timer = self._clock.call_later(KEPT_FOR, self._forget)

    def _forget(self) -> None:
        self._timer = None
        unused = self._clock.monotonic() - self._used_at
        if unused < KEPT_FOR:
            self._timer = self._clock.call_later(KEPT_FOR - unused, self._forget)
        else:
            self._kept.clear()
            self._bytes = 0
