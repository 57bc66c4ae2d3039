"""Promises of commands in a real browser: they settle by the stream, after a cut line and after a reload."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from answering_source import AnsweringSource
from browser_driver import Browser, Context, Tab
from client_page import ClientWorld, wait_for_state

SETTINGS = "[commands]\nenabled = true\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientWorld]:
    world = ClientWorld(tmp_path_factory.mktemp("commands") / "gateway", SETTINGS)
    yield world
    world.close()


@pytest.fixture(scope="module")
def source(world: ClientWorld) -> Iterator[AnsweringSource]:
    source = AnsweringSource(world.gateway.amp_path)
    yield source
    source.close()


@pytest.fixture
def context(browser: Browser, world: ClientWorld) -> Iterator[Context]:
    world.site.token = lambda reason, tab: world.gateway.token("agent")
    context = browser.context()
    yield context
    world.line.mend()
    context.close()


def begin(world: ClientWorld, tab: Tab) -> None:
    """Have a page that was loaded connect, with the built file of the gateway."""
    tab.wait_for("typeof begin === 'function'")
    tab.evaluate(f"begin({json.dumps(world.url)}, {{}})")
    library = f"http://127.0.0.1:{world.gateway.port}/client/callcenter-ws-commands.js"
    tab.evaluate(
        f"""import({json.dumps(library)}).then((library) => {{
          window.commands = library.commandsOf(client);
          window.keep = (promise) => {{
            window.outcome = window.error = undefined;
            promise.then((value) => (window.outcome = value), ({{ code }}) => (window.error = code));
            return true;
          }};
          return true;
        }})"""
    )
    wait_for_state(tab, "live")


def opened(world: ClientWorld, context: Context) -> Tab:
    tab = context.open(world.site.origin + "/")
    tab.keep_visible()
    begin(world, tab)
    return tab


def send(tab: Tab, name: str, fields: dict[str, Any]) -> None:
    assert tab.evaluate(f"keep(commands.send({json.dumps(name)}, {json.dumps(fields)}))")


def test_a_promise_settles_by_the_stream_or_by_the_refusal(
    world: ClientWorld, source: AnsweringSource, context: Context
) -> None:
    tab = opened(world, context)
    offered = tab.evaluate("commands.offered")
    assert "call.originate" in offered["names"]
    assert "lunch" in offered["pause_reasons"]
    send(tab, "call.originate", {"destination": "100"})
    taken = source.taken()
    assert (taken["name"], taken["user_id"], taken["payload"]) == ("call.originate", "agent-1", {"destination": "100"})
    assert tab.evaluate("commands.pending().map(({ command_id }) => command_id)") == [taken["command_id"]]
    source.answer(taken["command_id"], call_id="17")
    outcome = tab.wait_for("window.outcome")
    assert (outcome["state"], outcome["data"]) == ("done", {"call_id": "17"})
    events = "told.event.filter(({ type }) => type === 'command.done').map(({ payload }) => payload.command_id)"
    assert tab.evaluate(events) == [taken["command_id"]]
    send(tab, "agent.state.set", {"state": "break", "user_id": "another"})
    assert tab.wait_for("window.error") == "not_allowed"
    send(tab, "call.originate", {"destination": "1&2"})
    assert tab.wait_for("window.error") == "invalid_message"
    assert tab.evaluate("[commands.pending(), sessionStorage.length]") == [[], 0]


def test_a_promise_survives_a_cut_line(world: ClientWorld, source: AnsweringSource, context: Context) -> None:
    tab = opened(world, context)
    send(tab, "agent.state.set", {"state": "break", "reason": "lunch"})
    taken = source.taken()
    world.line.cut()
    wait_for_state(tab, "offline")
    source.answer(taken["command_id"], "rejected")
    tab.evaluate("client.probe()")
    outcome = tab.wait_for("window.outcome")
    assert (outcome["state"], outcome["code"], outcome["message"]) == ("failed", "rejected", "as the test says")


def test_a_promise_survives_that_the_tab_with_the_socket_is_closed(
    world: ClientWorld, source: AnsweringSource, context: Context
) -> None:
    leader, follower = opened(world, context), opened(world, context)
    assert [tab.evaluate("client.status.leads") for tab in (leader, follower)] == [True, False]
    send(follower, "call.originate", {"destination": "103"})
    taken = source.taken()
    follower.wait_for("sessionStorage.length === 1")
    assert leader.evaluate("commands.pending()") == []
    leader.close()
    follower.wait_for("client.status.leads")
    source.answer(taken["command_id"], call_id="20")
    assert follower.wait_for("window.outcome")["data"] == {"call_id": "20"}


def test_a_promise_survives_that_the_page_is_loaded_again(
    world: ClientWorld, source: AnsweringSource, context: Context
) -> None:
    tab = opened(world, context)
    send(tab, "call.originate", {"destination": "101"})
    taken = source.taken()
    tab.reload()
    begin(world, tab)
    ((command_id, name, fields),) = tab.evaluate(
        "commands.pending().map(({ command_id, name, fields }) => [command_id, name, fields])"
    )
    assert (command_id, name, fields) == (taken["command_id"], "call.originate", {"destination": "101"})
    assert tab.evaluate("keep(commands.pending()[0].outcome)")
    source.answer(command_id, call_id="18")
    assert tab.wait_for("window.outcome")["data"] == {"call_id": "18"}
    # And if the outcome came while there was no page.
    send(tab, "call.originate", {"destination": "102"})
    taken = source.taken()
    tab.navigate("about:blank")
    source.answer(taken["command_id"], call_id="19")
    tab.navigate(world.site.origin + "/")
    begin(world, tab)
    assert tab.evaluate("keep(commands.pending()[0]?.outcome ?? Promise.resolve({ data: 'settled' }))")
    assert tab.wait_for("window.outcome")["data"] in ({"call_id": "19"}, "settled")
    assert tab.evaluate("sessionStorage.length") == 0
