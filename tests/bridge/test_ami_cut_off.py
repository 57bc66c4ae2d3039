"""The state machine over a real connection: an exchange that is played, cut off and crashes amid calls."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from amp_doubles import until
from asterisk_captures import SETTINGS, capture
from exchange_world import Bridge, Exchange
from twisted.internet import reactor

from callcenter_ws.bridge.asterisk import connection, session_protocol
from callcenter_ws.bridge.asterisk.machine import AsteriskMachine
from callcenter_ws.bridge.asterisk.played_events import live_events
from callcenter_ws.bridge.laws import breaches

SPEED = 50.0
NAMES = ["01-answered-caller-hangs-up", "23-overlapping", "09-blind-transfer-to-phone", "38-redirect", "62-burst"]


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RETRY_SECONDS", "MAX_RETRY_SECONDS"):
        monkeypatch.setattr(connection, name, 0.02)
    monkeypatch.setattr(session_protocol, "TICK_SECONDS", 0.02)


@pytest_twisted.async_yield_fixture
async def exchange() -> AsyncIterator[Exchange]:
    exchange = Exchange(cuts=random.Random(1))
    exchange.listen()
    yield exchange
    await exchange.close()


def follow(exchange: Exchange) -> Bridge:
    machine = AsteriskMachine(SETTINGS, {})
    return Bridge(exchange.endpoint, machine=machine, wanted=machine.wanted)


async def finish(bridge: Bridge) -> None:
    """Compare with the lists once more, and stop."""
    count = bridge.reports.count("up 22.10.1")
    bridge.connection.audit()
    await bridge.until("up 22.10.1", count + 1)
    await bridge.connection.stop()


def is_up(bridge: Bridge) -> bool:
    return [report for report in bridge.reports if report.startswith(("up ", "down "))][-1].startswith("up")


def check(bridge: Bridge) -> None:
    assert [str(breach) for breach in breaches(bridge.events, is_idle=True)] == []
    begun = Counter(event.payload["call_id"] for event in bridge.events if event.type == "call.incoming")
    ended = Counter(event.payload["call_id"] for event in bridge.events if event.type == "call.ended")
    assert begun == ended
    assert set(begun.values()) <= {1}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NAMES)
@pytest_twisted.ensureDeferred
async def test_calls_that_are_cut_off_begin_and_end_once(exchange: Exchange, name: str, seed: int) -> None:
    events = list(live_events(capture(name)))
    exchange.player.state.introduce_members([event.message for event in events])
    bridge = follow(exchange)
    await bridge.until("up 22.10.1")
    places = sorted(random.Random(f"{name} {seed}").sample(range(10, len(events)), 3))
    for begin, end in zip([0, *places], [*places, len(events)], strict=True):
        await exchange.player.play(events[begin:end], speed=SPEED)
        if end < len(events):
            exchange.player.cut()
    await until(reactor, lambda: exchange.player.session_count == 1 and is_up(bridge))
    await finish(bridge)
    check(bridge)


@pytest.mark.parametrize("name", NAMES)
@pytest_twisted.ensureDeferred
async def test_a_crash_ends_all_calls_as_unknown(exchange: Exchange, name: str) -> None:
    events = list(live_events(capture(name)))
    exchange.player.state.introduce_members([event.message for event in events])
    bridge = follow(exchange)
    await bridge.until("up 22.10.1")
    await exchange.player.play(events[: len(events) // 2], speed=SPEED)
    # A connection that is aborted loses what was not read yet.
    await until(reactor, lambda: "call.incoming" in {event.type for event in bridge.events})
    exchange.player.crash()
    await bridge.until("up 22.10.1", 2)
    await finish(bridge)
    check(bridge)
    reconciled = [event for event in bridge.events if event.type == "call.ended" and event.payload.get("reconciled")]
    assert reconciled
    assert {event.payload["ended_by"] for event in reconciled} == {"unknown"}
