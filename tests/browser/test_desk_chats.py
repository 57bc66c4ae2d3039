"""The chats of the desk in a real browser, with a real gateway and visitors that are connected to it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest
from browser_driver import Browser, Context, Tab
from desk_world import LIVE, DeskWorld, Visitor, wait_for_text
from page_states import CUT
from test_accessibility import ALL, AXE, COLORS, load_axe

MARKUP = """</script></textarea><img src=x onerror="hit()"><b onclick="hit()">${hit()}"""
BIDI = "\u202egnp.\u2067"
ELEMENTS = """[...document.querySelectorAll("#chats *, #notifications *, #figures *")].filter((one) =>
  ["IMG", "B", "SCRIPT", "IFRAME"].includes(one.tagName)
  || [...one.attributes].some(({ name }) => name.startsWith("on"))).map((one) => one.outerHTML)"""
FITS = "document.documentElement.scrollWidth <= innerWidth"
NUMBERS = itertools.count(1)
SPOIL = """
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (text) {
  const frame = JSON.parse(text);
  if (window.spoilt && frame.type === "chat.message") frame.payload.session_id = "of no one";
  send.call(this, JSON.stringify(frame));
};
true"""
"""Has the gateway refuse what the page writes, while ``spoilt`` is true."""


@pytest.fixture
def world(chat_world: DeskWorld) -> DeskWorld:
    return chat_world


@pytest.fixture
def desk(browser: Browser, world: DeskWorld) -> Iterator[Desk]:
    """The desk of an agent of this test alone."""
    context = browser.context()
    made = Desk(world, context, f"ana-{next(NUMBERS)}")
    yield made
    made.close()
    world.line.mend()
    context.close()


class Desk:
    """The desk of one agent."""

    def __init__(self, world: DeskWorld, context: Context, user: str) -> None:
        self.user = user
        self._world = world
        self._context = context
        self._visitors: list[Visitor] = []
        self.tab = self.open()

    def open(self) -> Tab:
        """Open another tab of the desk."""
        return self._world.open(self._context, self.user)

    def close(self) -> None:
        """End the connections, and check that no script has failed."""
        for visitor in self._visitors:
            visitor.close()
        assert self.tab.csp_violations == []
        assert [error for error in self.tab.errors if "net::ERR_" not in error and "WebSocket" not in error] == []

    def name(self, name: str) -> str:
        """Return the id of a chat of this desk."""
        return f"{name}-{self.user}"

    def chat(self, name: str, visitor_name: str | None = "Vera Visitor", **fields: Any) -> Visitor:
        """Begin a chat that is assigned to the agent, and return its visitor."""
        fields = {"visitor_name": visitor_name, **fields} if visitor_name is not None else fields
        self._world.assign(self.name(name), self.user, **fields)
        self.wait(name)
        return self.visitor(name)

    def visitor(self, name: str) -> Visitor:
        """Return a connected visitor of a chat."""
        made = Visitor(self._world.gateway, self.name(name))
        self._visitors.append(made)
        return made

    def at(self, name: str, selector: str = "") -> str:
        """Return a selector within the column of a chat."""
        return f'[data-chat="{self.name(name)}"] {selector}'

    def wait(self, name: str) -> None:
        """Wait until a chat is a column or a tab."""
        self.tab.wait_for(
            f'document.querySelector(\'[data-chat="{self.name(name)}"], [data-tab="{self.name(name)}"]\')'
        )

    def states(self, name: str) -> list[list[str]]:
        """Return the text and the state of each own message."""
        selector = json.dumps(self.at(name, '[data-sender="own"]'))
        state_of = "(one) => [one.querySelector('.body').textContent, one.dataset.state]"
        found: list[list[str]] = self.tab.evaluate(f"[...document.querySelectorAll({selector})].map({state_of})")
        return found

    def wait_for_state(self, name: str, body: str, state: str) -> None:
        """Wait until an own message has a state."""
        selector = json.dumps(self.at(name, f'[data-sender="own"][data-state="{state}"] .body'))
        self.tab.wait_for(
            f"[...document.querySelectorAll({selector})].some((one) => one.textContent === {json.dumps(body)})"
        )

    def type(self, name: str, text: str) -> None:
        """Type into the reply."""
        self.tab.type(self.at(name, "textarea"), text)

    def reply(self, name: str, text: str) -> None:
        """Type a reply and send it with Enter."""
        self.tab.evaluate(f"document.querySelector({json.dumps(self.at(name, 'textarea'))}).focus()")
        self.type(name, text)
        self.tab.key("Enter")

    def draft(self, name: str) -> str:
        """Return what is in the field for a reply."""
        found: str = self.tab.evaluate(f"document.querySelector({json.dumps(self.at(name, 'textarea'))}).value")
        return found

    def bodies(self, name: str) -> list[str]:
        """Return the messages that are shown of a chat."""
        selector = json.dumps(self.at(name, ".body"))
        found: list[str] = self.tab.evaluate(
            f"[...document.querySelectorAll({selector})].map((one) => one.textContent)"
        )
        return found


def press(tab: Tab, key: str, *, alt: bool = False, shift: bool = False) -> None:
    """Press a key of the keyboard."""
    modifiers = (1 if alt else 0) | (8 if shift else 0)
    code = f"Key{key.upper()}" if len(key) == 1 else key
    text = {} if alt else {"text": "\r" if key == "Enter" else key}
    number = 13 if key == "Enter" else ord(key.upper())
    common = {"key": key, "code": code, "modifiers": modifiers, "windowsVirtualKeyCode": number}
    tab.call("Input.dispatchKeyEvent", type="keyDown", **common, **text)
    tab.call("Input.dispatchKeyEvent", type="keyUp", **common)


def test_a_chat_with_a_visitor(desk: Desk, world: DeskWorld) -> None:
    visitor = desk.chat("c", queue_name="sales", visitor_email="vera@example.org")
    visitor.write("Where is my order?")
    wait_for_text(desk.tab, desk.at("c", '[data-sender="visitor"] .body'), "Where is my order?")
    head = desk.tab.text(desk.at("c", "header"))
    assert "Vera Visitor" in head and "sales" in head and "since" in head
    # Enter sends, Shift+Enter begins a line.
    desk.tab.evaluate(f"document.querySelector({json.dumps(desk.at('c', 'textarea'))}).focus()")
    desk.tab.call("Input.insertText", text="I look")
    press(desk.tab, "Enter", shift=True)
    desk.tab.call("Input.insertText", text="into it")
    assert visitor.receive(lambda message: message["type"] == "chat.typing")["payload"]["is_typing"] is True
    assert desk.draft("c") == "I look\ninto it"
    press(desk.tab, "Enter")
    read = visitor.read("I look\ninto it")["payload"]
    assert read["sender_name"] == "Ana Agent"
    desk.wait_for_state("c", "I look\ninto it", "sent")
    visitor.send("chat.delivered", message_id=read["message_id"])
    desk.wait_for_state("c", "I look\ninto it", "delivered")
    assert desk.draft("c") == ""
    # The visitor types, and what colleagues note for each other is marked.
    visitor.send("chat.typing", is_typing=True)
    wait_for_text(desk.tab, desk.at("c", ".typing"), "is typing")
    world.say(desk.name("c"), "be kind", sender_type="agent", sender_id="bob", sender_name="Bob", private=True)
    wait_for_text(desk.tab, desk.at("c", "[data-private]"), "Private note")


def test_enter_that_chooses_a_word_of_an_input_method_sends_nothing(desk: Desk) -> None:
    desk.chat("c")
    desk.type("c", "にほん")
    selector = json.dumps(desk.at("c", "textarea"))
    for fields in ("isComposing: true", "keyCode: 229"):
        event = f"new KeyboardEvent('keydown', {{ key: 'Enter', bubbles: true, cancelable: true, {fields} }})"
        assert desk.tab.evaluate(f"document.querySelector({selector}).dispatchEvent({event})") is True
    assert (desk.draft("c"), desk.states("c")) == ("にほん", [])


def test_a_waiting_chat_is_accepted_and_closed_by_the_keyboard(desk: Desk) -> None:
    visitor = desk.visitor("w")
    visitor.write("is there an agent?")
    wait_for_text(desk.tab, ".waiting .said", "is there an agent?")
    press(desk.tab, "v")
    desk.wait("w")
    focused = "document.activeElement.closest('[data-chat]')?.dataset.chat"
    desk.tab.wait_for(f"{focused} === {json.dumps(desk.name('w'))} && document.activeElement.tagName === 'TEXTAREA'")
    # The last message is not answered: closing asks first, and Escape goes back to the button.
    button = json.dumps(desk.at("w", "[data-command='chat.close']"))
    desk.tab.evaluate(f"document.querySelector({button}).focus()")
    press(desk.tab, "Enter")
    desk.tab.wait_for("document.querySelector('dialog.confirm')?.textContent.includes('not answered')")
    desk.tab.key("Escape")
    desk.tab.wait_for(
        f"!document.querySelector('dialog') && document.activeElement === document.querySelector({button})"
    )
    press(desk.tab, "Enter")
    desk.tab.wait_for("document.querySelector('dialog.confirm [data-action=confirm]')")
    desk.tab.evaluate("document.querySelector('dialog.confirm [data-action=confirm]').focus()")
    press(desk.tab, "Enter")
    visitor.receive(lambda message: message["type"] == "chat.session.ended")
    desk.tab.wait_for(f"!document.querySelector({json.dumps(desk.at('w'))})")
    # It was asked for: nothing more is said, and the focus is not lost.
    assert desk.tab.evaluate("document.querySelectorAll('.departed').length") == 0
    desk.tab.wait_for("document.activeElement.id === 'chats-title'")


def test_a_chat_is_transferred_to_a_colleague(desk: Desk, world: DeskWorld) -> None:
    visitor = desk.chat("c")
    for user, name, state in (
        ("bea", "Bea Busy", "talking"),
        ("fay", "Fay Free", "available"),
        ("off", "Otto Off", "offline"),
    ):
        world.publish("agent.state.changed", {"user_id": user, "username": name, "state": state})
    desk.tab.click(desk.at("c", "[data-command='chat.transfer']"))
    names = "[...document.querySelectorAll('dialog.choose [data-agent] bdi')].map((one) => one.textContent)"
    desk.tab.wait_for(f"{names}.length >= 2")
    assert [name for name in desk.tab.evaluate(names) if name in ("Bea Busy", "Fay Free", "Otto Off")] == [
        "Fay Free",
        "Bea Busy",
    ]
    desk.tab.type("dialog.choose input", "fay")
    desk.tab.wait_for(f"{names}.length === 1")
    desk.tab.click("dialog.choose [data-agent=fay]")
    moved = visitor.receive(lambda message: message["type"] == "chat.transferred")
    assert moved["payload"]["to_agent_id"] == "fay"
    desk.tab.wait_for(f"!document.querySelector({json.dumps(desk.at('c'))})")
    assert desk.tab.evaluate("document.querySelectorAll('.departed').length") == 0


@pytest.mark.parametrize("way", ["taken", "closed"])
def test_a_chat_that_leaves_is_told_of_with_what_was_typed(desk: Desk, world: DeskWorld, way: str) -> None:
    desk.chat("c")
    desk.type("c", "half a sent")
    if way == "taken":
        world.publish("chat.transferred", {"session_id": desk.name("c"), "to_agent_id": "bob", "agent_name": "Bob"})
    else:
        world.publish("chat.session.ended", {"session_id": desk.name("c"), "ended_by": "Vera"})
    wait_for_text(desk.tab, ".departed", "taken over by Bob" if way == "taken" else "was closed by Vera")
    wait_for_text(desk.tab, ".departed blockquote", "half a sent")
    # It is still there after a reload, until it is dismissed.
    desk.tab.reload()
    wait_for_text(desk.tab, ".departed blockquote", "half a sent")
    desk.tab.click(".departed [data-action=dismiss]")
    desk.tab.wait_for("!document.querySelector('.departed')")
    desk.tab.reload()
    desk.tab.wait_for(LIVE)
    assert desk.tab.evaluate("document.querySelectorAll('.departed').length") == 0


def test_a_reply_over_a_dead_line_is_published_once(desk: Desk, world: DeskWorld) -> None:
    visitor = desk.chat("c")
    world.line.hold()
    desk.reply("c", "over the dead line")
    desk.wait_for_state("c", "over the dead line", "sending")
    desk.type("c", "and a draft")
    world.line.mend()
    visitor.read("over the dead line")
    desk.wait_for_state("c", "over the dead line", "sent")
    desk.reply("c", "the next one")
    assert visitor.receive(lambda message: message["type"] == "chat.message")["payload"]["body"] == "the next one"
    desk.wait_for_state("c", "the next one", "sent")
    assert [body for body, _ in desk.states("c")] == ["over the dead line", "the next one"]


def test_replies_and_drafts_survive_that_the_gateway_is_killed_and_the_page_loaded_again(
    desk: Desk, world: DeskWorld
) -> None:
    desk.chat("c")
    desk.reply("c", "before")
    desk.wait_for_state("c", "before", "sent")
    world.gateway.end()
    desk.tab.wait_for("document.querySelector('.link').dataset.state === 'offline'")
    desk.reply("c", "meanwhile")
    wait_for_text(desk.tab, desk.at("c", '[data-state="sending"]'), "waits for the connection")
    wait_for_text(desk.tab, ".old-note", "interrupted")
    desk.type("c", "half a sent")
    world.gateway.start()
    desk.tab.wait_for(LIVE)
    desk.wait_for_state("c", "meanwhile", "sent")
    assert desk.draft("c") == "half a sent"
    world.line.hold()
    desk.reply("c", "and over a reload")
    world.line.mend()
    desk.tab.reload()
    desk.wait("c")
    desk.wait_for_state("c", "and over a reload", "sent")
    assert [body for body, _ in desk.states("c")] == ["before", "meanwhile", "and over a reload"]
    assert desk.tab.evaluate("Object.keys(sessionStorage).filter((key) => key.includes('unsent')).length") == 0


def test_a_refused_reply_says_why_and_is_sent_again_with_the_same_id(desk: Desk) -> None:
    visitor = desk.chat("c")
    desk.tab.evaluate(SPOIL)
    desk.tab.evaluate("window.spoilt = true")
    desk.reply("c", "spoilt")
    desk.wait_for_state("c", "spoilt", "failed")
    wait_for_text(desk.tab, desk.at("c", '[data-state="failed"] .state'), "not sent: the chat has ended")
    wait_for_text(desk.tab, ".announcer", "was not sent")
    desk.tab.reload()
    desk.wait_for_state("c", "spoilt", "failed")
    desk.tab.click(desk.at("c", "[data-action=retry]"))
    visitor.read("spoilt")
    desk.wait_for_state("c", "spoilt", "sent")
    assert desk.states("c") == [["spoilt", "sent"]]


def test_the_log_stays_where_the_reader_is(desk: Desk, world: DeskWorld) -> None:
    visitor = desk.chat("c")
    for number in range(40):
        world.say(desk.name("c"), f"message {number}")
    log = f"document.querySelector({json.dumps(desk.at('c', '.log'))})"
    wait_for_text(desk.tab, desk.at("c", ".body"), "message 39")
    at_end = f"{log}.scrollHeight - {log}.scrollTop - {log}.clientHeight < 5"
    desk.tab.wait_for(at_end)
    desk.tab.evaluate(f"{log}.scrollTop = 100")
    desk.tab.wait_for(f"document.querySelector({json.dumps(desk.at('c', '.newer'))})")
    visitor.write("one more")
    wait_for_text(desk.tab, desk.at("c", ".newer"), "1 new message")
    visitor.write("and another")
    wait_for_text(desk.tab, desk.at("c", ".newer"), "2 new messages")
    assert desk.tab.evaluate(f"{log}.scrollTop") == 100
    desk.tab.click(desk.at("c", ".newer"))
    desk.tab.wait_for(f"{at_end} && !document.querySelector({json.dumps(desk.at('c', '.newer'))})")


def test_thirty_chats_with_all_kinds_of_texts(desk: Desk, world: DeskWorld) -> None:
    desk.tab.evaluate("window.hits = []; window.hit = () => hits.push(1); window.alert = window.hit; true")
    names = [MARKUP, "محمد عبد الله", BIDI + "Eve", "W" * 250, "👩‍💻 Zoë", "日本語サポート窓口"]
    for number in range(30):
        name = names[number] if number < len(names) else f"Visitor {number}"
        world.assign(
            desk.name(f"c{number}"),
            desk.user,
            visitor_name=name,
            queue_name=name[:60],
            visitor_email=f"{MARKUP}@x.example",
        )
    for body in (MARKUP, "שלום, איפה ההזמנה שלי?", BIDI, "W" * 9000, "👩‍👩‍👧‍👦🏳️‍🌈", "line\n" * 60):
        world.say(desk.name("c0"), body, sender_name=MARKUP)
    world.say(desk.name("c29"), "in a tab")
    counts = "[document.querySelectorAll('.chat').length, document.querySelectorAll('[data-tab]').length]"
    for width, columns in ((1920, 3), (360, 1)):
        desk.tab.resize(width, 900)
        desk.tab.wait_for(f"JSON.stringify({counts}) === JSON.stringify([{columns}, {30 - columns}])")
        assert desk.tab.evaluate(FITS), desk.tab.evaluate("document.documentElement.scrollWidth")
    wait_for_text(desk.tab, f'[data-tab="{desk.name("c29")}"] .count', "1")
    desk.tab.resize(1920, 900)
    # The chats are gone through by the keyboard, also those in tabs.
    press(desk.tab, "p")
    focused = "document.activeElement.closest('[data-chat]')?.dataset.chat"
    desk.tab.wait_for(f"{focused} === {json.dumps(desk.name('c29'))}")
    press(desk.tab, "n", alt=True)
    desk.tab.wait_for(f"{focused} && {focused} !== {json.dumps(desk.name('c29'))}")
    desk.tab.wait_for(f"!document.querySelector('[data-tab=\"{desk.name('c29')}\"] .count')")
    bodies = desk.bodies("c0") if desk.tab.evaluate(f"!!document.querySelector({json.dumps(desk.at('c0'))})") else []
    if not bodies:
        desk.tab.click(f'[data-tab="{desk.name("c0")}"]')
        wait_for_text(desk.tab, desk.at("c0", ".body"), "👩")
        bodies = desk.bodies("c0")
    assert (bodies[0], len(bodies[3])) == (MARKUP, 9000)
    shown = json.dumps(desk.at("c0", "[data-short]"))
    assert (
        desk.tab.evaluate(f"Math.max(...[...document.querySelectorAll({shown})].map((one) => one.offsetHeight))") < 300
    )
    desk.tab.click(desk.at("c0", ".all"))
    desk.tab.wait_for(f"document.querySelectorAll({shown}).length === 1")
    assert (desk.tab.evaluate(ELEMENTS), desk.tab.evaluate("hits")) == ([], [])


@pytest.mark.skipif(not AXE.exists(), reason="the packages of clients/js are not installed")
def test_axe_finds_nothing_serious_in_any_state_of_the_chats(desk: Desk, world: DeskWorld) -> None:
    desk.tab.resize(1920, 1080)
    desk.chat("c", queue_name="sales", visitor_email="vera@example.org").write("hello")
    world.say(desk.name("c"), "be kind", sender_type="agent", sender_id="bob", sender_name="Bob", private=True)
    world.say(desk.name("c"), "long " * 600)
    world.assign(desk.name("off"), desk.user, status="offline_message", visitor_email="vic@example.org")
    for number in range(4):
        world.assign(desk.name(f"more{number}"), desk.user, visitor_name=f"Visitor {number}")
        world.say(desk.name(f"more{number}"), "hello")
    world.assign(desk.name("gone"), desk.user, visitor_name="Gone")
    desk.wait("gone")
    desk.tab.evaluate(SPOIL)
    desk.tab.evaluate("window.spoilt = true")
    desk.reply("c", "fails")
    desk.wait_for_state("c", "fails", "failed")
    desk.tab.click(f'[data-tab="{desk.name("gone")}"]')
    desk.tab.wait_for(f"document.querySelector({json.dumps(desk.at('gone'))})")
    desk.type("gone", "half a sent")
    world.publish("chat.session.ended", {"session_id": desk.name("gone")})
    wait_for_text(desk.tab, ".departed blockquote", "half a sent")
    world.publish("chat.session.started", {"session_id": desk.name("w"), "visitor_name": "Waits"})
    wait_for_text(desk.tab, ".waiting", "Waits")
    world.publish(
        "notification", {"type": "info", "title": "t", "message": "m", "severity": "critical"}, user_id=desk.user
    )
    wait_for_text(desk.tab, ".notices", "critical")
    load_axe(desk.tab)
    found = {}
    for theme, rules in (("dark", ALL), ("light", COLORS)):
        desk.tab.prefer(theme)
        found[theme] = desk.tab.evaluate(rules)
        desk.tab.click(desk.at("c", "[data-command='chat.transfer']"))
        desk.tab.wait_for("document.querySelector('dialog')")
        found[f"{theme}, dialog"] = desk.tab.evaluate(rules)
        desk.tab.key("Escape")
        desk.tab.wait_for("!document.querySelector('dialog')")
    desk.tab.resize(360, 740)
    desk.tab.wait_for("document.querySelectorAll('.chat').length === 1")
    found["phone"] = desk.tab.evaluate(CUT)
    world.line.refuse()
    wait_for_text(desk.tab, ".old-note", "interrupted")
    found["offline"] = desk.tab.evaluate(COLORS)
    assert not [(state, violations) for state, violations in found.items() if violations]
