"""Log events of workers in the log of the supervisor."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.logger import LogEvent, Logger, LogLevel, LogPublisher, formatEvent, globalLogPublisher
from twisted.python import log as legacy_log

from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.log_output import TextLine, json_line
from callcenter_ws.workers.log import PipeObserver, log_line, output_lines

pytestmark = pytest.mark.logs_errors


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """The events logged in this process."""
    events: list[LogEvent] = []
    globalLogPublisher.addObserver(events.append)
    yield events
    globalLogPublisher.removeObserver(events.append)


def lines_of_worker(log_events: Callable[[Logger], Any], size: int = 7) -> list[bytes]:
    """Return the lines that a worker writes for its log events, read in pieces of a size."""
    reading, writing = os.pipe()
    # Room for all: they are read afterwards.
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1_048_576)
    publisher = LogPublisher(PipeObserver(writing))
    log_events(Logger("callcenter_ws.somewhere", observer=publisher))
    os.close(writing)
    lines: list[bytes] = []
    with os.fdopen(reading, "rb") as pipe:
        splitter = output_lines(lines.append)
        while data := pipe.read1(size):
            splitter.feed(data)
        splitter.end()
    return lines


def test_level_and_namespace_are_kept(logged: list[LogEvent]) -> None:
    (line,) = lines_of_worker(lambda log: log.warn("{who} is {{late}}", who="zoë"))
    log_line(3, line)
    (event,) = logged
    assert formatEvent(event) == "worker 3: zoë is {late}"
    assert event["log_level"] is LogLevel.warn
    assert event["log_namespace"] == "callcenter_ws.somewhere"


def test_the_fields_are_kept(logged: list[LogEvent]) -> None:
    def log_events(log: Logger) -> None:
        log.info("{user} came after {seconds} s", user=Name("a b"), seconds=1.25, code=4001, worker=7)

    (line,) = lines_of_worker(log_events)
    log_line(3, line)
    (event,) = logged
    assert TextLine()(event).endswith("worker 3: 'a b' came after 1.25 s\n")
    of_node = json.loads(json_line(event))
    del of_node["time"]
    assert of_node == {
        "level": "info",
        "namespace": "callcenter_ws.somewhere",
        "message": "'a b' came after 1.25 s",
        "worker": 3,
        "user": "a b",
        "seconds": 1.25,
        "code": 4001,
    }


def test_the_name_of_a_file_that_is_no_utf_8_is_no_reason_to_lose_the_event(logged: list[LogEvent]) -> None:
    (line,) = lines_of_worker(lambda log: log.warn("cannot read {path}", path=os.fsdecode(b"/etc/\xe9.toml")))
    log_line(3, line)
    (event,) = logged
    assert (event["log_level"], event["path"]) == (LogLevel.warn, r"/etc/\udce9.toml")
    assert TextLine()(event).endswith(r"worker 3: cannot read /etc/\udce9.toml" + "\n")


def test_an_event_is_bounded_and_cannot_forge_a_line(logged: list[LogEvent]) -> None:
    forged = '\n\x1e["info"]\n' + "é" * 300_000
    fields = {f"field_{number}": forged for number in range(90)}
    (line,) = lines_of_worker(lambda log: log.info("{user}", user=forged, **fields), size=65_536)
    assert len(line) < 1_048_576
    log_line(1, line)
    (event,) = logged
    assert event["log_namespace"] == "callcenter_ws.somewhere"
    assert TextLine()(event).count("\n") == 1


def test_a_traceback_is_one_event(logged: list[LogEvent]) -> None:
    def fail(log: Logger) -> None:
        try:
            raise TypeError("of a kind")
        except TypeError:
            log.failure("a bug")

    (line,) = lines_of_worker(fail)
    log_line(1, line)
    (event,) = logged
    text = formatEvent(event)
    assert text.startswith("worker 1: a bug\nTraceback ")
    assert "TypeError: of a kind" in text
    line_of_node = json.loads(json_line(event))
    assert line_of_node["message"] == "a bug"
    assert line_of_node["traceback"].endswith("TypeError: of a kind")
    assert event["log_level"] is LogLevel.critical


@pytest.mark.parametrize("line", [b"Segmentation fault", b"\x1e{broken", b"\xff", b'\x1e["nonsense"]'])
def test_other_output_is_logged_unchanged(line: bytes, logged: list[LogEvent]) -> None:
    log_line(2, line)
    (event,) = logged
    shown = line.decode(errors="replace").replace("\x1e", "\\x1e")
    assert formatEvent(event) == f"worker 2: {shown}"
    assert event["log_level"] is LogLevel.info
    assert json.loads(json_line(event))["worker"] == 2


def test_events_of_the_legacy_log(logged: list[LogEvent]) -> None:
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


def test_a_pipe_without_a_reader_causes_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    Logger("x", observer=PipeObserver(writing)).info("not read")
    os.close(writing)


def test_a_line_without_a_newline_is_passed_on_in_pieces() -> None:
    lines: list[bytes] = []
    splitter = output_lines(lines.append)
    for _ in range(40):
        splitter.feed(b"x" * 65_536)
    splitter.end()
    splitter.end()
    assert sum(map(len, lines)) == 40 * 65_536
    assert max(map(len, lines)) < 1_200_000
