"""Parts of snapshots: consecutive publications, encoded as one frame in the middle of a message.

Successive snapshots of a tenant differ in few publications. A part that both contain is the same object in both, so
that clients which wait for different snapshots hold most of their bytes in common, and nothing is encoded twice.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

from callcenter_ws.events.frames import ControlFrame, FrameCompressor, WireFormat, text_fragment
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock, Timer

FRAGMENT_BYTES = 61_440
"""Size at which a frame of a large snapshot ends; it exceeds this by one publication at most. As a rule, two frames are
within ``MAX_DIRECT_BYTES``."""

MIN_REUSED_BYTES = FRAGMENT_BYTES // 4
"""Smaller parts are encoded again, together with their neighbours: otherwise parts would become smaller for ever."""

MAX_CACHED_BYTES = 67_108_864
"""Size of all cached parts together; those of the view that was used least recently are evicted first."""

CACHED_SECONDS = 60.0
"""Time for which parts are cached after they were used last."""


@dataclass(slots=True)
class Part:
    """Consecutive publications of a view.

    Attributes:
        seqs: their positions.
        text: the JSON objects, separated by commas.
        size: the size of ``text``, which is released once ``frame`` holds it.
        frame: the text as a frame in the middle of a message, with a comma behind it unless it is the last part.
        is_last: whether it is the last part of its view.
    """

    seqs: array[int]
    text: bytes
    size: int
    frame: ControlFrame | None = None
    is_last: bool = False

    def make_frame(self, deflater: FrameCompressor | None) -> None:
        """Make the frame from the text."""
        if self.frame is None:
            self.frame = fragment(self.text if self.is_last else self.text + b",", deflater)
            self.text = b""


def fragment(
    text: bytes, deflater: FrameCompressor | None, *, is_first: bool = False, is_last: bool = False
) -> ControlFrame:
    """Return a part of a message as a frame."""
    if deflater is not None:
        text = deflater.deflate_part(text, is_last=is_last)
    return ControlFrame(text_fragment(text, is_first=is_first, is_last=is_last, compressed=deflater is not None))


def encode_part(publications: Sequence[Publication], wire_format: WireFormat, *, is_last: bool) -> Part:
    """Return the part of some publications."""
    text = b",".join([publication.body(wire_format.view) for publication in publications])
    return Part(array("Q", [publication.seq for publication in publications]), text, len(text), is_last=is_last)


def encode(
    publications: Sequence[Publication], wire_format: WireFormat, known: Sequence[Part], parts: list[Part]
) -> Iterator[None]:
    """Append the parts of publications to ``parts``, one in each step; reuse known ones that hold the same."""
    seqs = array("Q", [publication.seq for publication in publications])
    reusable = {part.seqs[0]: part for part in known if part.size >= MIN_REUSED_BYTES and not part.is_last}

    def reused(begin: int) -> Part | None:
        part = reusable.get(seqs[begin])
        if part is None:
            return None
        end = begin + len(part.seqs)
        # Behind the last part there is no comma.
        return part if end < len(seqs) and seqs[begin:end] == part.seqs else None

    at = 0
    while at < len(seqs):
        part = reused(at)
        if part is None:
            end, size, bodies = at, 0, list[bytes]()
            while end < len(seqs) and size < FRAGMENT_BYTES and (end == at or reused(end) is None):
                bodies.append(publications[end].body(wire_format.view))
                size += len(bodies[-1])
                end += 1
            text = b",".join(bodies)
            part = Part(seqs[at:end], text, len(text), is_last=end == len(seqs))
        parts.append(part)
        at += len(part.seqs)
        yield


class PartCache:
    """Keeps the parts of the last large snapshot of each view, for the next one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._parts: OrderedDict[Hashable, tuple[float, Sequence[Part]]] = OrderedDict()
        self._timer: Timer | None = None
        self.bytes = 0

    def get(self, key: Hashable) -> Sequence[Part]:
        """Return the parts of a view; none if they are not cached."""
        return self._parts.get(key, (0.0, ()))[1]

    def keep(self, key: Hashable, parts: Sequence[Part]) -> None:
        """Replace the parts of a view."""
        self._remove(key)
        self._parts[key] = self._clock.monotonic(), parts
        self.bytes += _size(parts)
        while self.bytes > MAX_CACHED_BYTES:
            self._remove(next(iter(self._parts)))
        if self._timer is None:
            self._timer = self._clock.call_later(CACHED_SECONDS, self._evict)

    def _remove(self, key: Hashable) -> None:
        _, parts = self._parts.pop(key, (0.0, ()))
        self.bytes -= _size(parts)

    def _evict(self) -> None:
        self._timer = None
        oldest = self._clock.monotonic() - CACHED_SECONDS
        for key in [key for key, (used_at, _) in self._parts.items() if used_at <= oldest]:
            self._remove(key)
        if self._parts:
            self._timer = self._clock.call_later(CACHED_SECONDS, self._evict)


def _size(parts: Sequence[Part]) -> int:
    return sum(len(part.frame or b"") for part in parts)
