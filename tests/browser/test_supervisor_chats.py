"""The chats of the supervisor's page in a real browser, with real visitors: who waits, reading, transfer, close."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from browser_driver import Browser, Context, Tab
from desk_world import Visitor, wait_for_text
from supervisor_world import KEYS, LIVE, SupervisorWorld, go

ENTRY = "document.querySelector('.actions li')?.dataset.state"
BODIES = "[...document.querySelectorAll('.detail .log .body')].map((one) => one.textContent)"
PARTS = "[...document.querySelectorAll('.chats tbody tr')].map((one) => one.dataset.part).join()"
BADGE = "document.querySelector('.sections a[href=\"#chats\"] .badge')"
MARKUP = '<img src=x onerror="hit()"><b>${hit()}</b>'


@pytest.fixture
def world(supervisor_world: SupervisorWorld) -> SupervisorWorld:
    return supervisor_world


@pytest.fixture
def context(browser: Browser, world: SupervisorWorld) -> Iterator[Context]:
    made = browser.context()
    yield made
    world.line.mend()
    made.close()


def check(tab: Tab) -> None:
    assert tab.csp_violations == []
    assert [error for error in tab.errors if "net::ERR_" not in error] == []


def begin(world: SupervisorWorld, session: str, body: str, name: str = "Vera", **fields: Any) -> Visitor:
    """Have a visitor begin a chat."""
    visitor = Visitor(world.gateway, session, name)
    answer = visitor.request("chat.start", {"client_message_id": session, "body": body, **fields})
    assert answer["type"] == "accepted", answer
    return visitor


def begin_earlier(world: SupervisorWorld, session: str, minutes: int, **fields: Any) -> None:
    """Publish that a chat was begun some minutes ago."""
    begun = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()
    world.publish("chat.session.started", {"session_id": session, **fields}, timestamp=begun)


def test_chats_that_wait_come_first_and_those_over_the_limit_are_marked(
    world: SupervisorWorld, context: Context
) -> None:
    tab = world.show(context, "#chats")
    wait_for_text(tab, "#chats .empty", "No chat is open.")
    visitor = begin(world, "new", MARKUP, MARKUP, visitor_email="v@shop.example")
    tab.wait_for(f"{KEYS}.join() === 'new'")
    assert tab.evaluate(BADGE) is None
    left = begin(world, "left", "Write to me", visitor_email="l@shop.example", is_offline=True)
    begin_earlier(world, "late", 5, visitor_name="Late", queue_name="sales")
    world.assign("taken", "eve", agent_name="Eve", visitor_name="Taken")
    tab.wait_for(f"{KEYS}.join() === 'late,new,taken,left'")
    assert tab.evaluate(PARTS) == "waiting,waiting,assigned,later"
    wait_for_text(tab, "tr[data-key=late] .tag.over", "over")
    assert tab.evaluate("document.querySelectorAll('.chats .tag.over').length") == 1
    tab.wait_for(f"{BADGE}?.innerText.includes('1')")
    wait_for_text(tab, "tr[data-key=left]", "Offline message")
    row = tab.text("tr[data-key=new]")
    assert all(words in row for words in (MARKUP, "v@shop.example", "waits", "Visitor")), row
    # Found by queue; a screen reader is told how many.
    tab.type("#chats [data-filter=text]", "SALES")
    tab.wait_for(f"{KEYS}.join() === 'late'")
    wait_for_text(tab, "#chats .summary [role=status]", "1 waits")
    go(tab, "#chats/late")
    wait_for_text(tab, ".detail .log", "No message yet.")
    for session in ("late", "taken", "new", "left"):
        world.publish("chat.session.ended", {"session_id": session, "ended_by": "agent"})
    wait_for_text(tab, "#chats .empty", "No chat is open.")
    for one in (visitor, left):
        one.close()
    check(tab)


def test_a_supervisor_reads_transfers_and_closes_a_chat_over_a_cut_line(
    world: SupervisorWorld, context: Context
) -> None:
    visitor = begin(world, "vera", "Where is my order?")
    tab = world.show(context, "#chats")
    tab.wait_for(f"{KEYS}.join() === 'vera'")
    tab.click("tr[data-key=vera] a")
    tab.wait_for(f"{BODIES}.join() === 'Where is my order?'")
    assert tab.evaluate("document.activeElement.id") == "detail-title"
    assert tab.evaluate("document.querySelector('.detail .log').getAttribute('role')") == "log"
    visitor.send("chat.typing", is_typing=True)
    wait_for_text(tab, ".detail .typing", "is typing")

    # To an agent who is chosen from a list.
    tab.click("[data-command='chat.transfer']")
    tab.wait_for("document.querySelector('dialog [data-agent=eve]')")
    tab.type("dialog input", "ev")
    tab.wait_for("document.querySelectorAll('dialog [data-agent]').length === 1")
    tab.click("dialog [data-agent=eve]")
    tab.wait_for(f"{ENTRY} === 'done'")
    wait_for_text(tab, ".detail [data-fact=agent]", "Eve")
    tab.wait_for(f"{PARTS} === 'assigned'")
    visitor.receive(lambda message: message["type"] == "chat.transferred")

    world.say("vera", "She ordered twice", sender_id="ada", sender_name="Ada", sender_type="agent", private=True)
    tab.wait_for("document.querySelector('.detail .message[data-private]')?.innerText.includes('Private note')")
    # A note is no answer.
    wait_for_text(tab, "tr[data-key=vera] .unanswered", "no answer for")
    world.line.refuse()
    world.line.cut()
    tab.wait_for("document.querySelector('main[data-old]')")
    visitor.write("Are you there?")
    world.say("vera", "Yes", sender_id="eve", sender_name="Eve", sender_type="agent")
    world.line.mend()
    tab.click(".link [data-action=try]")
    tab.wait_for(f"{LIVE} && {BODIES}.slice(-2).join() === 'Are you there?,Yes'")
    tab.wait_for("!document.querySelector('.chats .unanswered')")

    # What has the focus when the dialog opens does not close the chat.
    tab.click("[data-command='chat.close']")
    tab.wait_for("document.activeElement.dataset.action === 'cancel'")
    tab.key("Escape")
    tab.wait_for("!document.querySelector('dialog')")
    tab.click("[data-command='chat.close']")
    wait_for_text(tab, "dialog", "Eve")
    tab.click("dialog [data-action=confirm]")
    ended = visitor.receive(lambda message: message["type"] == "chat.session.ended")
    assert ended["payload"]["session_id"] == "vera"
    # What was written can be read until the details are closed.
    wait_for_text(tab, ".detail [data-note=gone]", "has ended")
    assert tab.evaluate(BODIES)[-1] == "Yes"
    assert tab.evaluate("document.querySelector('.detail [data-command]')") is None
    visitor.close()
    check(tab)
