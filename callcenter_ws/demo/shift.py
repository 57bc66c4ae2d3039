"""A recorded shift: what an Asterisk sent over its manager interface in a few minutes, to be played again and again.

The recording, ``shift.txt.xz``, begins with the lists of the queues and their members, when there was no call. At its
end all calls have ended and no member is paused, so that it can begin anew.
"""

from __future__ import annotations

import lzma
from collections.abc import Sequence
from importlib.resources import files

from twisted.internet.defer import Deferred

from callcenter_ws.bridge.asterisk.framing import parse_block
from callcenter_ws.bridge.asterisk.played_events import PlayedEvent
from callcenter_ws.bridge.asterisk.player import AmiPlayer
from callcenter_ws.demo.shift_changes import ShiftChanges
from callcenter_ws.runtime.clock import Clock

_FILE = "shift.txt.xz"
_LISTED = (b"Event: QueueParams\r", b"Event: QueueMember\r")
_END = b"\r\n\r\n"


class Shift:
    """The recording.

    Attributes:
        members: the queues and their members at the beginning.
        events: those of one round, in order.
    """

    def __init__(self, content: bytes) -> None:
        blocks = [block for block in content.split(_END) if block]
        self.members: Sequence[PlayedEvent] = [_event(block) for block in blocks if block.startswith(_LISTED)]
        self.events: Sequence[PlayedEvent] = [_event(block) for block in blocks if not block.startswith(_LISTED)]

    @classmethod
    def load(cls) -> Shift:
        """Read the recording that the package has."""
        return cls(lzma.decompress(files("callcenter_ws.demo").joinpath(_FILE).read_bytes()))


async def play_rounds(player: AmiPlayer, shift: Shift, clock: Clock, speed: float = 1.0) -> None:
    """Play one round after the other, until cancelled.

    Each round has ids of its own: those of the exchange begin with the Unix time of its start, which is moved as far as
    the round.

    Args:
        speed: divides the distances between events.
    """
    recorded, changes = shift.events[0].time, ShiftChanges(player, shift.events)
    for member in shift.members:
        player.send(member.moved(clock.time(), int(clock.time() - recorded)))
    last_epoch = 0
    while True:
        # At least a second apart, as ids have no fractions of one.
        last_epoch = max(int(clock.time() - recorded), last_epoch + 1)
        changes.begin(last_epoch)
        begin = clock.monotonic()
        for number, event in enumerate(shift.events):
            await _until(clock, begin + (event.time - recorded) / speed)
            changes.play(number)


async def _until(clock: Clock, due: float) -> None:
    reached: Deferred[None] = Deferred()
    timer = clock.call_later(max(0.0, due - clock.monotonic()), reached.callback, None)
    try:
        await reached
    finally:
        timer.cancel()


def _event(block: bytes) -> PlayedEvent:
    message = parse_block(block + _END)
    return PlayedEvent(float(message.get("Timestamp") or 0), block + _END, message)
