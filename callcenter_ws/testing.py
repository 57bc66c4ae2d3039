"""Doubles that tests of this project, and of projects that use it, may rely on.

They stand for the outside world only (time, sockets); everything between is the real thing.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from callcenter_ws.errors import CloseCode
from callcenter_ws.runtime.json import decode_json

T = TypeVar("T")


class FakeTimer:
    """A call that a FakeClock will make."""

    __slots__ = ("args", "call", "cancelled")

    def __init__(self, call: Callable[..., object], args: tuple[object, ...]) -> None:
        self.call = call
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        """Forget the call, and what it would hold."""
        self.cancelled = True
        self.call, self.args = int, ()


class FakeClock:
    """A Clock that stands still until it is told to ``advance``."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._now = now
        self._order = itertools.count()
        self._due: list[tuple[float, int, FakeTimer]] = []

    def time(self) -> float:
        """The fake Unix time in seconds."""
        return self._now

    def monotonic(self) -> float:
        """The same, as a monotonic clock."""
        return self._now

    def call_later(self, delay: float, call: Callable[..., object], *args: object) -> FakeTimer:
        """Call ``call(*args)`` once ``advance`` has come past ``delay`` seconds."""
        timer = FakeTimer(call, args)
        heapq.heappush(self._due, (self._now + delay, next(self._order), timer))
        return timer

    def advance(self, seconds: float) -> None:
        """Let time pass, making every call that falls due, those that they schedule included."""
        target = self._now + seconds
        while self._due and self._due[0][0] <= target:
            when, _, timer = heapq.heappop(self._due)
            self._now = max(self._now, when)
            if not timer.cancelled:
                timer.call(*timer.args)
        self._now = target

    def turn(self, turns: int = 1) -> None:
        """Make the calls that are due now, as one or more turns of a reactor would."""
        for _ in range(turns):
            self.advance(0)


class RecordingTransport:
    """A Transport that keeps what is written to it and can be held back like a slow socket.

    Attributes:
        latest: the very object that was written last.
    """

    def __init__(self) -> None:
        self.written = self.latest = b""
        self.writes = 0
        self.closed_with: CloseCode | None = None
        self.unsent = 0

    def write(self, data: bytes) -> None:
        """Keep ``data``."""
        self.written += data
        self.latest = data
        self.writes += 1

    def direct(self) -> Callable[[bytes], int]:
        """Send by writing."""
        return self._send

    def _send(self, data: bytes) -> int:
        self.write(data)
        return len(data)

    def close(self, code: CloseCode) -> None:
        """Keep the first close code."""
        if self.closed_with is None:
            self.closed_with = code

    def unsent_bytes(self) -> int:
        """What a test says the socket has not taken."""
        return self.unsent

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message written so far, decoded; fails on anything but whole unmasked text frames."""
        return [decode_json(payload) for payload in text_payloads(self.written)]

    def take(self) -> list[dict[str, Any]]:
        """Return the messages written since the last ``take``."""
        messages = self.messages
        self.written = b""
        return messages


def text_payloads(stream: bytes) -> list[bytes]:
    """Split a byte stream into the payloads of its unmasked, final text frames (RFC 6455 section 5.2)."""
    payloads = []
    at = 0
    while at < len(stream):
        if stream[at] != 0x81:
            raise ValueError(f"not a final text frame at byte {at}: {stream[at]:#x}")
        size, at = stream[at + 1], at + 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size, at = int.from_bytes(stream[at : at + extended], "big"), at + extended
        if at + size > len(stream):
            raise ValueError("the stream ends inside a frame")
        payloads.append(stream[at : at + size])
        at += size
    return payloads


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits, such as any on a MemoryBroker, and return its result."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    coroutine.close()
    raise RuntimeError("the coroutine waits for something that this test does not provide")
