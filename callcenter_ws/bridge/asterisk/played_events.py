"""The events of a capture with their times, as a server plays them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.capture import Capture
from callcenter_ws.bridge.asterisk.framing import parse_block
from callcenter_ws.bridge.asterisk.lists import EVENT_NAMES
from callcenter_ws.bridge.asterisk.message import AmiMessage

_NOT_LIVE = EVENT_NAMES | {"FullyBooted"}
"""What a server sends by itself: after a login, and as answers."""

_TIMESTAMP = re.compile(rb"^Timestamp: \d+\.\d+", re.MULTILINE)
_UNIQUEID = re.compile(rb"\b(1\d{9})(?=\.\d)")
_SECONDS = re.compile(rb"^(LoginTime|LastCall|LastPause): (1\d{9})(?=\r?$)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class PlayedEvent:
    """One event.

    Attributes:
        time: when it was received, in Unix seconds.
        block: its bytes, with the empty line that ends it.
    """

    time: float
    block: bytes
    message: AmiMessage

    def moved(self, time: float, epoch: int) -> PlayedEvent:
        """Return the event at another time.

        Args:
            epoch: is added to the Unix seconds in ids and other times: so a shift that is played again has new ids.
        """
        block = _UNIQUEID.sub(lambda found: b"%d" % (int(found[1]) + epoch), self.block)
        block = _SECONDS.sub(lambda found: b"%b: %d" % (found[1], int(found[2]) + epoch), block)
        block = _TIMESTAMP.sub(b"Timestamp: %.6f" % time, block)
        return PlayedEvent(time, block, parse_block(block))


def live_events(capture: Capture) -> Iterator[PlayedEvent]:
    """Yield the events of a capture that are no answers to the client that recorded it."""
    own_ids: set[str] = set()
    pending = b""
    for time, chunk in capture.chunks():
        *blocks, pending = re.split(rb"\r?\n\r?\n", pending + chunk)
        for block in blocks:
            message = parse_block(block)
            if message.response:
                own_ids.add(message.get("ActionID"))
            elif message.name not in _NOT_LIVE and not _is_answer(message, own_ids):
                yield PlayedEvent(time or 0.0, block + b"\r\n\r\n", message)


def _is_answer(message: AmiMessage, own_ids: set[str]) -> bool:
    action_id = message.get("ActionID")
    return not message.name or (action_id in own_ids and action_id != "" and message.name != "UserEvent")
