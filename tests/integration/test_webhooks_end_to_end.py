"""An alert from the event that causes it to the receiver of a webhook, through a kill of the gateway."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from processes import wait_until
from tls_material import make_certificate

from callcenter_ws.webhooks.signing import signature

SECRET = "a secret of thirty-two bytes, or more"

CALL = {"unique_id": "1.1", "caller_id": "+32", "destination": "100", "queue_name": "sales"}

SETTINGS = """
[statistics]
enabled = true
[[tenants.acme.alerts]]
name = "sales waits"
queues = ["sales"]
metric = "calls_waiting"
raise = {{ above = 0, for = 1 }}
clear = {{ at_most = 0, for = 1 }}
[[tenants.acme.webhooks]]
name = "duty"
url = "https://127.0.0.1:{port}/hook"
secret_file = "{secret}"
events = ["queue.alert.raised"]
allow_hosts = ["127.0.0.1"]
"""


class Receiver:
    """An HTTPS server that keeps what it is sent, and answers with a status of the test's choice."""

    def __init__(self, folder: Path) -> None:
        self.status = 503
        self.requests: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((dict(self.headers), body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.certificate, key = make_certificate(folder)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    one = Receiver(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(one.certificate))
    yield one
    one.close()


def test_an_alert_reaches_its_receiver_also_through_a_kill(
    start_gateway: Callable[..., Any], receiver: Receiver, tmp_path: Path
) -> None:
    secret = tmp_path / "webhook.secret"
    secret.write_text(SECRET)
    secret.chmod(0o600)
    settings = SETTINGS.format(port=receiver.port, secret=secret)
    store = ("--set", f"store.url=sqlite:{tmp_path}/events.sqlite")
    gateway = start_gateway(settings, *store)
    for name in ("call.incoming", "queue.joined"):
        gateway.publish(name, CALL)
    wait_until(lambda: receiver.requests, "a first request")
    wait_until(lambda: "the webhook duty of tenant acme failed" in gateway.log, "the log line")
    gateway.process.kill()
    gateway.process.wait()
    receiver.requests.clear()
    receiver.status = 204
    gateway = start_gateway(settings, *store)
    headers, body = wait_until(lambda: receiver.requests, "the request after the kill")[0]
    message = json.loads(body)
    assert (message["type"], message["payload"]["queue_name"]) == ("queue.alert.raised", "sales")
    assert headers["X-Callcenter-Event-Id"] == message["id"]
    assert "ClientFactory" not in gateway.log
    timestamp = headers["X-Callcenter-Timestamp"]
    assert headers["X-Callcenter-Signature"] == signature(SECRET.encode(), timestamp, body)
