"""The tile of the README, with the client that the gateway serves."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_driver import Context
from client_page import ClientWorld

ROOT = Path(__file__).parents[2]
TILE = ROOT / "examples" / "browser" / "tile.html"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ClientWorld]:
    world = ClientWorld(tmp_path / "gateway")
    yield world
    world.close()


def test_the_tile_shows_a_queue_and_follows_it(context: Context, world: ClientWorld) -> None:
    text = TILE.read_text()
    assert len(text.splitlines()) <= 15
    assert textwrap.indent(text, " " * 3) in (ROOT / "README.rst").read_text()
    http, ws = (f"{scheme}://127.0.0.1:{world.line.port}" for scheme in ("http", "ws"))
    page = text.replace("https://gateway.example", http).replace("wss://gateway.example", ws)
    assert "gateway.example" not in page
    world.site.pages["/tile"] = page
    tab = context.open(world.site.origin + "/tile")
    tab.keep_visible()
    tab.wait_for("document.getElementById('tile').className === 'live'")
    assert tab.text("#tile") == "\u2013 waiting, \u2013 free"
    for call in ("1", "2"):
        world.publish({"type": "queue.joined", "payload": {"unique_id": call, "queue_name": "sales"}})
    tab.wait_for("document.getElementById('tile').textContent === '2 waiting, 0 free'")
    world.line.refuse()
    tab.wait_for("document.getElementById('tile').className === 'offline'")
    world.publish({"type": "queue.left", "payload": {"unique_id": "1", "queue_name": "sales", "reason": "answered"}})
    world.line.mend()
    tab.wait_for("document.getElementById('tile').textContent === '1 waiting, 0 free'")
    tab.wait_for("document.getElementById('tile').className === 'live'")
