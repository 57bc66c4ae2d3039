"""Backlog: frames of one connection that are handed to its transport in pieces, as the peer reads them.

A transport copies what it buffers. The frames of a backlog are held as they are, and may be those of other connections.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from callcenter_ws.delivery.outbox import MAX_DIRECT_BYTES


class Backlog:
    """Frames, the first of which may have been handed over in part.

    Attributes:
        size: bytes that have not been handed over.
    """

    __slots__ = ("_frames", "_offset", "size")

    def __init__(self) -> None:
        self._frames: deque[bytes] = deque()
        self._offset = 0
        self.size = 0

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, frames: Iterable[bytes]) -> None:
        """Append frames."""
        for frame in frames:
            self._frames.append(frame)
            self.size += len(frame)

    def take(self) -> bytes:
        """Remove and return the next piece, of at most ``MAX_DIRECT_BYTES``; there must be one."""
        first = self._frames[0]
        if self._offset or len(first) > MAX_DIRECT_BYTES:
            piece = first[self._offset : self._offset + MAX_DIRECT_BYTES]
            self._offset += len(piece)
            if self._offset == len(first):
                self._frames.popleft()
                self._offset = 0
        else:
            whole = [self._frames.popleft()]
            room = MAX_DIRECT_BYTES - len(first)
            while self._frames and len(self._frames[0]) <= room:
                room -= len(self._frames[0])
                whole.append(self._frames.popleft())
            piece = b"".join(whole)
        self.size -= len(piece)
        return piece

    def insert(self, frame: bytes) -> None:
        """Insert a control frame, which is taken before everything but the rest of a frame that was taken in part."""
        self._frames.insert(1 if self._offset else 0, frame)
        self.size += len(frame)

    def discard(self) -> bytes:
        """Remove all frames; return the rest of one that was taken in part, after which only a close frame may come."""
        rest = self._frames[0][self._offset :] if self._offset else b""
        self._frames.clear()
        self._offset = self.size = 0
        return rest

    def shared(self) -> Iterable[bytes]:
        """Return the frames, which other connections may hold too."""
        return self._frames
