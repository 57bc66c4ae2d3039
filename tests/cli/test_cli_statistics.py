"""callcenter-ws statistics: the URL, the tables, and CSV; over a socket that answers like a gateway."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest
from fold_samples import make_occurrence, report_of_state

from callcenter_ws.cli.main import main
from callcenter_ws.cli.statistics import _number, lines_of
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.period import period_of
from callcenter_ws.statistics.report import csv_pieces, json_pieces
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.zones import zone_of

START = 1_800_000_000_000
EVENTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("agent.login", {"user_id": "7", "username": "ada", "queues": ["sales"]}),
    ("queue.joined", {"unique_id": "c1", "queue_name": "sales\x1b[31m"}),
    ("queue.joined", {"unique_id": "c2", "queue_name": "sales"}),
    ("call.answered", {"unique_id": "c2", "queue_name": "sales", "agent_id": "7"}),
)


class Gateway(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        state = State()
        for number, (type_, payload) in enumerate(EVENTS):
            at = START + 4000 * number
            apply(state, make_occurrence(type_, payload, timestamp=at, received=at, seq=number + 1))
        period = period_of(zone_of("UTC"), START, start=None, end=None, interval=None)
        report = report_of_state(state, START + 20_000, period, tenant_id="acme", epoch="e")
        pieces = csv_pieces if self.headers["Accept"] == "text/csv" else json_pieces
        status, body = 200, b"".join(pieces(report))
        if "tenant_id=off" in self.path:
            status, body = 404, b'{"error":{"code":"statistics_off","message":"statistics are not enabled"}}'
        elif "from=yesterday" in self.path:
            status, body = 400, b'{"error":{"code":"invalid_message","message":"from: expected a date such as"}}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def run(url: str, *options: str) -> int:
    return main(["statistics", "--url", url, "--token", "t", *options])


def test_tables(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("acme: 2027-01-15T00:00:00+00:00 to 2027-01-16T00:00:00+00:00 (UTC), at ")
    assert lines[1] == "service level: answered_of_offered_less_short, within 20 s, target 80 %, short below 5 s"
    (sales,) = [line.split() for line in lines if line.startswith("sales  ")]
    assert sales == [
        "sales", "2027-01-15T00:00", "0", "1", "1", "0", "0", "100.0", "%", "4.0", "s", "-", "1", "of", "1",
    ]  # fmt: skip
    (ada,) = [line.split() for line in lines if line.startswith("ada ")]
    assert ada[1] == "(7)", "what --agent asks for"
    assert ada[3:7] == ["available", "1", "0", "0"]
    assert "\x1b" not in "".join(lines)


def test_rows_that_are_judged_otherwise_say_so() -> None:
    state = State()
    for number, (type_, payload) in enumerate(
        (
            ("statistics.settings.changed", {"queues": {"sales": {"service_level_seconds": 60}}}),
            ("call.ended", {"unique_id": "c9", "duration": 0}),
            *EVENTS,
        )
    ):
        at = START + 4000 * number - (3 * 86_400_000 if type_ == "call.ended" else 0)
        apply(state, make_occurrence(type_, payload, timestamp=at, received=START + 4000 * number, seq=number + 1))
    period = period_of(zone_of("UTC"), START, start=None, end=None, interval=None)
    report = report_of_state(state, START + 20_000, period, tenant_id="acme", epoch="e")
    lines = list(lines_of(json.loads(b"".join(json_pieces(report)))))
    assert lines[2] == "diagnostics, of all times: late_events 1"
    (sales,) = [line for line in lines if line.startswith("sales  ")]
    assert "100.0 % (60 s)" in sales


def test_what_is_true_now_is_in_the_last_row_only() -> None:
    state = State()
    for number, (type_, payload) in enumerate(EVENTS):
        at = START + 4000 * number
        apply(state, make_occurrence(type_, payload, timestamp=at, received=at, seq=number + 1))
    period = period_of(zone_of("UTC"), START, start="2027-01-14", end=None, interval=None)
    report = report_of_state(state, START + 20_000, period, tenant_id="acme", epoch="e")
    lines = list(lines_of(json.loads(b"".join(json_pieces(report)))))
    before, today = (line.split() for line in lines if line.startswith("sales  "))
    assert (before[2], before[-1], today[2], today[-3:]) == ("-", "-", "0", ["1", "of", "1"])
    assert [line.split()[3] for line in lines if line.startswith("ada ")] == ["-", "available"]


def test_dispositions_have_a_table_if_there_are_any() -> None:
    state = State()
    codes = [("c2", "no_answer"), ("c3", "no_answer"), ("c4", "sale\x1b")]
    for number, (call, code) in enumerate(codes):
        payload = {"unique_id": call, "queue_name": "sales", "code": code}
        at = START + 4000 * number
        apply(state, make_occurrence("call.disposition", payload, timestamp=at, received=at, seq=number + 1))
    period = period_of(zone_of("UTC"), START, start=None, end=None, interval=None)
    report = report_of_state(state, START + 20_000, period, tenant_id="acme", epoch="e")
    answer = json.loads(b"".join(json_pieces(report)))
    lines = list(lines_of(answer))
    first = next(number for number, line in enumerate(lines) if "DISPOSITION" in line)
    assert [line.split()[2:] for line in lines[first + 1 : first + 3]] == [["no_answer", "2"], ["sale\ufffd", "1"]]
    assert "\x1b" not in "".join(lines)
    del answer["queues"][0]["intervals"][0]["dispositions"]
    assert not any("DISPOSITION" in line for line in lines_of(answer)), "of a gateway of the release before"


def test_json_has_the_bytes_of_the_gateway(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, "--json") == 0
    text = capsys.readouterr().out
    assert text.startswith('{"tenant_id":"acme",') and text.endswith("}\n") and json.loads(text)


def test_options_are_parameters(url: str) -> None:
    Gateway.asked.clear()
    options = ["--queue", "a b", "--queue", "c", "--agent", "7", "--since", "2026-11-23", "--until", "2026-11-24"]
    assert run(url + "/ws", *options, "--interval", "30", "--tenant", "acme", "--json") == 0
    assert Gateway.asked == [
        "/ws/statistics?queue=a%20b&queue=c&agent=7&from=2026-11-23&to=2026-11-24&interval=30&tenant_id=acme"
    ]


def test_csv(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, "--csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("part,name,start,")
    assert lines[1].startswith("queues,sales,2027-01-15T00:00:00+00:00,1440,1,1,0")


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_refusal_is_printed(url: str, capsys: pytest.CaptureFixture[str], form: str) -> None:
    assert run(url, "--tenant", "off", form) == 1
    assert "statistics_off: statistics are not enabled" in capsys.readouterr().err


def test_a_refusal_names_the_option(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(url, "--since", "yesterday") == 1
    assert "invalid_message: --since: expected a date" in capsys.readouterr().err


def test_rows_of_the_night_on_which_clocks_are_set_back_have_their_offset() -> None:
    settings = {"service_level_method": "asterisk_2", "service_level_seconds": 20}
    settings |= {"service_level_target": 80, "short_abandon_seconds": 5}
    calls = {"calls_offered": 1, "calls_answered": 1, "queue_entries": 1}
    answer = {
        "tenant_id": "acme",
        "from": "2026-10-25T00:00:00+02:00",
        "to": "2026-10-26T00:00:00+01:00",
        "time_zone": "Europe/Berlin",
        "generated_at": "now",
        "as_of_seq": 1,
        "settings": settings,
        "incomplete_since": None,
        "queues": [],
        "agents": [],
        "tenant": [{"start": f"2026-10-25T02:00:00+0{hours}:00", **calls} for hours in (2, 1)],
    }
    starts = [line.split()[0] for line in list(lines_of(answer))[-2:]]
    assert starts == ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00"]
    answer["to"] = "2026-10-25T03:00:00+02:00"
    assert list(lines_of(answer))[-1].split()[0] == "2026-10-25T02:00"


@pytest.mark.parametrize(("value", "text"), [(81.25, "81.3 %"), (81.24, "81.2 %"), (0.0, "0.0 %"), (None, "-")])
def test_numbers_are_rounded_half_up_as_on_the_page(value: float | None, text: str) -> None:
    assert _number(value, " %") == text
