"""The visitor's chat in sites of all kinds: strict policies, styles that reach for everything, markup, phones."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from browser_driver import Browser, Context
from test_accessibility import AXE, load_axe
from test_markup import BIDI, MARKUP
from widget_page import WidgetTab, WidgetWorld

PUBLISHED = "root.querySelectorAll('.line[data-state=published]').length"
SETTINGS = f"""title = {json.dumps(MARKUP[:100])}
greeting = {json.dumps(MARKUP)}
offline_text = {json.dumps(MARKUP)}
color = "#ffd400"
position = "left"
language = "de"
ask_name = true
"""
OWNED = """
[public.tenants.owned]
origins = ["{origin}"]
anonymous = true
[tenants.owned.widget]
available = "always"
[public.tenants.plain]
origins = ["{origin}"]
anonymous = true
[tenants.plain.widget]
available = "always"
[public.tenants.staffed]
origins = ["{origin}"]
anonymous = true
[tenants.staffed.widget]
available = "agents"
"""
ASKS_SOON = """{
    const later = setTimeout;
    window.setTimeout = (call, ms, ...given) => later(call, ms === 15000 ? 500 : ms, ...given);
}"""
"""The page asks more often than it does whether agents have come."""
STRICT = (
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; script-src {gateway}; '
    "connect-src {gateway} {socket}; style-src 'none'; img-src data:; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'\">"
)
HOSTILE = """<style>
  html { font-size: 3px; }
  body * { all: unset !important; }
  body *, callcenter-widget {
    display: none !important; position: static !important; font: 40px/3 fantasy !important; color: red !important;
    background: lime !important; opacity: 0.1 !important; visibility: hidden !important;
    transform: rotate(40deg) !important;
    width: 3px !important; height: 3px !important; overflow: hidden !important; pointer-events: none !important;
    text-transform: uppercase !important; letter-spacing: 20px !important; direction: rtl !important;
    writing-mode: vertical-rl !important; filter: invert(1) !important; zoom: 3 !important;
    user-select: none !important;
    animation: none !important; clip-path: circle(1px) !important; z-index: -1 !important; contain: strict !important;
  }
  button, input, textarea, h2, p, a, svg, section, header, form, label {
    margin: 90px !important; padding: 50px !important;
  }
  .panel, .launcher, .log, .line, .own, .body, .root, .form, .send {
    display: none !important; border: 40px solid !important;
  }
  [hidden] { display: block !important; }
</style>"""
LOOK = """[...root.querySelectorAll('.panel, .panel *, .launcher')].map((one) => {
  const box = one.getBoundingClientRect();
  const style = getComputedStyle(one);
  const properties = ['color', 'background-color', 'font-size', 'font-family', 'display', 'opacity', 'letter-spacing',
    'text-transform', 'direction'];
  return [one.tagName, one.className.baseVal ?? one.className, ...[box.x, box.y, box.width, box.height].map(Math.round),
    ...properties.map((name) => style.getPropertyValue(name))];
})"""
TOP = """(() => {
  const box = root.querySelector('.panel').getBoundingClientRect();
  return root.elementFromPoint(box.x + box.width / 2, box.y + 30) !== null
    && document.elementFromPoint(box.x + box.width / 2, box.y + 30).tagName === 'CALLCENTER-WIDGET';
})()"""
UNSAFE = """[...root.querySelectorAll("*")].filter((one) =>
  ["IMG", "B", "IFRAME", "OBJECT", "EMBED", "SCRIPT"].includes(one.tagName)
  || [...one.attributes].some(({ name }) => name.startsWith("on") || name === "srcdoc")
  || (one.href && !/^https?:/.test(one.href))).map((one) => one.outerHTML)"""
CUT_OFF = """[...root.querySelectorAll('.panel *, .launcher')].filter((one) => {
  if (!one.getClientRects().length || one.closest('.unseen, svg, .scroll, .form > *')) return false;
  const { left, right, top, bottom } = one.getBoundingClientRect();
  return left < -1 || right > innerWidth + 1 || top < -1 || bottom > innerHeight + 1;
}).map((one) => one.outerHTML.slice(0, 80)).concat(
  [...root.querySelectorAll('.scroll, .form')].filter((one) => one.scrollWidth > one.clientWidth + 1)
    .map((one) => 'scrolls'))"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WidgetWorld]:
    made = WidgetWorld(tmp_path_factory.mktemp("world") / "gateway", widget=SETTINGS, more=OWNED)
    yield made
    made.close()


@pytest.fixture
def context(browser: Browser, world: WidgetWorld) -> Iterator[Context]:
    world.line.mend()
    made = browser.context()
    yield made
    made.close()


def open_plain(
    world: WidgetWorld, context: Context, *, head: str = "", tenant: str = "plain", before: str = ""
) -> WidgetTab:
    """Open a page of the site with the chat of a tenant that has no settings of its own."""
    url = world.page(f"/{tenant}", head=head)
    world.site.pages[f"/{tenant}"] = world.site.pages[f"/{tenant}"].replace('"acme"', f'"{tenant}"')
    return world.open_shop(context, url, before=before)


def talk(shop: WidgetTab) -> None:
    shop.open()
    shop.send("Hello, this is a message")
    shop.wait_for(f"{PUBLISHED} === 1")


@pytest.mark.parametrize("has_constructor", [True, False])
def test_a_site_with_a_strict_policy(context: Context, world: WidgetWorld, has_constructor: bool) -> None:
    """Also in browsers that cannot make style sheets: there the site permits the widget's element by a nonce."""
    gateway = world.origin
    head = STRICT.format(gateway=gateway, socket=gateway.replace("http", "ws"))
    before = ""
    if not has_constructor:
        head = head.replace("style-src 'none'", "style-src 'nonce-abc'").replace(
            "script-src ", "script-src 'nonce-abc' "
        )
        before = "window.CSSStyleSheet = undefined;"
    url = world.page("/strict", head=head, attributes='nonce="abc"')
    world.site.pages["/strict"] = world.site.pages["/strict"].replace('"acme"', '"plain"')
    shop = world.open_shop(context, url, before=before)
    talk(shop)
    assert shop.value("getComputedStyle(root.querySelector('.panel')).position") == "fixed"
    assert shop.value("root.querySelector('style') !== null") is not has_constructor
    shop.check()


def test_the_styles_of_a_site_change_nothing(context: Context, world: WidgetWorld) -> None:
    looks = []
    for head in ("", HOSTILE):
        shop = open_plain(world, context, head=head)
        shop.tab.resize(1280, 800)
        shop.wait(".launcher")
        shop.open()
        assert shop.value(TOP)
        looks.append(shop.value(LOOK))
        shop.tab.close()
    assert looks[1] == looks[0]


def test_markup_in_every_text_is_shown_as_text(context: Context, world: WidgetWorld) -> None:
    before = "window.hits = []; window.hit = () => hits.push('hit'); window.alert = window.hit;"
    shop = world.open_shop(context, before=before)
    shop.open()
    # No agent is there: a message is left. Its texts are those of the settings.
    assert shop.text("#title").startswith(MARKUP[:20])
    assert MARKUP in shop.text(".greeting")
    shop.type(f"{BIDI}{MARKUP}"[:100], "#name")
    shop.type("ada@shop.example", "#email")
    shop.type(f"{BIDI}{MARKUP}")
    shop.click(".send")
    shop.wait_for(f"{PUBLISHED} === 1")
    session = shop.session
    world.assign(session, f"{MARKUP}{BIDI}")
    world.say(session, f'{BIDI}{MARKUP} javascript:hit() https://x.example/"onclick=hit()', name=f"{MARKUP}{BIDI}")
    world.publish(
        {
            "type": "chat.typing",
            "payload": {"session_id": session, "sender_type": "agent", "is_typing": True, "sender_name": MARKUP},
        }
    )
    shop.wait(".other .body")
    shop.wait(".typing")
    assert shop.value(UNSAFE) == []
    assert shop.tab.evaluate("hits") == []
    assert shop.value(CUT_OFF) == []
    # What changes the direction of writing ends with its text.
    texts = "['.body', '.who', '.about', '.typing', '.greeting']"
    isolated = f"{texts}.map((one) => getComputedStyle(root.querySelector(one)).unicodeBidi)"
    assert set(shop.value(isolated)) <= {"isolate", "plaintext", "isolate-override"}
    shop.check()


def test_a_message_is_left_when_no_agent_is_there(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    shop.open()
    shop.wait_text("Gerade nicht erreichbar")
    assert shop.value("root.activeElement.id") == "name"
    # The address is needed: an answer could not be sent.
    shop.type("Bitte um R\u00fcckruf")
    shop.click(".send")
    assert shop.value("root.activeElement.id") == "email"
    assert shop.lines() == []
    shop.type("Ada", "#name")
    shop.type("ada@shop.example", "#email")
    world.line.refuse()
    shop.click(".send")
    shop.wait(".notice")
    world.line.mend()
    shop.click(".notice button")
    shop.wait_text("wir antworten an ada@shop.example")
    events = [event for event in world.snapshot()["events"] if event["payload"].get("session_id") == shop.session]
    started = events[0]["payload"]
    assert (started["visitor_name"], started["visitor_email"], started["status"]) == (
        "Ada",
        "ada@shop.example",
        "offline_message",
    )
    assert events[1]["payload"]["body"] == "Bitte um R\u00fcckruf"
    # It is confirmed after a reload, too, and an agent may answer in the chat after all.
    shop.tab.reload()
    shop.wait_text("wir antworten an ada@shop.example")
    world.assign(shop.session)
    world.say(shop.session, "Guten Tag!")
    shop.wait_text("Guten Tag!")
    shop.wait_text("Sie chatten mit Maria")


def test_an_agent_comes_while_the_visitor_writes(context: Context, world: WidgetWorld) -> None:
    shop = open_plain(world, context, tenant="staffed", before=ASKS_SOON)
    shop.open()
    shop.wait("[data-mode=offline]")
    shop.type("Is it in stock?")
    shop.value("root.querySelector('#email').focus()")
    agent = {"user_id": "a1", "username": "Maria", "state": "available"}
    world.gateway.publish([{"tenant_id": "staffed", "type": "agent.state.changed", "payload": agent}])
    shop.wait("[data-mode=message]")
    # What was written is kept, and the focus is not lost with the field that had it.
    assert shop.value("[root.activeElement.id, root.activeElement.value]") == ["text", "Is it in stock?"]
    shop.tab.key("Enter")
    shop.wait_for(f"{PUBLISHED} === 1")
    shop.check()


def test_chats_of_another_system_are_refused_with_an_honest_sentence(context: Context, world: WidgetWorld) -> None:
    world.gateway.amp("Hello", source="chats", kind="chat", instance="1", tenants='["owned"]', capabilities='["chats"]')
    shop = open_plain(world, context, tenant="owned")
    shop.open()
    shop.send("Is this read?")
    shop.wait_text("We cannot take your message here")
    assert [line[1:] for line in shop.lines()] == [["Is this read?", "failed"]]
    shop.click(".retry, .meta .link")
    shop.wait_text("We cannot take your message here")
    shop.check()


def test_the_keyboard_suffices_and_shortcuts_of_the_site_are_not_meant(context: Context, world: WidgetWorld) -> None:
    shop = open_plain(world, context)
    shop.tab.evaluate(
        "window.keys = []; addEventListener('keydown', ({key}) => keys.push(key));"
        "document.getElementById('search').focus()"
    )
    shop.tab.key("Tab")
    assert shop.value("root.activeElement.className") == "launcher"
    shop.tab.key("Enter")
    shop.wait(".panel")
    assert shop.value("root.activeElement.id") == "text"
    before = shop.tab.evaluate("keys.length")
    shop.send("Hello")
    shop.wait_for(f"{PUBLISHED} === 1")
    assert shop.value("root.activeElement.id") == "text"
    reached = set()
    for _ in range(8):
        shop.tab.key("Tab")
        reached.add(shop.value("root.activeElement?.className ?? ''"))
    assert {"plain", "scroll", "send", "launcher"} <= reached
    shop.value("root.querySelector('#text').focus()")
    shop.tab.key("Escape")
    shop.wait_for("root.querySelector('.panel').hidden")
    assert shop.value("root.activeElement.className") == "launcher"
    assert shop.tab.evaluate("keys.includes('Escape')") is False
    assert shop.tab.evaluate("keys.length") <= before + 8
    tree = shop.tab.call("Accessibility.getFullAXTree")["nodes"]
    assert any(
        node["role"]["value"] == "button" and "Open chat" in node["name"]["value"] for node in tree if "name" in node
    )
    shop.open()
    tree = shop.tab.call("Accessibility.getFullAXTree")["nodes"]
    roles = {node["role"]["value"]: node.get("name", {}).get("value") for node in tree if not node["ignored"]}
    assert roles["dialog"] == "Chat" and roles["log"] == "Messages"


@pytest.mark.parametrize(("width", "height"), [(320, 568), (568, 320), (390, 844), (1366, 768)])
def test_nothing_is_cut_off(context: Context, world: WidgetWorld, width: int, height: int) -> None:
    shop = world.open_shop(context)
    shop.tab.resize(width, height)
    shop.open()
    assert shop.value(CUT_OFF) == []
    shop.tab.close()
    shop = open_plain(world, context)
    shop.tab.resize(width, height)
    talk(shop)
    world.gateway.publish(
        [
            {
                "tenant_id": "plain",
                "type": "chat.message",
                "payload": {
                    "session_id": shop.tab.evaluate("JSON.parse(Object.values(localStorage)[0]).session"),
                    "message_id": "long",
                    "sender_id": "a",
                    "sender_type": "agent",
                    "sender_name": "W" * 100,
                    "body": "W" * 2000,
                },
            }
        ]
    )
    shop.wait(".other")
    assert shop.value(CUT_OFF) == []
    if width < 481:
        box = shop.value(
            "(({x, y, width, height}) => [x, y, width, height])(root.querySelector('.panel').getBoundingClientRect())"
        )
        assert box == [0, 0, width, height]
        # Not in the way when the next page is loaded.
        shop.tab.reload()
        shop.wait(".launcher")
        assert shop.value("root.querySelector('.panel').hidden")


@pytest.mark.skipif(not AXE.exists(), reason="the packages of clients/js are not installed")
def test_axe_finds_nothing_serious(context: Context, world: WidgetWorld) -> None:
    rules = """axe.run(document.querySelector('callcenter-widget'), {preload: false, resultTypes: ['violations']})
        .then(({violations}) => violations.map(({id, nodes}) =>
            [id, nodes.map(({target, failureSummary}) => [target.join(), failureSummary])]))"""
    found = {}

    def look(shop: WidgetTab, state: str) -> None:
        for theme in ("dark", "light"):
            shop.tab.prefer(theme)
            found[f"{state}, {theme}"] = shop.tab.evaluate(rules)

    shop = world.open_shop(context)
    load_axe(shop.tab)
    look(shop, "launcher")
    shop.open()
    look(shop, "offline form")
    shop.tab.close()
    shop = open_plain(world, context)
    load_axe(shop.tab)
    talk(shop)
    session = shop.tab.evaluate("JSON.parse(Object.values(localStorage)[0]).session")
    payload = {"session_id": session, "message_id": "1", "sender_id": "a", "sender_type": "agent", "sender_name": "Jo"}
    chat = {"tenant_id": "plain", "type": "chat.message", "payload": {**payload, "body": "See https://shop.example"}}
    world.gateway.publish([chat])
    shop.wait(".other a")
    look(shop, "chat")
    world.line.refuse()
    shop.wait(".notice")
    shop.send("waits")
    look(shop, "cut")
    world.line.mend()
    shop.click(".notice button")
    shop.wait_for(f"{PUBLISHED} === 2")
    world.gateway.publish([{"tenant_id": "plain", "type": "chat.session.ended", "payload": {"session_id": session}}])
    shop.wait(".ended")
    look(shop, "ended")
    assert {state: violations for state, violations in found.items() if violations} == {}


def test_a_page_is_not_harmed_without_the_gateway(context: Context, world: WidgetWorld) -> None:
    url = world.page("/alone")
    world.line.refuse()
    tab = context.open(url)
    assert tab.text("h1") == "Shop"
    assert tab.evaluate("[document.body.children.length, 'callcenterWidget' in window]") == [2, False]
    assert tab.errors == ["Failed to load resource: net::ERR_CONNECTION_REFUSED"]
    world.line.mend()
    # The script is there, from a cache, and the gateway is not: a launcher comes when the gateway does.
    tab = context.open(
        url,
        before="window.setTimeout = ((later) => (call, ms) => later(call, ms / 50))(setTimeout);"
        "window.fetch = ((real) => (...given) =>"
        " window.cut ? Promise.reject(new TypeError('cut')) : real(...given))(fetch);"
        "window.cut = true;",
    )
    tab.wait_for("typeof callcenterWidget.open === 'function'")
    assert tab.evaluate("document.querySelector('callcenter-widget') === null")
    tab.evaluate("callcenterWidget.open(); window.cut = false")
    tab.wait_for("document.querySelector('callcenter-widget') !== null")
    assert tab.errors == []


def test_a_site_that_is_not_listed_has_no_chat_and_is_told_why(context: Context, world: WidgetWorld) -> None:
    world.site.pages["/other"] = world.site.pages[world.page().removeprefix(world.site.origin)]
    url = world.site.origin.replace("127.0.0.1", "localhost") + "/other"
    tab = context.open(url, before="window.warned = []; console.warn = (...words) => warned.push(words.join(' '));")
    tab.wait_for("window.warned.length === 1")
    assert "callcenter-ws widget:" in tab.evaluate("warned[0]") and "localhost" in tab.evaluate("warned[0]")
    assert tab.evaluate("document.querySelector('callcenter-widget') === null")
