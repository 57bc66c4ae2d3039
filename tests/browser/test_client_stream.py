"""What the browser client tells: each event once, or that its state was rebuilt; and chats, published once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser_driver import Browser, Context, Tab
from client_page import ClientWorld, alerts, assert_equals_snapshot, wait_for_event, wait_for_state
from processes import wait_until

DELAY_SECONDS = 2


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientWorld]:
    world = ClientWorld(tmp_path_factory.mktemp("client") / "gateway")
    yield world
    world.close()


@pytest.fixture
def context(browser: Browser, world: ClientWorld) -> Iterator[Context]:
    world.site.token = lambda reason, tab: world.gateway.token("supervisor")
    context = browser.context()
    yield context
    world.line.mend()
    context.close()


def reconnect(world: ClientWorld, tab: Tab) -> None:
    """Cut the line and wait until the client is live again."""
    before = tab.evaluate("told.status.length")
    world.line.cut()
    tab.wait_for(f"told.status.slice({before}).some(({{ state }}) => state === 'offline')")
    tab.evaluate("client.probe()")
    wait_for_state(tab, "live")


def test_a_message_of_the_mailbox_is_told_once_however_often_it_comes(world: ClientWorld, context: Context) -> None:
    (seq,) = world.publish(
        {
            "type": "notification",
            "user_id": "supervisor-1",
            "payload": {"type": "reminder", "title": "a", "message": "b"},
        }
    )
    tab = world.live(context, tabs=False, acknowledge="manual")
    notifications = "told.event.filter(({ type }) => type === 'notification')"
    assert tab.evaluate(f"{notifications}.map(({{ seq, offline }}) => [seq, offline])") == [[seq, True]]
    # It was not acknowledged: the gateway sends it again, and the client knows it.
    reconnect(world, tab)
    tab.evaluate("client.refresh().then(() => true)")
    assert tab.evaluate(f"{notifications}.length") == 1
    tab.evaluate(f"{notifications}[0].acknowledge(), client.close(), true")
    wait_until(lambda: world.sockets() == 0, "the client has left")
    other = world.live(context, tabs=False)
    assert other.evaluate(f"{notifications}.length") == 0


def test_a_history_that_was_lost_is_told_as_a_new_state(world: ClientWorld, context: Context) -> None:
    login = {"type": "agent.login", "payload": {"user_id": "bob", "username": "bob", "state": "available"}}
    world.publish(login)
    tab = world.live(context, tabs=False)
    before = world.alert("before")
    wait_for_event(tab, before)
    world.gateway.end()
    for file in world.gateway.store.parent.glob(world.gateway.store.name + "*"):
        file.unlink()
    world.gateway.start()
    world.publish({**login, "payload": {**login["payload"], "user_id": "eve"}})
    tab.wait_for("told.rebuilt.length === 2 || (client.probe(), false)")
    assert tab.evaluate("told.rebuilt") == [{"reason": "start"}, {"reason": "reset", "detail": "epoch_changed"}]
    wait_for_state(tab, "live")
    after = world.alert("after")
    tab.wait_for(f"told.event.some(({{ seq, payload }}) => seq === {after} && payload.title === 'after')")
    assert alerts(tab) == [before, after]
    assert_equals_snapshot(tab, world.snapshot())


def test_a_queue_whose_name_has_a_comma_is_subscribed_to(world: ClientWorld, context: Context) -> None:
    tab = world.live(context, tabs=False, queues=["sales", "first, second"], events=["queue.*"])
    reconnect(world, tab)
    seqs = world.publish(*(joined(name, name) for name in ("sales", "support", "first, second")))
    tab.wait_for(f"told.event.some(({{ seq }}) => seq === {seqs[-1]})")
    assert tab.evaluate("told.event.map(({ payload }) => payload.queue_name)") == ["sales", "first, second"]
    assert tab.evaluate("told.rebuilt.map(({ reason }) => reason)") == ["start", "reset"]


def joined(queue: str, call: str) -> dict[str, Any]:
    """Return the event of a call that joins a queue."""
    return {"type": "queue.joined", "payload": {"unique_id": call, "queue_name": queue}}


def chat(world: ClientWorld, session: str) -> list[str]:
    """Return the texts of a chat, as the gateway shows them."""
    state = world.snapshot()["events"]
    return [
        one["payload"]["body"]
        for one in state
        if one["type"] == "chat.message" and one["payload"]["session_id"] == session
    ]


def test_a_chat_message_whose_answer_is_lost_is_published_once(world: ClientWorld, context: Context) -> None:
    world.publish({"type": "chat.session.started", "payload": {"session_id": "s1"}})
    tab = world.live(context, tabs=False)
    world.line.delay(DELAY_SECONDS)
    tab.evaluate("window.sent = Promise.all(['one', 'two'].map((body) => client.sendChat('s1', body))); true")
    wait_until(lambda: chat(world, "s1") == ["one"], "the gateway has the message")
    # Its answer is on the way.
    world.line.cut()
    world.line.mend()
    wait_for_state(tab, "offline")
    tab.evaluate("client.probe()")
    answers = tab.evaluate("sent")
    assert [answer.get("duplicate", False) for answer in answers] == [True, False]
    assert chat(world, "s1") == ["one", "two"]
    tab.wait_for("told.event.filter(({ type }) => type === 'chat.message').length === 2")


def test_a_chat_message_that_is_refused_is_told(world: ClientWorld, context: Context) -> None:
    tab = world.live(context, tabs=False)
    assert tab.evaluate("client.sendChat('none', 'hello').catch(({ code }) => code)") == "unknown_session"


def test_a_chat_message_of_a_tab_without_a_line_is_sent_when_there_is_one(world: ClientWorld, context: Context) -> None:
    world.publish({"type": "chat.session.started", "payload": {"session_id": "s2"}})
    tab = world.live(context, tabs=False)
    world.line.refuse()
    wait_for_state(tab, "offline")
    tab.evaluate("window.sent = client.sendChat('s2', 'later'); true")
    world.line.mend()
    tab.evaluate("client.probe()")
    assert tab.evaluate("sent")["session_id"] == "s2"
    assert chat(world, "s2") == ["later"]
