"""AMP commands for users, sessions and screens: which peers may call them, and what each one answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from account_world import PASSWORD, RECORD
from amp_doubles import SECRET
from twisted.logger import formatEvent, globalLogPublisher

from callcenter_ws.amp import account_responders, commands
from callcenter_ws.testing import run

ANNA = {"name": "anna", "tenant_id": "acme", "user_id": "4711", "role": "agent", "password": RECORD}


def added(peer: Any, **changes: Any) -> Any:
    return peer.call(commands.AddUser, user=json.dumps({**ANNA, **changes}).encode())


def of(peer: Any, command: Any, **arguments: Any) -> Any:
    answer = peer.call(command, **arguments)
    assert isinstance(answer, dict), answer
    return answer


CALLS: list[tuple[Any, dict[str, Any]]] = [
    (commands.AddUser, {"user": json.dumps(ANNA).encode()}),
    (commands.ChangeUser, {"name": "anna", "change": b'{"role": "admin"}'}),
    (commands.RemoveUser, {"name": "anna"}),
    (commands.ListUsers, {"tenant_id": "acme"}),
    (commands.ListSessions, {"tenant_id": "acme"}),
    (commands.EndSessions, {"name": "anna"}),
    (commands.ApprovePairing, {"code": "K7QX-2M4P", "tenant_id": "acme", "role": "wallboard"}),
]


@pytest.mark.parametrize(("command", "arguments"), CALLS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_token_of_one_tenant_may_do_none_of_it(server: Any, command: Any, arguments: dict[str, Any]) -> None:
    assert added(server.unix()) == {}
    daemon = server.tcp()
    assert daemon.call(command, **arguments)[0] == b"UNAUTHENTICATED"
    daemon.call(commands.Authenticate, token="acme-service")
    assert daemon.call(command, **arguments)[0] == b"FORBIDDEN"
    assert run(server.accounts.operations.user("anna")).role == "agent"
    operator = server.tcp()
    operator.call(commands.Authenticate, token=SECRET.decode())
    answer = operator.call(command, **arguments)
    assert isinstance(answer, dict) or answer[0] == b"INVALID_EVENT"


def test_users_are_added_changed_listed_and_removed(server: Any) -> None:
    operator = server.unix()
    assert added(operator, queues=["sales"], display_name="Anna") == {}
    assert added(operator)[0] == b"INVALID_EVENT"
    server.clock.advance(1)
    assert of(operator, commands.ChangeUser, name="anna", change=b'{"role": "admin", "queues": null}') == {"closed": 2}
    answer = of(operator, commands.ListUsers)
    assert answer["more"] is False
    assert json.loads(answer["users"]) == [
        {
            "name": "anna",
            "tenant_id": "acme",
            "user_id": "4711",
            "role": "admin",
            "display_name": "Anna",
            "queues": None,
            "changed_at": server.clock.time(),
        }
    ]
    assert json.loads(of(operator, commands.ListUsers, tenant_id="globex")["users"]) == []
    assert of(operator, commands.RemoveUser, name="anna") == {"closed": 2}
    assert operator.call(commands.RemoveUser, name="anna")[0] == b"INVALID_EVENT"


def test_sessions_are_listed_and_ended_and_screens_paired(server: Any) -> None:
    operator = server.unix()
    added(operator)
    opened = server.accounts.sign_in()
    pairing = run(server.accounts.accounts.open_pairing("192.0.2.7"))
    grant = {"tenant_id": "acme", "role": "wallboard", "queues": b'["sales"]', "name": "Hall"}
    assert of(operator, commands.ApprovePairing, code=pairing.code, **grant) == {"network": "192.0.2.7"}
    assert operator.call(commands.ApprovePairing, code=pairing.code, **grant)[0] == b"INVALID_EVENT"
    screen = run(server.accounts.accounts.claim(pairing.poll)).session
    text = of(operator, commands.ListSessions)["sessions"].decode()
    listed = {session["session"]: session for session in json.loads(text)}
    assert listed.keys() == {opened.session.public_id, screen.public_id}
    assert listed[screen.public_id]["queues"] == ["sales"]
    assert opened.session.id not in text
    assert opened.cookie not in text
    assert of(operator, commands.EndSessions, session=screen.public_id) == {"sessions": 1, "closed": 2}
    assert of(operator, commands.EndSessions, name="anna") == {"sessions": 1, "closed": 2}
    assert json.loads(of(operator, commands.ListSessions, name="anna")["sessions"]) == []
    for arguments in ({}, {"name": "anna", "session": screen.public_id}, {"name": "ben"}):
        assert operator.call(commands.EndSessions, **arguments)[0] == b"INVALID_EVENT"


@pytest.mark.parametrize(("limit", "value"), [("MAX_LISTED", 2), ("MAX_LISTED_BYTES", 300), ("MAX_LISTED_BYTES", 1)])
def test_lists_have_pages(server: Any, monkeypatch: pytest.MonkeyPatch, limit: str, value: int) -> None:
    monkeypatch.setattr(account_responders, limit, value)
    operator = server.unix()
    for name in "abcde":
        added(operator, name=name)
        server.accounts.sign_in(name)
    for command, what, key in (
        (commands.ListUsers, "users", "name"),
        (commands.ListSessions, "sessions", "session"),
    ):
        found: list[str] = []
        more = True
        while more:
            answer = of(operator, command, after=found[-1] if found else "")
            page, more = json.loads(answer[what]), answer["more"]
            assert 1 <= len(page) <= 3
            found += [one[key] for one in page]
        assert len(set(found)) == 5
        assert found == sorted(found)


@pytest.mark.parametrize(
    "user",
    [
        b"",
        b"[]",
        b"{",
        b'{"name": "anna"}',
        b"\xff",
        b"[" * 10_000,
        json.dumps({**ANNA, "role": "service"}).encode(),
        json.dumps({**ANNA, "tenant_id": "*"}).encode(),
        json.dumps({**ANNA, "password": PASSWORD}).encode(),
        json.dumps({**ANNA, "secret": "x"}).encode(),
        json.dumps({**ANNA, "queues": [PASSWORD, 7]}).encode(),
    ],
)
def test_what_is_no_user_is_refused(server: Any, user: bytes) -> None:
    code, text = server.unix().call(commands.AddUser, user=user)
    assert code == b"INVALID_EVENT"
    assert PASSWORD not in str(text)
    assert RECORD not in str(text)
    assert json.loads(of(server.unix(), commands.ListUsers)["users"]) == []


def test_the_log_says_what_was_done_and_no_secret(server: Any) -> None:
    events: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(events.append)
    try:
        operator = server.unix()
        added(operator)
        operator.call(commands.ChangeUser, name="anna", change=json.dumps({"password": RECORD}).encode())
        pairing = run(server.accounts.accounts.open_pairing("192.0.2.7"))
        operator.call(commands.ApprovePairing, code=pairing.code, tenant_id="acme", role="wallboard")
        operator.call(commands.EndSessions, name="anna")
        operator.call(commands.RemoveUser, name="anna")
        operator.call(commands.AddUser, user=json.dumps({**ANNA, "password": PASSWORD}).encode())
    finally:
        globalLogPublisher.removeObserver(events.append)
    lines = "\n".join(formatEvent(event) or "" for event in events)
    for text in (
        "added the user anna of tenant acme as agent",
        "changed the user anna: password (2 connections)",
        "paired a screen of tenant acme as wallboard",
        "signed anna out: 0 sessions (2 connections)",
        "removed the user anna (2 connections)",
    ):
        assert text in lines
    everything = lines + repr(events)
    for secret in (RECORD, PASSWORD, pairing.code, pairing.poll):
        assert secret not in everything
