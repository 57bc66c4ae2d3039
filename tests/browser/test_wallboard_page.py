"""The page /wallboard with a real gateway: signing in, figures that change, and a gateway that does not answer."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port

CONFIG = """
[tenants.demo.statistics]
enabled = true
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


def test_without_a_session_the_page_asks_for_one(context: Context, demo: Demo) -> None:
    tab = context.open(demo.url("/login"))
    tab.evaluate(
        'fetch("/session/token", {method: "DELETE", headers: {"Content-Type": "application/json"}, body: "{}"})'
    )
    tab.navigate(demo.url("/wallboard"))
    tab.wait_for("location.pathname === '/login' && location.search === '?next=%2Fwallboard'")
    tab.close()
