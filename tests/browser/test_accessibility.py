"""axe-core finds nothing serious on any page, in each state and theme, and nothing is cut off on a phone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_driver import Context, Tab
from fixture_site import fixture_site
from page_states import CUT, PAGES, StatesTab

AXE = Path(__file__).parent.parent.parent / "clients/js/node_modules/axe-core/axe.min.js"
WALLBOARD_STATES = ("live", "stale", "offline", "one", "thirty", "alert")
SIZES = {"full-hd": (1920, 1080), "phone": (390, 844)}
LAPTOP = (1366, 768)

RUN = """axe.run(document, %s).then(({violations}) => violations
    .filter(({impact}) => impact === "serious" || impact === "critical")
    .map(({id, nodes}) => [id, nodes.map(({target, failureSummary}) => [target.join(), failureSummary])]))"""
ALL = RUN % "{preload: false, resultTypes: ['violations']}"
COLORS = RUN % "{preload: false, runOnly: ['color-contrast', 'link-in-text-block']}"
"""The rules whose outcome depends on the theme."""

pytestmark = pytest.mark.skipif(not AXE.exists(), reason="the packages of clients/js are not installed")


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with fixture_site() as url:
        yield url


def load_axe(tab: Tab) -> None:
    tab.evaluate(AXE.read_text() + "; true")


@pytest.mark.parametrize(("size", "theme"), [("full-hd", "dark"), ("full-hd", "light"), ("phone", "light")])
def test_axe_finds_nothing_serious_on_the_wallboard(context: Context, site: str, size: str, theme: str) -> None:
    tab = context.open(f"{site}/fixtures/wallboard.html")
    tab.resize(*SIZES[size])
    load_axe(tab)
    tab.evaluate("import('/fixtures/wallboard_states.js').then((states) => { window.states = states; })")
    found = {}
    for state in WALLBOARD_STATES:
        tab.evaluate(f"states.show({json.dumps(state)}, {{theme: {json.dumps(theme)}}})")
        found[state] = tab.evaluate(ALL)
    tab.close()
    assert {state: violations for state, violations in found.items() if violations} == {}


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_serious_on_the_pages_for_people_and_nothing_is_cut_off(
    context: Context, site: str, page: str
) -> None:
    shown = StatesTab(context, site, page)
    tab = shown.tab
    found = {}
    for state in shown.states():
        tab.resize(*LAPTOP)
        load_axe(tab)
        tab.prefer("dark")
        found[f"{state}, dark"] = tab.evaluate(ALL)
        tab.prefer("light")
        found[f"{state}, light"] = tab.evaluate(COLORS)
        tab.resize(*SIZES["phone"])
        found[f"{state}, phone"] = tab.evaluate(CUT)
        assert (tab.errors, tab.csp_violations) == ([], [])
    tab.close()
    assert len(found) >= 30
    assert {state: violations for state, violations in found.items() if violations} == {}
