"""The tour of the demo in a real browser: a call at the desk, a chat with the visitor of the shop, who sees both."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port
from widget_page import WidgetTab

QUESTION = "Is the lamp Buoy in stock?"
REPLY = "Yes, four of them."


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    started = Demo(tmp_path_factory.mktemp("tour") / "state", free_port())
    yield started
    started.stop()
    assert "Traceback" not in started.output, started.output


class Visit:
    """A page that a step of the tour has opened."""

    def __init__(self, context: Context, url: str) -> None:
        self.tab = context.open(url)
        self.tab.keep_visible()

    def wait(self, selector: str, text: str = "") -> None:
        self.tab.wait_for(
            f"[...document.querySelectorAll({json.dumps(selector)})].some((one) => one.getClientRects().length"
            f" && one.innerText.includes({json.dumps(text)}))"
        )

    def click(self, selector: str) -> None:
        self.wait(selector)
        self.tab.click(selector)


def steps(tab: Tab) -> dict[str, str]:
    """Return the links of the steps by the page that they open."""
    tab.wait_for("document.querySelectorAll('.steps a').length === 3")
    found: list[str] = tab.evaluate("[...document.querySelectorAll('.steps a')].map((link) => link.href)")
    return {link.rpartition("#")[2]: link for link in found}


def test_the_whole_is_seen_in_one_browser(demo: Demo, own_context: Context) -> None:
    shop = Visit(own_context, demo.url("/demo"))
    links = steps(shop.tab)
    # Another session for each name of the host.
    assert links["desk"].startswith(f"http://127.0.0.1:{demo.port}/")
    assert links["supervisor"].startswith(f"http://localhost:{demo.port}/")
    assert shop.tab.evaluate("document.querySelectorAll('.steps li').length") == 5
    desk, supervisor = Visit(own_context, links["desk"]), Visit(own_context, links["supervisor"])
    wallboard = Visit(own_context, links["wallboard"])

    # A call rings, and is answered.
    desk.click("[data-command='call.answer']")
    desk.wait(".own[data-state=talking]")

    # The visitor of the shop chats with the same agent.
    visitor = WidgetTab(shop.tab, None)  # type: ignore[arg-type]  # only its page is used
    visitor.wait(".launcher")
    visitor.open()
    # At first the page may have been told that no agent is there: they have just begun to sign in.
    visitor.wait("[data-mode=message]")
    visitor.send(QUESTION)
    desk.click("[data-command='chat.accept']")
    desk.wait("[data-chat]:not([data-chat=chat-demo])", QUESTION)
    field = "[data-chat]:not([data-chat=chat-demo]) textarea"
    desk.click(field)
    desk.tab.call("Input.insertText", text=REPLY)
    desk.tab.key("Enter")
    visitor.wait_text(REPLY)

    # The supervisor sees both: the agent who talks, and what was written.
    assert supervisor.tab.evaluate("location.pathname") == "/supervisor"
    supervisor.tab.evaluate("location.hash = '#agents'")
    supervisor.wait("tr[data-key='agent-01']", "alking")
    supervisor.tab.evaluate("location.hash = '#chats'")
    supervisor.click("tr[data-part=assigned]:not([data-key=chat-demo]) a")
    supervisor.wait(".detail .log", REPLY)
    wallboard.tab.wait_for("location.pathname === '/wallboard' && document.body.innerText.includes('support')")
    for one in (shop, desk, supervisor, wallboard):
        assert one.tab.csp_violations == []


def test_the_first_page_leads_there(demo: Demo, own_context: Context) -> None:
    first = Visit(own_context, demo.url())
    first.click("a[href='/demo']")
    first.tab.wait_for("location.pathname === '/demo' && document.querySelectorAll('.steps li').length === 5")


def test_the_recorded_shift_says_what_it_cannot_do(
    tmp_path_factory: pytest.TempPathFactory, own_context: Context
) -> None:
    started = Demo(tmp_path_factory.mktemp("exchange") / "state", free_port(), exchange=True)
    try:
        shop = Visit(own_context, started.url("/demo"))
        shop.wait(".notice", "recorded")
        desk = Visit(own_context, steps(shop.tab)["desk"])
        desk.wait(".own")
    finally:
        started.stop()
