"""callcenter-ws calls: the URL and the table; over a socket that answers like a gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from http_gateway import FakeGateway

from callcenter_ws.call_log.query import described
from callcenter_ws.call_log.record import CallRecord, Disposition
from callcenter_ws.cli.main import main

TALKING = CallRecord("c2", 1_800_000_009_000, state="talking", caller_id="0170\x1b[31m", agent_id="8")
ENDED = CallRecord(
    "c1",
    1_800_000_000_000,
    state="ended",
    outcome="answered",
    caller_id="+4930123456",
    caller_name="Ada Lovelace",
    queue_name="sales",
    agent_id="7",
    answered=1_800_000_004_000,
    waited=4_000,
    talk_ms=61_000,
    disposition=Disposition("sale", "Sale", None),
)


def answer(**fields: Any) -> bytes:
    """Return the body of a response."""
    calls = [described(record, {"7": "Ana"}) for record in (TALKING, ENDED)]
    head = {"from": "2027-01-15T00:00:00+00:00", "as_of_seq": 42, "incomplete_since": None, "more": False}
    return json.dumps({**head, "calls": calls, **fields}).encode()


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    server = FakeGateway(body=answer())
    yield server
    server.stop()


def run(gateway: FakeGateway, *options: str) -> int:
    return main(["calls", "--url", gateway.url, "--token", "t", *options])


def test_the_table(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(gateway) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "since 2027-01-15T00:00:00+00:00, up to seq 42",
        "BEGAN CALLER NAME QUEUE AGENT STATE WAIT TALK DISPOSITION CALL",
        "2027-01-15T08:00:09.000Z 0170\ufffd[31m - - 8 talking - - - c2",
        "2027-01-15T08:00:00.000Z +4930123456 Ada Lovelace sales Ana answered 4 s 61 s Sale c1",
    ]


def test_what_is_missing_in_it(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    gateway.body = answer(calls=[], incomplete_since="2027-01-15T07:00:00.000Z", more=True)
    assert run(gateway) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "INCOMPLETE: calls that began before 2027-01-15T07:00:00.000Z may be missing",
        "no calls",
        "there are more: raise --limit, or search",
    ]


def test_the_url(gateway: FakeGateway) -> None:
    options = ["--search", "a b", "--caller", "+49", "--queue", "q", "--agent", "7", "--state", "ended"]
    assert run(gateway, *options, "--tenant", "acme", "--limit", "200") == 0
    (request,) = gateway.requests
    query = "search=a%20b&caller_id=%2B49&queue=q&agent=7&state=ended&tenant_id=acme&limit=200"
    assert request == (f"/ws/calls?{query}", "Bearer t")


def test_json(gateway: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(gateway, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(answer())


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (200, b'{"other": 1}', "answers with an object that has no calls"),
        (400, b'{"error": {"code": "invalid_message", "message": "state: expected one of"}}', "state: expected one of"),
    ],
)
def test_other_answers(
    gateway: FakeGateway, capsys: pytest.CaptureFixture[str], status: int, body: bytes, reason: str
) -> None:
    gateway.status, gateway.body = status, body
    assert run(gateway) == 1
    assert reason in capsys.readouterr().err
