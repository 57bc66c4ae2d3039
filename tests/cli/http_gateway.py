"""A gateway over HTTP that answers as the test says."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class FakeGateway(ThreadingHTTPServer):
    """Answers every request in the same way.

    Attributes:
        requests: the path and the authorization of each; ``bodies``: of those that have one.
        hold: the answer is not complete until this is set.
    """

    daemon_threads = True

    def __init__(self, status: int = 200, body: bytes = b"{}", certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status, self.body = status, body
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.hold = threading.Event()
        self.hold.set()
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "http" if certificate is None else "https"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def handle_error(self, *connection: object) -> None:
        """Log nothing: some clients end their connections early."""

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.hold.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FakeGateway

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers["Authorization"]))
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.flush()
        self.server.hold.wait(60)
        self.wfile.write(self.server.body)

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.do_GET()

    def log_message(self, *message: object) -> None:
        pass
