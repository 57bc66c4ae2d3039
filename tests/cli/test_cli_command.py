"""callcenter-ws command: what is sent, what is printed, and the exit status."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest
from cli_secret import SECRET
from http_gateway import FakeGateway

from callcenter_ws.cli.main import main
from callcenter_ws.demo.state import DemoState

ACCEPTED = {"command_id": "c1", "source": "pbx1", "deadline": "2026-11-30T10:00:05.000Z"}
HANG_UP = ["call.hangup", "call_id=1.1"]


@pytest.fixture
def fake() -> Iterator[FakeGateway]:
    server = FakeGateway(202, json.dumps(ACCEPTED).encode())
    yield server
    server.stop()


Printed = tuple[int, str, str]


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> Printed:
    status = main(["command", *arguments])
    printed = capsys.readouterr()
    return status, printed.out, printed.err


def test_a_command_is_sent_with_a_token_of_the_tenant(
    fake: FakeGateway, secret_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--url", fake.url, "--set", f"jwt.secret_file={secret_file}", "--tenant", "acme"]
    status, out, err = command(capsys, "queue.member.add", "queue_name=a=b", "penalty=5", "--id", "c1", *options)
    assert (status, json.loads(out), err) == (0, ACCEPTED, "")
    ((path, header),) = fake.requests
    claims = jwt.decode(header.removeprefix("Bearer "), SECRET, ["HS256"])
    assert (path, claims["role"], claims["tenant_id"]) == ("/ws/commands?tenant_id=acme", "service", "acme")
    (body,) = map(json.loads, fake.bodies)
    assert body == {"name": "queue.member.add", "command_id": "c1", "queue_name": "a=b", "penalty": 5}


def test_each_command_has_an_id_of_its_own(
    fake: FakeGateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_text("from.a.file\n")
    for _ in range(2):
        command(capsys, *HANG_UP, "--url", fake.url, "--token-file", str(tmp_path / "token"))
    first, second = (json.loads(body)["command_id"] for body in fake.bodies)
    assert first != second
    assert {header for _, header in fake.requests} == {"Bearer from.a.file"}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"state": "done", "data": {"x": 1}}, (0, "")),
        (
            {"state": "failed", "code": "rejected", "message": "no \x1b such phone"},
            (1, "callcenter-ws command: rejected: no � such phone\n"),
        ),
        ({"state": "failed", "code": "timeout"}, (1, "callcenter-ws command: timeout\n")),
    ],
)
def test_the_outcome_is_awaited(
    fake: FakeGateway, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], expected: tuple[int, str]
) -> None:
    fake.status, fake.body = 200, json.dumps(answer).encode()
    status, out, err = command(capsys, *HANG_UP, "--wait", "--url", fake.url, "--token", "t")
    assert (status, err) == expected
    assert json.loads(out) == answer
    assert fake.requests[0][0] == "/ws/commands?wait=1"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["call.hangup"], "call.hangup: call_id: required"),
        (["call.hangup", "call_id"], "call_id: expected FIELD=VALUE; fields of call.hangup: call_id"),
        (["call.hangup", "callid=1"], "call.hangup has no field callid; did you mean call_id?"),
        (["call.hangup", "call_id=1", "call_id=2"], "call_id is given twice"),
        (["call.hangup", "call_id=1\n2"], "call.hangup: call_id: expected a string matching regex"),
        (["queue.member.add", "queue_name=a", "penalty=x"], "penalty: expected an integer or null, got a string"),
        (["agent.state.set", "state=brek"], "state: expected one of: available, away, break, offline\n"),
        (["call.monitor", "call_id=1", "mode=whisper"], "call.monitor: mode: expected one of: listen\n"),
    ],
)
def test_fields_are_checked_before_anything_is_sent(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, err = command(capsys, *arguments, "--url", "http://127.0.0.1:1", "--token", "t")
    assert (status, reason in err) == (1, True), err


def test_the_help_lists_the_commands_with_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = command(capsys, "--help")
    assert status == 0
    assert "\n  call.transfer call_id destination\n" in out
    assert "\n  agent.state.set state [reason] [extension] [user_id]\n" in out


def test_an_unknown_command_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = command(capsys, "call.hangups")
    assert (status, err.endswith("Did you mean call.hangup?\n")) == (2, True)


def test_without_an_answer_the_id_tells_the_outcome_later(
    fake: FakeGateway, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.hold.clear()
    given = [*HANG_UP, "--url", fake.url, "--token", "t", "--timeout", "0.2", "--id", "c1"]
    status, out, err = command(capsys, *given)
    assert (status, out) == (1, "")
    assert err.startswith(f"callcenter-ws command: no answer from {fake.url}/ws/commands within 0.2 s; whether it was")
    assert err.endswith("The same with --wait --id c1 prints the outcome\n")


def test_a_connection_that_is_closed_without_an_answer_leaves_it_open(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closing = threading.Thread(target=lambda: server.accept()[0].close())
        closing.start()
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        status, _, err = command(capsys, *HANG_UP, "--url", address, "--token", "t", "--id", "c1")
        closing.join()
    assert (status, err.endswith("is not known. The same with --wait --id c1 prints the outcome\n")) == (1, True), err


@pytest.mark.parametrize("is_running", [True, False])
def test_the_demo_is_to_be_started_only_when_it_cannot_be_reached(
    fake: FakeGateway, capsys: pytest.CaptureFixture[str], is_running: bool
) -> None:
    fake.status, fake.body = 404, b'{"error": {"code": "not_found", "message": "call_id: there is none with this id"}}'
    demo = DemoState.prepare(fake.url if is_running else "http://127.0.0.1:1/")
    demo.record()
    status, _, err = command(capsys, *HANG_UP)
    assert (status, "start it again" in err, "is not known" in err) == (1, not is_running, False), err


def test_a_refusal_is_printed(fake: FakeGateway, capsys: pytest.CaptureFixture[str]) -> None:
    fake.status, fake.body = 501, b'{"error": {"code": "no_source", "message": "no source carries this out"}}'
    status, out, err = command(capsys, *HANG_UP, "--url", fake.url, "--token", "t")
    assert (status, out) == (1, "")
    assert err == f"callcenter-ws command: {fake.url}/ws/commands: no_source: no source carries this out\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--url", "http://127.0.0.1:1"], "no tenant given: use --tenant ID"),
        (["--url", "http://127.0.0.1:1", "--tenant", "acme"], "no secret to sign a token with"),
        (["--set", "web.listen=unix:/x", "--tenant", "acme"], "no URL known: give --url"),
        (["--tenant", "acme"], "no demo has run yet"),
    ],
)
def test_errors_of_command(arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = command(capsys, *HANG_UP, *arguments)
    assert (status, reason in err) == (1, True), err
