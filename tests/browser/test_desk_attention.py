"""How the desk has a call noticed: the title, a sound of one tab among ten, a notification of the system."""

from __future__ import annotations

import json

import pytest
from browser_driver import Context, Tab
from desk_calls import Desk, Exchange
from desk_world import LIVE
from processes import wait_until

BEFORE = """
window.tones = 0;
window.shown = [];
const start = OscillatorNode.prototype.start;
OscillatorNode.prototype.start = function (...times) {
  window.tones += 1;
  return start.apply(this, times);
};
window.Notification = class extends EventTarget {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) {
    super();
    window.shown.push([title, options.tag]);
  }
  close() {
    window.shown.push("closed");
  }
};
"""
ASKS = """
Notification.permission = "default";
window.asked = 0;
Notification.requestPermission = async () => {
  window.asked += 1;
  return Notification.permission = "granted";
};
"""
HIDE = """Object.defineProperty(document, "hidden", { value: true, configurable: true });
document.dispatchEvent(new Event("visibilitychange")); true"""
SHOW = """delete document.hidden; document.dispatchEvent(new Event("visibilitychange")); true"""
SOUNDING = "document.querySelector('[data-ready=true]')"


@pytest.fixture
def before() -> str:
    return BEFORE


def touch(tab: Tab) -> None:
    """Click into the page: only then may it make a sound."""
    tab.activate()
    tab.click(".head .brand")
    tab.wait_for(SOUNDING)


def test_one_of_ten_tabs_rings(desk: Desk) -> None:
    tabs = [desk.tab, *(desk.open() for _ in range(9))]
    for tab in tabs:
        touch(tab)
    call = desk.call()
    call.ring()
    for tab in tabs:
        tab.wait_for("document.title.includes('Zoé Dupont')")
    tabs[0].wait_for("window.tones > 0")
    assert [tab.evaluate("window.tones > 0") for tab in tabs] == [True] + 9 * [False]
    # The tab that rings is closed: another one rings.
    tabs[0].close()
    desk.tab = tabs[1]
    tabs[1].wait_for("window.tones > 0")
    assert sum(tab.evaluate("window.tones > 0") for tab in tabs[1:]) == 1
    call.answer()
    for tab in tabs[1:]:
        tab.wait_for("document.title === 'Desk'")
    tones = tabs[1].evaluate("window.tones")
    second = desk.call()
    tabs[1].click("[data-setting=sound]")
    second.say("call.ringing")
    for tab in tabs[1:]:
        tab.wait_for("document.title.includes('Zoé Dupont')")
    assert tabs[1].evaluate("window.tones") == tones
    assert tabs[1].evaluate("localStorage.getItem('callcenter-ws.sound')") == "false"


def test_a_hidden_page_blinks_and_the_system_notifies(desk: Desk) -> None:
    tab = desk.tab
    call = desk.call()
    call.ring()
    # Who sees the page needs no notification.
    assert tab.evaluate("window.shown") == []
    call.answer()
    tab.evaluate(HIDE)
    unseen = "navigator.locks.query().then(({ held }) => held.every(({ name }) => !name.endsWith('seen')))"
    wait_until(lambda: tab.evaluate(unseen), "no desk is seen")
    second = desk.call(caller_name="Niels Bohr")
    second.say("call.ringing")
    tab.wait_for("window.shown.length === 1")
    assert tab.evaluate("window.shown") == [["☎ Niels Bohr is calling", f"callcenter-ws {second.id}"]]
    tab.wait_for("document.title.includes('Niels Bohr')")
    tab.wait_for("document.title === '● Desk'")
    second.answer()
    tab.wait_for("window.shown.includes('closed')")
    tab.wait_for("document.title === 'Desk'")
    tab.evaluate(SHOW)


def test_permission_is_asked_for_by_a_click_only(exchange: Exchange, own_context: Context) -> None:
    desk = Desk(exchange, own_context, before=BEFORE + ASKS)
    desk.wait("[data-action=notify]")
    desk.call().ring()
    assert desk.tab.evaluate("window.asked") == 0
    desk.click("[data-action=notify]")
    desk.wait_gone("[data-action=notify]")
    assert desk.tab.evaluate("window.asked") == 1
    assert desk.tab.evaluate(LIVE)
    desk.check()


def test_without_locks_the_tab_rings(exchange: Exchange, own_context: Context) -> None:
    without = BEFORE + "Object.defineProperty(navigator, 'locks', { value: undefined });"
    desk = Desk(exchange, own_context, before=without)
    touch(desk.tab)
    desk.call().ring()
    desk.tab.wait_for("window.tones > 0")
    assert json.loads(json.dumps(desk.tab.errors)) == []
