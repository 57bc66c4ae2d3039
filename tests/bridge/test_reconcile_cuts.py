"""Captures that are cut anywhere: connections that break, bridges that are restarted, audits in mid-call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

import pytest
from asterisk_captures import SETTINGS, recordings
from listed_exchange import ListedExchange, Timed, listed, messages_of

from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.laws import breaches
from callcenter_ws.bridge.outgoing import BridgeEvent

NAMES = [parts[0] for parts in recordings("lean").values() if len(parts) == 1]
CUTS = 5
IN_FLIGHT = 12


class Bridge:
    """A state machine whose process may be restarted."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.events: list[BridgeEvent] = []
        self.machine = AsteriskMachine(SETTINGS, {})

    def restart(self) -> None:
        self.machine = AsteriskMachine(SETTINGS, self.records)

    def handle(self, messages: Iterable[Timed]) -> None:
        for message, arrived in messages:
            self.machine.handle(message, arrived)
            self.take()

    def synchronize(
        self, messages: Sequence[Timed], first: int, last: int, *, is_audit: bool = False, late: int = 0
    ) -> None:
        arrived = messages[min(last, len(messages) - 1)][1]
        self.machine.synchronize(listed(messages, first, last, is_audit=is_audit, late=late), arrived)
        self.take()

    def take(self) -> None:
        unit = self.machine.take()
        self.events += unit.events
        for key, value in unit.records.items():
            if value is None:
                self.records.pop(key, None)
            else:
                self.records[key] = value


def cuts(messages: Sequence[Timed], count: int = CUTS) -> Iterable[int]:
    step = max(1, len(messages) // count)
    return range(step // 2 + 1, len(messages), step)


def check(bridge: Bridge, messages: Sequence[Timed], what: str) -> None:
    exchange = ListedExchange(messages)
    exchange.play(len(messages))
    bridge.machine.advance(messages[-1][1] + 120)
    bridge.take()
    found = [str(breach) for breach in breaches(bridge.events, is_idle=exchange.is_idle)]
    assert not found, (what, found)
    if exchange.is_idle:
        assert not bridge.machine.calls.book.calls, what
        assert not [key for key in bridge.records if key.startswith("call/")], what
    incoming = Counter(event.payload["call_id"] for event in bridge.events if event.type == "call.incoming")
    ended = Counter(event.payload["call_id"] for event in bridge.events if event.type == "call.ended")
    assert set(incoming.values()) <= {1}, what
    assert set(ended.values()) <= {1}, what
    assert incoming.keys() == ended.keys() or not exchange.is_idle, what


@pytest.mark.parametrize("has_restarted", [False, True], ids=["reconnect", "restart"])
@pytest.mark.parametrize("name", NAMES)
def test_events_are_missed(name: str, has_restarted: bool) -> None:
    messages = messages_of(name)
    for cut in cuts(messages):
        for gap in (0, 5, len(messages) // 3):
            bridge = Bridge()
            bridge.synchronize(messages, 0, 0)
            bridge.handle(messages[:cut])
            if has_restarted:
                bridge.restart()
            back = min(cut + gap, len(messages))
            bridge.synchronize(messages, back, back)
            bridge.handle(messages[back:])
            check(bridge, messages, f"cut at {cut}, back at {back}")


@pytest.mark.parametrize("name", NAMES)
def test_events_come_while_the_lists_are_answered(name: str) -> None:
    messages = messages_of(name)
    for cut in cuts(messages):
        for gap in (0, 9):
            bridge = Bridge()
            bridge.synchronize(messages, 0, 0)
            bridge.handle(messages[:cut])
            back = min(cut + gap, len(messages))
            bridge.synchronize(messages, back, min(back + IN_FLIGHT, len(messages)), late=gap // 3)
            bridge.handle(messages[back:])
            check(bridge, messages, f"cut at {cut}, back at {back}")


@pytest.mark.parametrize("name", NAMES)
def test_audits_find_no_differences(name: str) -> None:
    messages = messages_of(name)
    undisturbed = Bridge()
    undisturbed.synchronize(messages, 0, 0)
    undisturbed.handle(messages)
    for in_flight in (0, IN_FLIGHT):
        bridge = Bridge()
        bridge.synchronize(messages, 0, 0)
        done = 0
        for cut in cuts(messages, 20):
            bridge.handle(messages[done:cut])
            bridge.synchronize(messages, cut, min(cut + in_flight, len(messages)), is_audit=True, late=in_flight // 3)
            done = cut
        bridge.handle(messages[done:])
        assert [event for event in bridge.events if event.payload.get("reconciled")] == []
        calls = [event for event in bridge.events if event.type.startswith(("call.", "queue.joined", "queue.left"))]
        assert calls == [event for event in undisturbed.events if event in calls]
