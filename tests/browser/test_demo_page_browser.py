"""The demo page in a real browser: it shows events, and reconnects after a restart of the gateway."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port, run

VIP = "<i>vip</i>"
RULE = "<b>calls wait</b>"
CONFIG = f"""
[tenants.demo.statistics]
enabled = true

[[tenants.demo.alerts]]
name = "{RULE}"
queues = ["{VIP}"]
metric = "calls_waiting"
raise = {{ above = 0, for = 0 }}
clear = {{ at_most = 0, for = 0 }}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


class RestartableDemo:
    """A demo that can be started again in the same folder and on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._config = folder.with_suffix(".toml")
        self._config.write_text(CONFIG)
        self.start()

    def start(self) -> None:
        self.demo = Demo(self._folder, self._port, config=self._config)

    def emit(self, type_: str, payload: dict[str, Any]) -> None:
        emitted = run("emit", type_, json.dumps(payload), environment=self.demo.environment)
        assert emitted.returncode == 0, emitted.stderr


@pytest.fixture(scope="module")
def restartable(folder: Path) -> Iterator[RestartableDemo]:
    made = RestartableDemo(folder / "demo")
    yield made
    made.demo.stop()
    assert "Traceback" not in made.demo.output, made.demo.output


@pytest.fixture(scope="module")
def page(context: Context, restartable: RestartableDemo) -> Tab:
    return context.open(restartable.demo.url())


def test_the_page_connects_and_shows_events(page: Tab) -> None:
    page.wait_for("document.body.dataset.link === 'live'")
    assert page.text("#link-text") == "Connected as supervisor"
    assert (page.text("#tenant"), page.text("#user")) == ("demo", "supervisor-01 (supervisor)")
    page.wait_for("document.querySelectorAll('#queues > .queue').length > 0")
    page.wait_for("document.querySelectorAll('#agents > .agent').length > 1")
    page.wait_for("document.querySelectorAll('#stream > li.event').length > 3")
    seen = int(page.text("#seen"))
    page.wait_for(f"Number(document.querySelector('#seen').textContent) > {seen}")
    assert page.errors == []


def test_an_alert_is_shown_as_text(page: Tab, restartable: RestartableDemo) -> None:
    restartable.emit("alert", {"title": "<img src=x onerror=alert(1)>", "message": "<b>now</b>", "severity": "warning"})
    page.wait_for("!document.querySelector('#alert').hidden")
    assert page.text("#alert") == "<img src=x onerror=alert(1)>: <b>now</b>"
    page.wait_for("[...document.querySelectorAll('#stream .text')].some((line) => line.textContent.includes('<b>now'))")
    assert page.evaluate("document.querySelectorAll('#alert *, #stream img, #stream b').length") == 0
    assert page.errors == []


def of_queue(name: str) -> str:
    """Return an expression: the calls that wait, those answered, and the available agents, as the page shows them."""
    card = f"[...document.querySelectorAll('#queues > .queue')].find((one) => one.dataset.key === {json.dumps(name)})"
    return (
        f"((card) => card && [card.querySelector('strong'), ...[...card.querySelectorAll('dd')].slice(4)]"
        f".map((one) => one.textContent).join())({card})"
    )


def test_the_derived_figures_are_shown_as_text(page: Tab, restartable: RestartableDemo) -> None:
    ada = {"user_id": "ada", "username": "ada", "extension": "ada"}
    restartable.emit("agent.login", {**ada, "state": "available"})
    restartable.emit("queue.member.added", {"queue_name": VIP, **ada})
    restartable.emit("queue.joined", {"queue_name": VIP, "unique_id": "first"})
    restartable.emit("queue.left", {"queue_name": VIP, "unique_id": "first", "reason": "answered", "wait_seconds": 25})
    page.wait_for(f"{of_queue(VIP)} === '0,1,0,1 of 1'")
    assert page.evaluate("document.querySelectorAll('#queues i, #definitions *').length") == 0
    assert "answered in time" in page.text("#definitions")
    assert re.fullmatch(r"today \(UTC\): \d+ calls, \d+ answered", page.text("#calls"))
    assert page.errors == []


def test_an_alert_is_shown_until_it_is_cleared_and_can_be_acknowledged(page: Tab, restartable: RestartableDemo) -> None:
    restartable.emit("queue.joined", {"queue_name": VIP, "unique_id": "third"})
    page.wait_for("document.querySelectorAll('.raised').length === 1")
    assert page.text(".raised strong") == f"{VIP}: {RULE}"
    assert page.text(".raised .reason") == "calls waiting 1, limit 0"
    page.wait_for("/^longest [0-9]:[0-9][0-9]$/.test(document.querySelector('[data-load=alert] .longest').textContent)")
    page.evaluate("document.querySelector('.raised button').click()")
    page.wait_for("!!document.querySelector('.raised.acknowledged')")
    assert page.text(".raised .quiet") == "acknowledged by supervisor-01"
    assert page.evaluate("document.querySelector('.raised button').hidden")
    # A page that is opened later shows it, too; the acknowledged one is not for a wallboard to acknowledge.
    page.evaluate("document.querySelector('input[value=wallboard]').click()")
    page.wait_for("document.querySelector('#link-text').textContent === 'Connected as wallboard'")
    page.wait_for("!!document.querySelector('.raised.acknowledged')")
    page.evaluate("document.querySelector('input[value=supervisor]').click()")
    page.wait_for("!!document.querySelector('.raised.acknowledged')")
    restartable.emit("call.ended", {"queue_name": VIP, "unique_id": "third", "duration": 9})
    page.wait_for("!document.querySelector('.raised') && !document.querySelector('#alerts-empty').hidden")
    assert page.evaluate("document.querySelectorAll('#alerts *, #stream i, #stream b').length") == 0
    assert page.errors == []


def test_as_a_wallboard_the_page_does_not_receive_callers(page: Tab, restartable: RestartableDemo) -> None:
    page.evaluate("document.querySelector('input[value=wallboard]').click()")
    page.wait_for("document.querySelector('#link-text').textContent === 'Connected as wallboard'")
    assert page.text("#user") == "wallboard-01 (wallboard)"
    lines = page.evaluate("[...document.querySelectorAll('#stream .text')].map((line) => line.textContent)")
    assert not [line for line in lines if "<b>now" in line], "the stream is cleared when the role changes"
    caller = {"caller_id": "+3225550101", "caller_name": "Zoe Dupont"}
    restartable.emit("call.incoming", {"unique_id": "from-the-test", "destination": "extension 4711", **caller})
    line = page.wait_for(
        "([...document.querySelectorAll('#stream .text')].find((line) => line.textContent.includes('4711')) || {})"
        ".textContent"
    )
    assert line == "*** calls extension 4711"
    page.evaluate("document.querySelector('input[value=supervisor]').click()")
    page.wait_for("document.querySelector('#link-text').textContent === 'Connected as supervisor'")
    assert page.errors == []


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_page_reconnects_after_a_restart_of_the_gateway(
    page: Tab, restartable: RestartableDemo, way: signal.Signals
) -> None:
    page.wait_for("document.body.dataset.link === 'live' && document.querySelector('#seq').textContent !== '-'")
    epoch = page.text("#epoch")
    resets = "[...document.querySelectorAll('#stream .type')].filter((type) => type.textContent === 'reset').length"
    before = page.evaluate(resets)
    restartable.demo.stop(way)
    assert "Traceback" not in restartable.demo.output, restartable.demo.output
    page.wait_for("document.body.dataset.link !== 'live'")
    assert page.evaluate("document.querySelector('#again').hidden")
    restartable.start()
    page.wait_for("document.body.dataset.link === 'live'")
    page.wait_for(f"document.querySelector('#epoch').textContent !== '{epoch}'")
    # The history of the old gateway is lost: the page shows a reset, then a snapshot and new events.
    page.wait_for(f"{resets} > {before}")
    seen = int(page.text("#seen"))
    page.wait_for(f"Number(document.querySelector('#seen').textContent) > {seen}")
    assert [error for error in page.errors if "ERR_CONNECTION" not in error] == []
