"""Comparisons with the lists of a large exchange are made in small steps, and what they find is stored step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from asterisk_captures import SETTINGS
from listed_exchange import BOOT

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent

CALLS = 400
TIME = 1_795_990_000.0
LARGEST_UNIT = 200
"""Events that are stored together at most; far less than half of the smallest ``gateway.buffer``."""


def channel(call: int, number: int = 0, *, rings: bool = False) -> AmiMessage:
    """Return a listed channel: the caller's, or that of an agent's phone."""
    root = f"17959{call:05d}.1"
    is_caller = number == 0
    headers = {
        "Event": "CoreShowChannel",
        "Channel": f"PJSIP/trunk-acme-{call:08x}" if is_caller else f"PJSIP/{call:04d}{number:03d}-{call:08x}",
        "ChannelState": "5" if rings and not is_caller else "6",
        "CallerIDNum": "15551234567",
        "AccountCode": "acme",
        "Context": "from-trunk-acme" if is_caller else "internal",
        "Exten": "5550800",
        "Uniqueid": root if is_caller else f"17959{call:05d}.{number + 1}",
        "Linkedid": root,
        "Application": "Queue" if is_caller else "AppQueue",
        "ApplicationData": "support,tT" if is_caller else "(Outgoing Line)",
        "Duration": "00:01:00",
        "BridgeId": "" if rings else f"bridge-{call}",
    }
    return AmiMessage(headers, {}, headers["Event"], "")


def lists(channels: Sequence[AmiMessage], entries: Sequence[AmiMessage] = (), boot: str = BOOT) -> AmiSnapshot:
    return AmiSnapshot(boot, "22.10.1", channels, (), (), (), entries)


TALKING = lists([channel(call, number) for call in range(CALLS) for number in (0, 1)])


class Store:
    """What a machine has told, unit by unit, and the records that were stored with it."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.units: list[tuple[BridgeEvent, ...]] = []

    @property
    def events(self) -> list[BridgeEvent]:
        return [event for unit in self.units for event in unit]

    def take(self, machine: AsteriskMachine) -> None:
        unit = machine.take()
        self.units.append(unit.events)
        for key, value in unit.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value

    def compare(self, machine: AsteriskMachine, steps: Iterator[None], stop_after: int | None = None) -> None:
        """Make the steps, and store what each finds; stop when the bridge has stored so many units."""
        for number, _ in enumerate(steps):
            self.take(machine)
            if number == stop_after:
                return
        self.take(machine)


def types(events: Sequence[BridgeEvent]) -> dict[str, int]:
    found: dict[str, int] = {}
    for event in events:
        if event.type.startswith(("call.", "queue.left")):
            found[event.type] = found.get(event.type, 0) + 1
    return found


def audit_due() -> tuple[AsteriskMachine, Store]:
    """Return a machine that knows no call of the lists of an audit, which is due."""
    machine, store = AsteriskMachine(SETTINGS, {}), Store()
    machine.synchronize(lists([]), TIME)
    machine.synchronize(replace(TALKING, is_audit=True), TIME + 1)
    machine.pass_time(TIME + 10)
    return machine, store


def test_an_audit_compares_in_many_small_steps() -> None:
    machine, store = audit_due()
    assert machine.is_comparing
    while machine.is_comparing:
        machine.compare_next()
        store.take(machine)
    assert types(store.events) == {"call.incoming": CALLS, "call.answered": CALLS}
    assert len([unit for unit in store.units if unit]) >= CALLS // 25
    assert max(map(len, store.units)) <= LARGEST_UNIT
    assert all(event.payload["reconciled"] for event in store.events if event.type.startswith("call."))


def test_an_event_amid_an_audit_comes_after_all_its_steps() -> None:
    machine, store = audit_due()
    machine.compare_next()
    hangup = {"Event": "Hangup", "Uniqueid": "1795900000.1", "Channel": "PJSIP/trunk-acme-00000000", "Cause": "16"}
    machine.handle(AmiMessage(hangup, {}, "Hangup", ""), TIME + 11)
    store.take(machine)
    assert not machine.is_comparing
    assert types(store.events)["call.answered"] == CALLS
    later = dict(hangup, Uniqueid="1795900000.2", Channel="PJSIP/0000001-00000000")
    machine.handle(AmiMessage(later, {}, "Hangup", ""), TIME + 12)
    store.take(machine)
    (ended,) = (event for event in store.events if event.type == "call.ended")
    assert "reconciled" not in ended.payload


def test_another_session_leaves_the_rest_of_an_audit_out() -> None:
    machine, store = audit_due()
    machine.compare_next()
    machine.synchronize(lists([]), TIME + 20)
    store.take(machine)
    assert not machine.is_comparing
    assert types(store.events) == {}


def test_no_unit_of_a_comparison_is_large() -> None:
    machine, store = AsteriskMachine(SETTINGS, {}), Store()
    store.compare(machine, machine.synchronizing(TALKING, TIME))
    store.compare(machine, machine.synchronizing(lists([], boot="2027-01-01 00:00:00"), TIME + 60))
    assert types(store.events) == {"call.incoming": CALLS, "call.answered": CALLS, "call.ended": CALLS}
    assert max(map(len, store.units)) <= LARGEST_UNIT
    assert store.records.keys() == {"boot"}
    assert breaches(store.events, is_idle=True) == []


def test_no_unit_is_large_where_each_call_rings_many_phones() -> None:
    phones = 60
    waiting = [
        AmiMessage(
            {"Queue": "support", "Uniqueid": f"17959{call:05d}.1", "Wait": "30", "Position": "1"}, {}, "QueueEntry", ""
        )
        for call in range(40)
    ]
    ringing = lists([channel(call, number, rings=True) for call in range(40) for number in range(phones + 1)], waiting)
    machine, store = AsteriskMachine(SETTINGS, {}), Store()
    store.compare(machine, machine.synchronizing(ringing, TIME))
    assert types(store.events)["call.ringing"] == 40 * phones
    assert max(map(len, store.units)) <= LARGEST_UNIT


def test_a_restart_amid_the_calls_of_another_boot_ends_the_others() -> None:
    """The records say after each step what the gateway was told."""
    machine, store = AsteriskMachine(SETTINGS, {}), Store()
    store.compare(machine, machine.synchronizing(TALKING, TIME))
    other = lists([], boot="2027-01-01 00:00:00")
    store.compare(machine, machine.synchronizing(other, TIME + 60), stop_after=4)
    told = types(store.events)["call.ended"]
    assert 0 < told < CALLS
    machine = AsteriskMachine(SETTINGS, store.records)
    store.compare(machine, machine.synchronizing(other, TIME + 90))
    assert types(store.events)["call.ended"] == CALLS
    assert len({event.event_id for event in store.events}) == len(store.events)
    assert breaches(store.events, is_idle=True) == []
