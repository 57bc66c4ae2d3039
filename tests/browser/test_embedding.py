"""The live view in a frame of a site that has its own login: it gets its token from that site, and from no other."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_driver import Context
from processes import Demo, free_port

PAGE = """<!doctype html><title>site</title><iframe src="%s/live" width="900" height="600"></iframe><script>
window.asked = [];
addEventListener("message", ({source, origin, data}) => {
  asked.push([origin, data.type]);
  source.postMessage({type: "callcenter.token", version: 1, id: data.id, token: %s}, origin);
});
</script>"""


class Site:
    """Serves one page at an origin of its own."""

    def __init__(self) -> None:
        page = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(page.body.encode())

            def log_message(self, *arguments: object) -> None:
                pass

        self.body = ""
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.close()


def test_a_listed_site_gives_its_token(context: Context, site: Site, tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(f'[web]\nembedders = ["{site.origin}"]\n')
    demo = Demo(tmp_path / "demo", free_port(), config=config)
    try:
        gateway = demo.url("")
        site.body = PAGE % (gateway, json.dumps(demo.tokens["supervisor"]))
        tab = context.open(site.origin)
        tab.wait_for(f"asked.some(([origin, type]) => origin === '{gateway}' && type === 'callcenter.token.request')")
        demo.expect(r"supervisor-01 .*is connected")
        assert tab.errors == []
    finally:
        demo.stop()
