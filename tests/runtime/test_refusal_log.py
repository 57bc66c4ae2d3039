"""Refusals are logged up to a limit; the others are counted and reported."""

from __future__ import annotations

import pytest
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

from callcenter_ws.runtime.peer_logs import PeerLogs
from callcenter_ws.runtime.refusal_log import MAX_FAILURES, MAX_NAMED, WINDOW_SECONDS, RefusalLog
from callcenter_ws.testing import FakeClock


def test_a_network_writes_some_lines_and_the_rest_is_reported() -> None:
    clock = FakeClock()
    log = RefusalLog(clock, lines=10, lines_per_network=2)
    with capturedLogs() as events:
        for number in range(50):
            log.write("203.0.113.1", "{number} is refused", number=number)
        log.write("203.0.113.2", "another is refused")
        assert [formatEvent(event) for event in events] == ["0 is refused", "1 is refused", "another is refused"]
        clock.advance(WINDOW_SECONDS)
    assert formatEvent(events[-1]) == (
        '48 more lines in the last minute were not logged: "{number} is refused", most of them about 203.0.113.1 (48)'
    )
    assert log.left_out == 48


def test_each_kind_is_reported_with_those_that_caused_most() -> None:
    clock = FakeClock()
    log = RefusalLog(clock, lines=1, lines_per_network=1)
    with capturedLogs() as events:
        log.write("a", "first")
        for name, count in {"a": 3, "b": 50, "c": 2, "d": 1, "e": 1}.items():
            for _ in range(count):
                log.write(name, "{what} is refused", what=name)
        log.write("a", "a token of {ip} is refused", ip="a")
        # The flood has ended: the minute ends all the same.
        clock.advance(WINDOW_SECONDS)
        clock.advance(WINDOW_SECONDS)
    assert [(event["count"], event["kind"], event["who"]) for event in events[1:]] == [
        (57, "{what} is refused", "b (50), a (3), c (2), others (2)"),
        (1, "a token of {ip} is refused", "a (1)"),
    ]


def test_those_that_are_counted_one_by_one_are_bounded() -> None:
    clock = FakeClock()
    log = RefusalLog(clock, lines=0, lines_per_network=1)
    with capturedLogs() as events:
        for number in range(MAX_NAMED + 5):
            log.write(f"2001:db8:{number}::/64", "refused")
        assert all(len(counts) <= MAX_NAMED + 1 for counts in log._left_out_now.values())
        log.report()
        clock.advance(WINDOW_SECONDS)
    (event,) = events
    assert event["count"] == MAX_NAMED + 5
    assert event["who"].endswith(f"others ({MAX_NAMED + 2})")


def test_all_networks_together_write_some_lines() -> None:
    log = RefusalLog(FakeClock(), lines=10, lines_per_network=2)
    with capturedLogs() as events:
        for number in range(1_000):
            log.write(f"2001:db8:{number}::/64", "refused")
    assert len(events) == 10
    assert log.left_out == 990
    assert len(log._by_network) == 10


def test_a_new_minute_has_new_lines_and_no_report_of_nothing() -> None:
    clock = FakeClock()
    log = RefusalLog(clock, lines=2, lines_per_network=2)
    with capturedLogs() as events:
        log.write("a", "refused")
        clock.advance(WINDOW_SECONDS)
        for _ in range(2):
            log.write("a", "refused")
    assert [formatEvent(event) for event in events] == ["refused"] * 3


def failure_of(error: type[Exception]) -> Failure:
    try:
        raise error
    except error:
        return Failure()


@pytest.mark.logs_errors
def test_an_unhandled_error_is_logged_with_its_traceback_once_in_a_minute() -> None:
    clock = FakeClock()
    log = RefusalLog(clock)
    with capturedLogs() as events:
        for error in [KeyError, ValueError] * 20:
            log.failure("unhandled error in {path}", failure_of(error), path="/x")
        assert [event["log_failure"].type for event in events] == [KeyError, ValueError]
        clock.advance(WINDOW_SECONDS)
        log.failure("unhandled error in {path}", failure_of(KeyError), path="/x")
    assert log.left_out == 38
    text = formatEvent(events[2])
    assert text.startswith(
        "38 more unhandled errors in the last minute were not logged: KeyError in test_refusal_log.py"
    )
    assert text.count("(19)") == 2
    assert events[3]["log_failure"].type is KeyError


@pytest.mark.logs_errors
def test_unhandled_errors_of_many_kinds_are_counted_too() -> None:
    clock = FakeClock()
    log = RefusalLog(clock)
    with capturedLogs() as events:
        for number in range(MAX_FAILURES + 5):
            log.failure("unhandled error", failure_of(type(f"Error{number}", (Exception,), {})))
        assert len(events) == MAX_FAILURES
        clock.advance(WINDOW_SECONDS)
    assert log.left_out == 5
    assert formatEvent(events[-1]) == "5 more unhandled errors in the last minute were not logged: others (5)"


def test_each_kind_of_line_has_a_share_of_its_own() -> None:
    logs = PeerLogs.create(FakeClock(), lines=2, lines_per_network=1)
    with capturedLogs() as events:
        for log in logs:
            for number in range(100):
                log.write(f"peer {number}", "refused")
        assert len(events) == 2 + 6 * 20
        assert logs.left_out == 7 * 100 - len(events)
        logs.set_limits(lines=3, lines_per_network=1)
        logs.networks.write("another", "refused")
        assert len(events) == 3 + 6 * 20
        before = len(events)
        logs.report()
    assert [event["count"] for event in events[before:]] == [98, *[80] * 6]
