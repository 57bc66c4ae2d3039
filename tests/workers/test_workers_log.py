"""The way of an event from a worker's log into the supervisor's."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, formatEvent, globalLogPublisher
from twisted.python import log as legacy_log

from callcenter_ws.workers.log import Lines, PipeObserver, log_line

pytestmark = pytest.mark.logs_errors


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """What arrives in this process's log."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def through_the_pipe(say: Callable[[Logger], Any]) -> list[bytes]:
    """The lines that a worker writes."""
    reading, writing = os.pipe()
    publisher = LogPublisher(PipeObserver(writing))
    say(Logger("callcenter_ws.somewhere", observer=publisher))
    os.close(writing)
    lines: list[bytes] = []
    with os.fdopen(reading, "rb") as pipe:
        cut = Lines(lines.append)
        while data := pipe.read1(7):
            cut.feed(data)
        cut.end()
    return lines


def test_level_and_origin_stay(logged: list[LogEvent]) -> None:
    (line,) = through_the_pipe(lambda log: log.warn("{who} is {{late}}", who="zoë"))
    log_line(3, line)
    (event,) = logged
    assert formatEvent(event) == "worker 3: zoë is {late}"
    assert event["log_level"] is LogLevel.warn
    assert event["log_namespace"] == "callcenter_ws.somewhere"


def test_a_traceback_is_one_event(logged: list[LogEvent]) -> None:
    def fail(log: Logger) -> None:
        try:
            raise ValueError("of a kind")
        except ValueError:
            log.failure("a bug")

    (line,) = through_the_pipe(fail)
    log_line(1, line)
    (event,) = logged
    text = formatEvent(event)
    assert text.startswith("worker 1: a bug\nTraceback ")
    assert "ValueError: of a kind" in text
    assert event["log_level"] is LogLevel.critical


@pytest.mark.parametrize("line", [b"Segmentation fault", b"\x1e{broken", b"\xff", b'\x1e["nonsense"]'])
def test_what_is_no_event_is_logged_as_it_is(line: bytes, logged: list[LogEvent]) -> None:
    log_line(2, line)
    (event,) = logged
    assert formatEvent(event) == f"worker 2: {line.decode(errors='replace')}"
    assert event["log_level"] is LogLevel.info


def test_old_fashioned_events(logged: list[LogEvent]) -> None:
    reading, writing = os.pipe()
    observer = PipeObserver(writing)
    globalLogPublisher.addObserver(observer)
    legacy_log.msg("GatewaySite starting on 8080")
    globalLogPublisher.removeObserver(observer)
    log_line(1, os.read(reading, 4096).rstrip(b"\n"))
    os.close(reading)
    os.close(writing)
    assert formatEvent(logged[-1]) == "worker 1: GatewaySite starting on 8080"
    assert logged[-1]["log_system"] == "-"


def test_where_nobody_reads_nothing_happens() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Logger("x", observer=PipeObserver(writing)).info("into the void")
    os.close(writing)


def test_a_line_without_an_end_is_cut() -> None:
    lines: list[bytes] = []
    cut = Lines(lines.append)
    for _ in range(40):
        cut.feed(b"x" * 65_536)
    cut.end()
    cut.end()
    assert sum(map(len, lines)) == 40 * 65_536
    assert max(map(len, lines)) < 1_200_000
