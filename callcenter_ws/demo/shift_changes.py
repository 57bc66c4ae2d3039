"""What actions change in a shift that is played: members that are paused, and calls that are hung up.

A recording cannot answer what would have happened otherwise. So a call can be hung up when nothing but its end is still
to come: that is played at once. A member that was paused by an action is unpaused before a recorded call rings at it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from callcenter_ws.bridge.asterisk.framing import parse_block
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.played_events import PlayedEvent
from callcenter_ws.bridge.asterisk.player import AmiPlayer

_GOES_ON = frozenset(
    {
        *("Newchannel", "DialBegin", "AgentCalled", "AgentConnect", "BridgeEnter", "QueueCallerJoin"),
        *("BlindTransfer", "AttendedTransfer"),
    }
)
"""Events after which a call is another one than it is now."""

_NOT_OF_THE_END = frozenset({"Hold", "Unhold", "NewConnectedLine", "HangupRequest"})
_DEVICE_SECONDS = 0.3
"""For how long after the end of a call the changed states of its devices are told."""

_ID = re.compile(r"^(\d+)(\.\d+)$")
_MEMBER_HEADERS = ("Paused", "PausedReason", "LastPause")


class ShiftChanges:
    """Plays rounds of a shift, and what actions make of them.

    Args:
        events: those of a round.
    """

    def __init__(self, player: AmiPlayer, events: Sequence[PlayedEvent]) -> None:
        self._player = player
        self._events = events
        self._epoch = self._position = 0
        # Numbers of events that are not played, because the end of their call was played already.
        self._left_out: set[int] = set()
        self._connected: dict[str, float] = {}
        # Whether members are paused by the recording.
        self._paused: dict[tuple[str, str], str] = {}
        player.hang_up = self.hang_up

    def begin(self, epoch: int) -> None:
        """Begin a round, whose ids are those of the recording and ``epoch`` seconds more."""
        self._epoch, self._position = epoch, 0
        self._left_out.clear()
        self._connected.clear()

    def play(self, number: int) -> None:
        """Send an event of the round."""
        self._position = number + 1
        if number in self._left_out:
            return
        event = self._now(number)
        for one in self._changed(event):
            self._player.send(one)

    def _now(self, number: int) -> PlayedEvent:
        return self._events[number].moved(self._player.clock.time(), self._epoch)

    # Members

    def _changed(self, event: PlayedEvent) -> Iterator[PlayedEvent]:
        message = event.message
        if message.name == "QueueMemberPause":
            yield from self._recorded_pause(event)
            return
        if message.name == "QueueMemberStatus":
            member = self._player.state.member(message.get("Queue"), message.get("Interface"))
            if member is not None:
                event = _with(event, {name: member[name] for name in _MEMBER_HEADERS})
        elif message.name == "AgentCalled":
            yield from self._end_pause(message)
        elif message.name == "AgentConnect":
            self._connected[message.get("Uniqueid")] = self._player.clock.monotonic()
        yield event

    def _recorded_pause(self, event: PlayedEvent) -> Iterator[PlayedEvent]:
        """Yield a recorded pause or its end, unless an action has changed what was recorded before."""
        key = event.message.get("Queue"), event.message.get("Interface")
        before, self._paused[key] = self._paused.get(key, "0"), event.message.get("Paused")
        member = self._player.state.member(*key)
        if member is None or member["Paused"] == before:
            yield event

    def _end_pause(self, message: AmiMessage) -> Iterator[PlayedEvent]:
        member = self._player.state.member(message.get("Queue"), message.get("Interface"))
        if member is not None and member["Paused"] == "1":
            head = {"Event": "QueueMemberPause", "Privilege": "agent,all", "Timestamp": self._timestamp()}
            yield _event({**head, **member, "Paused": "0", "PausedReason": ""}, self._player.clock.time())

    def _timestamp(self) -> str:
        return f"{self._player.clock.time():.6f}"

    # Calls

    def hang_up(self, channel: str) -> str | None:
        """Play the end of the call of a channel now; return why that is impossible."""
        listed = self._player.state.lists("CoreShowChannels", self._player.clock.time())
        found = next((one for one in listed if one["Channel"] == channel), None)
        if found is None:
            return "No such channel"
        rest = self._rest(self._recorded_id(found["Linkedid"]))
        names = {self._events[number].message.name for number in rest}
        if not _GOES_ON.isdisjoint(names) or "Hangup" not in names:
            return "The recorded call goes on: it cannot be hung up now"
        self._left_out.update(rest)
        request = {"Event": "SoftHangupRequest", "Privilege": "call,all", "Timestamp": self._timestamp()}
        request |= {name: value for name, value in found.items() if name not in ("Event", "BridgeId", "Duration")}
        self._player.send(_event({**request, "Cause": "16"}, self._player.clock.time()))
        for number in rest:
            self._play_end(number, channel)
        return None

    def _recorded_id(self, live: str) -> str:
        found = _ID.match(live)
        return live if found is None else f"{int(found[1]) - self._epoch}{found[2]}"

    def _rest(self, linkedid: str) -> list[int]:
        """Return the numbers of the events of a call that are still to come, with those of its devices at its end."""
        numbers = [number for number in self._to_come() if self._events[number].message.get("Linkedid") == linkedid]
        left = [self._events[number].message for number in numbers]
        bridges = {message.get("BridgeUniqueid") for message in left} - {""}
        devices = {message.get("Channel").rpartition("-")[0] for message in left if message.name == "Hangup"}
        if not numbers:
            return []
        end = self._events[numbers[-1]].time + _DEVICE_SECONDS
        # From the moment at which the first of the channels is left.
        ends = [number for number in numbers if self._events[number].message.name in ("BridgeLeave", "Hangup")]
        begin = self._events[ends[0] if ends else numbers[-1]].time - _DEVICE_SECONDS
        for number in self._to_come():
            event = self._events[number]
            message, is_near = event.message, begin <= event.time <= end
            of_bridge = message.name == "BridgeDestroy" and message.get("BridgeUniqueid") in bridges
            if of_bridge or (is_near and (message.get("Device") or message.get("Interface")) in devices):
                numbers.append(number)
        return sorted(set(numbers))

    def _to_come(self) -> Iterator[int]:
        return (number for number in range(self._position, len(self._events)) if number not in self._left_out)

    def _play_end(self, number: int, channel: str) -> None:
        event = self._now(number)
        message = event.message
        if message.name in _NOT_OF_THE_END:
            return
        if message.name == "AgentComplete":
            now = self._player.clock.monotonic()
            talked = now - self._connected.get(message.get("Uniqueid"), now)
            reason = "agent" if message.get("DestChannel") == channel else "caller"
            event = _with(event, {"TalkTime": str(int(talked)), "Reason": reason})
        for one in self._changed(event):
            self._player.send(one)


def _with(event: PlayedEvent, headers: dict[str, str]) -> PlayedEvent:
    """Return an event with other values of some headers that it has."""
    block = event.block
    for name, value in headers.items():
        line = f"{name}: {value}".encode().replace(b"\\", rb"\\")
        block = re.sub(rb"^" + name.encode() + rb":[^\r\n]*", line, block, flags=re.MULTILINE)
    return PlayedEvent(event.time, block, parse_block(block))


def _event(headers: dict[str, str], time: float) -> PlayedEvent:
    block = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode() + b"\r\n"
    return PlayedEvent(time, block, parse_block(block))
