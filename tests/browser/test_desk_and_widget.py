"""An agent at the desk and a visitor at the widget of a site, who chat with each other."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from browser_driver import Browser, Tab
from desk_world import open_desk, wait_for_text
from processes import wait_until
from widget_page import WidgetTab, WidgetWorld

OWN = "[...document.querySelectorAll('[data-sender=own]')].map((one) => one.dataset.state)"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WidgetWorld]:
    folder = tmp_path_factory.mktemp("both") / "gateway"
    made = WidgetWorld(folder, widget='available = "agents"\n', more="[commands]\nenabled = true\n")
    yield made
    made.close()


@pytest.fixture(scope="module")
def desk(browser: Browser, world: WidgetWorld) -> Iterator[Tab]:
    context = browser.context()
    yield open_desk(context, world.line.port, world.gateway.token("agent", sub="ana", name="Ana Agent"))
    context.close()


@pytest.fixture
def shop(browser: Browser, world: WidgetWorld) -> Iterator[WidgetTab]:
    context = browser.context()
    yield world.open_shop(context)
    context.close()


def test_what_is_left_while_no_agent_is_there_is_marked(world: WidgetWorld, desk: Tab, shop: WidgetTab) -> None:
    shop.open()
    shop.wait("#email")
    shop.type("Please write to me")
    shop.type("Olga", "#name")
    shop.type("olga@example.org", "#email")
    shop.click(".send")
    wait_for_text(desk, ".waiting li", "Offline message")
    desk.click(".waiting [data-command='chat.accept']")
    wait_for_text(desk, ".chat .note", "olga@example.org")
    assert desk.evaluate("document.querySelector('.chat .note a').getAttribute('href')") == "mailto:olga@example.org"
    desk.click(".chat [data-command='chat.close']")
    desk.wait_for("!document.querySelector('.chat')")


def test_a_chat_from_its_begin_to_its_end(world: WidgetWorld, desk: Tab, shop: WidgetTab) -> None:
    world.publish({"type": "agent.login", "payload": {"user_id": "ana", "username": "Ana Agent"}})
    # The answer is kept for some seconds.
    asking = "/ws/public/widget?tenant_id=acme"
    wait_until(lambda: world.gateway.http(asking)[1]["available"], "a chat is offered")
    shop.tab.reload()
    shop.wait(".launcher")
    session = shop.begin("Where is my order?")
    wait_for_text(desk, ".waiting .said", "Where is my order?")
    desk.click(".waiting [data-command='chat.accept']")
    desk.wait_for(f"document.activeElement.closest('[data-chat]')?.dataset.chat === {json.dumps(session)}")
    # The name of the agent comes with the first message.
    shop.wait_text("An agent has joined")
    desk.call("Input.insertText", text="It comes tomorrow.")
    shop.wait_text("typing")
    desk.key("Enter")
    shop.wait_text("It comes tomorrow.")
    # The visitor's page says that it has it.
    desk.wait_for(f"{OWN}.join() === 'delivered'")
    shop.value("root.querySelector('#text').focus()")
    shop.type("Thank you")
    wait_for_text(desk, ".chat .typing", "is typing")
    shop.tab.key("Enter")
    wait_for_text(desk, ".chat [data-sender=visitor]", "Thank you")
    # Both lose the line, both write, and each message arrives once.
    world.line.refuse()
    desk.call("Input.insertText", text="You are welcome")
    desk.key("Enter")
    shop.send("One more question")
    world.line.mend()
    wait_for_text(desk, ".chat [data-sender=visitor]", "One more question")
    desk.wait_for(f"{OWN}.join() === 'delivered,delivered'")
    shop.wait_text("You are welcome")
    bodies = [message["body"] for message in world.chats()[session]]
    assert sorted(bodies[-2:]) == ["One more question", "You are welcome"] and len(bodies) == 5
    desk.type(".chat textarea", "half a sent")
    world.publish({"type": "chat.session.ended", "payload": {"session_id": session, "ended_by": "visitor"}})
    wait_for_text(desk, ".departed", "was closed by the visitor")
    wait_for_text(desk, ".departed blockquote", "half a sent")
