"""The desk with the keyboard and a screen reader: the focus stays, and what happens is said, in dialogs too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser_driver import Context
from desk_calls import Desk, Exchange

pytestmark = pytest.mark.usefixtures("exchange")

NOTE_FOCUS = """
window.lost = [];
document.addEventListener("focusout", ({target, relatedTarget}) => {
  if (!relatedTarget) setTimeout(() => document.activeElement === document.body && lost.push(target.outerHTML));
});
"""
"""Notes from what the focus was lost: what has it then is the body."""


@pytest.fixture
def before() -> str:
    return NOTE_FOCUS


@pytest.fixture
def desk(desk: Desk) -> Iterator[Desk]:
    yield desk
    assert desk.tab.evaluate("window.lost") == []


def live_texts(desk: Desk) -> list[str]:
    """Return what the live regions have that a screen reader can reach."""
    nodes: list[dict[str, Any]] = desk.tab.call("Accessibility.getFullAXTree")["nodes"]
    by_id = {node["nodeId"]: node for node in nodes}

    def texts(node: dict[str, Any]) -> str:
        own = node["name"]["value"] if node.get("role", {}).get("value") == "StaticText" else ""
        return own + "".join(texts(by_id[one]) for one in node.get("childIds", []) if one in by_id)

    return [texts(node) for node in nodes if not node["ignored"] and node["role"]["value"] == "status"]


def focus(desk: Desk, selector: str) -> None:
    desk.wait(selector)
    desk.tab.evaluate(f"document.querySelector({selector!r}).focus()")


def focused_region(desk: Desk) -> str:
    region: str = desk.tab.evaluate("document.activeElement.closest('section, dialog')?.id ?? ''")
    return region


def test_a_call_that_rings_is_said_in_a_dialog(desk: Desk) -> None:
    focus(desk, ".states button")
    desk.press("F1")
    desk.wait("dialog.keys")
    call = desk.call()
    call.ring()
    desk.wait("dialog .announcer", "Zoé Dupont is calling, queue sales")
    assert any("Zoé Dupont is calling" in said for said in live_texts(desk))
    desk.tab.key("Escape")
    desk.wait_gone("dialog")
    assert focused_region(desk) == "state"
    call.say("call.missed", ring_seconds=8)
    desk.wait("body > .announcer", "The call of Zoé Dupont does not ring any more")


def test_the_same_is_said_again_and_what_happens_at_once_is_said_one_after_the_other(desk: Desk) -> None:
    desk.tab.evaluate("document.querySelector('.announcer').replaceChildren()")
    for _ in range(2):
        call = desk.call()
        call.talk()
        call.end()
        call.wait("wrap-up")
    said = "[...document.querySelectorAll('.announcer p')].map((one) => one.textContent)"
    assert desk.tab.evaluate(said).count("The call with Zoé Dupont has ended") == 2


def test_a_state_that_the_agent_has_not_asked_for_is_said(desk: Desk, exchange: Exchange) -> None:
    exchange.publish("agent.state.changed", user_id=desk.user, username="Ana Agent", state="break", reason="missed")
    desk.wait("body > .announcer", "You are now: On a break (missed)")
    desk.press("1", alt=True)
    command = exchange.taken("agent.state.set")
    exchange.publish("agent.state.changed", user_id=desk.user, username="Ana Agent", state="available")
    exchange.done(command)
    desk.wait("body > .announcer", "My state: Available: done")
    assert "You are now: Available" not in desk.tab.text("body > .announcer")
    desk.wait(".states [aria-current=true]", "Available")


def test_the_focus_stays_where_a_button_was(desk: Desk, exchange: Exchange) -> None:
    # The form of the shift leaves with what was pressed in it.
    focus(desk, "[data-action=extension]")
    desk.tab.key("Enter")
    desk.tab.wait_for("document.activeElement.name === 'extension'")
    desk.tab.key("Enter")
    exchange.done(exchange.taken("agent.state.set"))
    desk.wait_gone(".shift")
    assert focused_region(desk) == "state"
    # So does the entry of a command, and a button of a source that is lost.
    focus(desk, "[name=number]")
    desk.tab.type("[name=number]", "123")
    desk.tab.key("Enter")
    exchange.fail(exchange.taken("call.originate"), "failed", "no line")
    focus(desk, ".actions [data-state=failed] [data-action=dismiss]")
    desk.tab.key("Enter")
    desk.wait_gone(".actions li")
    assert desk.tab.evaluate("document.activeElement.className") == "actions"


def test_single_keys_can_be_turned_off_all_of_them(desk: Desk) -> None:
    desk.press("F1")
    focus(desk, "dialog.keys [type=checkbox]")
    desk.tab.click("dialog.keys [type=checkbox]")
    desk.tab.key("Escape")
    desk.wait_gone("dialog")
    desk.press("?")
    call = desk.call()
    call.ring()
    hint = "document.querySelector('[data-command=\"call.answer\"]').getAttribute('aria-keyshortcuts')"
    assert desk.tab.evaluate(hint) == "Alt+A F2"
    assert desk.tab.evaluate("document.querySelector('dialog')") is None
    desk.press("F1")
    desk.wait("dialog.keys")
    desk.tab.key("Escape")
    desk.wait_gone("dialog")


def test_on_a_mac_a_character_that_alt_writes_is_no_shortcut_in_a_field(
    exchange: Exchange, own_context: Context
) -> None:
    mac = "Object.defineProperty(navigator, 'platform', {get: () => 'MacIntel'});"
    desk = Desk(exchange, own_context, before=mac)
    call = desk.call()
    call.ring()
    focus(desk, "[name=number]")
    pressed = {"code": "KeyA", "modifiers": 1, "windowsVirtualKeyCode": 65}
    desk.tab.call("Input.dispatchKeyEvent", type="keyDown", key="å", text="å", **pressed)
    desk.tab.call("Input.dispatchKeyEvent", type="keyUp", key="å", **pressed)
    assert desk.tab.evaluate("document.querySelector('[name=number]').value") == "å"
    focus(desk, ".states button")
    desk.tab.call("Input.dispatchKeyEvent", type="keyDown", key="å", **pressed)
    exchange.done(exchange.taken("call.answer"))
    desk.check()
