"""The ``callcenter-ws`` command with a running gateway and its configuration file."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from processes import CALLCENTER_WS, Process, run

from callcenter_ws import __version__

ALERT = {"title": "Fire drill", "message": "now"}


@pytest.fixture
def config(gateway: Any) -> str:
    return str(gateway.folder / "callcenter-ws.toml")


@pytest.fixture
def token(config: str, tmp_path: Path) -> Path:
    """A file with a token for a supervisor, signed by the command line."""
    made = run("token", "--config", config, "--tenant", "acme", "--role", "supervisor", "--user", "cli")
    assert made.returncode == 0, made.stderr
    file = tmp_path / "token"
    file.write_text(made.stdout)
    return file


def tail(gateway: Any, token: Path, *more: str) -> Process:
    url = f"ws://127.0.0.1:{gateway.port}/ws"
    return Process([*CALLCENTER_WS, "tail", "--url", url, "--token-file", str(token), *more])


def emit(config: str, *arguments: str) -> dict[str, Any]:
    emitted = run("emit", "--config", config, "--tenant", "acme", *arguments)
    assert emitted.returncode == 0, emitted.stderr
    published: dict[str, Any] = json.loads(emitted.stdout)
    return published


def test_the_version_is_printed() -> None:
    printed = run("version")
    assert (printed.returncode, printed.stderr) == (0, "")
    assert re.fullmatch(rf"callcenter-ws {re.escape(__version__)} \(Python .*Twisted .*\)\n", printed.stdout)


def test_the_configuration_of_the_gateway_is_valid(config: str) -> None:
    checked = run("check-config", "--config", config)
    assert checked.returncode == 0 and checked.stdout.startswith(f"OK: {config}\n")
    assert "test-node" in checked.stdout


def test_all_problems_are_reported_together(config: str) -> None:
    checked = run("check-config", "--config", config, "--set", "limits.outbox=-1", "--set", "web.listen=smoke:signals")
    assert (checked.returncode, checked.stdout) == (1, "")
    assert "limits.outbox" in checked.stderr and "web.listen" in checked.stderr
    assert "Traceback" not in checked.stderr


def test_a_token_opens_the_gateway(gateway: Any, token: Path) -> None:
    client = gateway.connect(token=token.read_text().strip())
    assert (client.welcome["payload"]["user_id"], client.welcome["payload"]["role"]) == ("cli", "supervisor")
    client.socket.close()


def test_tail_prints_emitted_events(gateway: Any, config: str, token: Path) -> None:
    watching = tail(gateway, token, "--events", "alert", "call.*", "--count", "2")
    welcome = json.loads(watching.expect('"welcome"').string)
    first = emit(config, "alert", json.dumps(ALERT), "--event-id", "cli-1")
    # The same event again, and one of a type that tail does not print.
    assert emit(config, "alert", json.dumps(ALERT), "--event-id", "cli-1") == first
    emit(config, "agent.login", '{"user_id": "7", "username": "ada"}')
    second = emit(config, "call.ended", '{"unique_id": "1", "duration": 3}')
    seen = [json.loads(watching.next_line()) for _ in range(2)]
    assert watching.wait() == 0
    assert [(message["type"], message["id"], message["seq"]) for message in seen] == [
        ("alert", "cli-1", first["seq"]),
        ("call.ended", second["event_id"], second["seq"]),
    ]
    assert first["epoch"] == welcome["payload"]["epoch"]
    # A second tail resumes from the position before the first event.
    position = f"{welcome['payload']['epoch']}:{first['seq'] - 1}"
    later = tail(gateway, token, "--events", "alert", "--count", "1", "--resume", position)
    assert json.loads(later.expect('"cli-1"').string) == seen[0]
    assert later.wait() == 0


def test_an_event_for_one_user(gateway: Any, config: str) -> None:
    agent = gateway.connect("agent")
    note = {"type": "callback", "title": "Call back", "message": "soon"}
    emitted = emit(config, "notification", json.dumps(note), "--user-id", "agent-1", "--persist")
    received = agent.receive_type("notification")
    assert (received["seq"], received["user_id"], received["payload"]) == (emitted["seq"], "agent-1", note)
    agent.socket.close()


@pytest.mark.parametrize(
    ("arguments", "status", "text"),
    [
        (("alert", '{"title": "no message"}'), 1, "payload.message: required"),
        (("weather", "{}"), 1, "there is no event type 'weather'"),
        (("alert", "{"), 1, "not JSON"),
        (("alert", "[]"), 1, "not a JSON object"),
        (("alert", "{}", "--amp", "tcp:host=127.0.0.1:port=1"), 1, "cannot connect"),
        (("alert",), 2, "PAYLOAD"),
    ],
)
def test_errors_of_emit(config: str, arguments: tuple[str, ...], status: int, text: str) -> None:
    emitted = run("emit", "--config", config, "--tenant", "acme", *arguments)
    assert (emitted.returncode, emitted.stdout) == (status, "")
    assert text in emitted.stderr and "Traceback" not in emitted.stderr


def test_tail_prints_why_it_ends(gateway: Any, token: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text(token.read_text().strip()[:-4] + "AAAA")
    refused = tail(gateway, wrong)
    assert refused.expect("4500 unauthorized")
    assert refused.wait() == 1
    interrupted = tail(gateway, token, "--events", "alert")
    interrupted.expect('"welcome"')
    assert interrupted.stop(signal.SIGINT) == 130
    # An interrupt needs no message.
    assert len(interrupted.lines) == 1
