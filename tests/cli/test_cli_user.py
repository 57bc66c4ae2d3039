"""callcenter-ws user and pair: passwords, answers that this version does not know, and what is printed."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest

from callcenter_ws.amp.commands import AddUser
from callcenter_ws.auth.passwords import matches
from callcenter_ws.cli import pair, user
from callcenter_ws.cli.main import main

AMP = ["--amp", "tcp:127.0.0.1:1"]
ADD = ["user", "add", "anna", "--tenant", "acme", "--role", "agent", *AMP]
PASSWORD = "correct horse"


class Calls:
    """What the gateway is asked, and its answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[Any, dict[str, Any]]] = []
        self.answers: list[dict[str, Any]] = []
        for module in (user, pair):
            monkeypatch.setattr(module, "call_amp", self)

    def __call__(self, arguments: Any, target: Any, command: Any, values: dict[str, Any], _: str) -> dict[str, Any]:
        self.asked.append((command, values))
        return self.answers.pop(0) if self.answers else {"closed": 1, "sessions": 1}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    return Calls(monkeypatch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_password_does_not_leave_the_command(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: PASSWORD)
    assert main(ADD) == 0
    [(command, values)] = calls.asked
    assert command is AddUser
    assert PASSWORD.encode() not in values["user"]
    sent = json.loads(values["user"])
    assert matches(PASSWORD, sent.pop("password"))
    assert sent == {
        "name": "anna", "tenant_id": "acme", "user_id": "anna", "role": "agent", "display_name": "", "queues": None,
    }  # fmt: skip


@pytest.mark.parametrize("text", [PASSWORD, f"{PASSWORD}\n", f"{PASSWORD}\r\nsecond line\n"])
def test_a_password_is_read_from_a_file(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    file = tmp_path / "password"
    file.write_bytes(text.encode())
    assert main(["user", "password", "anna", "--password-file", str(file), *AMP]) == 0
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    assert main(["user", "password", "anna", "--password-file", "-", *AMP]) == 0
    for _, values in calls.asked:
        assert matches(PASSWORD, json.loads(values["change"])["password"])


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        (["short", "short"], "a password has at least 10 characters"),
        (["anna anna", "anna anna"], "at least 10"),
        ([PASSWORD, "another one"], "these are two different passwords"),
    ],
)
def test_passwords_that_cannot_be_used(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: list[str], text: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed.pop(0))
    assert main(ADD) == 1
    assert text in capsys.readouterr().err
    assert not calls.asked


def test_without_a_terminal_a_file_is_needed(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(PASSWORD))
    assert main(ADD) == 1
    assert "use --password-file FILE" in capsys.readouterr().err
    assert main([*ADD, "--password-file", str(tmp_path / "missing")]) == 1
    assert "cannot read the file with the password: No such file" in capsys.readouterr().err
    (tmp_path / "latin").write_bytes(b"\xff" * 12)
    assert main([*ADD, "--password-file", str(tmp_path / "latin")]) == 1
    assert "not UTF-8" in capsys.readouterr().err
    assert not calls.asked


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (["--tenant", "*"], "tenant_id: there are no users for all tenants"),
        (["--user-id", "a\nb"], "user_id: control characters"),
        (["--display-name", "x" * 256], "display_name: expected a string of 1 to 255"),
        (
            ["--queues", ",".join(f"queue {number}" for number in range(1_000))],
            "queues: the names are too long together",
        ),
        (["--display-name", "\udcff"], "display_name: control characters"),
    ],
)
def test_what_no_user_can_be_is_said_before_the_password_is_asked_for(
    calls: Calls, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], changes: list[str], text: str
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: pytest.fail("it is asked for"))
    assert main([*ADD, *changes]) == 1
    assert text in capsys.readouterr().err
    assert main(["user", "add", "an\nna", *ADD[3:]]) == 1
    assert "name: control characters" in capsys.readouterr().err
    assert not calls.asked


@pytest.mark.parametrize(
    "command",
    [
        ["user", "list", "--tenant", "\udcff"],
        ["user", "sessions", "\udcff"],
        ["user", "remove", "\udcff"],
        ["user", "sign-out", "--session", "\udcff"],
        ["pair", "K7QX-2M4P", "--tenant", "acme", "--name", "\udcff"],
    ],
)
def test_bytes_that_are_not_utf_8_are_said_to_be_so(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, *AMP]) == 1
    assert capsys.readouterr().err.endswith(": not UTF-8\n")


@pytest.mark.parametrize("role", ["service", "visitor", "root"])
def test_roles_that_nobody_signs_in_with(calls: Calls, role: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "add", "anna", "--tenant", "acme", "--role", role, *AMP]) == 2
    assert main(["pair", "K7QX-2M4P", "--tenant", "acme", "--role", role, *AMP]) == 2
    assert main(["pair", "K7QX-2M4P", "--tenant", "acme", "--role", "admin", *AMP]) == 2
    assert not calls.asked


def test_what_is_changed(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["user", "change", "anna", "--queues", "a, b", "--display-name", "", *AMP]) == 0
    assert main(["user", "change", "anna", "--all-queues", "--role", "admin", *AMP]) == 0
    changes = [json.loads(values["change"]) for _, values in calls.asked]
    assert changes == [{"queues": ["a", "b"], "display_name": ""}, {"queues": None, "role": "admin"}]
    assert capsys.readouterr().out.count("must sign in again; closed 1 connection\n") == 2
    assert main(["user", "change", "anna", *AMP]) == 1
    assert "nothing to change" in capsys.readouterr().err


def listed(name: str, **changes: Any) -> dict[str, Any]:
    fields = {"tenant_id": "acme", "user_id": name, "role": "agent", "display_name": "", "queues": None}
    return {"name": name, **fields, "changed_at": 1_800_000_000.0, **changes}


def test_all_pages_are_listed(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    pages = [[listed("a"), listed("b", queues=["x", "y"])], [listed("c\x1b[2J", queues=[], display_name="C")]]
    calls.answers = [{"users": json.dumps(page), "more": page is pages[0]} for page in pages]
    assert main(["user", "list", *AMP]) == 0
    assert [values["after"] for _, values in calls.asked] == [None, "b"]
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["name", "tenant", "user", "id", "role", "queues", "display", "name"]
    assert lines[1] == ["a", "acme", "a", "agent", "all", "-"]
    assert lines[2][4] == "x,y"
    assert lines[3][0] == "c\ufffd[2J"
    assert lines[3][-2:] == ["none", "C"]


@pytest.mark.parametrize("users", ["[{}]", "[1]", "{", "7", '[{"name": "a"}]', "[[]]", '{"a": 1}'])
def test_an_unknown_list_is_an_error(calls: Calls, capsys: pytest.CaptureFixture[str], users: str) -> None:
    calls.answers = [{"users": users, "sessions": users, "more": False}] * 2
    for command in (["user", "list"], ["user", "sessions"]):
        assert main([*command, *AMP]) == 1
        assert "does not know" in capsys.readouterr().err


def test_a_gateway_that_repeats_itself_is_not_asked_forever(calls: Calls) -> None:
    calls.answers = [{"users": json.dumps([listed("a")]), "more": True}] * 2
    assert main(["user", "list", "--json", *AMP]) == 0
    assert len(calls.asked) == 2


def test_a_code_that_cannot_be_one_is_not_sent(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pair", "abc", "--tenant", "acme", *AMP]) == 1
    assert "this is no code of a screen" in capsys.readouterr().err
    assert not calls.asked
    calls.answers = [{"network": "203.0.113.9"}]
    assert main(["pair", "k7qx 2m4p", "--tenant", "acme", "--queues", "a,b", *AMP]) == 0
    assert "It is at 203.0.113.9. If yours is not there" in capsys.readouterr().out
    assert calls.asked[0][1]["queues"] == b'["a", "b"]'


def test_a_session_that_is_not_there(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    calls.answers = [{"sessions": 0, "closed": 0}] * 2
    assert main(["user", "sign-out", "--session", "x", *AMP]) == 1
    assert "there is no session 'x'" in capsys.readouterr().err
    assert main(["user", "sign-out", "anna", *AMP]) == 0
    assert capsys.readouterr().out == "anna: ended 0 sessions; closed 0 connections\n"
    assert main(["user", "sign-out", *AMP]) == 2
