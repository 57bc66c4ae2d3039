"""What an exchange would list at a moment: its channels, bridges, queues, members and waiting callers.

It follows the events that the exchange sends, so that a bridge which connects at any time gets lists that fit them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_CHANNEL = (
    "Channel",
    "ChannelState",
    "ChannelStateDesc",
    "CallerIDNum",
    "CallerIDName",
    "ConnectedLineNum",
    "ConnectedLineName",
    "Language",
    "AccountCode",
    "Context",
    "Exten",
    "Priority",
    "Uniqueid",
    "Linkedid",
)
_BRIDGE = ("BridgeUniqueid", "BridgeType", "BridgeTechnology", "BridgeCreator", "BridgeName", "BridgeVideoSourceMode")
_MEMBER_STATE = ("CallsTaken", "LastCall", "LastPause", "InCall", "Status", "Paused", "PausedReason")

Headers = Mapping[str, str]


@dataclass(slots=True)
class _Channel:
    headers: dict[str, str]
    since: float
    bridge: str = ""


@dataclass(slots=True)
class _Entry:
    channel: str
    since: float


@dataclass(slots=True)
class _Queue:
    params: dict[str, str]
    members: dict[str, dict[str, str]] = field(default_factory=dict)
    entries: dict[str, _Entry] = field(default_factory=dict)


class ExchangeState:
    """Follows an exchange.

    Args:
        queue_items: its queues and members, as items of the answer to ``QueueStatus``.
    """

    def __init__(self, queue_items: Sequence[str]) -> None:
        self._channels: dict[str, _Channel] = {}
        self._bridges: dict[str, dict[str, str]] = {}
        self._queues: dict[str, _Queue] = {}
        for item in map(parse, queue_items):
            if item["Event"] == "QueueParams":
                self._queues[item["Queue"]] = _Queue(item)
            else:
                self._queues[item["Queue"]].members[item["Location"]] = item
        self._changes: Mapping[str, Callable[[Headers, float], None]] = {
            "Hangup": self._hang_up,
            "BridgeCreate": self._create_bridge,
            "BridgeDestroy": self._destroy_bridge,
            "BridgeEnter": self._enter_bridge,
            "BridgeLeave": self._leave_bridge,
            "QueueCallerJoin": self._join_queue,
            "QueueCallerLeave": self._leave_queue,
            "QueueMemberStatus": self._change_member,
            "QueueMemberPause": self._change_member,
        }

    def apply(self, headers: Headers, time: float) -> None:
        """Follow one event."""
        for prefix in ("", "Dest"):
            # An event about a channel that has hung up may follow, as AgentComplete.
            if f"{prefix}Uniqueid" in headers and f"{prefix}Channel" in headers:
                self._see_channel(headers, prefix, time)
        change = self._changes.get(headers["Event"])
        if change is not None:
            change(headers, time)

    @property
    def call_count(self) -> int:
        """The number of calls: of different ``Linkedid`` among the channels."""
        return len({channel.headers["Linkedid"] for channel in self._channels.values()})

    def list_channels(self, time: float) -> list[str]:
        """Return the items of the answer to ``CoreShowChannels``."""
        return [
            encode(
                {
                    "Event": "CoreShowChannel",
                    **channel.headers,
                    "Application": "",
                    "ApplicationData": "",
                    "Duration": _clock(time - channel.since),
                    "BridgeId": channel.bridge,
                }
            )
            for channel in self._channels.values()
        ]

    def list_bridges(self) -> list[str]:
        """Return the items of the answer to ``BridgeList``."""
        return [encode({"Event": "BridgeListItem", **bridge}) for bridge in self._bridges.values()]

    def list_queues(self, time: float) -> list[str]:
        """Return the items of the answer to ``QueueStatus``."""
        return [encode(item) for queue in self._queues.values() for item in self._list_queue(queue, time)]

    def _list_queue(self, queue: _Queue, time: float) -> Iterator[Headers]:
        yield {**queue.params, "Calls": str(len(queue.entries))}
        yield from queue.members.values()
        for position, (unique_id, entry) in enumerate(queue.entries.items(), 1):
            channel = self._channels.get(unique_id)
            if channel is not None:
                yield {
                    "Event": "QueueEntry",
                    "Queue": queue.params["Queue"],
                    "Position": str(position),
                    "Channel": entry.channel,
                    "Uniqueid": unique_id,
                    "CallerIDNum": channel.headers["CallerIDNum"],
                    "CallerIDName": channel.headers["CallerIDName"],
                    "ConnectedLineNum": "unknown",
                    "ConnectedLineName": "unknown",
                    "Wait": str(int(time - entry.since)),
                    "Priority": "0",
                }

    def _see_channel(self, headers: Headers, prefix: str, time: float) -> None:
        unique_id = headers[f"{prefix}Uniqueid"]
        seen = {name: headers.get(prefix + name, "") for name in _CHANNEL}
        known = self._channels.get(unique_id)
        if known is not None:
            known.headers = seen
        elif headers["Event"] == "Newchannel":
            self._channels[unique_id] = _Channel(seen, time)

    def _hang_up(self, headers: Headers, time: float) -> None:
        self._channels.pop(headers["Uniqueid"], None)

    def _create_bridge(self, headers: Headers, time: float) -> None:
        self._bridges[headers["BridgeUniqueid"]] = {name: headers.get(name, "") for name in _BRIDGE}

    def _destroy_bridge(self, headers: Headers, time: float) -> None:
        self._bridges.pop(headers["BridgeUniqueid"], None)

    def _enter_bridge(self, headers: Headers, time: float) -> None:
        self._set_bridge(headers, headers["BridgeUniqueid"])

    def _leave_bridge(self, headers: Headers, time: float) -> None:
        self._set_bridge(headers, "")

    def _set_bridge(self, headers: Headers, bridge: str) -> None:
        channel = self._channels.get(headers["Uniqueid"])
        if channel is not None:
            channel.bridge = bridge
        known = self._bridges.get(headers["BridgeUniqueid"])
        if known is not None:
            known["BridgeNumChannels"] = headers["BridgeNumChannels"]

    def _join_queue(self, headers: Headers, time: float) -> None:
        entries = self._queues[headers["Queue"]].entries
        entries[headers["Uniqueid"]] = _Entry(headers["Channel"], time)

    def _leave_queue(self, headers: Headers, time: float) -> None:
        self._queues[headers["Queue"]].entries.pop(headers["Uniqueid"], None)

    def _change_member(self, headers: Headers, time: float) -> None:
        member = self._queues[headers["Queue"]].members.get(headers["Interface"])
        if member is not None:
            member.update({name: headers[name] for name in _MEMBER_STATE if name in headers})


def parse(text: str) -> dict[str, str]:
    """Return the headers of a message."""
    return dict(line.partition(": ")[::2] for line in text.split("\r\n") if line)


def encode(headers: Headers) -> str:
    """Return the text of a message, each header with CR LF."""
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _clock(seconds: float) -> str:
    minutes, second = divmod(int(max(0, seconds)), 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{second:02}"
