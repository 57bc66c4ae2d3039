"""Splitting a byte stream, such as the output of a child process, into lines."""

from __future__ import annotations

from collections.abc import Callable


class LineSplitter:
    """Calls ``received`` with each complete line, without its newline.

    Args:
        max_bytes: a longer line is passed on in pieces, so that a process that writes no newline cannot fill the
            memory.
    """

    def __init__(self, received: Callable[[bytes], None], max_bytes: int) -> None:
        self._received = received
        self._max_bytes = max_bytes
        self._incomplete = b""

    def feed(self, data: bytes) -> None:
        """Add bytes that were read."""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            self._received(line)
        if len(self._incomplete) > self._max_bytes:
            self.end()

    def end(self) -> None:
        """Pass on the incomplete line, if there is one; the stream has ended."""
        if self._incomplete:
            self._received(self._incomplete)
            self._incomplete = b""
