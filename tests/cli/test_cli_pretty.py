"""Lines for people: the messages of tail --pretty."""

from __future__ import annotations

import io
import json
import os
from calendar import timegm
from time import monotonic
from typing import Any

import pytest
from twisted.internet.task import Clock

from callcenter_ws.cli.event_examples import EXAMPLES
from callcenter_ws.cli.pretty import Pretty, Terminal
from callcenter_ws.cli.table import table
from callcenter_ws.cli.tail_client import TailFactory, TailOptions

NOW = timegm((2026, 11, 22, 20, 1, 2)) + 0.3456


def lines(message: dict[str, Any], terminal: Terminal | None = None) -> list[str]:
    return list(Pretty(terminal or Terminal(), lambda: NOW).lines(message))


def event(type_: str, payload: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": type_, "seq": 42, "timestamp": "2026-11-22T19:40:00.123Z", "payload": payload, **more}


def test_a_line_has_time_type_position_and_fields() -> None:
    payload = {"unique_id": "1", "caller_id": "+1555", "caller_name": "Ann Lee", "queue_name": None, "channel": "PJSIP"}
    assert lines(event("call.incoming", payload)) == [
        '19:40:00.123 call.incoming          #42      caller_id=+1555 caller_name="Ann Lee" unique_id=1 channel=PJSIP'
    ]


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_event_has_a_line_with_all_its_fields(name: str) -> None:
    (line,) = lines(event(name, EXAMPLES[name]))
    assert line.startswith(f"19:40:00.123 {name} ")
    shown = {field for field, value in EXAMPLES[name].items() if value is not None}
    if EXAMPLES[name].get("call_id") == EXAMPLES[name].get("unique_id"):
        shown.discard("call_id")
    assert all(f" {field}=" in line for field in shown)


def test_a_snapshot_has_a_line_for_each_event() -> None:
    events = [event("agent.login", {"user_id": "7"}, user_id="7"), "not an object"]
    snapshot = {"type": "snapshot", "payload": {"epoch": "e", "seq": 42, "events": events}}
    assert lines(snapshot) == [
        "20:01:02.345 snapshot                        seq=42 events=2 epoch=e",
        "  19:40:00.123 agent.login            #42      user_id=7 user_id=7",
    ]


def test_an_event_of_another_day_has_its_date() -> None:
    message = event("alert", {}, timestamp="2026-11-21T23:59:59.999Z")
    assert lines(message) == ["2026-11-21 23:59:59.999 alert                  #42"]


@pytest.mark.parametrize(
    "message",
    [
        {"type": "pong", "payload": {"server_time": "2026-11-22T20:01:00.000Z"}},
        {"type": "reset", "payload": {"reason": "history_exceeded", "epoch": "e", "seq": 7}},
        {"type": "gap", "payload": {"from_seq": 3, "to_seq": 7, "reason": "history_exceeded"}},
        {"type": "drain", "payload": {"reconnect_after_ms": 1200}},
        {"type": "error", "payload": {"code": "rate_limited", "message": "too many", "retry_after_ms": 5}},
        {"type": "subscribed", "payload": {"events": ["call.*"], "queues": None}},
    ],
)
def test_control_messages_have_the_present_time(message: dict[str, Any]) -> None:
    (line,) = lines(message)
    assert line.startswith(f"20:01:02.345 {message['type']} ")
    for name, value in message["payload"].items():
        assert (f" {name}=" in line) is (value is not None)


def test_marks_and_the_recipient_come_first() -> None:
    message = event("alert", {"title": "t"}, user_id="7", offline=True, redelivered=True)
    assert lines(message)[0].endswith("#42      offline redelivered user_id=7 title=t")


def test_the_token_of_a_visitors_session_is_not_shown() -> None:
    (line,) = lines({"type": "welcome", "payload": {"session_token": "eyJsecret", "role": "visitor"}})
    assert "session_token=… role=visitor" in line
    assert "secret" not in line


def test_values_cannot_send_control_characters_or_look_like_fields() -> None:
    (line,) = lines(event("alert", {"title": "a\x1b[31m", "b\x07": "x y=1", "empty": ""}, user_id="u\r\x9b"))
    assert line.endswith('user_id=u�� title=a�[31m b�="x y=1" empty=""')


@pytest.mark.parametrize("text", ["\x1b[2Jno JSON", "[" * 100_000 + "\x1b[2J"])
def test_what_is_no_message_cannot_send_control_characters(text: str) -> None:
    written: list[str] = []
    options = TailOptions(url="ws://gw.example.com/ws", pretty=Terminal())
    assert not TailFactory(options, written.append, Clock()).print_message(text)
    assert written == [text.replace("\x1b", "�")]


@pytest.mark.parametrize("wait", ["1e999", "1" * 400, "NaN", "-1e999", "true", '"soon"'])
def test_tail_waits_a_bounded_time_before_it_reconnects(wait: str) -> None:
    factory = TailFactory(TailOptions(url="ws://gw.example.com/ws"), lambda line: None, Clock())
    factory.print_message(f'{{"type": "drain", "payload": {{"reconnect_after_ms": {wait}}}}}')
    assert factory.reconnect_at is not None
    assert 0 <= max(0.0, factory.reconnect_at - monotonic()) <= 7_200


def test_cells_of_tables_have_no_control_characters() -> None:
    assert list(table([("name", "kind"), ("a\x1b\u202e", "b")])) == ["name  kind", "a��   b"]


@pytest.mark.parametrize("payload", [None, [], "text", {"a": [1, {"b": None}]}])
def test_unexpected_payloads_are_shown_or_left_out(payload: Any) -> None:
    assert len(lines({"type": "new.type", "payload": payload})) == 1


def test_long_values_are_cut() -> None:
    assert lines(event("alert", {"title": "x" * 100}))[0].endswith(f"title={'x' * 59}…")


def test_a_terminal_cuts_lines_and_has_colours() -> None:
    message = event("call.ended", {"duration": 12, "caller_name": "Ann Lee"})
    (line,) = lines(message, Terminal(60))
    assert (len(line), line[-1]) == (60, "…")
    (coloured,) = lines(message, Terminal(60, has_colours=True))
    assert "\x1b[36mcall.ended" in coloured
    assert coloured.count("\x1b[0m") == 2
    (error,) = lines({"type": "error", "payload": {}}, Terminal(60, has_colours=True))
    assert "\x1b[31merror" in error


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_has_a_width_and_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "77")
    assert Terminal.of_output(io.StringIO(), {"TERM": "xterm"}) == Terminal()
    assert Terminal.of_output(FakeTerminal(), {"TERM": "xterm"}) == Terminal(77, has_colours=True)
    assert Terminal.of_output(FakeTerminal(), {"TERM": "xterm", "NO_COLOR": ""}) == Terminal(77, has_colours=True)
    assert Terminal.of_output(FakeTerminal(), {"TERM": "xterm", "NO_COLOR": "1"}) == Terminal(77)
    assert Terminal.of_output(FakeTerminal(), {"TERM": "dumb"}) == Terminal(77)
    assert Terminal.of_output(FakeTerminal(), {}) == Terminal(77)
    assert os.environ["COLUMNS"] == "77"


def figure(type_: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"type": type_, "timestamp": "2026-11-22T20:00:00.123Z", "payload": payload}


def test_a_figure_has_what_is_read_most_at_the_start_of_its_line() -> None:
    (line,) = lines(figure("queue.stats", EXAMPLES["queue.stats"]))
    assert line.startswith(
        "20:00:00.123 queue.stats                     queue_name=sales calls_waiting=3 available_agents=2 "
        "longest_wait_since=2026-11-22T19:39:19.123Z staffed_agents=8 service_level=81.25 "
        "today=[offered=325 answered=311 abandoned=12] last_30m=[offered=14 answered=12 abandoned=1] "
    )
    assert " interval=[start=2026-11-22T20:30:00+01:00 minutes=15 offered=9 answered=8]" in line
    (line,) = lines(figure("agent.stats", EXAMPLES["agent.stats"]))
    assert " state=break reason=lunch since=2026-11-22T19:32:00.000Z today=[answered=31 handled=30 missed=1 " in line


@pytest.mark.parametrize("window", [None, 7, "x\x1b=", [], {"offered": {"a": 1}, "answered": [2]}])
def test_figures_with_unexpected_windows_are_shown(window: Any) -> None:
    (line,) = lines(figure("queue.stats", {"queue_name": "sales", "today": window}))
    assert ("today=" in line) is (window is not None)
    assert "\x1b" not in line


def test_a_snapshot_has_a_line_for_each_figure() -> None:
    figures = [figure("tenant.stats", {"today": {"calls_offered": 1}}), None]
    snapshot = {"type": "snapshot", "payload": {"seq": 42, "events": [event("alert", {})], "figures": figures}}
    assert lines(snapshot) == [
        "20:01:02.345 snapshot                        seq=42 events=1 figures=2",
        "  19:40:00.123 alert                  #42",
        "  20:00:00.123 tenant.stats                    today=[calls_offered=1]",
    ]


def test_alerts_have_colours_and_their_rule_first() -> None:
    terminal = Terminal(has_colours=True)
    (raised,) = lines(event("queue.alert.raised", EXAMPLES["queue.alert.raised"]), terminal)
    assert "\x1b[1;31mqueue.alert.raised" in raised
    assert "#42      rule=" in raised
    (cleared,) = lines(event("queue.alert.cleared", EXAMPLES["queue.alert.cleared"]), terminal)
    assert "\x1b[32mqueue.alert.cleared" in cleared


def printed(events: tuple[str, ...], count: int, *messages: dict[str, Any]) -> tuple[list[str], bool]:
    """Return the types that tail prints with these options, and whether it is complete after the last message."""
    written: list[str] = []
    options = TailOptions(url="ws://gw.example.com/ws", events=events, count=count)
    factory = TailFactory(options, written.append, Clock())
    complete = [factory.print_message(json.dumps(message)) for message in messages]
    return [json.loads(line)["type"] for line in written], complete[-1]


def test_figures_are_filtered_and_count_only_if_they_are_named() -> None:
    messages = [
        {"type": "welcome", "payload": {}},
        figure("queue.stats", {}),
        figure("agent.stats", {}),
        event("alert", {}),
    ]
    assert printed((), 1, *messages) == (["welcome", "queue.stats", "agent.stats", "alert"], True)
    assert printed((), 2, *messages)[1] is False
    assert printed(("queue.*",), 1, *messages[:2]) == (["welcome", "queue.stats"], True)
    assert printed(("alert",), 1, *messages) == (["welcome", "alert"], True)
