"""The log of a real gateway has no token, no secret and no payload, wherever they are sent and whatever fails."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from amp_line import call_over
from page_browser import PageBrowser
from processes import Process, free_port, run
from raw_socket import DEADLINE, RawPeer, frame, message

from callcenter_ws.auth.passwords import hash_password

MARK = "s3cr3t"
"""A part of everything that must not be logged."""

SECRET = f"{MARK}-of-the-tokens-0123456789abcdef0123456789abcdef"
AMP_SECRET = f"{MARK}-of-the-daemons-0123456789abcdef"
FAULTY = Path(__file__).with_name("faulty_twistd.py")

ALERT = {"title": MARK, "message": f"{MARK} message"}


class Gateway(Process):
    """A gateway with every place for a token open, and what it takes to speak to it."""

    def __init__(self, folder: Path, log_format: str) -> None:
        self.port, self.amp_port = free_port(), free_port()
        for name, text in {"secret": SECRET, "amp-secret": AMP_SECRET}.items():
            (folder / name).touch(0o600)
            (folder / name).write_text(text)
        self.secret_file = folder / "secret"
        config = folder / "gateway.toml"
        config.write_text(
            f"""
            [jwt]
            secret_file = "{self.secret_file}"
            cookie = "session"
            allow_query_token = true
            [store]
            url = "memory:"
            [web]
            listen = ["tcp:{self.port}:interface=127.0.0.1"]
            allowed_origins = ["https://app.example"]
            [amp]
            listen = ["tcp:{self.amp_port}:interface=127.0.0.1", "unix:{folder / "amp.sock"}"]
            token_file = "{folder / "amp-secret"}"
            [public.tenants.acme]
            anonymous = true
            [control]
            socket = ""
            [log]
            level = "debug"
            format = "{log_format}"
            [limits]
            log_lines = 10000
            log_lines_per_network = 1000
            """
        )
        super().__init__(
            [sys.executable, str(FAULTY), "-n", "--pidfile=", "callcenter-ws", "--config", str(config)],
        )

    def token(self, role: str, user: str) -> str:
        """Return a valid token."""
        arguments = ["--secret-file", str(self.secret_file), "--tenant", "acme", "--user", user, "--role", role]
        return run("token", *arguments).stdout.strip()

    def amp(self) -> socket.socket:
        """Return a connection to the AMP port."""
        return socket.create_connection(("127.0.0.1", self.amp_port), timeout=DEADLINE)

    def http(self, method: str, path: str, token: str, body: bytes = b"", **headers: str) -> int:
        """Send an HTTP request; return the status."""
        lines = [
            f"{method} {path} HTTP/1.1",
            "Host: x",
            f"Authorization: Bearer {token}",
            f"Content-Length: {len(body)}",
            *(f"{name}: {value}" for name, value in headers.items()),
        ]
        with RawPeer(self.port) as peer:
            peer.send("\r\n".join([*lines, "", ""]).encode() + body)
            return peer.read_head()[0]


@pytest.fixture(params=["text", "json"])
def gateway(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Gateway]:
    process = Gateway(tmp_path, request.param)
    try:
        process.expect("callcenter-ws serves")
        yield process
    finally:
        process.stop()


def signed(name: str) -> str:
    """A token with the shape of a JWT, for which there is no key."""
    return f"eyJhbGciOiJIUzI1NiJ9.{MARK}-{name}.{MARK}-signature"


def read_close(peer: RawPeer) -> None:
    """Read until the gateway's close frame; the answer to it is not sent."""
    while peer.read_frame()[0] != 8:
        pass


def try_tokens_of_websockets(gateway: Gateway) -> None:
    places = {
        "header": {"token": signed("header")},
        "subprotocol": {"Sec_WebSocket_Protocol": f"callcenter.v1, bearer.{signed('subprotocol')}"},
        "cookie": {"Cookie": f"session={signed('cookie')}; other={MARK}", "Origin": "https://app.example"},
        "header of another scheme": {"Authorization": f"Basic {MARK}"},
        "unreadable header": {"Authorization": f"Bearer {MARK} {MARK}"},
    }
    for headers in places.values():
        with RawPeer(gateway.port) as peer:
            peer.handshake(**headers)  # type: ignore[arg-type]  # the token, and headers
    queries = [f"access_token={signed('query')}", f"token={MARK}", f"acces_token={MARK}", f"seq={MARK}", f"%{MARK}"]
    for query in queries:
        with RawPeer(gateway.port) as peer:
            peer.handshake(f"/ws?{query}", Sec_WebSocket_Protocol="callcenter.v1")
    for first in (
        message("auth", {"token": signed("frame")}),
        message("auth", {"token": {MARK: MARK}}),
        message(MARK, {MARK: MARK}),
        frame(1, b'{"type": "auth", "payload": {"token": "' + MARK.encode()),
        frame(1, f'"{MARK}" EXPLODE'.encode()),
        frame(2, MARK.encode()),
    ):
        with RawPeer(gateway.port) as peer:
            assert peer.handshake(Sec_WebSocket_Protocol="callcenter.v1")[0] == 101
            peer.send(first)
            read_close(peer)


def send_payloads_over_websocket(gateway: Gateway, token: str) -> None:
    payloads = [
        message(MARK),
        message("subscribe", {"events": [MARK], "queues": [MARK]}),
        message("subscribe", {MARK: MARK}),
        message("chat.message", {"session_id": MARK, "text": MARK}),
        message("agent.state", {"state": MARK}),
        message("auth", {"token": signed("renewal")}),
        message("resume", {"epoch": MARK, "seq": MARK}),
        message("ping", id=f"{MARK}" * 99),
        frame(1, f'{{"type": "{MARK}", '.encode()),
        message("ping", {"text": f"EXPLODE {MARK}"}),
    ]
    with RawPeer(gateway.port) as peer:
        assert peer.handshake(token=token)[0] == 101
        for each in payloads:
            peer.send(each)
        # A close frame with a text, which the log must not repeat.
        peer.send(frame(8, (4_000).to_bytes(2, "big") + MARK.encode()))
        peer.read_end()
    with RawPeer(gateway.port) as peer:
        peer.handshake(token=token)
        # Not UTF-8, after a protocol violation.
        peer.send(frame(1, f"{MARK}\xff".encode("latin-1")) + frame(3, MARK.encode()))
        read_close(peer)


def send_http_requests(gateway: Gateway, token: str) -> None:
    assert gateway.http("GET", f"/ws/stats?token={MARK}", signed("http")) == 401
    assert gateway.http("GET", f"/ws/stats?token={MARK}", f"{MARK} {MARK}") == 401
    assert gateway.http("POST", f"/ws/events?{MARK}=1", token, json.dumps({"type": MARK, MARK: MARK}).encode()) == 400
    for body in (f'{{"{MARK}": ', json.dumps({"type": "alert", "payload": {**ALERT, "title": {MARK: MARK}}})):
        assert gateway.http("POST", "/ws/events", token, body.encode()) == 400
    assert gateway.http("POST", "/ws/events", token, f'"EXPLODE {MARK}"'.encode()) == 500
    assert gateway.http("POST", "/ws/events", token, json.dumps({"type": "alert", "payload": ALERT}).encode()) < 300
    for head in (
        f"GET /{MARK[:0]} HTTP/9\r\nX: {MARK}\r\n\r\n",
        f"{MARK}\r\n\r\n",
        f"GET / HTTP/1.1\r\n{MARK}\r\n\r\n",
    ):
        with RawPeer(gateway.port) as peer:
            peer.send(head.encode())
            peer.read_end()


def call_amp(gateway: Gateway) -> None:
    with gateway.amp() as daemon:
        call_over(daemon, b"PublishEvent", tenant_id=b"acme", type=b"alert", payload=MARK.encode())
        call_over(daemon, b"Authenticate", token=f"{MARK}-guess".encode())
        call_over(daemon, b"Authenticate", token=signed("amp").encode())
        answer = call_over(daemon, b"Authenticate", token=AMP_SECRET.encode())
        assert b"_error" not in answer, answer
        alert = json.dumps(ALERT).encode()
        wrong = json.dumps({**ALERT, "title": {MARK: MARK}}).encode()
        for payload in (alert, wrong, b'{"' + MARK.encode(), f'{{"{MARK}": "EXPLODE"}}'.encode()):
            call_over(daemon, b"PublishEvent", tenant_id=b"acme", type=b"alert", payload=payload)
        call_over(daemon, b"PublishBatch", events=json.dumps([{"type": MARK, "payload": {MARK: MARK}}]).encode())
        call_over(daemon, b"Hello", name=b"pbx", fields=MARK.encode())
        call_over(daemon, b"Subscribe", kinds=f'["{MARK}"]'.encode())
        call_over(daemon, b"PublishEvent", payload=MARK.encode())
    for data in (MARK.encode() * 9, b"\x00\x08_command\x00\x06" + MARK.encode()[:6] + b"\x00\x00", b"\x00\x00"):
        with gateway.amp() as daemon:
            daemon.sendall(data)
            daemon.shutdown(socket.SHUT_WR)
            while daemon.recv(65_536):
                pass


def sign_in(gateway: Gateway) -> list[str]:
    """Sign in at the pages in every way; return what must not be logged."""
    record = hash_password(f"{MARK} password", log2_n=4)
    user = {"name": "anna", "tenant_id": "acme", "user_id": "anna", "role": "agent", "password": record}
    page = PageBrowser(gateway.port)
    pairing = page.send("/session/pairing")[1]
    with gateway.amp() as operator:
        call_over(operator, b"Authenticate", token=AMP_SECRET.encode())
        assert b"_error" not in call_over(operator, b"AddUser", user=json.dumps(user).encode())
        call_over(operator, b"AddUser", user=json.dumps({**user, MARK: MARK, "role": MARK}).encode())
        call_over(operator, b"AddUser", user=b'{"' + MARK.encode())
        call_over(operator, b"ChangeUser", name=b"anna", change=json.dumps({"password": MARK}).encode())
        granted = {"code": pairing["code"].encode(), "tenant_id": b"acme", "role": b"wallboard"}
        assert b"_error" not in call_over(operator, b"ApprovePairing", **granted)
        call_over(operator, b"ApprovePairing", code=MARK.encode(), tenant_id=b"acme", role=b"agent")
    screen = PageBrowser(gateway.port)
    assert screen.send("/session/pairing/claim", {"poll": pairing["poll"]})[0] == 200
    screen.send("/session/pairing/claim", {"poll": f"{MARK}-poll"})
    assert page.login("anna", f"{MARK} password")[0] == 200
    secret = [token for browser in (page, screen) for token in (browser.token(), *browser.cookies.values())]
    stranger = PageBrowser(gateway.port)
    stranger.login(f"{MARK} typed as name", "x")
    stranger.login("anna", f"{MARK} wrong")
    stranger.send("/session/login", {"name": MARK, "password": {MARK: MARK}})
    stranger.cookies = dict.fromkeys(page.cookies, f"{MARK}-cookie")
    stranger.send("/session/token")
    stranger.send(f"/session/token?{MARK}={MARK}", headers={"Sec-Fetch-Site": MARK})
    page.send("/session/token", method="DELETE")
    # The digests of the store are no secrets, but are not logged either.
    return [record, pairing["code"], pairing["poll"], *secret]


def test_no_token_and_no_payload_is_logged(gateway: Gateway) -> None:
    agent, service = gateway.token("agent", "7"), gateway.token("service", "s")
    try_tokens_of_websockets(gateway)
    send_payloads_over_websocket(gateway, agent)
    send_http_requests(gateway, service)
    call_amp(gateway)
    secret = sign_in(gateway)
    gateway.stop()
    log = gateway.output
    assert "signed in: person anna as agent in acme" in log
    assert "wrong_password" in log
    assert "unhandled error in a request of acme/7" in log
    assert "unhandled error in POST /ws/events" in log
    assert "unhandled error in AMP command PublishEvent" in log
    assert log.count("reported by the old interface") >= 3
    assert log.count("reported by the new interface") >= 3
    assert "Unhandled error in Deferred" in log
    assert "faulty_twistd.py" in log, "there is no traceback"
    assert "is closed by the peer with 4000 other" in log
    assert "Authenticate of AMP peer 127.0.0.1" in log
    signature = [token.rpartition(".")[2] for token in (agent, service)]
    unwanted = (MARK, agent, service, *signature, *secret)
    leaks = [line for line in gateway.lines if any(text in line for text in unwanted)]
    assert leaks == [], "\n" + "\n".join(leaks)
