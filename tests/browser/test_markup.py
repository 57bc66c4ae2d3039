"""Markup in every field that callers, visitors and other senders fill: the pages show it as text, and hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_driver import Context, Tab
from client_page import ClientWorld
from processes import wait_until
from sample_events import REQUIRED
from websockets.sync.client import connect

from callcenter_ws.events.message_schemas import message_schemas

TILE = Path(__file__).parents[2] / "examples" / "browser" / "tile.html"
GATEWAYS_OWN = (
    "agent.stats",
    "tenant.stats",
    "presence.changed",
    "queue.alert.",
    "command.",
    "statistics.",
    "source.",
    "queue.stats",
)
"""The beginnings of the types that senders do not publish themselves."""

MARKUP = """</script></textarea><img src=x onerror="hit()"><script>hit()</script><b onclick="hit()">${hit()}{{hit()}}"""
"""Beside elements, what ends an attribute, a template and a JavaScript string."""

BIDI = "\u202eabc\u2069\u2069\u202e gnp.\u2067"
"""Direction is overridden, isolates are closed that others have opened, and one is left open."""

BEFORE = """
window.hits = [];
window.hit = () => hits.push("hit");
window.alert = window.hit;
const fetchFromNetwork = window.fetch;
const signedIn = %s;
window.fetch = (path, options) =>
  path === "/session/token" ? Promise.resolve(new Response(signedIn)) : fetchFromNetwork(path, options);
"""
ELEMENTS = """[...document.body.querySelectorAll("*")].filter((one) => !one.matches(".brand > img[src$='/icon.svg']"))
  .filter((one) =>
  ["IMG", "B", "IFRAME", "OBJECT", "EMBED", "TEXTAREA"].includes(one.tagName) || (one.tagName === "SCRIPT" && !one.type)
  || [...one.attributes].some(({ name }) => name.startsWith("on") || name === "srcdoc")).map((one) => one.outerHTML)"""
FITS = "document.documentElement.scrollWidth <= innerWidth"
CUT_OFF = """[...document.querySelectorAll(".figure")].filter((one) => one.scrollWidth > one.clientWidth + 1)
  .map((one) => one.textContent)"""
BOTTOM = """Math.max(...[...document.querySelectorAll(".rows tbody, .cards li")]
  .map((one) => one.getBoundingClientRect().bottom))"""
LIVE = "document.querySelector('[data-state=live]') !== null"


def text_for(field: str, limit: int | None) -> str:
    """Return a text for a field, of at most ``limit`` characters."""
    whole = f"{field}{BIDI}{MARKUP}"
    return whole[:limit] if limit else whole + "W" * (10_000 - len(whole))


def filled(name: str) -> dict[str, Any]:
    """Return a payload of a type of event whose texts are markup, the optional ones too."""
    schema = message_schemas()[name]
    reference = schema["properties"]["payload"]["$ref"].rpartition("/")[2]
    payload = dict(REQUIRED[name])
    for field, described in schema["$defs"][reference]["properties"].items():
        kinds = described.get("anyOf", [described])
        text = next((kind for kind in kinds if kind.get("type") == "string" and "format" not in kind), None)
        if text is not None:
            payload[field] = text_for(field, text.get("maxLength"))
        elif any(kind.get("type") == "object" for kind in kinds):
            payload[field] = {text_for("key", 255): text_for("value", None)}
    return payload


def events(*names: str) -> list[dict[str, Any]]:
    """Return events whose texts are markup."""
    made: list[dict[str, Any]] = [{"type": name, "payload": filled(name)} for name in names]
    return [event | {"user_id": text_for("sub", 255)} if event["type"] == "notification" else event for event in made]


TYPES = [name for name in REQUIRED if not name.startswith(GATEWAYS_OWN)]
LAST = ("queue.joined", "alert", "chat.session.started", "chat.message")
"""What stays in the state of the tenant."""
QUEUE = filled("queue.joined")["queue_name"]
CONFIG = f"""
[tenants.acme.statistics]
enabled = true

[[tenants.acme.alerts]]
name = {json.dumps(MARKUP[:60])}
queues = ["*"]
metric = "calls_waiting"
raise = {{ above = 0, for = 0 }}

[[tenants.acme.wallboards]]
name = "board"
title = {json.dumps(MARKUP[:60])}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientWorld]:
    made = ClientWorld(tmp_path_factory.mktemp("world") / "gateway", CONFIG)
    token = made.gateway.token("agent", sub=text_for("user", 255), name=text_for("name", 255))
    url = f"ws://127.0.0.1:{made.gateway.port}/ws"
    # Without a limit of what is not read: otherwise it does not see the end of the closing handshake.
    with connect(url, subprotocols=["callcenter.v1", f"bearer.{token}"], max_queue=None) as socket:
        socket.recv()
        made.publish(*events(*TYPES, *LAST))
        yield made
    made.close()


@pytest.fixture
def signed_in_agent(world: ClientWorld) -> Iterator[None]:
    world.publish(*events("agent.login", "queue.member.added"))
    yield
    world.publish(*events("queue.member.removed", "agent.logout"))


def opened(world: ClientWorld, context: Context, path: str, role: str) -> Tab:
    """Open a page of the gateway, signed in as a user whose names are markup."""
    token = world.gateway.token(role, sub=text_for("sub", 255), name=text_for("name", 255))
    body = json.dumps(json.dumps({"token": token}))
    tab = context.open(f"http://127.0.0.1:{world.gateway.port}{path}", before=BEFORE % body)
    tab.keep_visible()
    return tab


def check(tab: Tab, elements: str = ELEMENTS) -> None:
    """Check that nothing of the markup has become an element or has run."""
    assert tab.evaluate(elements) == []
    assert tab.evaluate("hits") == []
    assert tab.csp_violations == []
    assert tab.errors == []


@pytest.mark.parametrize("width", [1280, 390])
def test_the_live_view(world: ClientWorld, own_context: Context, width: int) -> None:
    tab = opened(world, own_context, "/live", "supervisor")
    tab.resize(width, 800)
    tab.wait_for(LIVE)
    tab.evaluate("document.documentElement.scrollTop = 0")
    # What is shown came before this page: each type once more, as a line of its own.
    world.publish(*events(*TYPES, *LAST))
    types = "[...document.querySelectorAll('.lines .type')].map((one) => one.textContent)"
    wait_until(lambda: set(tab.evaluate(types)) >= set(TYPES), "each type has a line")
    check(tab)
    assert tab.evaluate(FITS), tab.evaluate("document.documentElement.scrollWidth")
    texts = tab.evaluate("[...document.querySelectorAll('.lines .text')].map((one) => one.textContent)")
    assert sum(MARKUP[:20] in text for text in texts) >= len(TYPES) - 3, texts
    # Nothing is left of the characters that change the direction of what follows.
    assert not [text for text in texts if set(text) & set("\u202e\u2067\u2069")]
    # One long message does not push all others from the screen.
    assert (
        tab.evaluate("Math.max(...[...document.querySelectorAll('.lines > li')].map((one) => one.offsetHeight))") < 200
    )
    tab.evaluate("for (const one of document.querySelectorAll('.lines details')) one.open = true")
    tab.wait_for("document.querySelectorAll('.lines pre').length >= 20")
    check(tab)
    assert tab.evaluate(FITS), tab.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_supervisors_page(world: ClientWorld, own_context: Context, signed_in_agent: None, width: int) -> None:
    tab = opened(world, own_context, "/supervisor", "supervisor")
    tab.resize(width, 800)
    tab.wait_for(f"{LIVE} && document.querySelector('.queues tbody tr')")
    queue, user = json.dumps(QUEUE), json.dumps(filled("agent.login")["user_id"])
    chat = json.dumps(filled("chat.session.started")["session_id"])
    reached = {
        f"queues/${{encodeURIComponent({queue})}}": "document.querySelector('.detail .inner')",
        "agents": "document.querySelector('.agents tbody a')",
        f"agents/${{encodeURIComponent({user})}}": "document.querySelector('.detail .facts')",
        "chats": "document.querySelector('.chats tbody a')",
        f"chats/${{encodeURIComponent({chat})}}": "document.querySelector('.detail .log .body')",
        "today": "document.querySelector('table.day')",
        "alerts": "document.querySelector('.cards .title')",
        "sources": "document.querySelector('#sources .empty, .sources tbody tr')",
        "live": "document.querySelector('#live .filters')",
        "search": "document.querySelector('.found tbody a')",
    }
    for fragment, condition in reached.items():
        tab.evaluate(f"void (location.hash = `#{fragment}`)")
        tab.wait_for(condition)
        check(tab)
        assert tab.evaluate(FITS), (fragment, tab.evaluate("document.documentElement.scrollWidth"))
    tab.evaluate("void (location.hash = document.querySelector('.found tbody a').hash)")
    tab.wait_for("document.querySelector('.detail .path li')")
    check(tab)
    assert MARKUP[:20] in tab.text("main")
    assert tab.evaluate(FITS), tab.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_desk(world: ClientWorld, own_context: Context, width: int) -> None:
    tab = opened(world, own_context, "/desk", "agent")
    tab.resize(width, 800)
    tab.wait_for(LIVE)
    me = {"user_id": text_for("sub", 255), "agent_id": text_for("sub", 255)}
    ringing = {"call_id": text_for(f"ringing {width}", 255)}
    talking = {"call_id": text_for(f"talking {width}", 255)}
    state = {"type": "agent.state.changed", "payload": {**filled("agent.state.changed"), **me, "state": "break"}}
    world.publish({**state, "payload": {key: value for key, value in state["payload"].items() if key != "agent_id"}})
    for type_, fields in (
        *[("call.incoming", ringing), ("queue.joined", ringing), ("call.ringing", ringing)],
        *[("call.incoming", talking), ("call.answered", talking)],
    ):
        world.publish({"type": type_, "payload": {**filled(type_), **me, **fields, "unique_id": fields["call_id"]}})
    cards = "[...document.querySelectorAll('#calls article')].map((one) => one.dataset.state).join()"
    tab.wait_for(f"{cards} === 'ringing,talking'")
    # A desk has fields of its own.
    check(tab, ELEMENTS.replace(', "TEXTAREA"', ""))
    assert tab.evaluate(FITS), tab.evaluate("document.documentElement.scrollWidth")
    assert MARKUP[:20] in tab.text("[data-state=ringing] .who")
    assert MARKUP[:20] in tab.text(".own .reason")
    # A long name does not push what can be done from the screen.
    assert tab.evaluate("document.querySelector('[data-state=ringing]').offsetHeight") < 700
    for fields in (ringing, talking):
        ended = {**filled("call.ended"), **me, **fields, "unique_id": fields["call_id"]}
        world.publish({"type": "call.ended", "payload": ended})
    tab.wait_for(f"{cards} === ''")
    check(tab, ELEMENTS.replace(', "TEXTAREA"', ""))


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (390, 844)])
def test_the_wallboard(world: ClientWorld, own_context: Context, width: int, height: int) -> None:
    tab = opened(world, own_context, "/wallboard", "wallboard")
    tab.resize(width, height)
    names = "[...document.querySelectorAll('.name bdi')].map((one) => one.textContent)"
    tab.wait_for(f"{names}.includes({json.dumps(QUEUE)})")
    tab.wait_for("document.querySelector('.notice').dataset.kind !== 'none'")
    tab.wait_for(f"document.querySelector('.title').textContent.includes({json.dumps(MARKUP[:20])})")
    check(tab)
    assert tab.evaluate(FITS), tab.evaluate("document.documentElement.scrollWidth")
    assert tab.evaluate(CUT_OFF) == []
    if width > height:
        assert tab.evaluate(BOTTOM) <= height + 1


def test_the_tile_of_the_manual(world: ClientWorld, own_context: Context) -> None:
    at = f"http://127.0.0.1:{world.gateway.port}"
    page = TILE.read_text().replace("https://gateway.example", at).replace("wss://gateway.example", at)
    assert '"sales"' in page
    page = page.replace('"sales"', json.dumps(QUEUE).replace("</", "<\\/"))
    world.site.pages["/tile"] = f'<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">{page}'
    tab = own_context.open(world.site.origin + "/tile", before="window.hits = []; window.hit = () => hits.push('hit');")
    tab.keep_visible()
    tab.wait_for("document.getElementById('tile').textContent === '1 waiting, 0 free'")
    check(tab)
