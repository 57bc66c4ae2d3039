"""What the lists of one Asterisk show: its channels, which of them talk with each other, and who waits in queues."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.call import Stay

_UP, _RINGING = "6", "5"
_DIALED = "(Outgoing Line)"
_NO_TALK = ("Parking", "AgentPool", "BridgeWait", "ConfBridge")
"""Creators of bridges in which callers wait, or meet as in a conference."""

_DIALING = ("Dial", "Queue", "FollowMe", "AgentRequest", "Bridge")
"""Applications with which the dialplan connects a channel with another one."""

_MAX_DURATION_SECONDS = 30 * 86_400

STEP_CHANNELS = 200
"""Channels of which one thing is found out in one step."""


@dataclass(slots=True)
class ListedChannel:
    """An item of CoreShowChannels.

    Attributes:
        since: when it began, in Unix seconds.
        is_dialed: whether the exchange called it, instead of being called by it.
        is_up, is_ringing: its state.
        queue: the queue that its dialplan entered; also while it talks.
        bridge: the bridge that it is in; empty: none.
        variables: those that the exchange shows, as texts ``NAME=value``.
    """

    headers: Mapping[str, str]
    uniqueid: str
    linkedid: str
    name: str
    since: float
    is_dialed: bool
    is_up: bool
    is_ringing: bool
    queue: str
    bridge: str
    variables: Sequence[str] = ()

    @classmethod
    def read(cls, message: AmiMessage, time: float) -> ListedChannel:
        """Return the channel of a message.

        Args:
            time: of the list.
        """
        headers = message.headers
        state, data = headers.get("ChannelState", ""), headers.get("ApplicationData", "")
        return cls(
            headers,
            uniqueid=headers.get("Uniqueid", ""),
            linkedid=headers.get("Linkedid", "") or headers.get("Uniqueid", ""),
            name=headers.get("Channel", ""),
            since=time - _seconds(headers.get("Duration", "")),
            is_dialed=data == _DIALED,
            is_up=state == _UP,
            is_ringing=state == _RINGING,
            queue=data.partition(",")[0] if headers.get("Application") == "Queue" else "",
            bridge=headers.get("BridgeId", ""),
            variables=message.all("ChanVariable"),
        )

    @property
    def is_local(self) -> bool:
        """Whether it is a half of a Local channel."""
        return self.name.startswith("Local/")

    @property
    def other_half(self) -> str:
        """The name of the other half of a Local channel."""
        return f"{self.name[:-1]}{'2' if self.name.endswith(';1') else '1'}"


def _seconds(duration: str) -> float:
    try:
        hours, minutes, seconds = (int(part) for part in duration.split(":"))
    except ValueError:
        return 0.0
    return min(max(0, hours * 3600 + minutes * 60 + seconds), _MAX_DURATION_SECONDS)


class Conversations:
    """Which channels hear each other: those in one bridge, and those behind the halves of Local channels.

    Args:
        bridges: the items of BridgeList.
        apart: channels that count as in no bridge.
    """

    def __init__(self, bridges: Iterable[AmiMessage], apart: Iterable[str] = ()) -> None:
        self._silent = {message.get("BridgeUniqueid") for message in bridges if not _is_conversation(message)}
        self._apart = set(apart)
        self._parents: dict[str, str] = {}
        self._phones: dict[str, list[ListedChannel]] = {}
        self.in_bridge: dict[str, list[ListedChannel]] = {}
        self._by_name: dict[str, ListedChannel] = {}

    def taking_in(self, channels: Collection[ListedChannel]) -> Iterator[None]:
        """Take in all channels, in steps."""
        self._by_name = {channel.name: channel for channel in channels}
        for number, channel in enumerate(self._by_name.values(), 1):
            if number % STEP_CHANNELS == 0:
                yield
            if bridge := self.bridge_of(channel):
                self._join(channel.uniqueid, f"bridge {bridge}")
                self.in_bridge.setdefault(bridge, []).append(channel)
            if channel.is_local and (other := self._by_name.get(channel.other_half)) is not None:
                self._join(channel.uniqueid, other.uniqueid)
        for number, channel in enumerate(self._by_name.values(), 1):
            if number % STEP_CHANNELS == 0:
                yield
            if not channel.is_local:
                self._phones.setdefault(self._root(channel.uniqueid), []).append(channel)

    def bridge_of(self, channel: ListedChannel) -> str:
        """Return the bridge in which a channel talks; empty: none."""
        return "" if channel.bridge in self._silent or channel.uniqueid in self._apart else channel.bridge

    def talks(self, channel: ListedChannel) -> bool:
        """Return whether a channel is connected with another phone, or with what a Local channel leads to."""
        if not channel.is_up or not (bridge := self.bridge_of(channel)):
            return False
        if channel.is_local:
            return self._is_robot(channel) and any(not other.is_local for other in self.in_bridge.get(bridge, ()))
        # A damaged list may have two channels of one name, of which only one is looked at.
        phones = self._phones.get(self._root(channel.uniqueid), ())
        return len(phones) > 1 or any(
            other.is_local and self._is_robot(other) for other in self.in_bridge.get(bridge, ())
        )

    def _is_robot(self, channel: ListedChannel) -> bool:
        """Return whether a half of a Local channel leads to the dialplan, instead of to a phone."""
        other = self._by_name.get(channel.other_half)
        if other is None or self.bridge_of(other) or not other.is_up or other.is_dialed:
            return False
        return other.headers.get("Application", "") not in _DIALING

    def _join(self, one: str, other: str) -> None:
        self._parents[self._root(one)] = self._root(other)

    def _root(self, node: str) -> str:
        parents = self._parents
        while (parent := parents.setdefault(node, node)) != node:
            parents[node] = parents[parent]
            node = parent
        return node


def _is_conversation(bridge: AmiMessage) -> bool:
    technology, creator = bridge.get("BridgeTechnology"), bridge.get("BridgeCreator")
    return technology != "holding_bridge" and creator not in _NO_TALK


def read_stays(entries: Iterable[AmiMessage], time: float) -> dict[str, Stay]:
    """Return who waits in queues, by the caller's Uniqueid.

    Args:
        time: of the list.
    """
    found = {}
    for entry in entries:
        wait, position = entry.get("Wait"), entry.get("Position")
        since = time - (int(wait) if wait.isascii() and wait.isdigit() and len(wait) < 8 else 0)
        place = int(position) if position.isascii() and position.isdigit() and len(position) < 8 else 1
        found[entry.get("Uniqueid")] = Stay(entry.get("Queue"), since, place)
    return found
