"""The site behind an ``ssl:`` endpoint, with a self-signed certificate."""

from __future__ import annotations

import http.client
import json
import os
import select
import socket
import ssl
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from raw_socket import RawPeer, frame, message
from tls_material import make_certificate


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def gateway(start_shared_gateway: Callable[..., Any], authority: tuple[Path, Path]) -> Any:
    """Start a gateway with TLS only."""
    certificate, key = authority
    web = f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}"
    return start_shared_gateway(web=web)


@pytest.fixture
def trusting(authority: tuple[Path, Path]) -> ssl.SSLContext:
    """Return a client context that trusts the certificate and checks the name."""
    return ssl.create_default_context(cafile=str(authority[0]))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_client_of_either_version(gateway: Any, trusting: ssl.SSLContext, version: ssl.TLSVersion) -> None:
    trusting.minimum_version = trusting.maximum_version = version
    client = gateway.connect("visitor", ssl=trusting, claims={"session_id": version.name})
    assert client.socket.socket.version() == version.name.replace("_", ".")
    client.send("chat.message", {"session_id": version.name, "body": "hello"}, id="m")
    answers = {client.receive()["type"] for _ in range(3)}
    assert answers == {"chat.session.started", "accepted", "chat.message"}
    client.socket.close()
    assert client.socket.protocol.close_rcvd.code == 1000


def test_a_client_that_does_not_trust_the_certificate_cannot_connect(gateway: Any) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        gateway.connect(ssl=ssl.create_default_context())


def test_an_invalid_token_is_refused_over_tls(gateway: Any, trusting: ssl.SSLContext) -> None:
    with pytest.raises(Exception, match="401"):
        gateway.connect(token="forged", ssl=trusting)
    browser = gateway.raw_connect("/ws", subprotocols=["callcenter.v1", "bearer.forged"], ssl=trusting)
    assert json.loads(browser.recv(timeout=30))["type"] == "error"
    with pytest.raises(Exception, match="4500"):
        browser.recv(timeout=30)


def alert_of(answer: bytes) -> int:
    """Return the description of a TLS alert record (RFC 8446 section 6)."""
    assert answer[:1] == b"\x15", answer
    return answer[6]


PROTOCOL_VERSION = 70


@pytest.mark.parametrize("version", [b"\x03\x01", b"\x03\x02"], ids=["TLS 1.0", "TLS 1.1"])
def test_older_versions_are_refused_by_the_server_itself(gateway: Any, version: bytes) -> None:
    """The ClientHello is hand-made: the installed TLS library may not support the refused versions."""
    suites = bytes.fromhex("c009 c00a c013 c014 002f 0035")
    groups = b"\x00\x0a\x00\x04\x00\x02\x00\x17" + b"\x00\x0b\x00\x02\x01\x00"
    body = version + bytes(32) + b"\x00" + len(suites).to_bytes(2, "big") + suites + b"\x01\x00"
    body += len(groups).to_bytes(2, "big") + groups
    hello = b"\x01" + len(body).to_bytes(3, "big") + body
    with socket.create_connection(("127.0.0.1", gateway.port), 30) as link:
        link.sendall(b"\x16\x03\x01" + len(hello).to_bytes(2, "big") + hello)
        assert alert_of(link.recv(1_024)) == PROTOCOL_VERSION


def test_a_client_with_old_versions_only_is_refused(gateway: Any, trusting: ssl.SSLContext) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # asking for TLS 1.1 is what is tested
        trusting.minimum_version = ssl.TLSVersion.TLSv1
        trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError):
        gateway.connect(ssl=trusting)


def test_only_http_1_is_negotiated(gateway: Any, trusting: ssl.SSLContext) -> None:
    trusting.set_alpn_protocols(["h2", "http/1.1"])
    client = gateway.connect(ssl=trusting)
    assert client.socket.socket.selected_alpn_protocol() == "http/1.1"
    client.socket.close()


def test_a_message_in_one_write_with_the_handshake(gateway: Any, trusting: ssl.SSLContext) -> None:
    lines = [
        "GET /ws HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        f"Authorization: Bearer {gateway.token()}",
    ]
    head = "\r\n".join([*lines, "", ""]).encode()
    link = socket.create_connection(("127.0.0.1", gateway.port), 30)
    with trusting.wrap_socket(link, server_hostname="127.0.0.1") as secure:
        secure.sendall(head + message("ping", id="p") + frame(8, b"\x03\xe8"))
        received = b""
        while piece := secure.recv(65_536):
            received += piece
    assert received.startswith(b"HTTP/1.1 101") and received.endswith(b"\x88\x02\x03\xe8")


def test_a_flooding_peer_sees_the_end_behind_the_close_frame(gateway: Any, trusting: ssl.SSLContext) -> None:
    with RawPeer(gateway.port) as peer:
        peer.socket = trusting.wrap_socket(peer.socket, server_hostname="127.0.0.1")
        assert peer.handshake(token=gateway.token())[0] == 101
        peer.send(frame(9) * 500)
        opcode = 1
        while opcode != 8:
            opcode, payload = peer.read_frame()
        # An aborted connection would raise an exception here: it is reset.
        assert (payload[:2], peer.socket.recv(1)) == ((4004).to_bytes(2, "big"), b"")


def test_a_large_snapshot(gateway: Any, trusting: ssl.SSLContext) -> None:
    """Megabytes in one frame, through the buffers of TLS, to a client that starts to read late."""
    rows = [
        {
            "type": "call.incoming",
            "payload": {"unique_id": str(n), "caller_id": "1", "destination": "2", "note": "x" * 5_000},
        }
        for n in range(800)
    ]
    token = gateway.token("service", tenant_id="*")
    for start in range(0, len(rows), 200):
        post(gateway, trusting, token, [{"tenant_id": "large", **row} for row in rows[start : start + 200]])
    client = gateway.connect("supervisor", "/ws?snapshot=1", claims={"tenant_id": "large"}, ssl=trusting, max_size=None)
    snapshot = client.receive_type("snapshot")
    assert [event["payload"]["unique_id"] for event in snapshot["payload"]["events"]] == [str(n) for n in range(800)]
    post(gateway, trusting, token, [{"tenant_id": "large", "type": "alert", "payload": {"title": "t", "message": "m"}}])
    assert client.receive_type("alert")["seq"] > snapshot["payload"]["seq"]
    client.socket.close()


def post(gateway: Any, context: ssl.SSLContext, token: str, events: list[dict[str, Any]]) -> None:
    """Publish events over HTTPS."""
    from urllib.request import Request, urlopen

    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(gateway.url("/ws/events"), json.dumps(events).encode(), headers)
    with urlopen(request, timeout=30, context=context) as answer:
        assert answer.status == 200


def test_random_bytes_in_place_of_a_handshake_are_not_logged_as_errors(gateway: Any, trusting: ssl.SSLContext) -> None:
    for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\x00" * 1_000, b"\x16\x03\x01\xff\xff" + b"\xff" * 1_000):
        with socket.create_connection(("127.0.0.1", gateway.port), 30) as link:
            link.sendall(noise)
            link.shutdown(socket.SHUT_WR)
            try:
                while link.recv(1_024):
                    pass
            except ConnectionResetError:
                pass
    assert gateway.connect(ssl=trusting).request("ping")["type"] == "pong"


class OpensslClient:
    """The command line client of OpenSSL, which can initiate a key update (RFC 8446 section 4.6.3)."""

    def __init__(self, port: int, authority: Path) -> None:
        command = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", str(authority), "-tls1_3"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._said, self._hears = self._process.stdin, self._process.stdout
        self.heard = b""

    def send(self, data: bytes) -> None:
        """Send bytes; a line with a single letter is a command."""
        self._said.write(data)
        self._said.flush()

    def wait_for(self, text: bytes) -> None:
        end = time.monotonic() + 20
        while text not in self.heard:
            assert time.monotonic() < end, self.heard[-2_000:]
            if select.select([self._hears], [], [], 0.1)[0]:
                self.heard += os.read(self._hears.fileno(), 65_536)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._said.close()
        self._hears.close()


def test_a_key_update_between_events(gateway: Any, authority: tuple[Path, Path], trusting: ssl.SSLContext) -> None:
    client = OpensslClient(gateway.port, authority[0])
    try:
        client.wait_for(b"Verify return code: 0")
        client.send(
            f"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2l4dGVlbiBieXRlcyBvaw==\r\n"
            f"Authorization: Bearer {gateway.token('supervisor', sub='key-update')}\r\n\r\n".encode()
        )
        client.wait_for(b'"type":"welcome"')
        token = gateway.token("service", tenant_id="*")
        for number in range(20):
            # K: update the keys of both sides.
            client.send(b"K\n" if number % 2 else b"k\n")
            client.wait_for(b"KEYUPDATE")
            event = {"tenant_id": "acme", "type": "alert", "payload": {"title": f"event-{number}", "message": "m"}}
            publisher = http.client.HTTPSConnection("127.0.0.1", gateway.port, timeout=20, context=trusting)
            publisher.request("POST", "/ws/events", json.dumps(event), {"Authorization": f"Bearer {token}"})
            assert publisher.getresponse().status == 200
            publisher.close()
            client.wait_for(f'"title":"event-{number}"'.encode())
        assert client.heard.count(b"KEYUPDATE") == 20
        assert client.heard.count(b'"type":"alert"') == 20
    finally:
        client.close()
