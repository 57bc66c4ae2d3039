"""axe-core finds nothing serious on the wallboard, in each state and theme."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from browser_driver import Context
from fixture_site import fixture_site

AXE = Path(__file__).parent.parent.parent / "clients/js/node_modules/axe-core/axe.min.js"
STATES = ("live", "stale", "offline", "one", "thirty", "alert")
SIZES = {"full-hd": (1920, 1080), "phone": (390, 844)}

RUN = """axe.run(document).then(({violations}) => violations
    .filter(({impact}) => impact === "serious" || impact === "critical")
    .map(({id, nodes}) => [id, nodes.map(({target, failureSummary}) => [target.join(), failureSummary])]))"""

pytestmark = pytest.mark.skipif(not AXE.exists(), reason="the packages of clients/js are not installed")


@pytest.mark.parametrize(("size", "theme"), [("full-hd", "dark"), ("full-hd", "light"), ("phone", "light")])
def test_axe_finds_nothing_serious_on_the_wallboard(context: Context, size: str, theme: str) -> None:
    with fixture_site() as url:
        tab = context.open(f"{url}/fixtures/wallboard.html")
        tab.resize(*SIZES[size])
        tab.evaluate(AXE.read_text() + "; true")
        tab.evaluate("import('/fixtures/wallboard_states.js').then((states) => { window.states = states; })")
        found = {}
        for state in STATES:
            tab.evaluate(f"states.show({json.dumps(state)}, {{theme: {json.dumps(theme)}}})")
            found[state] = tab.evaluate(RUN)
        tab.close()
    assert {state: violations for state, violations in found.items() if violations} == {}
