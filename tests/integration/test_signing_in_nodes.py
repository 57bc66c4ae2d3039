"""Signing in at nodes and workers that share a Redis, and while it is away."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from page_browser import PageBrowser
from processes import free_port, run, wait_until

PASSWORD = "correct horse"
OTHER = "another horse"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The keys of the pages' tokens, which all nodes have."""
    path = tmp_path / "pages.secret"
    path.write_text(secrets.token_urlsafe(48))
    path.chmod(0o600)
    return path


def command(node: Any, *arguments: str, password: str = "", status: int = 0) -> str:
    """Run a command at a node; return what it has printed."""
    done = run(*arguments, "--config", str(node.folder / "callcenter-ws.toml"), input=f"{password}\n")
    assert done.returncode == status, done
    return done.stderr if status else done.stdout


def add(node: Any, name: str) -> None:
    password = ["--password-file", "-"]
    command(node, "user", "add", name, "--tenant", "acme", "--role", "supervisor", *password, password=PASSWORD)


def at(node: Any, page: PageBrowser) -> PageBrowser:
    """Return the page as another node has it: behind a load balancer, all have one origin and so its cookies."""
    other = PageBrowser(node.port)
    other.cookies = {f"callcenter-session-{node.port}": value for value in page.cookies.values()}
    return other


def is_revoked(node: Any, token: str) -> bool:
    status, answer = node.http("/ws/snapshot", token=token)
    return bool(status == 401 and answer["error"]["message"] == "the token was revoked")


def test_users_screens_and_sessions_are_those_of_all_nodes(two_nodes: Callable[..., list[Any]], key_file: Path) -> None:
    first, second = two_nodes(f"session.key_file={key_file}")
    add(first, "anna")
    page, screen = PageBrowser(second.port), PageBrowser(first.port)
    assert page.login("anna", OTHER)[0] == 401
    assert page.login("anna", PASSWORD)[0] == 200
    # Session and token are valid at each node.
    clients = [first.connect(token=page.token()), second.connect(token=at(first, page).token())]
    assert [client.welcome["payload"]["user_id"] for client in clients] == ["anna", "anna"]
    # A screen that one node has given a code is paired at another, and asks any; once with success.
    pairing = screen.send("/session/pairing")[1]
    poll = {"poll": pairing["poll"]}
    assert screen.send("/session/pairing/claim", poll)[0] == 202
    command(second, "pair", pairing["code"], "--tenant", "acme", "--name", "Hall")
    screen = PageBrowser(second.port)
    assert screen.send("/session/pairing/claim", poll)[1]["name"] == "Hall"
    assert PageBrowser(first.port).send("/session/pairing/claim", poll)[0] == 404
    wall = first.connect(token=at(first, screen).token())
    # A change at one node ends all that the user has at both, and nothing else.
    token, former = page.token(), at(first, page)
    change = command(first, "user", "password", "anna", "--password-file", "-", password=OTHER)
    assert "closed 2 connections" in change
    assert [client.close_code() for client in clients] == [4503, 4503]
    for one in (page, former):
        assert one.send("/session/token")[1]["error"]["code"] == "signed_out"
    for node in (first, second):
        wait_until(lambda node=node: is_revoked(node, token), "the node knows of the revocation")
        assert PageBrowser(node.port).login("anna", PASSWORD)[0] == 401
    assert PageBrowser(second.port).login("anna", OTHER)[0] == 200
    assert wall.request("ping")["type"] == "pong"
    # Signing out at one node ends the session at the other.
    other = at(first, screen)
    assert screen.send("/session/token", method="DELETE") == (204, None)
    assert other.send("/session/token")[1]["error"]["code"] == "signed_out"


def test_no_session_ends_because_redis_is_away(
    start_gateway: Callable[..., Any], own_server: Any, key_file: Path
) -> None:
    node = start_gateway("", "--set", f"store.url={own_server.url}", "--set", f"session.key_file={key_file}")
    wait_until(lambda: node.http("/readyz")[0] == 200, "the node is ready")
    add(node, "anna")
    page, screen = PageBrowser(node.port), PageBrowser(node.port)
    assert page.login("anna", PASSWORD)[0] == 200
    token = page.token()
    pairing = screen.send("/session/pairing")[1]
    cookies = dict(page.cookies)
    own_server.kill()
    wait_until(lambda: node.http("/readyz")[0] == 503, "the node knows")
    for path, method, body in (
        ("/session/token", "POST", None),
        ("/session/token", "DELETE", None),
        ("/session/login", "POST", {"name": "anna", "password": PASSWORD}),
        ("/session/pairing", "POST", None),
        ("/session/pairing/claim", "POST", {"poll": pairing["poll"]}),
    ):
        status, answer = page.send(path, body, method)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert page.cookies == cookies
    assert "unavailable" in command(node, "user", "remove", "anna", status=1)
    own_server.start()
    wait_until(lambda: node.http("/readyz")[0] == 200, "the node is ready again")
    assert page.token() != token
    assert screen.send("/session/pairing/claim", {"poll": pairing["poll"]})[0] == 202


def test_signing_in_at_workers(start_gateway: Callable[..., Any], server: Any, key_file: Path) -> None:
    settings = f'[store]\nurl = "{server.url}"\nkey_prefix = "{key_file.parent.name}"\n'
    settings += f'[session]\nkey_file = "{key_file}"\n'
    node = start_gateway(settings, "--workers", "2", web=f"tcp:{free_port()}:interface=127.0.0.1")
    wait_until(lambda: node.http("/readyz")[0] == 200, "a worker is ready")
    add(node, "anna")
    page = PageBrowser(node.port)
    wait_until(lambda: page.login("anna", PASSWORD)[0] == 200, "the worker is ready")
    # Each request is another connection, of either worker.
    workers = set()

    def both_have_answered() -> bool:
        answer = node.http("/ws/stats", token=page.token())[1]
        workers.add(answer["worker"])
        return len(workers) == 2

    wait_until(both_have_answered, "tokens were accepted by both workers")
    client = node.connect(token=page.token())
    assert "closed 1 connection" in command(node, "user", "sign-out", "anna")
    assert client.close_code() == 4503
    for _ in range(4):
        assert page.send("/session/token")[1]["error"]["code"] == "signed_out"


def test_with_a_redis_and_without_keys_signing_in_is_off_and_says_so(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("", "--set", f"store.url=redis://127.0.0.1:{free_port()}/0")
    page = PageBrowser(gateway.port)
    assert page.send("/pages/about", method="GET")[1]["signing_in"] is False
    for path, body in (
        ("/session/login", {"name": "anna", "password": PASSWORD}),
        ("/session/token", None),
        ("/session/pairing", None),
    ):
        status, answer = page.send(path, body)
        assert (status, answer["error"]["code"]) == (404, "signing_in_off")
        assert "session.key_file" in answer["error"]["message"]
    wait_until(lambda: "session.key_file: is not set, so signing in" in gateway.log, "the warning in the log")
