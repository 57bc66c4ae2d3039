"""Signing in at a real gateway, by the commands of operators: users, restarts, screens, and what ends what."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_browser import PageBrowser
from processes import free_port, run, wait_until

PASSWORD = "correct horse"
OTHER = "another horse"


class Installation:
    """A gateway with a store in a file, and its operator."""

    def __init__(self, folder: Path, start_gateway: Callable[..., Any]) -> None:
        self._start_gateway = start_gateway
        self.store = folder / "events.sqlite"
        self.port = free_port()
        self.gateway = self._start()

    def _start(self) -> Any:
        return self._start_gateway(
            "", "--set", f"store.url=sqlite:{self.store}", web=f"tcp:{self.port}:interface=127.0.0.1"
        )

    def restart(self) -> None:
        self.gateway.stop()
        self.gateway = self._start()

    def command(self, *arguments: str, password: str = "") -> str:
        done = self._run(*arguments, typed=f"{password}\n")
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        done = self._run(*arguments)
        assert (done.returncode, done.stdout) == (1, "")
        return done.stderr.rstrip()

    def _run(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        config = ["--config", str(self.gateway.folder / "callcenter-ws.toml")]
        done: subprocess.CompletedProcess[str] = run(*arguments, *config, input=typed)
        return done


@pytest.fixture
def installation(tmp_path: Path, start_gateway: Callable[..., Any]) -> Installation:
    return Installation(tmp_path, start_gateway)


def test_a_user_signs_in_until_the_password_is_changed(installation: Installation) -> None:
    add = ["user", "add", "anna", "--tenant", "acme", "--role", "supervisor", "--queues", "sales"]
    assert installation.command(*add, "--password-file", "-", password=PASSWORD).startswith("anna: added")
    page = PageBrowser(installation.port)
    assert page.login("anna", OTHER) == (
        401,
        {"error": {"code": "wrong_password", "message": "the name or the password is wrong"}},
    )
    status, user = page.login("anna", PASSWORD)
    assert (status, user["role"], user["queues"]) == (200, "supervisor", ["sales"])
    # The session and the key of its tokens outlast a restart.
    token = page.token()
    installation.restart()
    client = installation.gateway.connect(token=token)
    assert client.welcome["payload"]["user_id"] == "anna"
    assert page.token() != token
    sessions = installation.command("user", "sessions", "anna")
    assert "person" in sessions
    password = ["user", "password", "anna", "--password-file", "-"]
    assert "closed 1 connection" in installation.command(*password, password=OTHER)
    assert client.close_code() == 4503
    assert page.send("/session/token")[1]["error"]["code"] == "signed_out"
    status, answer = installation.gateway.http("/ws/snapshot", token=token)
    assert (status, answer["error"]["message"]) == (401, "the token was revoked")
    assert page.login("anna", PASSWORD)[0] == 401
    assert page.login("anna", OTHER)[0] == 200
    # No token is given that the revocation would still cover.
    status, answer = page.send("/session/token")
    assert status == 200 or answer["error"]["code"] == "try_later"
    wait_until(lambda: page.send("/session/token")[0] == 200, "a token that is accepted")
    installation.gateway.connect(token=page.token()).socket.close()
    unknown = run("user", "remove", "nobody", "--config", str(installation.gateway.folder / "callcenter-ws.toml"))
    assert (unknown.returncode, unknown.stderr) == (1, "callcenter-ws user: there is no user with this name\n")
    keys = installation.store.with_name("events.sqlite.session-key").stat()
    assert keys.st_mode & 0o777 == 0o600


def test_a_screen_is_paired_and_signed_out(installation: Installation) -> None:
    screen = PageBrowser(installation.port)
    status, pairing = screen.send("/session/pairing")
    assert status == 201
    poll = {"poll": pairing["poll"]}
    assert screen.send("/session/pairing/claim", poll) == (202, {"state": "waiting"})
    # The code outlasts a restart, too.
    installation.restart()
    code = pairing["code"].lower().replace("-", " ")
    assert installation.command("pair", code, "--tenant", "acme", "--name", "Hall").startswith("paired")
    status, user = screen.send("/session/pairing/claim", poll)
    assert (status, user["role"], user["name"]) == (200, "wallboard", "Hall")
    client = installation.gateway.connect(token=screen.token())
    sessions = installation.command("user", "sessions", "--tenant", "acme")
    session = sessions.splitlines()[1].split()[0]
    assert "closed 1 connection" in installation.command("user", "sign-out", "--session", session)
    assert client.close_code() == 4503
    assert screen.send("/session/token")[0] == 401
    assert installation.refusal("pair", code, "--tenant", "acme") == (
        "callcenter-ws pair: there is no such pairing code: it was used, has expired, or was never shown"
    )
