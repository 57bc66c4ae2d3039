"""A certificate and a key for tokens are renewed in every worker, while clients are connected to both."""

from __future__ import annotations

import json
import secrets
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from gateway_node import GatewayNode, Settings
from processes import DEADLINE, run
from redis_server import RedisServer
from tls_material import make_certificate, new_certificate
from websockets.sync.client import ClientConnection, connect


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    server = RedisServer(tmp_path)
    server.start()
    certificate, key = make_certificate(tmp_path, new_certificate())
    key.chmod(0o600)
    made = Settings(tmp_path, server.url)
    made.write(f"ssl:0:interface=127.0.0.1:certKey={certificate}:privateKey={key}")
    yield made
    server.stop()


@pytest.fixture
def node(settings: Settings) -> Iterator[GatewayNode]:
    """Two workers that serve."""
    started = GatewayNode(settings, 2)
    started.wait_until_served(2)
    yield started
    started.stop()
    assert "Traceback" not in started.output, started.output


def serial_numbers(node: GatewayNode) -> set[int]:
    """Return the serial numbers of the certificates that new connections get, of which each worker accepts some."""
    address = ("127.0.0.1", node.ports[0])
    shown = [ssl.get_server_certificate(address, timeout=DEADLINE).encode() for _ in range(14)]
    return {x509.load_pem_x509_certificate(certificate).serial_number for certificate in shown}


def connected(node: GatewayNode) -> ClientConnection:
    """Return a client that has read its welcome."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # The client library reads in a thread while another one writes, which OpenSSL does not support: now and then the
    # tickets that follow a handshake of TLS 1.3 break such a connection.
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    headers = {"Authorization": f"Bearer {node.settings.token('agent')}"}
    url = f"wss://127.0.0.1:{node.ports[0]}/ws"
    client = connect(url, ssl=context, additional_headers=headers, open_timeout=DEADLINE, legacy=True)
    assert json.loads(client.recv(timeout=DEADLINE))["type"] == "welcome"
    return client


def test_both_workers_use_the_new_certificate_and_the_new_key(node: GatewayNode, settings: Settings) -> None:
    clients = [connected(node) for _ in range(8)]
    former, former_token = serial_numbers(node), settings.token("agent")
    assert len(former) == 1
    certificate, key = new_certificate()
    make_certificate(settings.folder, (certificate, key))
    settings.secret = secrets.token_hex(32)
    (settings.folder / "secret").write_text(settings.secret)
    command = run("reload", "--config", str(settings.file))
    assert command.stdout == "files with new contents: web.listen, jwt.secret_file\n", command.stderr
    assert serial_numbers(node) == {certificate.serial_number} != former
    for client in clients:
        client.send(json.dumps({"type": "auth", "id": "former", "payload": {"token": former_token}}))
        client.send(json.dumps({"type": "auth", "id": "new", "payload": {"token": settings.token("agent")}}))
        answers: dict[str, str] = {}
        while len(answers) < 2:
            message = json.loads(client.recv(timeout=DEADLINE))
            if "in_reply_to" in message:
                answers[message["in_reply_to"]] = message["type"]
        assert answers == {"former": "error", "new": "session.extended"}
        client.close()
    connected(node).close()
