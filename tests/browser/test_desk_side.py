"""The notifications, the figures and the queues of an agent at the desk, in a real browser with a real gateway."""

from __future__ import annotations

import datetime
import itertools
import json
from collections.abc import Iterator

import pytest
from answering_source import AnsweringSource
from browser_driver import Browser, Context, Tab
from desk_world import LIVE, DeskWorld, wait_for_text

NUMBERS = itertools.count(1)
TITLES = "[...document.querySelectorAll('.notices .title')].map((one) => one.textContent)"
BADGES = "[...document.querySelectorAll('.notices .facts')].map((one) => one.textContent)"


@pytest.fixture
def world(chat_world: DeskWorld) -> DeskWorld:
    return chat_world


@pytest.fixture
def context(browser: Browser, world: DeskWorld) -> Iterator[Context]:
    made = browser.context()
    yield made
    made.close()
    world.line.mend()


@pytest.fixture
def user() -> str:
    """The id of an agent of this test alone."""
    return f"nora-{next(NUMBERS)}"


def notify(world: DeskWorld, user: str, title: str, **fields: str) -> None:
    payload = {"type": "info", "title": title, "message": f"the words of {title}", **fields}
    world.publish("notification", payload, user_id=user)


def wait_for_titles(tab: Tab, *titles: str) -> None:
    tab.wait_for(f"JSON.stringify({TITLES}) === {json.dumps(json.dumps(titles, separators=(',', ':')))}")


def press(tab: Tab, title: str, action: str) -> None:
    named = f"(one) => one.querySelector('.title').textContent === {json.dumps(title)}"
    tab.evaluate(
        f"[...document.querySelectorAll('[data-notice]')].find({named}).querySelector('[data-action={action}]').click()"
    )


def test_what_waited_is_marked_and_stays_until_it_is_dismissed(world: DeskWorld, context: Context, user: str) -> None:
    notify(world, user, "early")
    tab = world.open(context, user)
    wait_for_titles(tab, "early")
    notify(world, user, "late")
    wait_for_titles(tab, "late", "early")
    late, early = tab.evaluate(BADGES)
    assert "while you were away" in early and "while you were away" not in late
    assert tab.text("#notices-title .count") == "2 unread"
    press(tab, "early", "read")
    wait_for_text(tab, "#notices-title .count", "1 unread")
    # The line is cut, and the page is loaded again: nothing is lost, and nothing is told twice.
    world.line.cut()
    tab.wait_for("document.querySelector('.link').dataset.state !== 'live'")
    tab.wait_for(LIVE)
    notify(world, user, "after the cut")
    wait_for_titles(tab, "after the cut", "late", "early")
    tab.reload()
    wait_for_titles(tab, "after the cut", "late", "early")
    assert tab.text("#notices-title .count") == "2 unread"
    press(tab, "late", "dismiss")
    press(tab, "early", "dismiss")
    wait_for_titles(tab, "after the cut")
    # Another browser of the user is sent what was not dismissed.
    notify(world, user, "mark")
    wait_for_titles(tab, "mark", "after the cut")
    tab.close()
    elsewhere = world.open(context, user)
    wait_for_titles(elsewhere, "mark", "after the cut")
    assert (elsewhere.errors, elsewhere.csp_violations) == ([], [])


def test_a_second_tab_shows_the_same_and_dismisses_for_both(world: DeskWorld, context: Context, user: str) -> None:
    first = world.open(context, user)
    notify(world, user, "one")
    wait_for_titles(first, "one")
    second = world.open(context, user)
    wait_for_titles(second, "one")
    notify(world, user, "two")
    for tab in (first, second):
        wait_for_titles(tab, "two", "one")
    press(second, "one", "read")
    wait_for_text(first, "#notices-title .count", "1 unread")
    press(second, "one", "dismiss")
    wait_for_titles(first, "two")
    first.reload()
    wait_for_titles(first, "two")


def test_what_has_expired_leaves(world: DeskWorld, context: Context, user: str) -> None:
    tab = world.open(context, user)
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=4)
    notify(world, user, "for a moment", expires_at=soon.isoformat())
    notify(world, user, "for long")
    wait_for_titles(tab, "for long", "for a moment")
    wait_for_titles(tab, "for long")


def test_the_figures_of_the_day_and_the_own_queues(world: DeskWorld, context: Context, user: str) -> None:
    world.publish("agent.login", {"user_id": user, "username": "Nora"})
    for queue in ("care", "sales", "others"):
        member = user if queue != "others" else "bob"
        world.publish("queue.member.added", {"queue_name": queue, "user_id": member, "username": member})
    call = {"unique_id": f"call-{user}", "queue_name": "sales", "caller_id": "4711"}
    world.publish("queue.joined", call)
    world.publish("call.answered", {**call, "agent_id": user, "wait_seconds": 3})
    world.publish("call.ended", {**call, "duration": 60})
    world.publish("call.missed", {"unique_id": f"missed-{user}", "caller_id": "1", "agent_id": user})
    world.publish("queue.joined", {"unique_id": f"waits-{user}", "queue_name": "care"})
    tab = world.open(context, user)
    tab.wait_for("document.querySelector('[data-figure=handled] dd')?.textContent === '1'")
    tab.wait_for("document.querySelector('[data-figure=missed] dd')?.textContent === '1'")
    cells = "(one) => [one.dataset.queue, one.cells[1].textContent]"
    rows = f"[...document.querySelectorAll('.own-queues [data-queue]')].map({cells})"
    tab.wait_for(f"JSON.stringify({rows}) === JSON.stringify([['care', '1'], ['sales', '0']])")
    # There are buttons for a pause only where a source takes the command.
    assert tab.evaluate("document.querySelectorAll('.own-queues button').length") == 0
    source = AnsweringSource(world.gateway.amp_path, ["queue.member.pause"])
    tab.wait_for("document.querySelectorAll('.own-queues button').length === 2")
    tab.click("[data-queue=sales] button")
    taken = source.taken()
    assert (taken["name"], taken["payload"]["queue_name"], taken["user_id"]) == ("queue.member.pause", "sales", user)
    tab.wait_for("document.querySelector('[data-queue=sales] button').ariaDisabled === 'true'")
    world.publish("queue.member.paused", {"queue_name": "sales", "user_id": user, "username": "Nora"})
    source.answer(taken["command_id"])
    tab.wait_for("document.querySelector('[data-queue=sales]').hasAttribute('data-paused')")
    source.close()
    world.line.refuse()
    wait_for_text(tab, ".day .old-note", "as of")
