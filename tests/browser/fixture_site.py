"""The files of the pages and of tests/browser/fixtures, served with the headers of the gateway, without a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

from callcenter_ws.pages.files import StaticFiles
from callcenter_ws.pages.policy import HEADERS, frame_headers

FIXTURES = Path(__file__).parent / "fixtures"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}


def _found(path: str, files: StaticFiles) -> tuple[bytes, str] | None:
    path = path.partition("?")[0]
    page = files.pages.get(path.removeprefix("/"))
    if page:
        return page.body, page.content_type
    folder, _, name = path.removeprefix("/").partition("/")
    if folder == "pages":
        asset = files.assets.get(name.partition("/")[2])
        return asset and (asset.body, asset.content_type)
    fixture = FIXTURES / name
    if folder != "fixtures" or "/" in name or not fixture.is_file():
        return None
    return fixture.read_bytes(), _TYPES[fixture.suffix]


class _Handler(BaseHTTPRequestHandler):
    files: StaticFiles

    def do_GET(self) -> None:
        """Answer with a file of the pages or a fixture."""
        found = (b"", "image/x-icon") if self.path == "/favicon.ico" else _found(self.path, self.files)
        body, content_type = found or (b"", "text/plain")
        self.send_response(404 if found is None else 200)
        headers = {**HEADERS, **frame_headers(), "Content-Type": content_type, "Content-Length": str(len(body))}
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name of the base class)
        """Write nothing."""


@contextmanager
def fixture_site() -> Iterator[str]:
    """Serve the files, for the time of the block; yield the URL."""
    handler = type("Handler", (_Handler,), {"files": StaticFiles.load()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
