"""Generates what an Asterisk with many agents sends over its manager interface: consistent calls through queues."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from random import Random

START = 1_796_000_000.0
"""The exchange's time at the first call, in Unix seconds."""

_QUEUES = 10
_QUEUES_PER_AGENT = 2
_RING_SECONDS = (0.4, 1.2)
_TALK_SECONDS = (2.0, 8.0)
_WAIT_SECONDS = 3.0
_ABANDONING = 0.05
_IN_USE, _RINGING, _NOT_IN_USE = 2, 6, 1
_STATE_NAMES = {_IN_USE: "INUSE", _RINGING: "RINGING", _NOT_IN_USE: "NOT_INUSE"}


@dataclass(frozen=True, slots=True)
class SentEvent:
    """One event of the exchange.

    Attributes:
        time: when the exchange sends it, in Unix seconds.
        data: its bytes, with the empty line at its end.
    """

    time: float
    data: bytes


@dataclass(slots=True)
class _Channel:
    """A channel; ``text`` has the headers that describe it in every event."""

    name: str
    unique_id: str
    linked_id: str
    number: str
    person: str
    context: str
    exten: str

    def text(self, state: int, prefix: str = "") -> str:
        description = {0: "Down", 4: "Ring", 5: "Ringing", 6: "Up"}[state]
        return (
            f"{prefix}Channel: {self.name}\r\n{prefix}ChannelState: {state}\r\n"
            f"{prefix}ChannelStateDesc: {description}\r\n{prefix}CallerIDNum: {self.number}\r\n"
            f"{prefix}CallerIDName: {self.person}\r\n{prefix}ConnectedLineNum: <unknown>\r\n"
            f"{prefix}ConnectedLineName: <unknown>\r\n{prefix}Language: en\r\n{prefix}AccountCode: acme\r\n"
            f"{prefix}Context: {self.context}\r\n{prefix}Exten: {self.exten}\r\n{prefix}Priority: 3\r\n"
            f"{prefix}Uniqueid: {self.unique_id}\r\n{prefix}Linkedid: {self.linked_id}\r\n"
        )


class ExchangeEvents:
    """The events of an exchange whose agents take calls of a few seconds, in the order of their times.

    A call arrives, waits in a queue, rings at the agent that has been idle for longest, is answered and ends; one in
    twenty gives up while it rings. The headers are those of Asterisk 22 with ``timestampevents = yes``.

    Args:
        agents: the number of agents.
        calls_per_second: the rate at which calls arrive.
        boot: makes the ids of channels differ from those of another run.
    """

    def __init__(self, agents: int = 500, calls_per_second: float = 50, boot: int = 0) -> None:
        self._random = Random(boot)  # noqa: S311 - a seed must give the same events; nothing depends on secrecy
        self._spacing = 1 / calls_per_second
        self._numbers = count(1)
        self._boot = boot
        self._free_at = [(START, agent) for agent in range(agents)]
        self._waiting: list[tuple[float, int, bytes]] = []
        self._order = count()
        self._arrival = self._sent = START
        self.lists = _queue_lists(agents)

    def calls(self, number: int) -> Iterator[SentEvent]:
        """Yield the events of the next ``number`` calls, until the last of them has ended."""
        for _ in range(number):
            self._start_call(self._arrival)
            self._arrival += self._spacing
            yield from self._due(self._arrival)
        yield from self._due(float("inf"))
        self._arrival = max(self._arrival, self._sent)

    def _due(self, until: float) -> Iterator[SentEvent]:
        while self._waiting and self._waiting[0][0] <= until:
            self._sent, _, data = heapq.heappop(self._waiting)
            yield SentEvent(self._sent, data)

    def _start_call(self, at: float) -> None:
        number = next(self._numbers)
        unique_id = f"{int(START) + self._boot}.{number * 2}"
        queue = f"queue-{number % _QUEUES}"
        caller = _Channel(
            f"PJSIP/trunk-{number * 2:08x}",
            unique_id,
            unique_id,
            f"1555{number % 10_000_000:07}",
            f"Caller {number}",
            "from-trunk",
            str(5_550_800 + number % _QUEUES),
        )
        self._send(at, "Newchannel", caller.text(4))
        self._send(at, "Newstate", caller.text(6))
        self._send(at, "QueueCallerJoin", f"{caller.text(6)}Queue: {queue}\r\nPosition: 1\r\nCount: 1\r\n")
        free_at, agent = self._free_at[0]
        if free_at > at + _WAIT_SECONDS:
            self._give_up(at + _WAIT_SECONDS, caller, queue, _WAIT_SECONDS)
        else:
            heapq.heappop(self._free_at)
            self._ring(max(at, free_at) + 0.01, caller, queue, agent, number)

    def _ring(self, at: float, caller: _Channel, queue: str, agent: int, number: int) -> None:
        device = f"PJSIP/{agent + 1000}"
        unique_id = f"{int(START) + self._boot}.{number * 2 + 1}"
        name = f"{device}-{number * 2 + 1:08x}"
        phone = _Channel(name, unique_id, caller.unique_id, str(agent + 1000), f"Agent {agent}", "internal", "s")
        both = caller.text(6) + phone.text(5, "Dest")
        member = f"Queue: {queue}\r\nInterface: {device}\r\nMemberName: Agent {agent}\r\n"
        self._send(at, "Newchannel", phone.text(0))
        self._send(at, "AgentCalled", both + member)
        self._send(at, "DialBegin", f"{both}DialString: {device}\r\n")
        self._send(at, "Newstate", phone.text(5))
        self._send(at, "NewConnectedLine", phone.text(5))
        self._send(at, "DialState", f"{both}DialStatus: RINGING\r\n")
        self._member_states(at, agent, _RINGING)
        ring = self._random.uniform(*_RING_SECONDS)
        if self._random.random() < _ABANDONING:
            self._send(at + ring, "HangupRequest", caller.text(6))
            self._send(at + ring, "DialEnd", f"{both}DialStatus: CANCEL\r\n")
            self._send(at + ring, "Hangup", f"{phone.text(5)}Cause: 0\r\nCause-txt: Unknown\r\n")
            self._give_up(at + ring, caller, queue, ring)
            self._free(at + ring, agent)
        else:
            self._talk(at + ring, ring, caller, phone, agent, member, queue)

    def _talk(
        self, at: float, ring: float, caller: _Channel, phone: _Channel, agent: int, member: str, queue: str
    ) -> None:
        both = caller.text(6) + phone.text(6, "Dest")
        bridge = f"BridgeUniqueid: bridge-{self._boot}-{phone.unique_id}\r\nBridgeType: basic\r\n"
        bridge += "BridgeTechnology: simple_bridge\r\nBridgeCreator: <unknown>\r\nBridgeName: <unknown>\r\n"
        talk = self._random.uniform(*_TALK_SECONDS)
        self._send(at, "Newstate", phone.text(6))
        self._send(at, "DialEnd", f"{both}DialStatus: ANSWER\r\n")
        self._send(at, "QueueCallerLeave", f"{caller.text(6)}Queue: {queue}\r\nCount: 0\r\nPosition: 1\r\n")
        self._send(at, "AgentConnect", f"{both}{member}RingTime: {ring:.0f}\r\nHoldTime: {ring:.0f}\r\n")
        self._send(at, "BridgeCreate", f"{bridge}BridgeNumChannels: 0\r\n")
        self._send(at, "BridgeEnter", f"{bridge}BridgeNumChannels: 1\r\n{phone.text(6)}")
        self._send(at, "BridgeEnter", f"{bridge}BridgeNumChannels: 2\r\n{caller.text(6)}")
        self._member_states(at, agent, _IN_USE)
        end = at + talk
        self._send(end, "HangupRequest", caller.text(6))
        self._send(end, "BridgeLeave", f"{bridge}BridgeNumChannels: 1\r\n{caller.text(6)}")
        complete = f"HoldTime: {ring:.0f}\r\nTalkTime: {talk:.0f}\r\nReason: caller\r\n"
        self._send(end, "AgentComplete", f"{both}{member}{complete}")
        self._send(end, "BridgeLeave", f"{bridge}BridgeNumChannels: 0\r\n{phone.text(6)}")
        self._send(end, "BridgeDestroy", f"{bridge}BridgeNumChannels: 0\r\n")
        for channel in (caller, phone):
            self._send(end, "Hangup", f"{channel.text(6)}Cause: 16\r\nCause-txt: Normal Clearing\r\n")
        self._free(end, agent)

    def _give_up(self, at: float, caller: _Channel, queue: str, waited: float) -> None:
        place = f"Queue: {queue}\r\nPosition: 1\r\n"
        self._send(at, "HangupRequest", caller.text(6))
        self._send(
            at, "QueueCallerAbandon", f"{caller.text(6)}{place}OriginalPosition: 1\r\nHoldTime: {waited:.0f}\r\n"
        )
        self._send(at, "QueueCallerLeave", f"{caller.text(6)}{place}Count: 0\r\n")
        self._send(at, "Hangup", f"{caller.text(6)}Cause: 0\r\nCause-txt: Unknown\r\n")

    def _free(self, at: float, agent: int) -> None:
        self._member_states(at, agent, _NOT_IN_USE)
        heapq.heappush(self._free_at, (at, agent))

    def _member_states(self, at: float, agent: int, status: int) -> None:
        device = f"PJSIP/{agent + 1000}"
        self._send(at, "DeviceStateChange", f"Device: {device}\r\nState: {_STATE_NAMES[status]}\r\n")
        for queue in _queues_of(agent):
            self._send(at, "QueueMemberStatus", f"Queue: {queue}\r\n{_member_text(agent, status)}")

    def _send(self, at: float, name: str, headers: str) -> None:
        data = f"Event: {name}\r\nPrivilege: call,all\r\nTimestamp: {at:.6f}\r\n{headers}\r\n".encode()
        heapq.heappush(self._waiting, (at, next(self._order), data))


def _queues_of(agent: int) -> list[str]:
    return [f"queue-{(agent + step) % _QUEUES}" for step in range(_QUEUES_PER_AGENT)]


def _member_text(agent: int, status: int) -> str:
    device = f"PJSIP/{agent + 1000}"
    return (
        f"MemberName: Agent {agent}\r\nInterface: {device}\r\nStateInterface: {device}\r\nMembership: static\r\n"
        f"Penalty: 0\r\nCallsTaken: 0\r\nLastCall: 0\r\nLastPause: 0\r\nLoginTime: {START:.0f}\r\nInCall: 0\r\n"
        f"Status: {status}\r\nPaused: 0\r\nPausedReason: \r\nRinginuse: 0\r\nWrapuptime: 0\r\n"
    )


def _queue_lists(agents: int) -> list[str]:
    """Return the items of a QueueStatus list: every queue and member; no caller waits."""
    items = []
    for number in range(_QUEUES):
        queue = f"queue-{number}"
        items.append(
            f"Event: QueueParams\r\nQueue: {queue}\r\nMax: 0\r\nStrategy: rrmemory\r\nCalls: 0\r\nHoldtime: 0\r\n"
            "TalkTime: 0\r\nCompleted: 0\r\nAbandoned: 0\r\nServiceLevel: 0\r\nServicelevelPerf: 0.0\r\n"
            "ServicelevelPerf2: 0.0\r\nWeight: 0\r\n"
        )
        items += [
            f"Event: QueueMember\r\nQueue: {queue}\r\nName: Agent {agent}\r\nLocation: PJSIP/{agent + 1000}\r\n"
            f"{_member_text(agent, _NOT_IN_USE)}"
            for agent in range(agents)
            if queue in _queues_of(agent)
        ]
    return items
