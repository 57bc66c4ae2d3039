"""Captures of the manager interface: what one connection received, and when."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_PIECE_BYTES = 65_536


class NotACapture(ValueError):
    """The content is not what a connection to the manager interface receives; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class Capture:
    """What one connection received.

    Attributes:
        content: what the exchange sent.
        times: for each read from the socket its Unix time and the offset of its first byte, in order; empty if unknown.
        sent: what the client sent; empty if unknown.
    """

    content: bytes
    times: Sequence[tuple[float, int]] = ()
    sent: bytes = b""

    def chunks(self) -> Iterator[tuple[float | None, bytes]]:
        """Yield what each read received, with its time; None if it is unknown."""
        if not self.times:
            # In pieces, so that a message without an end at the end of the capture takes none with it.
            for start in range(0, len(self.content), _PIECE_BYTES):
                yield None, self.content[start : start + _PIECE_BYTES]
            return
        ends = [offset for _, offset in self.times[1:]]
        # What precedes the first known offset arrived at the first known time at the latest.
        start = 0
        for (time, _), end in zip(self.times, [*ends, len(self.content)], strict=True):
            if end > start:
                yield time, self.content[start:end]
                start = end


def parse_times(text: str) -> list[tuple[float, int]]:
    """Return the lines of a ``.times`` file: the Unix time of each read, a tab, and the offset of its first byte.

    Raises:
        NotACapture: a line is something else, or the numbers do not grow.
    """
    times: list[tuple[float, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            time_text, offset_text = line.split()
            time, offset = float(time_text), int(offset_text)
        except ValueError:
            raise NotACapture(f"line {number} of the times: expected a Unix time, a tab and an offset") from None
        if offset < 0 or (times and offset < times[-1][1]):
            raise NotACapture(f"line {number} of the times: the offsets do not grow")
        if not 0 <= time < 1e11:
            raise NotACapture(f"line {number} of the times: {time_text} is no Unix time in seconds")
        times.append((time, offset))
    return times
