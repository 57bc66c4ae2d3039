"""A recorded shift: what an Asterisk sent over its manager interface in a few minutes, to be played again and again.

The recording, ``shift.txt.xz``, begins with the lists of the queues and their members, when there was no call; at its
end all calls have ended. Each round of it is moved to another time, and with it the ids of the channels, which begin
with the time of the exchange's start.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

_FILE = "shift.txt.xz"
_TIMESTAMP = re.compile(r"^Timestamp: ([0-9.]+)\r$", re.MULTILINE)
# Unix seconds: Timestamp, Uniqueid, Linkedid, LoginTime, LastCall, LastPause.
_TIME = re.compile(r"(?<=: )1[0-9]{9}(?=[.\r])")
_ACTION_ID = re.compile(r"ActionID: .*\r\n")
_LISTED = ("Event: QueueParams\r", "Event: QueueMember\r")
_PAUSE_SECONDS = 3.0
"""The time between the last event of a round and the first one of the next."""


@dataclass(frozen=True, slots=True)
class PlayedEvent:
    """An event of the exchange.

    Attributes:
        time: when to send it, in Unix seconds.
        text: its headers, each with CR LF.
    """

    time: float
    text: str


class Shift:
    """The recording.

    Args:
        content: what the exchange sent, as in ``shift.txt.xz``.
    """

    def __init__(self, content: str) -> None:
        self._blocks = [block + "\r\n" for block in content.split("\r\n\r\n") if block.startswith("Event: ")]

    @classmethod
    def load(cls) -> Shift:
        """Read the recording that the package has."""
        return cls(lzma.decompress(files("callcenter_ws.demo").joinpath(_FILE).read_bytes()).decode())

    def __len__(self) -> int:
        """Return the number of events of a round."""
        return len(self._events)

    def members(self, start: float) -> Sequence[str]:
        """Return the queues and their members at the beginning, as items of the answer to ``QueueStatus``.

        Args:
            start: when the first round begins, in Unix seconds.
        """
        delta = self._delta(start)
        return [_move(_ACTION_ID.sub("", block), delta) for block in self._blocks if block.startswith(_LISTED)]

    def rounds(self, start: float) -> Iterator[PlayedEvent]:
        """Yield the events of one round after the other, without an end.

        Args:
            start: when the first round begins, in Unix seconds.
        """
        while True:
            delta = self._delta(start)
            for time, text in self._events:
                yield PlayedEvent(time + delta, _move(text, delta))
            start = self._events[-1][0] + delta + _PAUSE_SECONDS

    def _delta(self, start: float) -> int:
        # Whole seconds, as the ids have no others.
        return round(start - self._events[0][0])

    @cached_property
    def _events(self) -> list[tuple[float, str]]:
        found = [(_TIMESTAMP.search(block), block) for block in self._blocks]
        return [(float(time[1]), text) for time, text in found if time is not None]


def _move(text: str, delta: int) -> str:
    return _TIME.sub(lambda found: str(int(found[0]) + delta), text)
