"""The demo page in a real browser: it shows events, and reconnects after a restart of the gateway."""

from __future__ import annotations

import json
import re
import shutil
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from processes import DEADLINE, Deadline, Demo, Process, free_port, run
from websockets.sync.client import connect

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--remote-debugging-port=0",
)

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

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


class Page:
    """A page of the browser, driven over the Chrome DevTools Protocol."""

    def __init__(self, url: str) -> None:
        # Not as a context manager: the fixture closes it.
        self._socket = connect(url, max_size=None, open_timeout=DEADLINE, legacy=True)
        self._calls = 0
        self.errors: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def close(self) -> None:
        self._socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        self._socket.send(json.dumps({"id": self._calls, "method": method, "params": parameters}))
        deadline = Deadline()
        while True:
            message = json.loads(self._socket.recv(timeout=deadline.remaining()))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(message["params"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.errors.append(message["params"]["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait in the page until an expression is true there, and return its value."""
        milliseconds = int(DEADLINE * 1000)
        value = self.evaluate(
            f"""new Promise((resolve) => {{
                const end = performance.now() + {milliseconds - 1000};
                const check = () => {{
                    const value = {condition};
                    if (value || performance.now() > end) resolve(value);
                    else setTimeout(check, 20);
                }};
                check();
            }})"""
        )
        assert value, f"waited for {condition}\n{self.evaluate('document.body.innerText')}"
        return value

    def text(self, selector: str) -> str:
        text: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return text


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
def chromium(folder: Path) -> Iterator[str]:
    """The DevTools URL of the only, empty page of a browser."""
    profile = folder / "profile"
    browser = Process([str(CHROMIUM), *FLAGS, f"--user-data-dir={profile}", "about:blank"], {"HOME": str(folder)})
    try:
        endpoint = browser.expect(r"DevTools listening on (ws://127.0.0.1:\d+)(/\S+)")
        with urllib.request.urlopen(endpoint[1].replace("ws:", "http:") + "/json/list", timeout=DEADLINE) as answer:
            (page,) = (target for target in json.load(answer) if target["type"] == "page")
        yield page["webSocketDebuggerUrl"]
        with connect(endpoint[1] + endpoint[2], open_timeout=DEADLINE) as control:
            control.send(json.dumps({"id": 1, "method": "Browser.close"}))
            control.recv(timeout=DEADLINE)
        browser.wait()
    finally:
        browser.stop(signal.SIGKILL)


@pytest.fixture(scope="module")
def page(chromium: str, restartable: RestartableDemo) -> Iterator[Page]:
    page = Page(chromium)
    page.call("Page.navigate", url=restartable.demo.url())
    page.wait_for("location.protocol === 'http:' && document.readyState === 'complete'")
    yield page
    page.close()


def test_the_page_connects_and_shows_events(page: Page) -> None:
    page.wait_for("document.body.dataset.link === 'live'")
    assert page.text("#link-text") == "Connected as supervisor"
    assert (page.text("#tenant"), page.text("#user")) == ("demo", "supervisor-01 (supervisor)")
    page.wait_for("document.querySelectorAll('#queues > .queue').length > 0")
    page.wait_for("document.querySelectorAll('#agents > .agent').length > 1")
    page.wait_for("document.querySelectorAll('#stream > li.event').length > 3")
    seen = int(page.text("#seen"))
    page.wait_for(f"Number(document.querySelector('#seen').textContent) > {seen}")
    assert page.errors == []


def test_an_alert_is_shown_as_text(page: Page, restartable: RestartableDemo) -> None:
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


def test_the_derived_figures_are_shown_as_text(page: Page, restartable: RestartableDemo) -> None:
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


def test_an_alert_is_shown_until_it_is_cleared_and_can_be_acknowledged(
    page: Page, restartable: RestartableDemo
) -> None:
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


def test_as_a_wallboard_the_page_does_not_receive_callers(page: Page, restartable: RestartableDemo) -> None:
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
    page: Page, restartable: RestartableDemo, way: signal.Signals
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
