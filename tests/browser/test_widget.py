"""The visitor's chat in the page of a site: from the first message to the end, with the line cut in every step."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_driver import Browser, Context
from processes import wait_until
from widget_page import KEPT, ROOT, WidgetTab, WidgetWorld

EXAMPLE = Path(__file__).parents[2] / "examples" / "browser" / "widget.html"
PUBLISHED = "root.querySelectorAll('.line[data-state=published]').length"
CUT = "root.querySelector('.notice').getClientRects().length > 0"
SETTINGS = """title = "Acme support"
greeting = "Good day, what can we do?"
color = "#0b6e4f"
available = "always"
"""
TOKEN_TENANT = """
[public.tenants.signed]
origins = ["{origin}"]
[tenants.signed.widget]
available = "always"
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WidgetWorld]:
    made = WidgetWorld(tmp_path_factory.mktemp("world") / "gateway", widget=SETTINGS, more=TOKEN_TENANT)
    yield made
    made.close()


@pytest.fixture
def context(browser: Browser, world: WidgetWorld) -> Iterator[Context]:
    """A context of which each test has its own: a visitor that the site does not know."""
    world.line.mend()
    made = browser.context()
    yield made
    made.close()


def bodies(world: WidgetWorld, session: str) -> list[str]:
    return [message["body"] for message in world.chats().get(session, [])]


def test_a_chat_from_the_first_message_to_its_end(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    assert shop.text("#title") == "Acme support"
    shop.open()
    assert shop.text(".greeting") == "Good day, what can we do?"
    # The focus is where one writes, and nothing is connected before there is something to send.
    assert shop.value("root.activeElement.id") == "text"
    assert not [url for url in shop.tab.requests if url.startswith("ws")]
    shop.send("My order has not arrived.")
    shop.wait_for(f"{PUBLISHED} === 1")
    shop.wait_text("sent")
    session = shop.session
    assert bodies(world, session) == ["My order has not arrived."]
    shop.wait_text("Waiting for an agent")
    world.assign(session)
    shop.wait_text("You are chatting with Maria")
    world.publish(
        {"type": "chat.typing", "payload": {"session_id": session, "sender_type": "agent", "is_typing": True}}
    )
    shop.wait_text("Maria is typing")
    world.say(session, "I will look.")
    shop.wait_text("I will look.")
    shop.wait_for("!root.querySelector('.typing').getClientRects().length")
    shop.send("Thank you.")
    shop.wait_for(f"{PUBLISHED} === 2")
    assert shop.lines() == [
        ["You", "My order has not arrived.", "published"],
        ["Maria", "I will look.", ""],
        ["You", "Thank you.", "published"],
    ]
    world.end_chat(session)
    shop.wait(".ended")
    # What was said stays on the screen until another chat begins.
    assert len(shop.lines()) == 3
    assert shop.text(".ended button") == "Start a new chat"
    shop.click(".ended button")
    shop.wait("form")
    assert shop.lines() == []
    shop.send("One more question.")
    shop.wait_for(f"{PUBLISHED} === 1")
    assert shop.session != session
    assert bodies(world, shop.session) == ["One more question."]
    shop.check()


def test_staff_see_what_has_arrived_and_that_the_visitor_types(context: Context, world: WidgetWorld) -> None:
    desk = world.live(context, events=["chat.*"])
    shop = world.open_shop(context)
    session = shop.begin()
    world.say(session, "First", message_id="d1")
    world.say(session, "Second", message_id="d2")
    desk.wait_for(f"client.store.chat({json.dumps(session)})?.delivered === 'd2'")
    shop.value("root.querySelector('#text').focus()")
    shop.tab.call("Input.insertText", text="I am")
    desk.wait_for("told.event.some(({type, payload}) => type === 'chat.typing' && payload.is_typing)")
    desk.wait_for("told.event.some(({type, payload}) => type === 'chat.typing' && !payload.is_typing)")
    assert shop.value("root.querySelector('#text').value") == "I am"


def test_a_visitor_ends_the_chat(context: Context, world: WidgetWorld) -> None:
    desk = world.live(context, events=["chat.*"])
    shop = world.open_shop(context)
    session = shop.begin()
    shop.click("header .plain")
    shop.wait_text("End this chat?")
    assert shop.value("root.activeElement.textContent") == "End chat"
    shop.tab.key("Enter")
    shop.wait(".ended")
    desk.wait_for(f"client.store.chat({json.dumps(session)}) === undefined")
    ended = desk.evaluate("told.event.find(({type}) => type === 'chat.session.ended').payload")
    assert ended == {"session_id": session, "ended_by": "visitor"}


def test_the_line_is_cut_in_every_step(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    shop.open()
    # Before the first message, and with two of them.
    world.line.refuse()
    shop.send("one")
    shop.wait_for(CUT)
    shop.send("two")
    assert [line[1:] for line in shop.lines()] == [["one", "sending"], ["two", "sending"]]
    world.line.mend()
    shop.click(".notice button")
    shop.wait_for(f"{PUBLISHED} === 2 && !({CUT})")
    session = shop.session
    # While the visitor waits: an agent takes the chat and writes.
    world.line.refuse()
    shop.wait_for(CUT)
    world.assign(session, "Jo")
    world.say(session, "Hello from Jo", name="Jo")
    world.line.mend()
    shop.click(".notice button")
    shop.wait_text("Hello from Jo")
    shop.wait_text("You are chatting with Jo")
    # A message is on its way, and its answer is lost.
    world.line.hold()
    shop.send("three")
    shop.wait_for("root.querySelector('[data-state=sending]') !== null")
    world.line.mend()
    shop.wait_for(f"{PUBLISHED} === 3")
    # The line is there and reset at once.
    shop.send("four")
    world.line.cut()
    shop.wait_for(f"{PUBLISHED} === 4")
    assert bodies(world, session) == ["one", "two", "Hello from Jo", "three", "four"]
    assert [line[1] for line in shop.lines()] == bodies(world, session)
    # The chat ends meanwhile; what was not sent is where it was written.
    world.line.refuse()
    shop.wait_for(CUT)
    shop.send("too late")
    world.end_chat(session)
    world.line.mend()
    shop.click(".notice button")
    shop.wait(".ended")
    shop.click(".ended button")
    shop.wait_for("root.querySelector('#text').value === 'too late'")
    assert shop.tab.csp_violations == []


def test_a_reload_keeps_the_chat_the_draft_and_what_was_not_sent(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    session = shop.begin("Before the reload")
    world.say(session, "An answer")
    shop.wait_text("An answer")
    shop.type("half a sentence")
    shop.tab.reload()
    # On a large screen the panel is open again, without taking the focus.
    shop.wait_text("An answer")
    assert shop.tab.evaluate("document.activeElement === document.body")
    assert [line[1] for line in shop.lines()] == ["Before the reload", "An answer"]
    assert shop.value("root.querySelector('#text').value") == "half a sentence"
    world.line.refuse()
    shop.wait_for(CUT)
    shop.send("Written without a line")
    # The script cannot be loaded either: the page is there, and nothing else.
    shop.tab.reload()
    assert shop.tab.text("h1") == "Shop"
    assert shop.tab.evaluate("document.querySelector('callcenter-widget') === null")
    world.line.mend()
    shop.tab.reload()
    shop.wait_for(f"{PUBLISHED} === 2")
    assert bodies(world, session) == ["Before the reload", "An answer", "Written without a line"]
    # The chat ends while no page is open; what this tab knew of it is still there.
    shop.tab.navigate("about:blank")
    world.end_chat(session)
    shop.tab.navigate(world.page())
    shop.wait(".ended")
    assert len(shop.lines()) == 3
    shop.click(".ended button")
    shop.wait("form")


def test_a_restart_of_the_gateway_is_survived(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    session = shop.begin("Before the restart")
    world.gateway.end()
    shop.wait_for(CUT)
    shop.send("During the restart")
    world.gateway.start()
    shop.click(".notice button")
    shop.wait_for(f"{PUBLISHED} === 2")
    assert bodies(world, session) == ["Before the restart", "During the restart"]


def test_a_session_that_the_gateway_does_not_know_any_more_is_replaced(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    session = shop.begin("In the first session")
    key = world.gateway.folder / "visitors.secret"
    world.gateway.end()
    key.write_text("another key, with which no session is valid any more")
    shop.wait_for(CUT)
    shop.send("not sent")
    world.gateway.start()
    shop.wait_text("This chat cannot be continued any more.")
    shop.click(".ended button")
    shop.wait_for("root.querySelector('#text').value === 'not sent'")
    shop.tab.key("Enter")
    shop.wait_for(f"{PUBLISHED} === 1")
    assert shop.session != session


def test_two_tabs_of_a_site_share_the_chat(context: Context, world: WidgetWorld) -> None:
    one = world.open_shop(context)
    two = world.open_shop(context)
    session = one.begin("from the first tab")
    two.open()
    two.wait_text("from the first tab")
    two.send("from the second tab")
    one.wait_text("from the second tab")
    # Tabs show also what another one has not sent yet.
    one.wait_for(f"{PUBLISHED} === 2")
    assert one.session == two.session == session
    assert bodies(world, session) == ["from the first tab", "from the second tab"]
    # Read in one tab, it is not new in the other.
    one.click("header .plain:last-child")
    two.click("header .plain:last-child")
    world.say(session, "news")
    for tab in (one, two):
        tab.wait(".badge")
        assert "1 new" in tab.value("root.querySelector('.launcher').ariaLabel")
    two.open()
    one.wait_for("!root.querySelector('.badge').getClientRects().length")
    world.end_chat(session)
    for tab in (one, two):
        tab.wait_for("root.querySelector('.ended').hidden === false")
    two.click(".ended button")
    two.send("another chat")
    two.wait_for(f"{PUBLISHED} === 1")
    one.open()
    one.wait_text("another chat")
    assert one.session == two.session != session


def test_tabs_that_begin_at_once_without_a_line_have_one_chat(context: Context, world: WidgetWorld) -> None:
    tabs = [world.open_shop(context) for _ in range(2)]
    world.line.refuse()
    for number, tab in enumerate(tabs):
        tab.open()
        tab.send(f"from tab {number}")
    world.line.mend()
    for tab in tabs:
        tab.wait_for(f"{PUBLISHED} === 2")
    assert sorted(bodies(world, tabs[0].session)) == ["from tab 0", "from tab 1"]
    assert sum(any("from tab" in one["body"] for one in chat) for chat in world.chats().values()) == 1


def test_a_visitor_who_is_signed_in_at_the_site(context: Context, world: WidgetWorld) -> None:
    """The site's token names the visitor and the chat; without it this tenant shows no launcher."""
    world.site.token = lambda reason, tab: world.gateway.token(
        "visitor", sub="ada", name="Ada", session_id=f"chat-{tab}", tenant_id="signed"
    )
    url = world.page("/signed").replace("/shop", "/signed")
    world.site.pages["/signed"] = world.site.pages["/signed"].replace('"acme"', '"signed"')
    tab = context.open(url)
    tab.wait_for("typeof window.callcenterWidget?.open === 'function'")
    tab.evaluate(
        "callcenterWidget.token = async ({ended}) => (await fetch(`/token?reason=x&tab=${ended ? 2 : 1}`)).text(); 1"
    )
    tab.keep_visible()
    shop = WidgetTab(tab, world)
    tab.wait_for("document.querySelector('callcenter-widget') !== null")
    shop.wait(".launcher")
    tab.evaluate(
        "window.told = []; for (const name of ['open', 'close', 'message', 'started', 'ended', 'unread'])"
        " callcenterWidget.on(name, (value) => told.push([name, value])); callcenterWidget.open()"
    )
    shop.wait(".panel")
    shop.send("Hello from Ada")
    shop.wait_for(f"{PUBLISHED} === 1")
    state = world.snapshot(tenant_id="signed")
    (message,) = [event["payload"] for event in state["events"] if event["type"] == "chat.message"]
    assert (message["session_id"], message["sender_name"]) == ("chat-1", "Ada")
    assert [name for name, _ in tab.evaluate("told")] == ["open", "started"]
    status, _ = world.gateway.publish(
        [{"tenant_id": "signed", "type": "chat.session.ended", "payload": {"session_id": "chat-1"}}]
    )
    assert status == 200
    shop.wait(".ended")
    shop.click(".ended button")
    shop.send("Hello again")
    shop.wait_for(f"{PUBLISHED} === 1")
    tab.evaluate("callcenterWidget.reset(); callcenterWidget.close()")
    shop.wait_for("root.querySelectorAll('.line').length === 0")
    assert "ended" in [name for name, _ in tab.evaluate("told")]
    # No token of the site is ever stored.
    assert "eyJ" not in tab.evaluate("JSON.stringify(Object.assign({}, localStorage, sessionStorage))")


def test_new_messages_are_in_the_title_of_a_page_in_the_background(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    session = shop.begin()
    shop.tab.evaluate(
        "Object.defineProperty(document, 'hidden', {configurable: true, get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    world.say(session, "news")
    shop.tab.wait_for("document.title === '(1) Shop'")
    shop.tab.evaluate("document.title = 'Cart'")
    world.say(session, "more")
    shop.tab.wait_for("document.title === '(2) Cart'")
    shop.tab.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    shop.tab.wait_for("document.title === 'Cart'")
    assert shop.tab.evaluate(f"{KEPT}.read") is not None


def test_what_is_stored_ends_with_the_session(context: Context, world: WidgetWorld) -> None:
    shop = world.open_shop(context)
    shop.begin()
    shop.tab.evaluate(
        "(() => { const key = Object.keys(localStorage)[0]; const kept = JSON.parse(localStorage[key]);"
        "localStorage[key] = JSON.stringify({...kept, expires: Date.now() - 1}); sessionStorage.clear(); })()"
    )
    shop.tab.reload()
    shop.wait(".launcher")
    assert shop.tab.evaluate(f"[{KEPT}.session, {KEPT}.token, {KEPT}.started]") == [None, None, False]
    assert shop.tab.evaluate(f"{ROOT}.querySelectorAll('.line').length") == 0


def test_the_example_of_the_manual(context: Context, world: WidgetWorld) -> None:
    text = EXAMPLE.read_text().replace("https://gateway.example", world.origin)
    assert "gateway.example" not in text
    world.site.pages["/example"] = text.replace("<title>", '<link rel="icon" href="data:,"><title>')
    shop = world.open_shop(context, world.site.origin + "/example")
    shop.begin()
    shop.check()


def test_the_script_leaves_one_name_in_the_page(context: Context, world: WidgetWorld) -> None:
    world.site.pages["/plain"] = "<!doctype html><title>plain</title>"
    plain = context.open(world.site.origin + "/plain")
    names = set(plain.evaluate("Object.getOwnPropertyNames(window)"))
    shop = world.open_shop(context)
    shop.begin()
    added = set(shop.tab.evaluate("Object.getOwnPropertyNames(window)")) - names
    assert added - {"leftByTest", "search"} == {"callcenterWidget"}
    # A second script element changes nothing.
    shop.tab.evaluate(
        f"new Promise((done) => document.head.append(Object.assign(document.createElement('script'), "
        f"{{src: '{world.origin}/widget.js?2', onload: () => done(1)}})))"
    )
    assert shop.tab.evaluate("document.querySelectorAll('callcenter-widget').length") == 1
    wait_until(lambda: shop.lines(), "the chat is still there")
