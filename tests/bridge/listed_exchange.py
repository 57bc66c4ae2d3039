"""An exchange that is played from a capture, and answers with its lists at any moment."""

from __future__ import annotations

from collections.abc import Sequence

from asterisk_captures import capture

from callcenter_ws.bridge.asterisk.capture_clock import timed_messages
from callcenter_ws.bridge.asterisk.framing import Framing
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_state import PlayedState
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot

BOOT = "2026-11-29 12:14:03"
LATE_SECONDS = 1.0
Timed = tuple[AmiMessage, float]


def messages_of(name: str) -> list[Timed]:
    """Return the events of a capture, and when they arrived."""
    found = [(message, arrived) for arrived, message in timed_messages(capture(name), Framing())]
    return [(message, arrived) for message, arrived in found if message.name]


class ListedExchange:
    """The true state of an exchange after some of its events."""

    def __init__(self, messages: Sequence[Timed]) -> None:
        self._messages = messages
        self._state = PlayedState()
        self._state.introduce_members(message for message, _ in messages)
        self._count = 0
        self._time = messages[0][1]

    def play(self, count: int) -> None:
        """Go on until so many events have happened."""
        for message, arrived in self._messages[self._count : count]:
            self._state.take(message, arrived)
            self._time = arrived
        self._count = max(count, self._count)

    @property
    def is_idle(self) -> bool:
        """Whether it has no channels."""
        return not self._state.call_count

    def items(self, action: str) -> list[AmiMessage]:
        """Return the items of a list."""
        return [self._message(headers) for headers in self._state.lists(action, self._time)]

    def _message(self, headers: dict[str, str]) -> AmiMessage:
        headers = {key: "" if value == "<unknown>" else value for key, value in headers.items()}
        return AmiMessage(headers, {}, headers["Event"], "")


def listed(
    messages: Sequence[Timed], first: int, last: int, *, boot: str = BOOT, is_audit: bool = False, late: int = 0
) -> AmiSnapshot:
    """Return the lists of an exchange, which are taken one after the other while events ``first`` to ``last`` come.

    Args:
        late: so many events later than those that have come the exchange is.
    """
    # What the exchange sends arrives soon.
    arrived = messages[min(last, len(messages) - 1)][1] + LATE_SECONDS
    late = sum(at <= arrived for _, at in messages[last : last + late])
    exchange = ListedExchange(messages)
    exchange.play(first + late + (last - first) // 3)
    status = exchange.items("QueueStatus")
    exchange.play(first + late + (last - first) * 2 // 3)
    channels = exchange.items("CoreShowChannels")
    exchange.play(last + late)
    bridges = exchange.items("BridgeList")
    by_name = {
        name: [item for item in status if item.name == name] for name in ("QueueParams", "QueueMember", "QueueEntry")
    }
    return AmiSnapshot(
        boot,
        "22.10.1",
        channels,
        bridges,
        by_name["QueueParams"],
        by_name["QueueMember"],
        by_name["QueueEntry"],
        tuple(messages[first:last]),
        is_audit,
    )
