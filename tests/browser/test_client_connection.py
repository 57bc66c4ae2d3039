"""The browser client on one socket: tokens, lost lines, gateways that end, and what stops it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest
from browser_driver import Browser, Context
from client_page import (
    ClientWorld,
    alerts,
    assert_equals_snapshot,
    wait_for_event,
    wait_for_state,
)
from processes import wait_until

QUICK = {"idleMs": 1000, "answerMs": 1000}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClientWorld]:
    world = ClientWorld(tmp_path_factory.mktemp("client") / "gateway")
    yield world
    world.close()


@pytest.fixture
def context(browser: Browser, world: ClientWorld) -> Iterator[Context]:
    world.site.asked.clear()
    world.site.token = lambda reason, tab: world.gateway.token("supervisor")
    context = browser.context()
    yield context
    context.close()


def test_nothing_is_lost_or_told_twice_when_the_line_is_cut(world: ClientWorld, context: Context) -> None:
    tab = world.live(context, tabs=False)
    first = world.alert("before")
    wait_for_event(tab, first)
    world.line.refuse()
    wait_for_state(tab, "offline")
    missed = [world.alert(f"missed {number}") for number in range(3)]
    world.publish({"type": "agent.login", "payload": {"user_id": "bob", "username": "bob", "state": "available"}})
    world.line.mend()
    tab.evaluate("client.probe()")
    wait_for_state(tab, "live")
    last = world.alert("after")
    wait_for_event(tab, last)
    assert alerts(tab) == [first, *missed, last]
    assert tab.evaluate("told.rebuilt") == [{"reason": "start"}]
    assert world.site.asked[0][0] == "connect"
    assert {reason for reason, _ in world.site.asked[1:]} == {"retry"}
    assert_equals_snapshot(tab, world.snapshot())


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM], ids=["killed", "stopped"])
def test_a_gateway_that_is_started_again_is_found(world: ClientWorld, context: Context, way: signal.Signals) -> None:
    tab = world.live(context, tabs=False)
    first = world.alert("before")
    wait_for_event(tab, first)
    world.gateway.end(way)
    tab.wait_for("told.status.some(({ state }) => state === 'offline')")
    world.gateway.start()
    last = world.alert("after")
    tab.evaluate("client.probe()")
    wait_for_event(tab, last)
    wait_for_state(tab, "live")
    assert alerts(tab) == [first, last]
    assert_equals_snapshot(tab, world.snapshot())


def test_a_token_is_replaced_before_it_expires(world: ClientWorld, context: Context) -> None:
    soon = int(time.time()) + 61

    def token(reason: str, tab: str) -> str:
        return world.gateway.token("supervisor", **({"exp": soon} if reason == "connect" else {}))

    world.site.token = token
    tab = world.live(context, tabs=False)
    tab.wait_for(f"Date.parse(client.identity.token_expires_at) > {(soon + 1) * 1000}")
    assert [reason for reason, _ in world.site.asked] == ["connect", "expiring"]
    assert tab.evaluate("client.status.state") == "live"
    assert tab.evaluate("told.status.some(({ state }) => state === 'offline')") is False


def test_an_expired_token_is_replaced_when_there_is_one_again(world: ClientWorld, context: Context) -> None:
    fails = True

    def token(reason: str, tab: str) -> str:
        if reason == "connect":
            return world.gateway.token("supervisor", exp=int(time.time()) + 3)
        if fails:
            raise OSError
        return world.gateway.token("supervisor")

    world.site.token = token
    tab = world.live(context, tabs=False)
    tab.wait_for("client.status.reason?.code === 'no_token'")
    assert tab.evaluate("told.status.some(({ reason }) => reason?.code === 4005)")
    assert tab.evaluate("client.status.reason.text") == "HTTP 503"
    fails = False
    tab.evaluate("client.probe()")
    wait_for_state(tab, "live")
    assert tab.evaluate("told.rebuilt.length") == 1


def test_a_user_who_is_signed_out_is_told_why(world: ClientWorld, context: Context) -> None:
    world.site.token = lambda reason, tab: None
    tab = world.open(context, tabs=False)
    wait_for_state(tab, "stopped")
    assert tab.evaluate("client.status.reason.text") == "please sign in"


def test_a_refused_token_stops_with_the_text_of_the_gateway(world: ClientWorld, context: Context) -> None:
    world.site.token = lambda reason, tab: world.gateway.token("supervisor", exp=1)
    tab = world.open(context, tabs=False)
    wait_for_state(tab, "stopped")
    assert tab.evaluate("client.status.reason.code") == 4500
    assert "expired" in tab.evaluate("client.status.reason.text")


def test_a_user_whose_tokens_are_revoked_is_stopped(world: ClientWorld, context: Context) -> None:
    world.site.token = lambda reason, tab: world.gateway.token("supervisor", sub="gone")
    tab = world.live(context, tabs=False)
    assert world.gateway.amp("RevokeToken", tenant_id="acme", user_id="gone") == {"closed": "1"}
    wait_for_state(tab, "stopped")
    assert tab.evaluate("client.status.reason") == {
        "code": 4503,
        "name": "revoked",
        "text": "the session was ended by an administrator",
    }


def test_a_site_that_may_not_connect_is_named(browser: Browser, world: ClientWorld) -> None:
    stranger = browser.context()
    tab = stranger.open(world.site.origin.replace("127.0.0.1", "localhost") + "/")
    tab.keep_visible()
    tab.wait_for("typeof begin === 'function'")
    tab.evaluate(f"begin('{world.url}', {{ tabs: false }})")
    for _ in range(3):
        tab.evaluate("client.probe()")
    tab.wait_for("client.status.reason?.code === 'origin_refused' || (client.probe(), false)")
    (text,) = tab.evaluate(
        "[...new Set(told.status.map(({ reason }) => reason).filter((reason) => reason?.code === 'origin_refused')"
        ".map(({ text }) => text))]"
    )
    assert "'http://localhost:" in text and text.endswith(" is not listed in web.allowed_origins")
    stranger.close()


@pytest.mark.parametrize("is_visible", [True, False], ids=["visible", "hidden"])
def test_a_dead_line_is_noticed_and_abandoned(world: ClientWorld, context: Context, is_visible: bool) -> None:
    tab = world.live(context, is_visible=is_visible, tabs=False, heartbeat=QUICK)
    if not is_visible:
        context.open(world.site.origin + "/").activate()
    tab.wait_for(f"document.visibilityState === '{'visible' if is_visible else 'hidden'}'")
    seq = world.alert("before")
    wait_for_event(tab, seq)
    world.line.hold()
    wait_for_state(tab, "stale")
    wait_for_state(tab, "offline")
    missed = world.alert("missed")
    world.line.mend()
    tab.evaluate("client.probe()")
    wait_for_event(tab, missed)
    wait_for_state(tab, "live")
    assert alerts(tab) == [seq, missed]


def test_the_socket_is_closed_by_sign_out(world: ClientWorld, context: Context) -> None:
    tab = world.live(context, tabs=False)
    tab.evaluate("client.signOut()")
    wait_for_state(tab, "stopped")
    wait_until(lambda: world.sockets() == 0, "the socket is closed")
