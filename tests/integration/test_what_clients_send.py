"""Visitors and staff that send too much, from outside: what they are answered, and what others notice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from processes import wait_until
from raw_socket import RawPeer, frame, message

SETTINGS = """
[store]
history_events = 400
history_bytes = 2097152
[public.tenants.acme]
anonymous = true
[limits]
visitor_sessions = 40
"""
VISITORS = 20
MESSAGES = 38
CALL = {"unique_id": "1", "caller_id": "2", "destination": "3"}


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Callable[..., Any]) -> Any:
    return start_shared_gateway(SETTINGS)


@pytest.fixture
def peers(gateway: Any) -> Iterator[Callable[..., RawPeer]]:
    """Opens raw connections, which are closed with the test."""
    with ExitStack() as stack:

        def open_peer(path: str = "/ws/public?tenant_id=acme", token: str | None = None) -> RawPeer:
            peer = stack.enter_context(RawPeer(gateway.port))
            assert peer.handshake(path, token=token)[0] == 101
            peer.welcome = peer.read_message()  # type: ignore[attr-defined]  # for the tests of this module
            return peer

        yield open_peer


def session_of(peer: RawPeer) -> str:
    """Return the chat session of a visitor."""
    return str(peer.welcome["payload"]["session_id"])  # type: ignore[attr-defined]  # see ``peers``


def read_until(peer: RawPeer, type_: str) -> dict[str, Any]:
    """Return the next message of a type."""
    while True:
        found = peer.read_message()
        if found["type"] == type_:
            return dict(found)


def publish(gateway: Any, *events: dict[str, Any], body: Any = None) -> tuple[int, Any]:
    """Send events over HTTP as the tenant's service."""
    token = gateway.token("service", tenant_id="acme")
    return gateway.http("/ws/events", method="POST", token=token, body=list(events) if body is None else body)


def test_visitors_cannot_push_other_events_out_of_the_history(gateway: Any, peers: Callable[..., RawPeer]) -> None:
    token = gateway.token("agent")
    agent = peers("/ws", token)
    position = agent.welcome["payload"]  # type: ignore[attr-defined]  # see ``peers``
    agent.socket.close()
    missed = gateway.publish("call.incoming", CALL)["seq"]
    visitors = [peers() for _ in range(VISITORS)]
    for visitor in visitors:
        visitor.send(message("chat.message", {"session_id": session_of(visitor), "body": "x"}) * MESSAGES)
    answers = [_answer(visitor) for visitor in visitors for _ in range(MESSAGES)]
    assert answers.count("accepted") <= 100, "a quarter of the history"
    assert answers.count("rate_limited") >= VISITORS * MESSAGES - 100
    head = gateway.publish("alert", {"title": "t", "message": "m"})["seq"]
    assert head - missed <= 100 + 2 * VISITORS + 20, "the messages, their sessions, and presence"
    with RawPeer(gateway.port) as again:
        path = f"/ws?epoch={position['epoch']}&seq={position['seq']}"
        assert again.handshake(path, token=token)[0] == 101
        types = []
        while (found := again.read_message())["type"] not in ("resumed", "reset"):
            types.append(found["type"])
        assert found["type"] == "resumed"
        assert "call.incoming" in types


def test_a_large_message_of_a_visitor_closes_its_connection(peers: Callable[..., RawPeer]) -> None:
    visitor = peers()
    text = json.dumps({"type": "chat.message", "payload": {"session_id": session_of(visitor), "body": "x" * 16_400}})
    visitor.send(frame(1, text.encode()))
    assert visitor.read_close() == 1009


def test_a_network_opens_a_limited_number_of_sessions(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(SETTINGS.replace("visitor_sessions = 40", "visitor_sessions = 3"))
    statuses = []
    for _ in range(4):
        with RawPeer(gateway.port) as peer:
            statuses.append(peer.handshake("/ws/public?tenant_id=acme"))
    assert [status for status, _ in statuses] == [101, 101, 101, 429]
    assert int(statuses[-1][1]["retry-after"]) > 0
    # Staff is not affected.
    with RawPeer(gateway.port) as peer:
        assert peer.handshake("/ws", token=gateway.token("agent"))[0] == 101


def test_staff_is_limited_in_bytes(start_gateway: Callable[..., Any]) -> None:
    """One message of the largest size may be sent at once, and another one after minutes."""
    gateway = start_gateway(SETTINGS + "tenant_byte_rate = 1024\n")
    keys = {f"{number:x}": 1 for number in range(40_000)}
    text = message("ping", keys)
    with ExitStack() as stack:
        agents = []
        for number in range(5):
            agent = stack.enter_context(RawPeer(gateway.port))
            assert agent.handshake("/ws", token=gateway.token("agent", sub=f"a-{number}"))[0] == 101
            agents.append(agent)
        for agent in agents:
            agent.send(text * 2)
        answers = [_answer(agent) for agent in agents for _ in range(2)]
    assert answers.count("rate_limited") == 9
    assert len(set(answers)) == 2


def _answer(peer: RawPeer) -> str:
    while True:
        found = peer.read_message()
        if found["type"] == "error":
            return str(found["payload"]["code"])
        if found["type"] in ("accepted", "pong"):
            return str(found["type"])


def test_the_file_does_not_grow_with_large_events(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway(SETTINGS)
    large = {"tenant_id": "acme", "type": "alert", "payload": {"title": "t", "message": "x" * 500_000}}
    for _ in range(120):
        status, _ = publish(gateway, body=large)
        assert status == 200

    def file_bytes() -> int:
        return int(gateway.http("/ws/stats", token=gateway.token("admin", tenant_id="*"))[1]["broker"]["file_bytes"])

    # Without a bound in bytes it would have 60 MB.
    wait_until(lambda: file_bytes() < 45_000_000, "the file to be bounded")


@pytest.mark.parametrize("digits", [20, 4_299])
def test_long_integers_are_refused_on_every_edge(gateway: Any, peers: Callable[..., RawPeer], digits: int) -> None:
    number = 10**digits
    status, answer = publish(gateway, body={"type": "call.incoming", "payload": {**CALL, "caller_id": number}})
    assert (status, answer["error"]["code"]) == (400, "invalid_event")
    assert answer["error"]["message"].startswith("payload.caller_id: ")
    status, answer = publish(gateway, body={"type": "call.incoming", "payload": {**CALL, "x": {"deep": [number]}}})
    assert (
        answer["error"]["message"] == "payload.x.deep[0]: an integer must fit in 64 bits; send longer ones as strings"
    )
    agent = peers("/ws", gateway.token("agent"))
    for field in ("session_id", "client_message_id"):
        agent.send(message("chat.message", {"session_id": "s", "body": "x", field: number}))
        error = read_until(agent, "error")["payload"]
        assert error["code"] == "invalid_message"
        assert error["message"].startswith(f"payload.{field}: ")
    agent.send(message("ping", id=number))
    assert read_until(agent, "error")["payload"]["message"].startswith("id: ")


def test_slow_numbers_are_refused(gateway: Any) -> None:
    numbers = f"[{','.join(['1e300'] * 80_000)}]"
    token = gateway.token("service", tenant_id="acme")
    payload = {"title": "t", "message": "m", "x": "NUMBERS"}
    body = json.dumps({"type": "alert", "payload": payload}).replace('"NUMBERS"', numbers)
    with RawPeer(gateway.port) as peer:
        head = (
            f"POST /ws/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\nContent-Length: {len(body)}\r\n"
        )
        peer.send(f"{head}\r\n{body}".encode())
        status, headers = peer.read_head()
        answer = json.loads(peer.read(int(headers["content-length"])))
    assert (status, answer["error"]["code"]) == (400, "invalid_json")
    assert answer["error"]["message"] == "more than 100 numbers with exponents of three digits"


def test_all_mistakes_of_an_event_are_named(gateway: Any) -> None:
    status, answer = publish(gateway, body={"type": "call.incoming", "payload": {"unique_id": "1", "callerid": "2"}})
    assert status == 400
    text = "payload.caller_id: required (is 'callerid' meant?); payload.destination: required"
    assert answer["error"]["message"] == text
    _, answer = publish(gateway, body={"type": "call.incomming", "payload": {}})
    assert answer["error"]["message"] == "type: there is no event type 'call.incomming'; did you mean call.incoming?"
    _, answer = publish(gateway, body={"type": "alert", "payload": {}, "eventid": "1"})
    assert answer["error"]["message"].startswith("unknown field 'eventid'; did you mean event_id?; ")


def test_a_repeated_event_id_is_answered_with_the_first_position(gateway: Any) -> None:
    alert = {"type": "alert", "payload": {"title": "t", "message": "m"}, "event_id": "once"}
    first = publish(gateway, body=alert)[1]
    publish(gateway, *[{"type": "alert", "payload": {"title": "t", "message": "m"}} for _ in range(900)])
    again = publish(gateway, body=alert)[1]
    assert (again["seq"], again["duplicate"]) == (first["seq"], True)
