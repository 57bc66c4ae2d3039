"""The events that came while the lists of an exchange were being answered: what was before them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from callcenter_ws.bridge.asterisk.message import AmiMessage

_MOVES = frozenset({"AttendedTransfer", "BlindTransfer", "Pickup", "ParkedCall", "UnParkedCall"})
_LEAVES = frozenset({"QueueCallerLeave", "QueueCallerAbandon", "AgentConnect"})

_STEP_MESSAGES = 500
"""Events that are read in one step."""


class EventsInFlight:
    """What events say of the moment before them.

    The lists are taken one after the other, and may or may not show what these events tell. As the events are handled
    after the lists have been compared, the lists are read as they were before the first of them: so nothing is told
    twice, and nothing is taken for a difference that is only on its way.

    Attributes:
        created: channels that did not exist.
        hung_up: channels that existed, or were created meanwhile.
        answered: channels that had not answered, or were not yet connected with the caller.
        joined: callers who were in no queue.
        left: callers who were in a queue.
        moved: channels of transfers and the like, which were somewhere else.
    """

    def __init__(self) -> None:
        self.created: set[str] = set()
        self.hung_up: set[str] = set()
        self.answered: set[str] = set()
        self.joined: set[str] = set()
        self.left: set[str] = set()
        self.moved: set[str] = set()

    def reading(self, messages: Iterable[tuple[AmiMessage, float]]) -> Iterator[None]:
        """Take events, in steps."""
        for number, (message, _) in enumerate(messages, 1):
            self._take(message.name, message.headers)
            if number % _STEP_MESSAGES == 0:
                yield

    def _take(self, name: str, headers: Mapping[str, str]) -> None:
        uniqueid = headers.get("Uniqueid", "")
        if name == "Newchannel":
            self.created.add(uniqueid)
        elif name == "Hangup":
            self.hung_up.add(uniqueid)
        elif name == "DialEnd" and headers.get("DialStatus") == "ANSWER":
            self.answered.add(headers.get("DestUniqueid", ""))
        elif name in _MOVES:
            self.moved |= {value for key, value in headers.items() if key.endswith("Uniqueid") and "Bridge" not in key}
        else:
            self._take_queue(name, headers, uniqueid)

    def _take_queue(self, name: str, headers: Mapping[str, str], uniqueid: str) -> None:
        """Note in which queue a caller was before the first event that tells of it."""
        if name == "QueueCallerJoin" and uniqueid not in self.left:
            self.joined.add(uniqueid)
        elif name in _LEAVES and uniqueid not in self.joined:
            self.left.add(uniqueid)
        if name == "AgentConnect":
            self.answered.add(headers.get("DestUniqueid", ""))
