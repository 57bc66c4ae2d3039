"""An Asterisk of which the test says each event, and a state machine that translates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from asterisk_captures import SETTINGS
from msgspec import structs

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import SourceSettings

START = 1_800_000_000.0


class CallsWorld:
    """One exchange. Events are about channels that are named by short keys.

    Attributes:
        time: of the next event.
        events: what was told.
    """

    def __init__(self, settings: SourceSettings = SETTINGS, records: Mapping[str, bytes] | None = None) -> None:
        self.time = START
        self.events: list[BridgeEvent] = []
        self.records: dict[str, bytes] = dict(records or {})
        self.machine = AsteriskMachine(settings, self.records)
        self.machine.agents.resume(START)
        self._channels: dict[str, dict[str, str]] = {}
        self._next = 1

    # Events

    def send(self, name: str, *, after: float = 0.01, stamped: float | None = None, **headers: str) -> None:
        """Let the exchange send an event.

        Args:
            after: seconds after the one before.
            stamped: its ``Timestamp``; None: it has none.
        """
        self.time += after
        if stamped is not None:
            headers["Timestamp"] = f"{stamped:.6f}"
        self.machine.handle(AmiMessage(headers, {}, name, ""), self.time)
        self.take()

    def receive(self, name: str, repeated: Mapping[str, Sequence[str]], **headers: str) -> None:
        """Let the exchange send an event with headers that are repeated."""
        self.time += 0.01
        first = {header: values[0] for header, values in repeated.items()}
        self.machine.handle(AmiMessage({**headers, **first}, repeated, name, ""), self.time)
        self.take()

    def take(self) -> None:
        """Take what the machine has to send."""
        unit = self.machine.take()
        self.events.extend(unit.events)
        for key, record in unit.records.items():
            if record is None:
                self.records.pop(key, None)
            else:
                self.records[key] = record

    def wait(self, seconds: float) -> None:
        """Let time pass without an event."""
        self.time += seconds
        self.machine.advance(self.time)
        self.take()

    def channel(self, key: str, prefix: str = "") -> dict[str, str]:
        """Return the headers about a channel."""
        return {f"{prefix}{name}": value for name, value in self._channels[key].items()}

    def new(self, key: str, name: str, of: str = "", state: str = "4", **more: str) -> None:
        """Begin a channel.

        Args:
            of: the channel whose call it belongs to; empty: it begins one.
        """
        uniqueid = f"1800000000.{self._next}"
        self._next += 1
        context = "from-trunk-acme" if "trunk" in name else "internal"
        self._channels[key] = {
            "Channel": name,
            "ChannelState": state,
            "CallerIDNum": name.partition("/")[2].partition("-")[0],
            "CallerIDName": "",
            "Context": context,
            "Exten": "5550800" if "trunk" in name else "s",
            "AccountCode": "acme",
            "Uniqueid": uniqueid,
            "Linkedid": self._channels[of]["Linkedid"] if of else uniqueid,
            **more,
        }
        self.send("Newchannel", **self.channel(key))

    def caller(self, key: str = "caller", name: str = "PJSIP/trunk-acme-00000001", **more: str) -> None:
        """Begin a call from outside."""
        self.new(key, name, CallerIDNum="15550101", CallerIDName="Zed", **more)

    def dial(self, source: str, key: str, name: str, **more: str) -> None:
        """Let a channel call a phone, which rings."""
        self.new(key, name, source, "0", **more)
        self.both("DialBegin", source, key)
        self.both("DialState", source, key, DialStatus="RINGING")

    def local(self, source: str, key: str, name: str, number: int = 1) -> None:
        """Let a channel dial a Local channel, whose halves are ``key;1`` and ``key;2``."""
        self.new(f"{key};1", f"Local/{name}-0000000{number};1", source, "0")
        self.new(f"{key};2", f"Local/{name}-0000000{number};2", source, "4")
        if source:
            self.both("DialBegin", source, f"{key};1")

    def both(self, event: str, source: str, target: str, **more: str) -> None:
        """Send an event about two channels."""
        self.send(event, **self.channel(source), **self.channel(target, "Dest"), **more)

    def one(self, event: str, key: str, after: float = 0.01, **more: str) -> None:
        """Send an event about one channel."""
        self.send(event, after=after, **(self.channel(key) | more))

    def answer(self, source: str, key: str) -> None:
        """Let a phone answer."""
        self.both("DialEnd", source, key, DialStatus="ANSWER")

    def hang_up(self, key: str, cause: str = "16", *, requested: bool = False) -> None:
        """End a channel.

        Args:
            requested: its far end hung up.
        """
        if requested:
            self.one("HangupRequest", key)
        self.one("Hangup", key, Cause=cause)

    # Queues

    def join(self, key: str = "caller", queue: str = "support", position: int = 1) -> None:
        """Let a caller join a queue."""
        self.one("QueueCallerJoin", key, Queue=queue, Position=str(position), Count=str(position))

    def call_member(self, source: str, key: str, name: str, queue: str = "support", interface: str = "") -> None:
        """Let a queue call a member's phone, which rings."""
        self.new(key, name, source, "0")
        self.member_called(source, key, queue, interface or name.rpartition("-")[0])
        self.both("DialBegin", source, key)
        self.both("DialState", source, key, DialStatus="RINGING")

    def member_called(self, source: str, key: str, queue: str, interface: str) -> None:
        """Let a queue tell that it calls a member."""
        self.both("AgentCalled", source, key, Queue=queue, Interface=interface)

    def connect(self, source: str, key: str, queue: str = "support", interface: str = "") -> None:
        """Let a queue connect a member that has answered."""
        self.one("QueueCallerLeave", source, Queue=queue, Position="1")
        interface = interface or self._channels[key]["Channel"].rpartition("-")[0]
        self.both("AgentConnect", source, key, Queue=queue, Interface=interface)

    def serve(self, source: str = "caller", key: str = "phone", name: str = "PJSIP/201-00000002") -> None:
        """Let a caller join a queue, whose member answers at once."""
        self.join(source)
        self.call_member(source, key, name)
        self.answer(source, key)
        self.connect(source, key)

    # What was told

    def told(self, *types: str) -> list[str]:
        """Return the types of what was told of calls and of stays in queues; only some types if named."""
        names = [event.type for event in self.events if event.type.startswith(("call.", "queue.joined", "queue.left"))]
        return [name for name in names if name in types] if types else names

    def payloads(self, type_: str) -> list[Mapping[str, Any]]:  # Any: a payload's fields have different types
        """Return the payloads of a type."""
        return [event.payload for event in self.events if event.type == type_]

    def one_payload(self, type_: str) -> Mapping[str, Any]:  # Any: a payload's fields have different types
        """Return the payload of the only event of a type."""
        (payload,) = self.payloads(type_)
        return payload

    def agents(self, type_: str) -> list[str]:
        """Return the agents of a type's events."""
        return [str(payload.get("agent_id")) for payload in self.payloads(type_)]

    def check(self, *, is_idle: bool = True) -> None:
        """Check the laws, and that nothing is left behind if nothing goes on."""
        assert [str(breach) for breach in breaches(self.events, is_idle=is_idle)] == []
        if is_idle:
            assert not self.machine.calls.book.calls
            assert not [key for key in self.records if key.startswith("call/")]


def with_settings(**changes: Any) -> SourceSettings:  # Any: the values of settings
    """Return the settings of the tests with changes."""
    return structs.replace(SETTINGS, **changes)
