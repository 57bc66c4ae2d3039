"""The log's level and form."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import pytest
from twisted.internet import reactor
from twisted.logger import LogLevel, textFileLogObserver
from twisted.python.failure import Failure

from callcenter_ws.config.settings import LogSettings
from callcenter_ws.gateway.log_output import TextLine, json_line, log_observer


def failure() -> Failure:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        return Failure()


EVENTS: list[dict[str, Any]] = [
    {"log_namespace": "callcenter_ws", "log_level": LogLevel.info, "log_format": "{who} came", "who": "acme/100"},
    {"log_namespace": "a.b", "log_level": LogLevel.critical, "log_format": "first\nsecond"},
    {"log_namespace": "a.b", "log_level": LogLevel.warn, "log_format": "x", "log_system": "-"},
    {"log_namespace": "c", "log_level": LogLevel.critical, "log_format": "unhandled", "log_failure": failure()},
    {"log_namespace": "é", "log_level": LogLevel.debug, "log_format": "müde"},
    {"log_level": LogLevel.info, "log_format": "without a namespace"},
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("at", [0.0, 1_795_000_000.25, time.time()])
def test_text_lines_are_those_of_twistd(event: dict[str, Any], at: float) -> None:
    expected = io.StringIO()
    textFileLogObserver(expected)({**event, "log_time": at})
    assert TextLine()({**event, "log_time": at}) == expected.getvalue()


def test_the_time_advances() -> None:
    line = TextLine()
    first, same, later = (line({**EVENTS[0], "log_time": at}) for at in (1000.1, 1000.9, 1001.0))
    assert first == same != later


@pytest.mark.parametrize("event", EVENTS)
def test_json_lines_are_objects_of_one_line(event: dict[str, Any]) -> None:
    text = json_line({**event, "log_time": 1_795_000_000.25})
    assert text.endswith("\n")
    assert text.count("\n") == 1
    line = json.loads(text)
    assert line["time"] == "2026-11-18T11:06:40.250Z"
    assert line["level"] == event["log_level"].name
    assert line["namespace"] == event.get("log_namespace", "-")
    assert event["log_format"].partition("{")[0] in line["message"]
    assert ("ValueError" in line.get("traceback", "")) is ("log_failure" in event)


@pytest.mark.parametrize(("level", "written"), [("debug", 5), ("info", 4), ("warn", 3), ("error", 2), ("critical", 1)])
def test_lower_levels_are_left_out(capsys: pytest.CaptureFixture[str], level: Any, written: int) -> None:
    observer = log_observer(LogSettings(level=level, format="json"), {"logfile": "-", "nodaemon": True}, reactor)
    assert observer is not None
    for each in LogLevel.iterconstants():
        observer({"log_namespace": "n", "log_level": each, "log_format": each.name, "log_time": 0.0})
    lines = [json.loads(line)["level"] for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == written
    assert level in lines


@pytest.mark.parametrize("option", [{"logger": "some.observer"}, {"syslog": True}])
def test_twistd_options_that_name_an_observer_prevail(option: dict[str, object]) -> None:
    assert log_observer(LogSettings(), option, reactor) is None
