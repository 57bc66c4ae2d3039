"""Several tabs with one socket: who leads, what each one is told, and whose token is used."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser_driver import Browser, Context, Tab
from client_page import ClientWorld, alerts, assert_equals_snapshot, wait_for_event, wait_for_state
from processes import wait_until


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
    wait_until(lambda: world.sockets() == 0, "no socket is left")


def leader(tabs: list[Tab]) -> Tab:
    """Return the tab that leads; there is one."""
    (found,) = [tab for tab in tabs if tab.evaluate("client.status.leads")]
    return found


def test_ten_tabs_share_a_socket_and_are_told_the_same(world: ClientWorld, context: Context) -> None:
    tabs = [world.live(context, f"tab {number}") for number in range(10)]
    assert world.sockets() == 1
    for tab in tabs:
        tab.wait_for("client.status.shared === 10")
    seqs = [world.alert(f"number {number}") for number in range(5)]
    # The socket is lost, and resumed by the leader for all.
    world.line.cut()
    seqs += [world.alert(f"number {number}") for number in range(5, 10)]
    leader(tabs).evaluate("client.probe()")
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
        assert alerts(tab) == seqs
    # The leading tab is closed: another one goes on from its own position.
    first = leader(tabs)
    tabs.remove(first)
    first.close()
    seqs += [world.alert(f"number {number}") for number in range(10, 15)]
    state = world.snapshot()
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
        wait_for_state(tab, "live")
        assert alerts(tab) == seqs
        assert tab.evaluate("told.rebuilt.map(({ reason }) => reason)") == ["start"]
        assert_equals_snapshot(tab, state)
        tab.wait_for("client.status.shared === 9")
        assert tab.errors == []
    assert world.sockets() == 1


def test_a_tab_that_is_opened_later_has_the_state_of_the_others(world: ClientWorld, context: Context) -> None:
    first = world.live(context, "first")
    seq = world.alert("before")
    world.publish({"type": "agent.login", "payload": {"user_id": "eve", "username": "eve", "state": "available"}})
    wait_for_event(first, seq + 1)
    second = world.live(context, "second")
    assert_equals_snapshot(second, world.snapshot())
    assert second.evaluate("client.identity.user_id") == "supervisor-1"
    assert alerts(second) == []
    assert world.sockets() == 1


def test_tabs_of_other_users_have_sockets_of_their_own(world: ClientWorld, context: Context) -> None:
    world.site.token = lambda reason, tab: world.gateway.token("supervisor", sub=tab)
    tabs = [world.live(context, name) for name in ("ada", "bob")]
    assert world.sockets() == 2
    assert [tab.evaluate("client.status.leads") for tab in tabs] == [True, True]


def test_a_request_of_any_tab_is_answered_there(world: ClientWorld, context: Context) -> None:
    tabs = [world.live(context, f"tab {number}") for number in range(2)]
    for tab in tabs:
        tab.evaluate("client.refresh().then(() => true)")
        assert tab.evaluate("client.request('nonsense').catch(({ code }) => code)") == "unknown_type"


def test_a_leader_that_is_frozen_leaves_the_others_to_another(world: ClientWorld, context: Context) -> None:
    # A tab that is in front is not frozen.
    frozen = world.live(context, "frozen", is_visible=False)
    others = [world.live(context, f"tab {number}") for number in range(2)]
    tabs = [frozen, *others]
    assert leader(tabs) is frozen
    seqs = [world.alert("before")]
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
    frozen.freeze()
    seqs.append(world.alert("during"))
    for tab in others:
        wait_for_event(tab, seqs[-1])
        wait_for_state(tab, "live")
    frozen.thaw()
    wait_for_state(frozen, "live")
    seqs.append(world.alert("after"))
    state = world.snapshot()
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
        assert_equals_snapshot(tab, state)
    for tab in others:
        assert alerts(tab) == seqs
    # What it missed was told as a state: no tab passes single events on to it.
    assert alerts(frozen) == [seqs[0], seqs[2]]
    assert frozen.evaluate("told.rebuilt.map(({ reason }) => reason)") == ["start", "taken_over"]
    assert leader(tabs) is not frozen
    assert world.sockets() == 1


def test_a_page_to_which_the_user_comes_back_goes_on(world: ClientWorld, context: Context) -> None:
    left, other = [world.live(context, f"tab {number}") for number in range(2)]
    seqs = [world.alert("before")]
    for tab in (left, other):
        wait_for_event(tab, seqs[-1])
    left.navigate("about:blank")
    other.wait_for("client.status.leads && client.status.state === 'live' || (client.probe(), false)")
    seqs.append(world.alert("during"))
    wait_for_event(other, seqs[-1])
    left.go_back()
    # The browser has kept the page with all that it held.
    assert left.evaluate("told.rebuilt.length") >= 1
    wait_for_state(left, "live")
    seqs.append(world.alert("after"))
    for tab in (left, other):
        wait_for_event(tab, seqs[-1])
    assert alerts(other) == seqs
    assert alerts(left) in (seqs, [seqs[0], seqs[2]])
    assert left.evaluate("told.rebuilt.length") == (1 if alerts(left) == seqs else 2)
    assert_equals_snapshot(left, world.snapshot())
    assert world.sockets() == 1


def test_a_leader_that_is_silent_is_replaced(world: ClientWorld, context: Context) -> None:
    silent, *others = tabs = [world.live(context, f"tab {number}") for number in range(3)]
    assert leader(tabs) is silent
    seqs = [world.alert("before")]
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
    silent.evaluate("BroadcastChannel.prototype.postMessage = () => {}; true")
    seqs.append(world.alert("during"))
    for tab in others:
        wait_for_event(tab, seqs[-1])
        wait_for_state(tab, "live")
    assert others[0].evaluate("told.status.some(({ state }) => state === 'stale')")
    wait_until(lambda: world.sockets() == 1, "the silent tab has closed its socket")
    seqs.append(world.alert("after"))
    for tab in tabs:
        wait_for_event(tab, seqs[-1])
        assert alerts(tab) == seqs
        assert tab.evaluate("told.rebuilt.length") == 1
    assert leader(tabs) is not silent


def test_another_tab_is_asked_for_a_token_if_the_leader_has_none(world: ClientWorld, context: Context) -> None:
    tabs = [world.live(context, name) for name in ("first", "second")]
    assert leader(tabs) is tabs[0]
    tabs[0].evaluate("token = () => new Promise(() => {})")
    world.site.asked.clear()
    world.site.token = lambda reason, tab: world.gateway.token("supervisor") if tab == "second" else None
    world.line.cut()
    tabs[0].evaluate("client.probe()")
    seq = world.alert("after")
    for tab in tabs:
        wait_for_event(tab, seq)
        wait_for_state(tab, "live")
    assert ("retry", "second") in world.site.asked
    assert tabs[0].evaluate("client.status.leads")


def test_signing_out_stops_all_tabs_and_closes_the_socket(world: ClientWorld, context: Context) -> None:
    tabs = [world.live(context, f"tab {number}") for number in range(3)]
    follower = next(tab for tab in tabs if tab is not leader(tabs))
    follower.evaluate("client.signOut()")
    for tab in tabs:
        wait_for_state(tab, "stopped")
        assert tab.evaluate("client.status.reason.code") == "signed_out"
    wait_until(lambda: world.sockets() == 0, "the socket is closed")


def test_a_tab_that_is_closed_leaves_the_others_alone(world: ClientWorld, context: Context) -> None:
    tabs = [world.live(context, f"tab {number}") for number in range(3)]
    tabs[0].evaluate("client.close()")
    for tab in tabs[1:]:
        seq = world.alert("after")
        wait_for_event(tab, seq)
        wait_for_state(tab, "live")
    assert tabs[0].evaluate("client.status.state") == "stopped"
    assert world.sockets() == 1


def test_each_message_of_the_mailbox_is_acknowledged_once_for_all_tabs(world: ClientWorld, context: Context) -> None:
    (missed,) = world.publish(notification("supervisor-1"))
    tabs = [world.live(context, f"tab {number}") for number in range(2)]
    first = leader(tabs)
    first.wait_for(f"told.event.some(({{ seq, offline }}) => seq === {missed} && offline)")
    (direct,) = world.publish(notification("supervisor-1"))
    for tab in tabs:
        wait_for_event(tab, direct)
        assert tab.evaluate(f"told.event.filter(({{ seq }}) => seq === {direct}).length") == 1
    for tab in reversed(tabs):
        tab.close()
    wait_until(lambda: world.sockets() == 0, "the tabs are closed")
    later = world.live(context, "later")
    assert later.evaluate("told.event.filter(({ type }) => type === 'notification')") == []


def notification(user: str) -> dict[str, object]:
    """Return a notification for a user."""
    payload = {"type": "reminder", "title": "Break", "message": "in five minutes"}
    return {"type": "notification", "user_id": user, "payload": payload}
