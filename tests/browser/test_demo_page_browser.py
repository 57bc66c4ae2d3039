"""The demo page in a real browser: it shows what happens, and comes back after the gateway was away."""

from __future__ import annotations

import json
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

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium to look at the page with")


class Page:
    """A page of the browser, driven over the Chrome DevTools Protocol."""

    def __init__(self, url: str) -> None:
        # Not as a context manager: it lives as long as the fixture that closes it.
        self._socket = connect(url, max_size=None, open_timeout=DEADLINE, legacy=True)
        self._calls = 0
        self.complaints: list[str] = []
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
            message = json.loads(self._socket.recv(timeout=deadline.left()))
            if message.get("id") == self._calls:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result
            self._note(message)

    def _note(self, message: dict[str, Any]) -> None:
        if message["method"] == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(message["params"]))
        elif message["method"] == "Log.entryAdded" and message["params"]["entry"]["level"] == "error":
            self.complaints.append(message["params"]["entry"]["text"])

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, or of the promise that it is."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait in the page until an expression is true there, and return its value."""
        milliseconds = int(DEADLINE * 1000)
        value = self.evaluate(
            f"""new Promise((resolve) => {{
                const end = performance.now() + {milliseconds - 1000};
                const look = () => {{
                    const value = {condition};
                    if (value || performance.now() > end) resolve(value);
                    else setTimeout(look, 20);
                }};
                look();
            }})"""
        )
        assert value, f"waited in vain for {condition}\n{self.evaluate('document.body.innerText')}"
        return value

    def text(self, selector: str) -> str:
        text: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("browser")


class Stage:
    """The demo, which can be started anew at its old place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self.demo = Demo(folder, self._port)

    def start(self) -> None:
        self.demo = Demo(self._folder, self._port)

    def emit(self, type_: str, payload: dict[str, Any]) -> None:
        emitted = run("emit", type_, json.dumps(payload), environment=self.demo.environment)
        assert emitted.returncode == 0, emitted.stderr


@pytest.fixture(scope="module")
def stage(folder: Path) -> Iterator[Stage]:
    stage = Stage(folder / "demo")
    yield stage
    stage.demo.stop()
    assert "Traceback" not in stage.demo.output, stage.demo.output


@pytest.fixture(scope="module")
def chromium(folder: Path) -> Iterator[str]:
    """A browser with one empty page; where that is driven."""
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
def page(chromium: str, stage: Stage) -> Iterator[Page]:
    page = Page(chromium)
    page.call("Page.navigate", url=stage.demo.url())
    page.wait_for("location.protocol === 'http:' && document.readyState === 'complete'")
    yield page
    page.close()


def test_it_connects_and_shows_what_happens(page: Page) -> None:
    page.wait_for("document.body.dataset.link === 'live'")
    assert page.text("#link-text") == "Connected as supervisor"
    assert (page.text("#tenant"), page.text("#user")) == ("demo", "supervisor-01 (supervisor)")
    page.wait_for("document.querySelectorAll('#queues > .queue').length > 0")
    page.wait_for("document.querySelectorAll('#agents > .agent').length > 1")
    page.wait_for("document.querySelectorAll('#stream > li.event').length > 3")
    seen = int(page.text("#seen"))
    page.wait_for(f"Number(document.querySelector('#seen').textContent) > {seen}")
    assert page.complaints == []


def test_an_alert_is_shown_as_the_text_that_it_is(page: Page, stage: Stage) -> None:
    stage.emit("alert", {"title": "<img src=x onerror=alert(1)>", "message": "<b>now</b>", "severity": "warning"})
    page.wait_for("!document.querySelector('#alert').hidden")
    assert page.text("#alert") == "<img src=x onerror=alert(1)>: <b>now</b>"
    page.wait_for("[...document.querySelectorAll('#stream .text')].some((line) => line.textContent.includes('<b>now'))")
    assert page.evaluate("document.querySelectorAll('#alert *, #stream img, #stream b').length") == 0
    assert page.complaints == []


def test_as_a_wallboard_it_is_not_told_who_calls(page: Page, stage: Stage) -> None:
    page.evaluate("document.querySelector('input[value=wallboard]').click()")
    page.wait_for("document.querySelector('#link-text').textContent === 'Connected as wallboard'")
    assert page.text("#user") == "wallboard-01 (wallboard)"
    caller = {"caller_id": "+3225550101", "caller_name": "Zoe Dupont"}
    stage.emit("call.incoming", {"unique_id": "from-the-test", "destination": "extension 4711", **caller})
    line = page.wait_for(
        "([...document.querySelectorAll('#stream .text')].find((line) => line.textContent.includes('4711')) || {})"
        ".textContent"
    )
    assert line == "*** calls extension 4711"
    page.evaluate("document.querySelector('input[value=supervisor]').click()")
    page.wait_for("document.querySelector('#link-text').textContent === 'Connected as supervisor'")
    assert page.complaints == []


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_it_comes_back_when_the_gateway_does(page: Page, stage: Stage, way: signal.Signals) -> None:
    page.wait_for("document.body.dataset.link === 'live' && document.querySelector('#seq').textContent !== '-'")
    epoch = page.text("#epoch")
    resets = "[...document.querySelectorAll('#stream .type')].filter((type) => type.textContent === 'reset').length"
    before = page.evaluate(resets)
    stage.demo.stop(way)
    assert "Traceback" not in stage.demo.output, stage.demo.output
    page.wait_for("document.body.dataset.link !== 'live'")
    assert page.evaluate("document.querySelector('#again').hidden")
    stage.start()
    page.wait_for("document.body.dataset.link === 'live'")
    page.wait_for(f"document.querySelector('#epoch').textContent !== '{epoch}'")
    # The old gateway kept nothing: the page says so, starts from a snapshot and goes on with what happens now.
    page.wait_for(f"{resets} > {before}")
    seen = int(page.text("#seen"))
    page.wait_for(f"Number(document.querySelector('#seen').textContent) > {seen}")
    assert [complaint for complaint in page.complaints if "ERR_CONNECTION" not in complaint] == []
