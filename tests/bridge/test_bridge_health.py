"""What a bridge tells of its sources, and what becomes of events that are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import pytest
from twisted.logger import LogEvent, globalLogPublisher

from callcenter_ws.bridge.counters import MAX_KINDS, SourceCounters
from callcenter_ws.bridge.dropped_log import MAX_NAMES, DroppedLog
from callcenter_ws.bridge.health import SourceHealth
from callcenter_ws.bridge.outgoing import BridgeEvent, Unit
from callcenter_ws.bridge.unit_sender import UnitSender
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import SpooledEvent, UnitEvent


class Time:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def short(unit: Unit) -> list[tuple[str, str, object, object]]:
    return [(event.type, event.tenant_id, event.payload.get("reason"), event.payload["since"]) for event in unit.events]


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def health(time: Time) -> SourceHealth:
    return SourceHealth("pbx1", "asterisk", ["acme", "globex"], time)


def test_each_change_is_told_to_each_tenant(health: SourceHealth, time: Time) -> None:
    assert [one[:3] for one in short(health.synchronized("22.1"))] == [
        ("source.up", "acme", None),
        ("source.up", "globex", None),
    ]
    assert health.synchronized("22.1") == Unit()  # an audit
    time.now += 60
    down = short(health.lost("timeout"))
    assert [one[:3] for one in down] == [("source.down", "acme", "timeout"), ("source.down", "globex", "timeout")]
    assert health.lost("timeout") == Unit()
    time.now += 60
    other = short(health.lost("unreachable"))
    assert [one[:3] for one in other] == [
        ("source.down", "acme", "unreachable"),
        ("source.down", "globex", "unreachable"),
    ]
    # It has been down since the first reason.
    assert {one[3] for one in other} == {one[3] for one in down}
    assert short(health.synchronized("22.1"))[0][0] == "source.up"


def test_nothing_is_told_before_anything_is_known(health: SourceHealth) -> None:
    assert health.link_connected() == Unit()


def test_the_state_is_told_again_on_a_new_connection_only_if_it_was_told_before(health: SourceHealth) -> None:
    health.synchronized("22.1")
    # It waits in the spool for the first connection.
    assert health.link_connected() == Unit()
    health.link_lost()
    assert short(health.link_connected())[0][0] == "source.up"
    health.link_lost()
    health.lost("timeout")
    # It was told while there was no connection, and comes after what the gateway told at the end of the lease.
    assert health.link_connected() == Unit()


def test_event_ids_differ(health: SourceHealth, time: Time) -> None:
    again = SourceHealth("pbx1", "asterisk", ["acme"], lambda: time.now + 1)
    units = [health.synchronized(""), health.lost("a"), health.synchronized(""), again.synchronized("")]
    ids = [(event.tenant_id, event.event_id) for unit in units for event in unit.events]
    assert len(ids) == len(set(ids))


# Refusals


class Publisher:
    """Takes units; refuses those with an event of a type, and all while it is full."""

    def __init__(self) -> None:
        self.units: list[tuple[list[str], Mapping[str, bytes | None]]] = []
        self.is_full = False

    def publish_unit(self, events: Sequence[UnitEvent], records: Mapping[str, bytes | None]) -> None:
        if self.is_full:
            raise Refusal(ErrorCode.OVERLOADED, "full")
        if any(event.type == "bad" for event in events):
            raise Refusal(ErrorCode.INVALID_EVENT, "payload: 's3cr3t value' is wrong")
        if "large" in records:
            raise Refusal(ErrorCode.TOO_LARGE, "records: too large")
        self.units.append(([event.type for event in events], records))


@pytest.fixture
def lines() -> Iterator[list[str]]:
    found: list[str] = []

    def observe(event: LogEvent) -> None:
        found.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    yield found
    globalLogPublisher.removeObserver(observe)


@pytest.fixture
def counters() -> SourceCounters:
    return SourceCounters()


@pytest.fixture
def publisher() -> Publisher:
    return Publisher()


@pytest.fixture
def sender(publisher: Publisher, counters: SourceCounters, time: Time) -> UnitSender:
    return UnitSender(publisher, "pbx1", counters, time)


def unit(*types: str, **records: bytes) -> Unit:
    return Unit(tuple(BridgeEvent(type_, "acme", 990.0, f"id-{type_}", {}) for type_ in types), records)


def test_events_that_a_comparison_has_found_are_counted(sender: UnitSender, counters: SourceCounters) -> None:
    found = BridgeEvent("b", "acme", 990.0, "id", {"reconciled": True})
    sender.send(Unit((*unit("a").events, found)))
    assert (counters.events, counters.reconciled) == (2, 1)


def test_a_unit_is_published_as_a_whole(sender: UnitSender, publisher: Publisher, counters: SourceCounters) -> None:
    sender.send(unit("a", "b", key=b"1"))
    assert publisher.units == [(["a", "b"], {"key": b"1"})]
    assert counters.events == 2
    assert counters.lag.sum == 10.0


@pytest.mark.logs_errors
def test_an_invalid_event_is_left_out_counted_and_logged_once(
    sender: UnitSender, publisher: Publisher, counters: SourceCounters, lines: list[str]
) -> None:
    for _ in range(3):
        sender.send(unit("a", "bad", "b", key=b"1"))
    assert publisher.units == [(["a"], {}), (["b"], {}), ([], {"key": b"1"})] * 3
    assert (counters.events, counters.refused) == (6, {"invalid_event": 3})
    (line,) = lines
    assert line.startswith("source pbx1: bad is refused with invalid_event: payload: ")
    assert "s3cr3t" not in line


@pytest.mark.logs_errors
def test_a_record_that_is_too_large_does_not_stop_the_events(
    sender: UnitSender, publisher: Publisher, counters: SourceCounters
) -> None:
    sender.send(unit("a", large=b"1", key=b"2"))
    assert publisher.units == [(["a"], {}), ([], {"key": b"2"})]
    assert counters.refused == {"too_large": 1}


def test_without_room_nothing_is_published(sender: UnitSender, publisher: Publisher, counters: SourceCounters) -> None:
    publisher.is_full = True
    with pytest.raises(Refusal, match="full"):
        sender.send(unit("a"))
    assert counters.events == 0


def test_what_the_gateway_refuses_is_counted(sender: UnitSender, counters: SourceCounters) -> None:
    event = SpooledEvent("acme", "a", "id", "2026-01-01T00:00:00Z", b"{}", None, False)
    sender.refused(event, Refusal(ErrorCode.FORBIDDEN, "no"))
    assert counters.refused == {"forbidden": 1}


def test_kinds_are_bounded(counters: SourceCounters) -> None:
    for number in range(100):
        counters.count_refused(f"code{number}")
    assert len(counters.refused) == MAX_KINDS + 1
    assert counters.refused["other"] == 100 - MAX_KINDS


def test_what_has_no_tenant_is_logged_once(lines: list[str]) -> None:
    log = DroppedLog("pbx1")
    for _ in range(2):
        log.report("queue", "sup\nport")
        log.report("call", "1795954570.1")
        log.report("call", "1795954570.2")
    assert lines == [
        "source pbx1: no rule gives the queue 'sup\\nport' a tenant: its events are dropped. See sources.pbx1.tenants",
        "source pbx1: no rule gives the call 1795954570.1 a tenant: its events are dropped. See sources.pbx1.tenants",
    ]
    for number in range(100):
        log.report("member", str(number))
    assert len(lines) == 2 + MAX_NAMES
    assert "no rule gives the members of the queue 0 a tenant" in lines[2]
