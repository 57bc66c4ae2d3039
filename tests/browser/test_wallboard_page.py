"""The page /wallboard with a real gateway: signing in, figures that change, and a gateway that does not answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port, wait_until

CONFIG = """
[tenants.demo.statistics]
enabled = true

[[tenants.demo.wallboards]]
name = "first"
title = "Configured"

[[tenants.demo.wallboards]]
name = "one"
title = "Only sales"
queues = ["sales"]
figures = ["waiting", "agents"]
theme = "light"
"""
AGE = "document.querySelector('.board').dataset.age"
SIGN_IN = """fetch("/session/demo", {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({role: "wallboard"})}).then(({status}) => status)"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    folder = tmp_path_factory.mktemp("wallboard")
    config = folder / "config.toml"
    config.write_text(CONFIG)
    demo = Demo(folder / "demo", free_port(), config=config)
    yield demo
    demo.stop()
    assert "Traceback" not in demo.output, demo.output


@pytest.fixture
def tab(context: Context, demo: Demo) -> Iterator[Tab]:
    tab = context.open(demo.url("/login"))
    tab.keep_visible()
    tab.resize(1920, 1080)
    assert tab.evaluate(SIGN_IN) == 200
    tab.navigate(demo.url("/wallboard#title=Floor"))
    tab.wait_for("document.querySelectorAll('tbody').length > 0")
    yield tab
    assert tab.csp_violations == []
    assert tab.hosts() == {f"127.0.0.1:{demo.port}"}
    tab.close()


def test_the_wallboard_shows_the_queues_and_says_when_the_gateway_does_not_answer(tab: Tab, demo: Demo) -> None:
    names = "[...document.querySelectorAll('.name bdi')].map((one) => one.textContent).sort().join()"
    tab.wait_for(f"{names} === 'billing,sales,support'")
    assert tab.text(".title") == "Floor"
    shown = "[...document.querySelectorAll('tbody .figure')].map((one) => one.textContent).join()"
    tab.wait_for(f"{AGE} === 'fresh' && {shown} !== {json.dumps(tab.evaluate(shown))}")
    # The line stays open, and nothing comes.
    os.kill(demo.pid, signal.SIGSTOP)
    try:
        tab.wait_for(f"{AGE} === 'old'")
        assert tab.text(".notice .said").startswith("no live data since ")
    finally:
        os.kill(demo.pid, signal.SIGCONT)
    tab.wait_for(f"{AGE} === 'fresh' && document.querySelector('.notice').dataset.kind !== 'old'")


def read(tab: Tab, path: str) -> Any:
    """Return the JSON of a resource of the gateway, asked for with a token of the page's session."""
    ask = "fetch('/session/token', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{}'})"
    return tab.evaluate(
        f"""{ask}.then((answer) => answer.json())
            .then(({{token}}) => fetch({json.dumps(path)}, {{headers: {{Authorization: `Bearer ${{token}}`}}}}))
            .then((answer) => answer.json())"""
    )


NAMES = "[...document.querySelectorAll('.name bdi')].map((one) => one.textContent).sort().join()"


def test_without_a_name_in_the_address_the_first_wallboard_of_the_settings_is_shown(tab: Tab, demo: Demo) -> None:
    tab.navigate(demo.url("/wallboard"))
    tab.wait_for("document.querySelector('.title')?.textContent === 'Configured'")
    tab.wait_for(f"{NAMES} === 'billing,sales,support'")


def test_the_wallboard_of_the_address_has_its_queues_its_figures_and_a_chart(tab: Tab, demo: Demo) -> None:
    path = "/ws/statistics?queue=sales"
    wait_until(lambda: read(tab, path)["queues"][0]["intervals"][0]["offered"], "the gateway has derived a call")
    tab.navigate(demo.url("/wallboard?board=one"))
    tab.wait_for(f"{NAMES} === 'sales' && document.querySelectorAll('.cards .figure').length === 2")
    assert tab.text(".title") == "Only sales"
    assert tab.evaluate("document.documentElement.dataset.theme") == "light"
    # Figures of the day that the gateway has derived, drawn under the policy of the page.
    tab.wait_for("document.querySelector('.day canvas') && document.querySelector('.day b').textContent !== '0'")
    assert tab.evaluate("getComputedStyle(document.querySelector('.day canvas')).position") == "relative"


def test_a_wallboard_that_does_not_exist_is_named(tab: Tab, demo: Demo) -> None:
    tab.navigate(demo.url("/wallboard?board=flor"))
    tab.wait_for("document.querySelector('.empty')?.textContent.startsWith('There is no wallboard \u201cflor')")
    tab.errors.clear()


def test_a_reload_of_the_gateway_brings_other_settings_to_the_screen(tab: Tab, demo: Demo) -> None:
    tab.navigate(demo.url("/wallboard?board=one"))
    tab.wait_for("document.querySelector('.title')?.textContent === 'Only sales'")
    config = demo.folder.parent / "config.toml"
    config.write_text(config.read_text().replace("Only sales", "Changed"))
    os.kill(demo.pid, signal.SIGHUP)
    wait_until(lambda: read(tab, "/ws/wallboards/one")["title"] == "Changed", "the gateway has the new settings")
    tab.reload()
    tab.wait_for("document.querySelector('.title')?.textContent === 'Changed'")


def test_without_a_session_the_page_asks_for_one(context: Context, demo: Demo) -> None:
    tab = context.open(demo.url("/login"))
    tab.evaluate(
        'fetch("/session/token", {method: "DELETE", headers: {"Content-Type": "application/json"}, body: "{}"})'
    )
    tab.navigate(demo.url("/wallboard"))
    tab.wait_for("location.pathname === '/login' && location.search === '?next=%2Fwallboard'")
    tab.close()
