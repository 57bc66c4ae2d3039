"""The live view has words and a family for each event, and its scripts write no markup."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from callcenter_ws.demo.settings import page_hosts
from callcenter_ws.events.catalogue import CATALOGUE

STATIC = Path(__file__).parents[2] / "callcenter_ws" / "pages" / "static"
LINES = (STATIC / "live" / "lines.js").read_text()
TEXTS = (STATIC / "texts.js").read_text()
OURS = sorted(path for path in STATIC.rglob("*.js") if "vendor" not in path.parts)


def test_the_script_has_words_for_each_event() -> None:
    # Senders may publish queue.stats; the other figures are never events.
    events = {name for name, declared in CATALOGUE.items() if declared.figure is None or not declared.by_gateway}
    assert set(re.findall(r'^  "?([a-z.]+)"?: \(p\) => ', LINES, re.MULTILINE)) == events
    assert set(re.findall(r'^  "event\.([a-z.]+)": ', TEXTS, re.MULTILINE)) == events


def test_each_event_belongs_to_a_family() -> None:
    found = re.search(r"FAMILIES = \{(.*?)\};", LINES, re.DOTALL)
    assert found is not None
    beginnings = re.findall(r'"([a-z.]+)"', found[1])
    figures = {name for name, declared in CATALOGUE.items() if declared.figure is not None and declared.by_gateway}
    assert [name for name in CATALOGUE.keys() - figures if not name.startswith(tuple(beginnings))] == []


@pytest.mark.parametrize("path", [pytest.param(path, id=str(path.relative_to(STATIC))) for path in OURS])
def test_a_script_writes_no_markup(path: Path) -> None:
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function("):
        assert dangerous not in path.read_text()


def test_the_hosts_of_the_demo_are_those_that_browsers_send() -> None:
    assert page_hosts("http://127.0.0.1:8080/") == {"127.0.0.1:8080", "localhost:8080"}
    assert {"127.0.0.1", "localhost"} <= page_hosts("http://127.0.0.1:80/")
    assert {"127.0.0.1", "localhost"} <= page_hosts("https://127.0.0.1:443/")
