"""The log's level and form."""

from __future__ import annotations

import io
import json
import signal
import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
import pytest
from twisted.internet import reactor
from twisted.logger import LogLevel, textFileLogObserver
from twisted.python.failure import Failure
from twisted.python.logfile import LogFile

from callcenter_ws.config.settings import LogSettings
from callcenter_ws.runtime import log_output
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.log_output import TextLine, begin_file, json_line, log_observer
from callcenter_ws.runtime.log_text import MAX_FIELD_LENGTH


class Kind(Enum):
    FIRST = "first"


def failure(error: Exception) -> Failure:
    try:
        raise error
    except Exception:
        return Failure()


EVENTS: list[dict[str, Any]] = [
    {"log_namespace": "callcenter_ws", "log_level": LogLevel.info, "log_format": "{who} came", "who": "acme/100"},
    {"log_namespace": "a.b", "log_level": LogLevel.critical, "log_format": "first\nsecond"},
    {"log_namespace": "a.b", "log_level": LogLevel.warn, "log_format": "x", "log_system": "-"},
    {
        "log_namespace": "c",
        "log_level": LogLevel.critical,
        "log_format": "unhandled",
        "log_failure": failure(TypeError("x")),
    },
    {"log_namespace": "é", "log_level": LogLevel.debug, "log_format": "müde"},
    {"log_level": LogLevel.info, "log_format": "without a namespace"},
]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("at", [0.0, 1_795_000_000.25, time.time()], ids=["zero", "round", "now"])
def test_text_lines_are_those_of_twistd(event: dict[str, Any], at: float) -> None:
    expected = io.StringIO()
    textFileLogObserver(expected)({**event, "log_time": at})
    # Twisted ends a traceback with a line break.
    assert TextLine()({**event, "log_time": at}) == expected.getvalue().replace("\n\t\n", "\n")


@pytest.mark.parametrize(
    "error",
    [
        ValueError("s3cret"),
        KeyError("s3cret"),
        json.JSONDecodeError("bad", "s3cret", 0),
        UnicodeEncodeError("ascii", "s3cret é", 7, 8, "s3cret"),
        Exception("s3cret"),
        type("OfOthers", (RuntimeError,), {})("s3cret"),
    ],
)
def test_the_message_of_an_exception_that_may_hold_data_is_not_written(error: Exception) -> None:
    # The old interface, by which Twisted logs unhandled errors of Deferreds, repeats the traceback as text.
    caught = failure(error)
    old = {"log_format": "{log_text}", "isError": 1, "why": None, "log_text": "s3cret", "failure": caught}
    for event in (old, {**old, "log_failure": caught}, {"log_format": "x", "log_failure": caught}):
        for line in (json_line, TextLine()):
            text = line({"log_level": LogLevel.critical, "log_namespace": "n", **event})
            assert "s3cret" not in text
            assert type(error).__name__ in text
            assert "in failure" in text


def test_the_message_of_an_exception_that_names_code_is_written() -> None:
    event = {"log_level": LogLevel.critical, "log_failure": failure(AttributeError("no attribute x")), "log_format": ""}
    assert json.loads(json_line(event))["traceback"].endswith("builtins.AttributeError: no attribute x")


FORGED = "7\n2026-11-29T20:00:00+0000 [callcenter_ws#info] acme/1 is connected\r\x1b[2J\x9b\u2028\u202e\x85\ud800"


def test_a_field_cannot_forge_a_line() -> None:
    event = {"log_namespace": "callcenter_ws", "log_level": LogLevel.info, "log_format": "{user} came", "user": FORGED}
    text = TextLine()(event)
    assert text.count("\n") == 1
    assert text.endswith(" came\n")
    assert text[:-1].isprintable()
    line = json_line(event)
    assert line.isascii() and len(line.splitlines()) == 1
    # Except for a lone surrogate, with which other programs could not read the line.
    assert json.loads(line)["user"] == FORGED.encode(errors="backslashreplace").decode()
    assert msgspec.json.decode(line)["user"] == json.loads(line)["user"]


def test_a_text_cannot_forge_a_line() -> None:
    event = {"log_namespace": "stdout", "log_level": LogLevel.info, "log_format": "{log_io}", "log_io": FORGED}
    lines = TextLine()(event)[:-1].split("\n")
    assert [line.startswith("\t") for line in lines] == [False, True]
    assert all(line.lstrip("\t").isprintable() for line in lines)
    assert len(json_line(event).splitlines()) == 1


def test_fields_have_their_types() -> None:
    fields = {"user": Name("a b"), "code": 4001, "seconds": 1.5, "is_late": True, "nothing": None, "nan": float("nan")}
    event = {
        "log_namespace": "callcenter_ws.ws",
        "log_level": LogLevel.info,
        "log_format": "{user}",
        "kind": Kind.FIRST,
        "long": "x" * 5_000,
        "error": OSError("full"),
        "time": "not the field's",
        **fields,
    }
    line = json.loads(json_line(event))
    assert line["message"] == "'a b'"
    expected = {**fields, "nan": "nan", "kind": "first", "long": "x" * MAX_FIELD_LENGTH, "error": "full"}
    assert {name: line[name] for name in expected} == expected
    assert line["time"] == "1970-01-01T00:00:00.000Z"


def test_fields_of_other_programs_are_not_written() -> None:
    line = json.loads(json_line({"log_namespace": "twisted.web", "log_format": "x", "request": "GET /?token=s3cret"}))
    assert line.keys() == {"time", "level", "namespace", "message"}


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
    assert ("TypeError: x" in line.get("traceback", "")) is ("log_failure" in event)


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


@pytest.fixture
def log_file(tmp_path: Path) -> Iterator[LogFile]:
    file = LogFile.fromFullPath(str(tmp_path / "log"))
    yield file
    file.close()


def files_of(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_new_file_is_begun_by_renaming_the_previous_one(log_file: LogFile, tmp_path: Path) -> None:
    log_file.write("before\n")
    begin_file(log_file)
    log_file.write("after\n")
    assert files_of(tmp_path) == {"log.1": "before\n", "log": "after\n"}


@pytest.mark.parametrize("creates", [False, True])
def test_a_file_that_logrotate_has_renamed_is_not_renamed_again(
    log_file: LogFile, tmp_path: Path, creates: bool
) -> None:
    log_file.write("before\n")
    (tmp_path / "log").rename(tmp_path / "log-20261129")
    if creates:
        (tmp_path / "log").touch()
    begin_file(log_file)
    log_file.write("after\n")
    assert files_of(tmp_path) == {"log-20261129": "before\n", "log": "after\n"}


@pytest.mark.parametrize(("name", "length"), [("named.log", None), ("", 1_000_000)])
def test_a_named_file_is_rotated_by_others(
    name: str, length: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    file: Any = log_output._log_file(name, nodaemon=False, reactor=reactor)
    assert file.rotateLength == length
    file.close()
