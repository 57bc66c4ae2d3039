"""Tokens from all sources, valid and invalid, at a running gateway."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from raw_socket import RawPeer, message
from websockets.exceptions import ConnectionClosed, InvalidStatus

PAGE = "https://app.example"
SHOP = "https://shop.example"
SUBPROTOCOL = "callcenter.v1"

SETTINGS = f"""
[public.tenants.acme]
origins = ["{SHOP}"]
anonymous = true
[public.tenants.globex]
origins = ["https://globex.example"]
"""


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Callable[..., Any]) -> Any:
    """Start a gateway that accepts tokens from all sources, with two tenants that have visitors."""
    return start_shared_gateway(SETTINGS, "--set", "jwt.cookie=session", "--set", "jwt.allow_query_token=true")


def open_socket(gateway: Any, path: str, **options: Any) -> Any:
    """Return a socket of the ``websockets`` library, and the first message on it."""
    socket = gateway.raw_connect(path, **options)
    return socket, json.loads(socket.recv(timeout=30))


def welcome(gateway: Any, path: str = "/ws", **options: Any) -> dict[str, Any]:
    """Return the payload of the welcome of a client."""
    socket, first = open_socket(gateway, path, **options)
    assert first["type"] == "welcome"
    socket.close()
    return dict(first["payload"])


def refused(gateway: Any, path: str = "/ws", **options: Any) -> Any:
    """Return the HTTP response to a refused handshake."""
    with pytest.raises(InvalidStatus) as caught:
        gateway.raw_connect(path, **options)
    response = caught.value.response
    assert response.headers["Content-Type"] == "application/json"
    assert set(json.loads(response.body)["error"]) == {"code", "message"}
    return response


def refused_over_websocket(gateway: Any, path: str = "/ws", **options: Any) -> tuple[str, int]:
    """Return the code of the ``error`` message and the close code that a browser receives."""
    socket, error = open_socket(gateway, path, **options)
    assert error["type"] == "error"
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(timeout=30)
    assert caught.value.rcvd is not None
    return error["payload"]["code"], caught.value.rcvd.code


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


# Sources


def test_in_the_header(gateway: Any) -> None:
    payload = welcome(gateway, **bearer(gateway.token("supervisor", sub="sue")))
    assert (payload["user_id"], payload["tenant_id"], payload["role"]) == ("sue", "acme", "supervisor")
    assert {"connection_id", "epoch", "seq", "server_time", "ping_interval", "token_expires_at"} <= set(payload)
    assert payload["ping_interval"] == 54


def test_in_the_subprotocol_which_is_not_echoed(gateway: Any) -> None:
    token = gateway.token()
    socket, first = open_socket(gateway, "/ws", subprotocols=[SUBPROTOCOL, f"bearer.{token}"], origin=PAGE)
    assert first["type"] == "welcome"
    assert socket.subprotocol == SUBPROTOCOL
    assert token not in str(socket.response.headers) and "bearer" not in str(socket.response.headers)
    socket.close()


def test_in_a_cookie_from_a_listed_page(gateway: Any) -> None:
    cookie = {"Cookie": f"theme=dark; session={gateway.token(sub='by-cookie')}"}
    assert welcome(gateway, additional_headers=cookie, origin=PAGE)["user_id"] == "by-cookie"
    assert refused(gateway, additional_headers=cookie).status_code == 403
    assert refused(gateway, additional_headers=cookie, origin="https://evil.example").status_code == 403
    assert refused(gateway, additional_headers=cookie, origin="null").status_code == 403
    assert refused_over_websocket(gateway, additional_headers=cookie, subprotocols=[SUBPROTOCOL]) == ("forbidden", 4500)


@pytest.mark.parametrize("field", ["access_token", "token"])
def test_in_the_query(gateway: Any, field: str) -> None:
    assert welcome(gateway, f"/ws?{field}={gateway.token(sub='by-query')}")["user_id"] == "by-query"


def test_not_in_the_query_by_default(start_gateway: Callable[..., Any]) -> None:
    strict = start_gateway()
    token = strict.token()
    assert refused(strict, f"/ws?access_token={token}").status_code == 401
    cookie = {"Cookie": f"session={token}"}
    assert refused(strict, additional_headers=cookie, origin=PAGE).status_code == 401
    assert token not in strict.log


def test_in_the_first_frame(gateway: Any) -> None:
    socket = gateway.raw_connect("/ws", subprotocols=[SUBPROTOCOL], origin=PAGE)
    socket.send(json.dumps({"type": "auth", "payload": {"token": gateway.token(sub="by-frame")}}))
    first = json.loads(socket.recv(timeout=30))
    assert first["type"] == "welcome" and first["payload"]["user_id"] == "by-frame"
    socket.close()


def test_in_the_first_frame_of_the_same_segment(gateway: Any) -> None:
    with RawPeer(gateway.port) as peer:
        head = (
            "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: callcenter.v1\r\n\r\n"
        )
        peer.send(head.encode() + message("auth", {"token": gateway.token()}) + message("ping", id="p"))
        assert peer.read_head()[0] == 101
        assert peer.read_message()["type"] == "welcome"
        assert peer.read_message()["in_reply_to"] == "p"


def test_the_first_source_decides(gateway: Any) -> None:
    later = [SUBPROTOCOL, f"bearer.{gateway.token(sub='second')}"]
    headers = {
        "Authorization": f"Bearer {gateway.token(sub='first')}",
        "Cookie": f"session={gateway.token(sub='third')}",
    }
    assert welcome(gateway, additional_headers=headers, subprotocols=later, origin=PAGE)["user_id"] == "first"
    del headers["Authorization"]
    assert welcome(gateway, additional_headers=headers, subprotocols=later, origin=PAGE)["user_id"] == "second"
    headers["Authorization"] = "Bearer forged"
    assert refused_over_websocket(gateway, additional_headers=headers, subprotocols=later, origin=PAGE) == (
        "unauthorized",
        4500,
    )


# Invalid tokens


def claims(**more: Any) -> dict[str, Any]:
    """Return the claims of a valid token; the value None omits a claim."""
    merged = {"sub": "mallory", "tenant_id": "acme", "exp": int(time.time()) + 600, **more}
    return {name: value for name, value in merged.items() if value is not None}


INVALID: dict[str, Callable[[str], str]] = {
    "empty": lambda secret: "",
    "no JWT": lambda secret: "just-text",
    "two parts": lambda secret: "e30.e30",
    "another key": lambda secret: jwt.encode(claims(), secrets.token_hex(32), "HS256"),
    "a changed claim": lambda secret: _forged(secret),
    "alg none": lambda secret: jwt.encode(claims(), None, "none"),
    "an algorithm that is not listed": lambda secret: jwt.encode(claims(), secret, "HS512"),
    "expired": lambda secret: jwt.encode(claims(exp=int(time.time()) - 1), secret, "HS256"),
    "no exp": lambda secret: jwt.encode(claims(exp=None), secret, "HS256"),
    "no sub": lambda secret: jwt.encode(claims(sub=None), secret, "HS256"),
    "no tenant": lambda secret: jwt.encode(claims(tenant_id=None), secret, "HS256"),
    "not yet": lambda secret: jwt.encode(claims(nbf=int(time.time()) + 300), secret, "HS256"),
    "an unknown role": lambda secret: jwt.encode(claims(role="king"), secret, "HS256"),
    "an agent for all tenants": lambda secret: jwt.encode(claims(tenant_id="*"), secret, "HS256"),
    "a visitor without a session": lambda secret: jwt.encode(claims(role="visitor"), secret, "HS256"),
    "the kid of session tokens": lambda secret: jwt.encode(
        claims(), secret, "HS256", headers={"kid": "callcenter-ws-session"}
    ),
    "over 8 KiB": lambda secret: jwt.encode(claims(padding="x" * 8192), secret, "HS256"),
}


def _forged(secret: str) -> str:
    head, _, signature = jwt.encode(claims(role="agent"), secret, "HS256").split(".")
    return f"{head}.{jwt.encode(claims(role='admin'), secret, 'HS256').split('.')[1]}.{signature}"


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_token_is_refused_in_every_source(gateway: Any, kind: str) -> None:
    token = INVALID[kind](gateway.secret)
    response = refused(gateway, **bearer(token))
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
    assert not token or token not in response.body.decode()
    if token:
        offered = [SUBPROTOCOL, f"bearer.{token}"]
        assert refused_over_websocket(gateway, subprotocols=offered, origin=PAGE) == ("unauthorized", 4500)
    socket = gateway.raw_connect("/ws", subprotocols=[SUBPROTOCOL])
    socket.send(json.dumps({"type": "auth", "payload": {"token": token}}))
    error = json.loads(socket.recv(timeout=30))
    assert error["payload"]["code"] == "unauthorized"
    with pytest.raises(ConnectionClosed) as caught:
        socket.recv(timeout=30)
    assert caught.value.rcvd is not None and caught.value.rcvd.code == 4500


def test_no_token_at_all(gateway: Any) -> None:
    response = refused(gateway)
    assert response.status_code == 401
    assert "WWW-Authenticate" in response.headers


def test_wrong_role_for_the_endpoint(gateway: Any) -> None:
    visitor, agent = gateway.token("visitor"), gateway.token()
    assert refused(gateway, "/ws", **bearer(visitor)).status_code == 403
    assert refused(gateway, "/ws/public", **bearer(agent)).status_code == 403
    offered = [SUBPROTOCOL, f"bearer.{visitor}"]
    assert refused_over_websocket(gateway, "/ws", subprotocols=offered) == ("forbidden", 4500)


def test_an_origin_that_is_not_listed(gateway: Any) -> None:
    for origin in ("https://evil.example", "null", "http://app.example", "https://app.example.evil.example"):
        assert refused(gateway, origin=origin, **bearer(gateway.token())).status_code == 403
        assert refused(gateway, origin=origin, subprotocols=[SUBPROTOCOL]).status_code == 403


def test_a_revoked_user(start_gateway: Callable[..., Any]) -> None:
    """Revoke over AMP, without the command line tool."""
    from amp_line import call

    running = start_gateway()
    client = running.connect("agent", claims={"sub": "fired", "jti": "badge-1"})
    other = running.connect("agent", claims={"sub": "hired"})
    answer = call(running.amp_path, b"RevokeToken", tenant_id=b"acme", jti=b"badge-1")
    assert answer[b"closed"] == b"1"
    assert client.close_code() == 4503
    token = running.token("agent", sub="fired", jti="badge-1")
    assert refused(running, **bearer(token)).status_code == 401
    assert refused_over_websocket(running, subprotocols=[SUBPROTOCOL, f"bearer.{token}"]) == ("unauthorized", 4500)
    assert other.request("ping")["type"] == "pong"


# Tenants


def test_a_token_for_all_tenants(gateway: Any) -> None:
    token = gateway.token("admin", tenant_id="*", sub="root")
    assert welcome(gateway, "/ws?tenant_id=globex", **bearer(token))["tenant_id"] == "globex"
    for path, status in (("/ws", 403), ("/ws?tenant_id=", 400), ("/ws?tenant_id=*", 403)):
        assert refused(gateway, path, **bearer(token)).status_code == status
    mine = gateway.token("admin")
    assert refused(gateway, "/ws?tenant_id=globex", **bearer(mine)).status_code == 403


def test_a_token_for_all_tenants_can_be_refreshed(gateway: Any) -> None:
    client = gateway.connect("admin", "/ws?tenant_id=globex", claims={"tenant_id": "*", "sub": "root"})
    fresh = gateway.token("admin", tenant_id="*", sub="root")
    assert client.request("auth", {"token": fresh})["type"] == "session.extended"


# Visitors


def test_an_anonymous_visitor_reconnects_to_its_session(gateway: Any) -> None:
    first = welcome(gateway, "/ws/public", origin=SHOP)
    assert first["tenant_id"] == "acme" and first["role"] == "visitor"
    other = welcome(gateway, "/ws/public?tenant_id=acme")
    assert other["session_id"] != first["session_id"]
    again = welcome(gateway, "/ws/public", origin=SHOP, subprotocols=[SUBPROTOCOL, f"bearer.{first['session_token']}"])
    assert (again["session_id"], again["user_id"]) == (first["session_id"], first["user_id"])
    assert "session_token" not in again


def test_a_session_token_is_for_visitors_only(gateway: Any) -> None:
    session = welcome(gateway, "/ws/public", origin=SHOP)["session_token"]
    assert refused(gateway, "/ws", **bearer(session)).status_code == 403
    assert gateway.http("/ws/stats", token=session)[0] == 403
    assert session not in gateway.log


def test_visitors_without_anonymous_access_need_a_token(gateway: Any) -> None:
    assert refused(gateway, "/ws/public").status_code == 401
    assert refused(gateway, "/ws/public?tenant_id=globex").status_code == 401
    assert refused(gateway, "/ws/public", origin="https://globex.example").status_code == 401
    assert refused(gateway, "/ws/public", origin="https://evil.example").status_code == 403
    assert refused(gateway, "/ws/public?tenant_id=acme", origin="https://globex.example").status_code == 403
    token = gateway.token("visitor", tenant_id="globex")
    assert welcome(gateway, "/ws/public", origin="https://globex.example", **bearer(token))["session_id"] == "chat-1"
    assert refused(gateway, "/ws/public", origin=SHOP, **bearer(token)).status_code == 403


# Expiry and timeouts


def test_expiry_is_announced_and_a_session_can_be_extended(gateway: Any) -> None:
    client = gateway.connect(claims={"exp": int(time.time()) + 30, "sub": "short"})
    assert client.receive()["type"] == "session.expiring"
    for bad, code in (
        (gateway.token(sub="other"), "forbidden"),
        (gateway.token(sub="short", tenant_id="globex"), "forbidden"),
        (gateway.token(sub="short", exp=int(time.time()) - 1), "unauthorized"),
        ("forged", "unauthorized"),
    ):
        assert client.request("auth", {"token": bad})["payload"]["code"] == code
    until = int(time.time()) + 5
    assert client.request("auth", {"token": gateway.token(sub="short", exp=until)})["type"] == "session.extended"
    assert client.receive_type("session.expiring")["payload"]["expires_at"].endswith(".000Z")
    assert client.close_code() == 4005
    assert time.time() >= until


def test_an_extended_session_outlives_its_first_token(gateway: Any) -> None:
    until = int(time.time()) + 5
    client = gateway.connect(claims={"exp": until, "sub": "extended"})
    other = gateway.connect(claims={"exp": until, "sub": "other"})
    assert client.request("auth", {"token": gateway.token(sub="extended")})["type"] == "session.extended"
    assert other.close_code() == 4005
    assert client.request("ping")["type"] == "pong"


def test_the_authentication_timeout(start_gateway: Callable[..., Any]) -> None:
    running = start_gateway("[limits]\nauth_timeout = 1\n")
    with RawPeer(running.port) as peer:
        assert peer.handshake(Sec_WebSocket_Protocol=SUBPROTOCOL)[0] == 101
        running.publish("alert", {"title": "t", "message": "m"})
        assert peer.read_close() == 4502


# The log


def test_the_log_has_one_line_for_each_refusal_and_no_token(start_gateway: Callable[..., Any]) -> None:
    running = start_gateway(SETTINGS, "--set", "jwt.allow_query_token=true")
    bad = jwt.encode(claims(), secrets.token_hex(32), "HS256")
    before = len(running.lines)
    for _ in range(3):
        refused(running, **bearer(bad))
        refused_over_websocket(running, subprotocols=[SUBPROTOCOL, f"bearer.{bad}"])
        refused(running, f"/ws?access_token={bad}")
        refused(running, origin="https://evil.example", **bearer(running.token()))
    client = running.connect()
    for _ in range(3):
        client.socket.send('{"type": "secret-type-7", "payload": {"password": "hunter2"}}')
        assert client.receive()["type"] == "error"
    running.stop()
    running.reader.join()
    lines = [line for line in running.lines[before:] if "refused" in line]
    assert len(lines) == 15, running.log
    assert bad not in running.log and bad.split(".")[2] not in running.log
    assert "hunter2" not in running.log
