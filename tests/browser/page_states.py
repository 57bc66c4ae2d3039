"""The pages for people in each of their states, with answers of the test in place of a gateway."""

from __future__ import annotations

from collections.abc import Iterator

from browser_driver import Context, Tab
from fixture_site import FIXTURES

PAGES = ("login", "live", "desk", "supervisor")
OWN_SCRIPTS = {"desk": "desk_states.js", "supervisor": "supervisor_states.js"}
"""What has the states of a page, if it is not page_states.js."""

CUT = """(async () => {
    // What depends on the size of the window is drawn again.
    for (let frame = 0; frame < 3; frame += 1) await new Promise(requestAnimationFrame);
    const found = [];
    // What ends in an ellipsis is shortened on purpose: details show the whole.
    const isEllipsis = (one) => getComputedStyle(one).textOverflow === "ellipsis";
    const isShortened = (one) => one !== null && (isEllipsis(one) || isShortened(one.parentElement));
    const {scrollWidth, clientWidth} = document.documentElement;
    if (scrollWidth > clientWidth) found.push(`is ${scrollWidth} wide, in a window of ${clientWidth}`);
    for (const element of document.querySelectorAll("main *")) {
        if (!element.getClientRects().length || element.closest(".unseen, option, pre")) continue;
        if (isShortened(element)) continue;
        const { left, right } = element.getBoundingClientRect();
        const what = `${element.tagName} ${element.className} "${element.textContent.trim().slice(0, 30)}"`;
        if (left < -1 || right > innerWidth + 1) found.push(`${what} is outside: ${left}-${right} of ${innerWidth}`);
        if (["INPUT", "SELECT"].includes(element.tagName) || getComputedStyle(element).display === "inline") continue;
        const more = element.scrollWidth - element.clientWidth;
        if (more > 1) found.push(`${what} is ${more} wider than its place`);
    }
    return found;
})()"""
"""A script that returns what is outside of the window, or of its place."""


class StatesTab:
    """A tab that shows a page in one state after the other.

    Args:
        context: where the tab is opened.
        site: the URL of ``fixture_site``.
        page: one of ``PAGES``.
    """

    def __init__(self, context: Context, site: str, page: str) -> None:
        self._url = f"{site}/{page}"
        scripts = [OWN_SCRIPTS[page]] if page in OWN_SCRIPTS else []
        before = "\n".join((FIXTURES / name).read_text() for name in [*scripts, "page_states.js"])
        self.tab: Tab = context.open(self._url, before=before)

    def states(self) -> Iterator[str]:
        """Show each state, and yield its name when it is on the screen."""
        for state in self.tab.evaluate("fixture.states"):
            self.show(state)
            yield state

    def show(self, state: str) -> None:
        """Show a state."""
        # Another fragment alone would not load the page again.
        self.tab.navigate(f"{self._url}?{state}#{state}")
        self.tab.evaluate("fixture.ready()")
