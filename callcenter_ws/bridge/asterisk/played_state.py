"""The state of an exchange that is played: made of its events, and told as the lists of the manager interface."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from callcenter_ws.bridge.asterisk.message import AmiMessage

Headers = dict[str, str]

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
_BRIDGE = (
    "BridgeUniqueid",
    "BridgeType",
    "BridgeTechnology",
    "BridgeCreator",
    "BridgeName",
    "BridgeNumChannels",
    "BridgeVideoSourceMode",
)
_MEMBER = (
    "StateInterface",
    "Membership",
    "Penalty",
    "CallsTaken",
    "LastCall",
    "LastPause",
    "LoginTime",
    "InCall",
    "Status",
    "Paused",
    "PausedReason",
    "Wrapuptime",
)
_ABSENT = "<unknown>"


class PlayedState:
    """What the exchange would answer about its channels, bridges and queues.

    Asterisk's lists and events have the same headers, but for some of members and callers.
    """

    def __init__(self) -> None:
        self._channels: dict[str, Headers] = {}
        self._since: dict[str, float] = {}
        self._bridges: dict[str, Headers] = {}
        self._bridge_of: dict[str, str] = {}
        self._dialed: set[str] = set()
        self._applications: dict[str, tuple[str, str]] = {}
        self._queues: dict[str, Headers] = {}
        self._members: dict[tuple[str, str], Headers] = {}
        self._entries: dict[tuple[str, str], tuple[Headers, float]] = {}

    def introduce_members(self, messages: Iterable[AmiMessage]) -> None:
        """Add the members that later events mention but do not add: they were there before, and free."""
        seen: set[tuple[str, str]] = set()
        for message in messages:
            key = message.get("Queue"), message.get("Interface") or message.get("Location")
            if not all(key) or not message.name.startswith("QueueMember") or key in seen:
                continue
            seen.add(key)
            if message.name != "QueueMemberAdded":
                paused = message.get("Paused") == "1"
                was_paused = paused is not (message.name == "QueueMemberPause")
                self._set_member(message, {"Status": "1", "InCall": "0", "Paused": str(int(was_paused))})

    def take(self, message: AmiMessage, time: float) -> None:
        """Change the state by an event."""
        name, uniqueid = message.name, message.get("Uniqueid")
        if name == "Hangup":
            self._channels.pop(uniqueid, None)
            self._since.pop(uniqueid, None)
            self._bridge_of.pop(uniqueid, None)
            self._dialed.discard(uniqueid)
            self._applications.pop(uniqueid, None)
        elif uniqueid and (uniqueid in self._channels or name == "Newchannel"):
            self._channels[uniqueid] = _chosen(message, _CHANNEL)
            self._since.setdefault(uniqueid, time)
        if name == "DialBegin":
            self._dialed.add(message.get("DestUniqueid"))
            self._applications.setdefault(uniqueid, ("Dial", ""))
        if name.startswith("Bridge"):
            self._take_bridge(message, uniqueid)
        elif name.startswith("Queue"):
            self._take_queue(message, uniqueid, time)

    def lists(self, action: str, time: float) -> Iterator[Headers]:
        """Yield the items of the list that an action asks for."""
        if action == "QueueStatus":
            yield from self._queue_status(time)
        elif action == "CoreShowChannels":
            for uniqueid, channel in self._channels.items():
                yield {"Event": "CoreShowChannel", **channel, **self._application(uniqueid, time)}
        elif action == "BridgeList":
            for bridge in self._bridges.values():
                yield {"Event": "BridgeListItem", **bridge}

    @property
    def queue_names(self) -> tuple[str, ...]:
        """The names of the queues."""
        return tuple(dict.fromkeys((*self._queues, *(queue for queue, _ in (*self._members, *self._entries)))))

    def member(self, queue: str, interface: str) -> Headers | None:
        """Return a member as its events tell of it; None if there is none."""
        listed = self._members.get((queue, interface))
        if listed is None:
            return None
        others = {key: value for key, value in listed.items() if key not in ("Name", "Location", "Queue")}
        return {"Queue": queue, "MemberName": listed["Name"], "Interface": interface, **others, "Ringinuse": "0"}

    @property
    def call_count(self) -> int:
        """The number of channels."""
        return len(self._channels)

    def _take_bridge(self, message: AmiMessage, uniqueid: str) -> None:
        bridge = message.get("BridgeUniqueid")
        if message.name == "BridgeDestroy":
            self._bridges.pop(bridge, None)
        elif bridge:
            self._bridges[bridge] = _chosen(message, _BRIDGE)
        if message.name == "BridgeEnter":
            self._bridge_of[uniqueid] = bridge
        elif message.name == "BridgeLeave":
            self._bridge_of.pop(uniqueid, None)

    def _take_queue(self, message: AmiMessage, uniqueid: str, time: float) -> None:
        queue, interface = message.get("Queue"), message.get("Interface")
        if message.name == "QueueParams":
            self._queues[queue] = dict(message.headers)
        elif message.name == "QueueCallerJoin":
            self._entries[queue, uniqueid] = _chosen(message, _CHANNEL), time
            # Also while it talks with a member.
            self._applications[uniqueid] = "Queue", f"{queue},tT,,,60"
        elif message.name in ("QueueCallerLeave", "QueueCallerAbandon"):
            self._entries.pop((queue, uniqueid), None)
        elif message.name == "QueueMemberRemoved":
            self._members.pop((queue, interface), None)
        elif message.name.startswith("QueueMember") and (interface or message.get("Location")):
            self._set_member(message, {})

    def _set_member(self, message: AmiMessage, changes: Mapping[str, str]) -> None:
        queue = message.get("Queue")
        interface = message.get("Interface") or message.get("Location")
        name = message.get("MemberName") or message.get("Name")
        head = {"Queue": queue, "Name": name, "Location": interface}
        self._members[queue, interface] = {**head, **{key: message.get(key) for key in _MEMBER}, **changes}

    def _queue_status(self, time: float) -> Iterator[Headers]:
        names = {**self._queues, **{queue: {} for queue, _ in (*self._members, *self._entries)}}
        for queue in names:
            entries = [(uniqueid, *found) for (own, uniqueid), found in self._entries.items() if own == queue]
            known = self._queues.get(queue, {"Queue": queue, "Max": "0", "Strategy": "ringall"})
            yield {**known, "Event": "QueueParams", "Calls": str(len(entries))}
            for (own, _), member in self._members.items():
                if own == queue:
                    yield {"Event": "QueueMember", **member}
            for position, (uniqueid, channel, since) in enumerate(entries, 1):
                # Asterisk writes it differently here.
                texts = {name: "unknown" if value == _ABSENT else value for name, value in channel.items()}
                yield {
                    "Event": "QueueEntry",
                    "Queue": queue,
                    "Position": str(position),
                    "Channel": texts["Channel"],
                    "Uniqueid": uniqueid,
                    **{name: texts[name] for name in _CHANNEL[3:7]},
                    "Wait": str(int(max(0.0, time - since))),
                    "Priority": "0",
                }

    def _application(self, uniqueid: str, time: float) -> Headers:
        kind, data = self._applications.get(uniqueid, ("Playback", "hello"))
        if uniqueid in self._dialed:
            kind, data = "AppDial", "(Outgoing Line)"
        seconds = int(max(0.0, time - self._since.get(uniqueid, time)))
        return {
            "Application": kind,
            "ApplicationData": data,
            "Duration": f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}",
            "BridgeId": self._bridge_of.get(uniqueid, ""),
        }


def _chosen(message: AmiMessage, names: Iterable[str]) -> Headers:
    """Return some headers, those without a value as Asterisk writes them."""
    return {name: message.get(name) or (_ABSENT if "Line" in name or "CallerID" in name else "") for name in names}
