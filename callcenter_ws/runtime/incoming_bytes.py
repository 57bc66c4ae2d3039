"""IncomingBytes: bounds the requests that are in memory at the same time, complete or not."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Protocol

DEFAULT_INCOMING_BYTES = 67_108_864

FREE_PART = 16
"""Above the bound bodies are given up until this part of it is free, so that not each further piece needs a choice."""


class IncomingBody(Protocol):
    """The body of an HTTP request, or a box of AMP."""

    def give_up(self) -> None:
        """Refuse the request: its memory is needed. It calls ``remove``."""


@dataclass(slots=True)
class _Holder:
    size: int = 0
    # Bytes by body, in the order of their first bytes.
    arriving: dict[IncomingBody, int] = field(default_factory=dict)
    complete: dict[IncomingBody, int] = field(default_factory=dict)


class IncomingBytes:
    """Counts the bytes of bodies by holder: the tenant of a token that may publish, else the network of the peer.

    Above the bound the holder with most bytes pays, by the oldest of its bodies that are not complete. A complete body
    counts until the response is finished, but its request is never refused: some of its events may be published.

    Attributes:
        bound: bytes of all bodies.
        total: bytes that are counted now.
        refused: requests that were refused for them.
    """

    def __init__(self, bound: int = DEFAULT_INCOMING_BYTES) -> None:
        self.bound = bound
        self.total = 0
        self.refused = 0
        self._holders: dict[Hashable, _Holder] = {}
        self._holder_of: dict[IncomingBody, Hashable] = {}

    def add(self, body: IncomingBody, key: Hashable, count: int) -> None:
        """Count bytes of a body; bodies may be given up for them, also this one."""
        if self._holder_of.get(body, key) != key:
            count += self.remove(body)
        self._holder_of[body] = key
        holder = self._holders.setdefault(key, _Holder())
        holder.arriving[body] = holder.arriving.get(body, 0) + count
        holder.size += count
        self.total += count
        if self.total > self.bound:
            self._free(self.bound - self.bound // FREE_PART)

    def complete(self, body: IncomingBody) -> None:
        """Note that a body is complete; it may be one that is not counted."""
        if body in self._holder_of:
            holder = self._holders[self._holder_of[body]]
            holder.complete[body] = holder.arriving.pop(body)

    def remove(self, body: IncomingBody) -> int:
        """Stop counting a body, if it is counted; return its bytes."""
        if body not in self._holder_of:
            return 0
        key = self._holder_of.pop(body)
        holder = self._holders[key]
        count = holder.arriving.pop(body, 0) + holder.complete.pop(body, 0)
        holder.size -= count
        self.total -= count
        if not (holder.arriving or holder.complete):
            del self._holders[key]
        return count

    def _free(self, until: int) -> None:
        while self.total > until:
            paying = max((one for one in self._holders.values() if one.arriving), key=_size, default=None)
            if paying is None:
                return
            body = next(iter(paying.arriving))
            self.refused += 1
            self.remove(body)
            body.give_up()


def _size(holder: _Holder) -> int:
    return holder.size
