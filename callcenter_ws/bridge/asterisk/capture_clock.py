"""The time of each message of a capture."""

from __future__ import annotations

import re
from collections.abc import Iterator

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture
from callcenter_ws.bridge.asterisk.framing import EndlessMessageError, Framing, NotAmiError
from callcenter_ws.bridge.asterisk.message import AmiMessage

_EARLIEST, _LATEST = 9e8, 1e11
"""Uniqueids are Unix times within these bounds; others were set by the dialplan."""


class EndlessMessage(NotACapture):
    """A message does not end within the limits of a connection."""


def timed_messages(capture: Capture, framing: Framing | None = None) -> Iterator[tuple[float, AmiMessage]]:
    """Yield the messages of a capture, each with the Unix time at which it was complete.

    Where the times of the reads are unknown, a message has the time of its own ``Timestamp``, else that of the message
    before it, which the id of a new channel and the seconds in queue events correct.

    Raises:
        NotACapture: the content is not what a connection to the manager interface receives.
    """
    framing = Framing() if framing is None else framing
    clock = _Clock(_first_time(capture.content))
    try:
        for time, chunk in capture.chunks():
            framing.feed(chunk)
            while (message := framing.next()) is not None:
                yield clock.time_of(message) if time is None else time, message
    except NotAmiError as error:
        raise NotACapture(f"it begins with {str(error)!r}") from None
    except EndlessMessageError:
        raise EndlessMessage("a message has no end") from None


class _Clock:
    """Tells the time from the messages themselves; it does not go back."""

    def __init__(self, start: float) -> None:
        self._now = start
        # When callers joined their queues, and were connected, by Uniqueid. Bounded: the oldest is forgotten.
        self._since: dict[str, float] = {}

    def time_of(self, message: AmiMessage) -> float:
        """Return the time of the next message."""
        self._now = max(self._now, _seconds(message.get("Timestamp")) or self._told_by(message))
        return self._now

    def _told_by(self, message: AmiMessage) -> float:
        name, uniqueid = message.name, message.get("Uniqueid")
        if name == "Newchannel":
            # With several exchanges, a name precedes the number.
            return _seconds(uniqueid.rpartition("-")[2].partition(".")[0])
        if name == "QueueCallerJoin":
            self._since[uniqueid] = self._now
            if len(self._since) > _MAX_CALLERS:
                del self._since[next(iter(self._since))]
        elif name in _WAITED and uniqueid in self._since:
            since = self._since.pop(uniqueid)
            time = since + _number(message.get(_WAITED[name]))
            if name == "AgentConnect":
                self._since[uniqueid] = time
            return time
        return 0.0


_FIRST = re.compile(rb"^(?:Timestamp|Uniqueid): *(?:[^\r\n]*-)?([0-9]{9,11}(?:\.[0-9]*)?)\r?$", re.MULTILINE)


def _first_time(content: bytes) -> float:
    """Return the first time that a capture tells; 0 if it tells none."""
    return next((seconds for found in _FIRST.finditer(content) if (seconds := _seconds(found[1].decode()))), 0.0)


_WAITED = {"AgentConnect": "HoldTime", "QueueCallerAbandon": "HoldTime", "AgentComplete": "TalkTime"}
_MAX_CALLERS = 10_000


def _seconds(text: str) -> float:
    """Return a Unix time; 0 if the text is none."""
    seconds = _number(text)
    return seconds if _EARLIEST < seconds < _LATEST else 0.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
