"""A page that uses the browser client, served by the test, and a gateway that it connects to through a line."""

from __future__ import annotations

import json
import sys
import threading
import urllib.parse
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from browser_driver import Context, Tab
from line import Line
from restartable import RestartableGateway

SOURCES = Path(__file__).parents[2] / "clients" / "js" / "src"
PAGE = """<!doctype html>
<meta charset="utf-8">
<link rel="icon" href="data:,">
<script type="module">
  import * as library from "/src/index.js";
  window.library = library;
  window.token = async ({ reason }) => {
    const answer = await fetch(`/token?reason=${reason}&tab=${encodeURIComponent(window.name)}`, { cache: "no-store" });
    if (answer.status === 401) throw new library.TokenRefused("please sign in");
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    return answer.text();
  };
  window.begin = (url, options) => {
    window.told = { status: [], event: [], rebuilt: [], lost: [], refused: [] };
    window.client = library.connect(url, { token: (request) => window.token(request), ...options });
    for (const name of Object.keys(told)) client.on(name, (value) => told[name].push(value));
    return true;
  };
</script>
"""


class ClientSite:
    """A web server with the sources of the client, a page that loads them, and tokens.

    Attributes:
        origin: the origin of its pages.
        token: returns a token for a request's reason and tab; None: the user is signed out.
        asked: the reason and the tab of each request for a token.
        pages: more pages, by path.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.pages: dict[str, str] = {}
        self.token: Callable[[str, str], str | None] = lambda reason, tab: None
        site = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *arguments: object) -> None:
                """Log nothing."""

            def do_GET(self) -> None:
                site.answer(self)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.origin = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """End the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer a request."""
        url = urllib.parse.urlsplit(request.path)
        source = SOURCES / url.path.removeprefix("/src/")
        if url.path.endswith("/token"):
            query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
            asked = (query.get("reason", ""), query.get("tab", ""))
            self.asked.append(asked)
            try:
                token = self.token(*asked)
            except OSError:
                self._send(request, 503, "text/plain", b"")
            else:
                self._send(request, 401 if token is None else 200, "text/plain", (token or "").encode())
        elif url.path in self.pages:
            self._send(request, 200, "text/html; charset=utf-8", self.pages[url.path].encode())
        elif url.path == "/":
            self._send(request, 200, "text/html", PAGE.encode())
        elif source.parent == SOURCES and source.is_file():
            self._send(request, 200, "text/javascript", source.read_bytes())
        else:
            self._send(request, 404, "text/plain", b"")

    def _send(self, request: BaseHTTPRequestHandler, status: int, type_: str, body: bytes) -> None:
        request.send_response(status)
        request.send_header("Content-Type", type_)
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        request.wfile.write(body)


class ClientWorld:
    """A gateway, a line to it, and a site whose pages connect through the line.

    Args:
        settings: additional text of the TOML file, beginning within ``[store]``.
        web: additional text of the section ``[web]``.
    """

    def __init__(self, folder: Path, settings: str = "", *, web: str = "") -> None:
        self.site = ClientSite()
        folder.mkdir()
        self.gateway = PageGateway(folder, self.site.origin, settings, web=web)
        self.gateway.start()
        self.line = Line(self.gateway.port)
        self.site.token = lambda reason, tab: self.gateway.token("supervisor")

    def close(self) -> None:
        """End everything and check the log."""
        self.line.close()
        self.site.close()
        if self.gateway.process is not None:
            self.gateway.end()
        assert "Traceback" not in self.gateway.log, self.gateway.log

    @property
    def url(self) -> str:
        """The address of the gateway, for clients."""
        return f"ws://127.0.0.1:{self.line.port}/ws"

    def open(self, context: Context, name: str = "", *, is_visible: bool = True, **options: Any) -> Tab:
        """Open a page, and have it connect with these options of the client."""
        tab = context.open(self.site.origin + "/", before=f"window.name = {json.dumps(name)};")
        if is_visible:
            tab.keep_visible()
        tab.wait_for("typeof begin === 'function'")
        assert tab.evaluate(f"begin({json.dumps(self.url)}, {json.dumps(options)})")
        return tab

    def live(self, context: Context, name: str = "", **options: Any) -> Tab:
        """Open a page and wait until its client is live."""
        tab = self.open(context, name, **options)
        wait_for_state(tab, "live")
        return tab

    def publish(self, *events: dict[str, Any]) -> list[int]:
        """Publish events and return their positions."""
        status, answer = self.gateway.publish([{"tenant_id": "acme", **event} for event in events])
        assert status == 200, answer
        assert all("seq" in result for result in answer["results"]), answer["results"]
        return [result["seq"] for result in answer["results"]]

    def alert(self, title: str) -> int:
        """Publish an alert and return its position."""
        (seq,) = self.publish({"type": "alert", "payload": {"title": title, "message": "", "severity": "info"}})
        return seq

    def sockets(self) -> int:
        """Return how many WebSockets of the tenant are connected."""
        status, answer = self.gateway.http("/ws/stats", token=self.gateway.token("supervisor"))
        assert status == 200, answer
        total: int = answer["connections"]["total"]
        return total

    def snapshot(self, role: str = "supervisor", **claims: Any) -> dict[str, Any]:
        """Return the state of the tenant, as the gateway shows it to a role."""
        status, answer = self.gateway.http("/ws/snapshot", token=self.gateway.token(role, **claims))
        assert status == 200, answer
        state: dict[str, Any] = answer
        return state


class PageGateway(RestartableGateway):
    """A gateway that pages of a site may connect to.

    Args:
        origin: the origin of the site.
        settings: additional text of the TOML file, beginning within ``[store]``.
        web: additional text of the section ``[web]``.
    """

    def __init__(self, folder: Path, origin: str, settings: str = "", *, web: str = "") -> None:
        super().__init__(folder, settings)
        text = self.config.read_text()
        self.config.write_text(text.replace("[web]\n", f'[web]\nallowed_origins = ["{origin}"]\n{web}'))


def wait_for_state(tab: Tab, state: str) -> None:
    """Wait until the client of a page is in a state."""
    tab.wait_for(f"client.status.state === {json.dumps(state)}")


def wait_for_event(tab: Tab, seq: int) -> None:
    """Wait until the client of a page has told of all events up to a position."""
    tab.wait_for(f"client.store.seq >= {seq}")


def alerts(tab: Tab) -> list[int]:
    """Return the positions of the alerts that the client of a page has told of."""
    positions: list[int] = tab.evaluate("told.event.filter(({ type }) => type === 'alert').map(({ seq }) => seq)")
    return positions


def assert_equals_snapshot(tab: Tab, snapshot: dict[str, Any]) -> None:
    """Compare the store of a page with the state of the gateway."""
    dump = tab.evaluate("JSON.parse(JSON.stringify(client.store.dump()))")
    assert [(event["seq"], event["id"], event["payload"]) for event in dump["events"]] == [
        (event["seq"], event["id"], event["payload"]) for event in snapshot["events"]
    ]
    assert (dump["epoch"], dump["seq"]) == (snapshot["epoch"], snapshot["seq"])
