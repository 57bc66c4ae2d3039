"""Test doubles for this project and for projects that use it.

They replace only time and sockets; all other parts are used as they are.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Coroutine, Sequence
from typing import TypeVar

from twisted.internet.defer import Deferred

from callcenter_ws.errors import CloseCode
from callcenter_ws.runtime.json import decode_trusted_json

T = TypeVar("T")


class FakeTimer:
    """A scheduled call of a FakeClock."""

    __slots__ = ("args", "call", "cancelled")

    def __init__(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        self.call = call
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Do not make the call; release the references to its function and arguments."""
        self.cancelled = True
        self.call, self.args = int, ()


class FakeClock:
    """A Clock whose time changes only by ``advance``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._due: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        """Return the fake Unix time in seconds."""
        return self._now

    def monotonic(self) -> float:
        """Return the fake Unix time, as a monotonic clock."""
        return self._now

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> FakeTimer:
        """Schedule ``call(*args)`` in ``delay`` seconds of fake time."""
        timer = FakeTimer(call, args)
        heapq.heappush(self._due, (self._now + delay, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Advance the time, and make every call that is due by then, including calls that these calls schedule."""
        target = self._now + seconds
        while self._due and self._due[0][0] <= target:
            when, _, timer = heapq.heappop(self._due)
            self._now = max(self._now, when)
            if not timer.cancelled:
                timer.call(*timer.args)
        self._now = target

    def turn(self, turns: int = 1) -> None:
        """Make the calls that are due now, as one or more iterations of a reactor would."""
        for _ in range(turns):
            self.advance(0)


class RecordingTransport:
    """A Transport that records the bytes written to it.

    Attributes:
        latest: the object that was written last.
        pings: the payloads of the pings, which are not part of the written bytes.
        probes: the number of calls of ``probe``.
        unsent: the number of bytes that ``unsent_bytes`` returns, as those of a slow socket.
    """

    def __init__(self) -> None:
        self.written = self.latest = b""
        self.writes = 0
        self.closed_with: CloseCode | None = None
        self.unsent = 0
        self.pings: list[bytes] = []
        self.probes = 0

    def write(self, data: bytes) -> None:
        """Record ``data``."""
        self.written += data
        self.latest = data
        self.writes += 1

    def write_frames(self, frames: Sequence[bytes]) -> None:
        """Record the frames as one write."""
        self.write(b"".join(frames))

    def direct(self) -> Callable[[bytes], int]:
        """Return a function that records data."""
        return self._send

    def _send(self, data: bytes) -> int:
        self.write(data)
        return len(data)

    def ping(self, payload: bytes) -> None:
        """Record the payload of a ping."""
        self.pings.append(payload)

    def probe(self) -> None:
        """Count a probe."""
        self.probes += 1

    def close(self, code: CloseCode) -> None:
        """Record the first close code."""
        if self.closed_with is None:
            self.closed_with = code

    def unsent_bytes(self) -> int:
        """Return ``unsent``."""
        return self.unsent

    def buffered_bytes(self) -> int:
        """Return ``unsent``."""
        return self.unsent

    def unsent_frames(self) -> Sequence[bytes]:
        """Return none: they are recorded at once."""
        return ()

    @property
    def messages(self) -> list[dict[str, object]]:
        """The messages written so far, decoded; raises ``ValueError`` for other than unmasked text frames."""
        return [decode_trusted_json(payload) for payload in text_payloads(self.written)]

    def take(self) -> list[dict[str, object]]:
        """Return the messages written since the last call."""
        messages = self.messages
        self.written = b""
        return messages


def text_payloads(stream: bytes) -> list[bytes]:
    """Return the payloads of the text messages in a stream of unmasked frames (RFC 6455 sections 5.2 and 5.4)."""
    payloads = []
    offset = 0
    message = b""
    expected = _FIRST_OPCODES
    while offset < len(stream):
        first = stream[offset]
        if first not in expected:
            raise ValueError(f"not a text frame at byte {offset}: {first:#x}")
        size, offset = stream[offset + 1], offset + 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size, offset = int.from_bytes(stream[offset : offset + extended], "big"), offset + extended
        if offset + size > len(stream):
            raise ValueError("the stream ends inside a frame")
        message += stream[offset : offset + size]
        expected = _LATER_OPCODES
        if first & _FIN:
            payloads.append(message)
            message, expected = b"", _FIRST_OPCODES
        offset += size
    return payloads


_FIN = 0x80
_FIRST_OPCODES = (_FIN | 1, 1)
_LATER_OPCODES = (_FIN, 0)


def run(coroutine: Coroutine[Deferred[object], object, T]) -> T:
    """Run a coroutine that does not wait, such as those of a MemoryBroker, and return its result.

    Raises:
        RuntimeError: the coroutine waits.
    """
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits, but no reactor runs in this test")
