"""Reconciling with the lists of an exchange: recorded reconnects, restarts and crashes, and single differences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from asterisk_captures import SETTINGS, recordings, replayed
from listed_exchange import BOOT, Timed, listed, messages_of

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.message import AmiMessage
from callcenter_ws.bridge.asterisk.snapshot import AmiSnapshot
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import TenantRule

ANSWERED, ABANDONED = "01-answered-caller-hangs-up", "04-abandoned-nobody-rings"
CROSSED = "46-reconnect"


def of_calls(events: Sequence[BridgeEvent]) -> list[BridgeEvent]:
    return [event for event in events if event.type.startswith(("call.", "queue.joined", "queue.left"))]


def told(events: Sequence[BridgeEvent], **wanted: Any) -> list[str]:
    """Return what is told of calls, in short, of the events with these fields."""
    chosen = [event for event in of_calls(events) if wanted.items() <= event.payload.items()]
    return [_short(event) for event in chosen]


def _short(event: BridgeEvent) -> str:
    payload = event.payload
    more = {
        "queue.left": payload.get("reason"),
        "call.answered": payload.get("agent_id"),
        "call.ringing": payload.get("agent_id"),
        "call.ended": payload.get("ended_by"),
    }.get(event.type)
    text = event.type if more is None else f"{event.type} {more}"
    return f"{text} (reconciled)" if payload.get("reconciled") else text


class Bridge:
    """A state machine beside an exchange, and what it has stored."""

    def __init__(self, records: dict[str, bytes] | None = None) -> None:
        self.records = dict(records or {})
        self.machine = AsteriskMachine(SETTINGS, self.records)
        self.events: list[BridgeEvent] = []

    def handle(self, messages: Sequence[Timed]) -> list[BridgeEvent]:
        return self._after(*(lambda one=one: self.machine.handle(*one) for one in messages))  # type: ignore[misc]

    def synchronize(self, snapshot: AmiSnapshot, arrived: float) -> list[BridgeEvent]:
        return self._after(lambda: self.machine.synchronize(snapshot, arrived))

    def wait(self, until: float) -> list[BridgeEvent]:
        return self._after(lambda: self.machine.pass_time(until), self.machine.finish_comparison)

    def _after(self, *actions: Callable[[], None]) -> list[BridgeEvent]:
        found: list[BridgeEvent] = []
        for action in actions:
            action()
            unit = self.machine.take()
            found += unit.events
            for key, value in unit.records.items():
                if value is None:
                    self.records.pop(key, None)
                else:
                    self.records[key] = value
        self.events += found
        return found


def position(messages: Sequence[Timed], name: str) -> int:
    """Return the place after the first event of this name."""
    return next(index + 1 for index, (message, _) in enumerate(messages) if message.name == name)


def talking(messages: Sequence[Timed]) -> int:
    """Return the place at which an agent talks, and the phones of the others have stopped ringing."""
    return max(index for index, (message, _) in enumerate(messages) if message.name == "BridgeEnter") + 1


def idle(boot: str = BOOT) -> AmiSnapshot:
    return AmiSnapshot(boot, "22.10.1", (), (), (), (), ())


def connected(name: str) -> tuple[Bridge, list[Timed]]:
    bridge, messages = Bridge(), messages_of(name)
    bridge.synchronize(listed(messages, 0, 0), messages[0][1])
    return bridge, messages


# Recorded


def test_calls_that_go_on_through_a_cut() -> None:
    events = replayed(recordings("lean")[CROSSED])
    assert told(events, caller_name="Talks Through") == [
        "call.incoming",
        "queue.joined",
        "call.ringing 201",
        "call.ringing 202",
        "queue.left answered",
        "call.answered 201",
        "call.ended caller",
    ]
    assert told(events, caller_name="Waits Through")[-4:] == [
        "queue.joined",
        "queue.left unknown (reconciled)",
        "call.answered 202 (reconciled)",
        "call.ended caller",
    ]
    assert told(events, caller_name="Rings In The Gap")[-4:] == [
        "call.ringing 204",
        "queue.left unknown (reconciled)",
        "call.answered 204 (reconciled)",
        "call.ended agent",
    ]
    assert breaches(events, is_idle=True) == []


def test_calls_that_end_and_begin_in_a_cut() -> None:
    events = replayed(recordings("lean")[CROSSED])
    assert told(events, caller_name="Ends In The Gap")[-2:] == ["call.answered 202", "call.ended unknown (reconciled)"]
    assert told(events, caller_name="Abandons In The Gap")[-3:] == [
        "queue.joined",
        "queue.left unknown (reconciled)",
        "call.ended unknown (reconciled)",
    ]
    assert told(events, caller_name="Joined In The Gap") == [
        "call.incoming (reconciled)",
        "queue.joined (reconciled)",
        "call.ringing 203 (reconciled)",
        "queue.left answered",
        "call.answered 203",
        "call.ended agent",
    ]


def test_nothing_of_a_lost_call_is_invented() -> None:
    events = replayed(recordings("lean")[CROSSED])
    (ended,) = [
        event.payload
        for event in of_calls(events)
        if event.type == "call.ended" and event.payload["caller_name"] == "Ends In The Gap"
    ]
    assert 0.9 < ended["duration"] < 1.1  # type: ignore[operator]
    assert not {"talk_seconds", "hold_seconds", "wait_seconds"} & ended.keys()


def test_a_restart_in_order_tells_every_end() -> None:
    events = replayed(recordings("lean")["47-asterisk-restart"])
    assert [event for event in of_calls(events) if event.payload.get("reconciled")] == []
    assert breaches(events, is_idle=True) == []


def test_a_crash_ends_the_calls() -> None:
    events = replayed(recordings("lean")["49-asterisk-crash"])
    assert told(events, caller_name="Cut Off")[-2:] == ["call.answered 201", "call.ended unknown (reconciled)"]
    assert told(events, caller_name="Waiting When It Dies")[-2:] == [
        "queue.left unknown (reconciled)",
        "call.ended unknown (reconciled)",
    ]
    assert breaches(events, is_idle=True) == []


# Another run of the exchange


def test_calls_of_another_run_end_though_their_identifications_come_again() -> None:
    bridge, messages = connected(ANSWERED)
    place = talking(messages)
    bridge.handle(messages[:place])
    again = listed(messages, place, place, boot="2026-11-29 12:20:00")
    found = bridge.synchronize(again, messages[place][1] + 60)
    assert told(found)[0] == "call.ended unknown (reconciled)"
    assert told(found)[1:] == ["call.incoming (reconciled)", "call.answered 201 (reconciled)"]
    ids = [event.event_id for event in bridge.events]
    assert len(set(ids)) == len(ids)


def test_a_bridge_that_was_away_over_a_restart_of_the_exchange_ends_the_calls() -> None:
    before, messages = connected(ANSWERED)
    before.handle(messages[: talking(messages)])
    bridge = Bridge(before.records)
    assert told(bridge.synchronize(idle("2026-11-29 15:00:00"), messages[0][1] + 10_000)) == [
        "call.ended unknown (reconciled)"
    ]
    assert not [key for key in bridge.records if key.startswith("call/")]


# Differences


def test_a_transfer_that_was_not_seen_connects_two_calls() -> None:
    bridge, messages = connected("12-attended-transfer")
    moved = position(messages, "AttendedTransfer")
    bridge.handle(messages[: moved - 1])
    settled = next(index for index in range(moved, len(messages)) if messages[index][1] > messages[moved][1] + 1)
    found = of_calls(bridge.synchronize(listed(messages, settled, settled), messages[settled][1]))
    assert told(found) == [
        "call.ended unknown (reconciled)",
        "call.unhold (reconciled)",
        "call.answered 204 (reconciled)",
    ]
    ended, _, answered = found
    assert ended.payload["direction"] == "internal"
    assert answered.payload["caller_name"] != ended.payload.get("caller_name")
    bridge.handle(messages[settled:])
    assert told(bridge.events).count("call.ended caller") == 1
    assert breaches(bridge.events, is_idle=True) == []


def test_a_phone_that_has_stopped_ringing_has_missed_the_call() -> None:
    bridge, messages = connected("06-ring-no-answer-then-answered")
    place = position(messages, "AgentRingNoAnswer")
    bridge.handle(messages[: place - 3])
    gone = next(index for index in range(place, len(messages)) if messages[index][0].name == "Hangup")
    found = bridge.synchronize(listed(messages, gone + 1, gone + 1), messages[gone][1])
    assert "call.missed (reconciled)" in told(found)
    (missed,) = [event for event in of_calls(found) if event.type == "call.missed"]
    assert missed.payload["agent_id"] == "201"
    assert "ring_seconds" not in missed.payload
    bridge.handle(messages[gone + 1 :])
    assert breaches(bridge.events, is_idle=True) == []


# Restarts of the bridge


def test_a_restart_of_the_bridge_tells_nothing_that_was_told() -> None:
    before, messages = connected(ANSWERED)
    place = talking(messages)
    told_before = before.handle(messages[:place])
    bridge = Bridge(before.records)
    assert bridge.synchronize(listed(messages, place, place), messages[place][1]) == []
    rest = bridge.handle(messages[place:])
    undisturbed, _ = connected(ANSWERED)
    assert of_calls([*told_before, *rest]) == of_calls(undisturbed.handle(messages))


def test_a_bridge_that_comes_back_hours_later_ends_what_is_gone() -> None:
    before, messages = connected(ABANDONED)
    before.handle(messages[: position(messages, "QueueCallerJoin")])
    bridge = Bridge(before.records)
    found = bridge.synchronize(idle(), messages[0][1] + 20_000)
    assert told(found) == ["queue.left unknown (reconciled)", "call.ended unknown (reconciled)"]
    assert of_calls(found)[-1].payload["duration"] < 5  # type: ignore[operator]


def test_a_bridge_without_records_introduces_what_goes_on() -> None:
    bridge, messages = Bridge(), messages_of(ANSWERED)
    place = talking(messages)
    found = bridge.synchronize(listed(messages, place, place), messages[place][1])
    assert told(found) == ["call.incoming (reconciled)", "call.answered 201 (reconciled)"]
    begun = of_calls(found)[0]
    assert begun.payload["destination"] == "5550800"
    assert begun.payload["direction"] == "inbound"
    assert messages[0][1] - 1.1 < begun.time < messages[place][1]
    bridge.handle(messages[place:])
    assert told(bridge.events)[-1] == "call.ended caller"


def test_the_list_of_channels_shows_variables_that_choose_the_tenant() -> None:
    bridge, messages = Bridge(), messages_of(ANSWERED)
    rule = TenantRule(tenant="globex", variable="CUSTOMER=globex")
    bridge.machine = AsteriskMachine(msgspec.structs.replace(SETTINGS, tenants=(rule,)), {})
    place = talking(messages)
    snapshot = listed(messages, place, place)
    shown = ("OTHER=1", "CUSTOMER=globex")
    channels = [
        AmiMessage({**message.headers, "ChanVariable": shown[0]}, {"ChanVariable": shown}, message.name, "")
        for message in snapshot.channels
    ]
    found = bridge.synchronize(replace(snapshot, channels=channels), messages[place][1])
    assert {event.tenant_id for event in of_calls(found)} == {"globex"}


# Events in flight


@pytest.mark.parametrize("late", [0, 3])
def test_a_caller_who_joins_while_the_lists_are_answered_joins_once(late: int) -> None:
    bridge, messages = Bridge(), messages_of(ANSWERED)
    place = position(messages, "QueueCallerJoin")
    first = place - 2
    snapshot = listed(messages, first, place + 1, late=late)
    snapshot = replace(snapshot, meanwhile=messages[first : place + 1])
    bridge.synchronize(snapshot, messages[place][1])
    bridge.handle(messages[first:])
    assert told(bridge.events).count("queue.joined") == 1
    assert [text for text in told(bridge.events) if text.startswith("queue.")] == [
        "queue.joined",
        "queue.left answered",
    ]


def test_a_caller_whose_join_arrives_after_the_lists_joins_once() -> None:
    bridge, messages = Bridge(), messages_of(ANSWERED)
    place = position(messages, "QueueCallerJoin")
    bridge.synchronize(listed(messages, place, place), messages[place][1])
    bridge.handle(messages[place - 1 :])
    assert [text for text in told(bridge.events) if text.startswith("queue.")] == [
        "queue.joined (reconciled)",
        "queue.left answered",
    ]


def test_an_answer_while_the_lists_are_answered_keeps_its_reason() -> None:
    bridge, messages = connected(ANSWERED)
    place = position(messages, "AgentConnect")
    first = position(messages, "QueueCallerLeave") - 1
    bridge.handle(messages[:first])
    snapshot = listed(messages, place, place, is_audit=False)
    bridge.synchronize(replace(snapshot, meanwhile=messages[first:place]), messages[place][1])
    bridge.handle(messages[first:])
    assert "queue.left answered" in told(bridge.events)
    assert not [text for text in told(bridge.events) if "reconciled" in text]


def test_lists_are_told_in_the_time_of_the_exchange() -> None:
    behind = 3_600.0
    bridge, messages = Bridge(), messages_of(ANSWERED)
    stamped = [
        (AmiMessage({**message.headers, "Timestamp": f"{at - behind:.6f}"}, {}, message.name, ""), at)
        for message, at in messages
    ]
    place = position(messages, "QueueCallerJoin")
    snapshot = listed(messages, place, place + 4)
    bridge.synchronize(replace(snapshot, meanwhile=stamped[place : place + 4]), messages[place][1])
    bridge.handle(stamped[place:])
    ended = of_calls(bridge.events)[-1]
    undisturbed, _ = connected(ANSWERED)
    expected = of_calls(undisturbed.handle(messages))[-1]
    assert abs(ended.payload["duration"] - expected.payload["duration"]) < 1.5  # type: ignore[operator]
    assert abs(ended.time + behind - expected.time) < 0.1


# Audits


def lost(messages: Sequence[Timed], *names: str) -> list[Timed]:
    """Return the messages without the events of these names."""
    return [one for one in messages if one[0].name not in names]


def audit(bridge: Bridge, messages: Sequence[Timed], place: int) -> list[BridgeEvent]:
    """Audit when nothing happens for some seconds, and return what is told."""
    arrived = messages[place - 1][1] + 0.1
    found = bridge.synchronize(listed(messages, place, place, is_audit=True), arrived)
    return of_calls([*found, *bridge.wait(arrived + 4), *bridge.wait(arrived + 6)])


@pytest.mark.parametrize(
    ("missed", "until", "corrected"),
    [
        (("Hangup",), "the end", ["call.ended unknown (reconciled)"]),
        (
            ("AgentConnect", "QueueCallerLeave", "DialEnd"),
            "talking",
            ["queue.left unknown (reconciled)", "call.answered 201 (reconciled)"],
        ),
        (("QueueCallerJoin", "AgentCalled", "DialState"), "QueueCallerJoin", ["queue.joined (reconciled)"]),
    ],
)
def test_an_audit_corrects_what_was_missed(missed: tuple[str, ...], until: str, corrected: list[str]) -> None:
    bridge, messages = connected(ANSWERED)
    last = {"the end": len(messages), "talking": talking(messages)}.get(until) or position(messages, until)
    bridge.handle(lost(messages[:last], *missed))
    assert told(audit(bridge, messages, last), reconciled=True) == corrected
    assert audit(bridge, messages, last) == []


def test_an_audit_that_finds_nothing_tells_nothing() -> None:
    messages = messages_of(ANSWERED)
    for place in (position(messages, "QueueCallerJoin"), talking(messages)):
        bridge = connected(ANSWERED)[0]
        bridge.handle(messages[:place])
        assert told(audit(bridge, messages, place), reconciled=True) == []


def test_an_audit_leaves_out_calls_that_change() -> None:
    bridge, messages = connected(ANSWERED)
    place = talking(messages)
    bridge.handle(lost(messages[:place], "AgentConnect", "QueueCallerLeave", "DialEnd"))
    arrived = messages[place][1]
    bridge.synchronize(listed(messages, place, place, is_audit=True), arrived)
    uniqueid = next(message.get("Uniqueid") for message, _ in messages if message.name == "QueueCallerJoin")
    hold = AmiMessage({"Event": "Hold", "Uniqueid": uniqueid, "Linkedid": uniqueid}, {}, "Hold", "")
    bridge.handle([(hold, arrived + 1)])
    assert of_calls(bridge.wait(arrived + 10)) == []
    assert told(audit(bridge, messages, place))[-1] == "call.answered 201 (reconciled)"
