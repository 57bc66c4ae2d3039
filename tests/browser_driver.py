"""A real Chromium for tests, driven over the Chrome DevTools Protocol."""

from __future__ import annotations

import base64
import json
import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from processes import DEADLINE, Deadline, Process, wait_until
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
_DOMAINS = ("Page", "Runtime", "Log", "Network", "Audits")
_NOTE_VIOLATIONS = """
window.cspViolations = [];
addEventListener("securitypolicyviolation", (event) => {
  window.cspViolations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}:${event.lineNumber}`);
}, true);
"""
_KEYS = {"Enter": ("\r", 13), "Tab": ("", 9), "Escape": ("", 27)}


class Browser:
    """One process of Chromium, without any page at first."""

    def __init__(self, folder: Path) -> None:
        command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "about:blank"]
        self._process = Process(command, {"HOME": str(folder)})
        self._calls = 0
        self._sessions: dict[str, Tab] = {}
        self._trace: list[dict[str, Any]] = []
        self._is_tracing = False
        try:
            endpoint = self._process.expect(r"DevTools listening on (ws://\S+)")[1]
            # Not as a context manager: ``close`` closes it. Without pings: their thread would live for all later tests,
            # and uses up random numbers, which property tests report; a busy browser answers late, and is no failure.
            self._socket = connect(endpoint, max_size=None, open_timeout=DEADLINE, ping_interval=None, legacy=True)
        except BaseException:
            self._process.stop(signal.SIGKILL)
            raise

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator[Browser]:
        """Run a browser with a profile below ``folder``, for the time of the block."""
        browser = cls(folder)
        try:
            yield browser
        finally:
            browser.close()

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("Browser.close")
            self._socket.close()
            self._process.wait()
        finally:
            self._process.stop(signal.SIGKILL)

    def context(self) -> Context:
        """Return a new context: its tabs share cookies, locks and channels with no other context's."""
        return Context(self, self.call("Target.createBrowserContext")["browserContextId"])

    def attach(self, target: str) -> str:
        """Attach to a target and return the id of the session."""
        session: str = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        return session

    def register(self, session: str, tab: Tab) -> None:
        """Have events of a session given to a tab."""
        self._sessions[session] = tab

    def forget(self, session: str) -> None:
        """Give events of a session to no tab any more."""
        self._sessions.pop(session, None)

    @contextmanager
    def traced(self, categories: Sequence[str]) -> Iterator[list[dict[str, Any]]]:
        """Record what all processes of the browser do during the block.

        Args:
            categories: those of ``chrome://tracing``, as ``toplevel``.

        Yields:
            a list that has the records after the block.
        """
        records: list[dict[str, Any]] = []
        config = {"includedCategories": list(categories), "recordMode": "recordContinuously"}
        self.call("Tracing.start", transferMode="ReportEvents", traceConfig=config)
        self._is_tracing = True
        yield records
        self.call("Tracing.end")
        deadline = Deadline()
        while self._is_tracing:
            self._receive(deadline.remaining())
        records += self._trace
        self._trace = []

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._calls += 1
        request: dict[str, Any] = {"id": self._calls, "method": method, "params": parameters}
        if session is not None:
            request["sessionId"] = session
        self._socket.send(json.dumps(request))
        deadline = Deadline()
        while True:
            message = self._receive(deadline.remaining())
            if message.get("id") == request["id"]:
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result

    def _receive(self, timeout: float) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout))
        tab = self._sessions.get(message.get("sessionId", ""))
        if message.get("method") == "Tracing.dataCollected":
            self._trace += message["params"]["value"]
        elif message.get("method") == "Tracing.tracingComplete":
            self._is_tracing = False
        if tab is not None and "method" in message:
            tab.note(message["method"], message["params"])
        return message


class Context:
    """Tabs that share cookies, locks and channels."""

    def __init__(self, browser: Browser, id_: str) -> None:
        self._browser = browser
        self._id = id_

    def open(self, url: str, *, before: str = "") -> Tab:
        """Open a tab and wait until its page is loaded.

        Args:
            url: the page.
            before: a script that runs in each document before its own scripts.
        """
        target = self._browser.call("Target.createTarget", url="about:blank", browserContextId=self._id)["targetId"]
        tab = Tab(self._browser, target, before)
        tab.navigate(url)
        return tab

    def cookies(self) -> list[dict[str, Any]]:
        """Return the cookies, those for HTTP only too."""
        cookies: list[dict[str, Any]] = self._browser.call("Storage.getCookies", browserContextId=self._id)["cookies"]
        return cookies

    def close(self) -> None:
        """Close all its tabs."""
        self._browser.call("Target.disposeBrowserContext", browserContextId=self._id)


class Tab:
    """One tab.

    Attributes:
        errors: what its console and its network reported as errors, and exceptions that no script caught.
        requests: the URLs that it asked for.
    """

    def __init__(self, browser: Browser, target: str, before: str = "") -> None:
        self._browser = browser
        self._target = target
        self._violations: list[str] = []
        self.errors: list[str] = []
        self.requests: list[str] = []
        self._session = browser.attach(target)
        browser.register(self._session, self)
        for domain in _DOMAINS:
            self.call(f"{domain}.enable")
        self.call("Page.addScriptToEvaluateOnNewDocument", source=_NOTE_VIOLATIONS + before)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol in this tab and return its result."""
        return self._browser.call(method, self._session, **parameters)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Keep what an event of the protocol reports."""
        if method == "Runtime.exceptionThrown":
            self.errors.append(json.dumps(params))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Network.webSocketCreated":
            self.requests.append(params["url"])
        elif method == "Audits.issueAdded" and params["issue"]["code"] == "ContentSecurityPolicyIssue":
            self._violations.append(json.dumps(params["issue"]["details"]))

    @property
    def csp_violations(self) -> list[str]:
        """What the Content-Security-Policy has forbidden in any page of this tab so far."""
        return [*self.evaluate("window.cspViolations || []"), *self._violations]

    def hosts(self) -> set[str]:
        """Return the hosts, with ports, that the tab has asked."""
        self.evaluate("0")
        network = [url for url in self.requests if url.startswith(("http", "ws"))]
        return {url.split("/")[2] for url in network}

    def navigate(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self.evaluate("window.leftByTest = true")
        answer = self.call("Page.navigate", url=url)
        assert "errorText" not in answer, answer
        if "loaderId" in answer:
            self._wait_until_loaded()

    def reload(self) -> None:
        """Load the page again and wait until it is loaded."""
        self.evaluate("window.leftByTest = true")
        self.call("Page.reload")
        self._wait_until_loaded()

    def go_back(self) -> None:
        """Go back to the page before this one, which the browser may have kept with all that it held."""
        history = self.call("Page.getNavigationHistory")
        self.call("Page.navigateToHistoryEntry", entryId=history["entries"][history["currentIndex"] - 1]["id"])
        # A page that was kept has this mark from when it was left.
        kept = "location.href !== 'about:blank' && (delete window.leftByTest, document.readyState === 'complete')"
        wait_until(lambda: self._evaluate_if_possible(kept), "a page is shown again")

    def _wait_until_loaded(self) -> None:
        loaded = "!window.leftByTest && document.readyState === 'complete'"
        wait_until(lambda: self._evaluate_if_possible(loaded), "a page is loaded")

    def _evaluate_if_possible(self, expression: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        return None if "exceptionDetails" in answer else answer["result"].get("value")

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression; a promise is awaited."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, condition: str) -> Any:
        """Wait until an expression is true in the page, which may change meanwhile, and return its value."""
        try:
            # An element cannot be returned by value.
            found = f"((value) => value instanceof Node || value)({condition})"
            return wait_until(lambda: self._evaluate_if_possible(found), condition)
        except AssertionError as error:
            shown = self._evaluate_if_possible("location.href + '\\n' + document.body.innerText")
            raise AssertionError(f"{error}\n{shown}\n{self.errors}") from None

    def text(self, selector: str) -> str:
        """Return the text of the first element that a selector finds."""
        text: str = self.evaluate(f"document.querySelector({json.dumps(selector)}).textContent")
        return text

    def click(self, selector: str) -> None:
        """Click the middle of the first element that a selector finds, with the mouse."""
        place = self.evaluate(
            f"""(() => {{
                const element = document.querySelector({json.dumps(selector)});
                element.scrollIntoView({{block: "center"}});
                const box = element.getBoundingClientRect();
                return [box.x + box.width / 2, box.y + box.height / 2];
            }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=place[0], y=place[1], button="left", clickCount=1)

    def type(self, selector: str, text: str) -> None:
        """Replace the text of a field as typing does."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.call("Input.insertText", text=text)

    def key(self, name: str) -> None:
        """Press a key: Enter, Tab or Escape."""
        text, code = _KEYS[name]
        more = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, code=name, windowsVirtualKeyCode=code, **more)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name, code=name, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int, scale: float = 1) -> None:
        """Show the page in a window of this size."""
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=scale, mobile=False
        )

    def prefer(self, scheme: str) -> None:
        """Have the user prefer ``dark`` or ``light``."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, width: int = 1280, height: int = 800, scale: float = 1) -> bytes:
        """Return a PNG of the page in a window of this size."""
        self.resize(width, height, scale)
        # Two frames: the layout of the new size has been painted.
        self.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def activate(self) -> None:
        """Bring the tab to the front; the others of its window are hidden."""
        self.call("Page.bringToFront")

    def keep_visible(self) -> None:
        """Have the page believe that it is visible and has the focus, whatever tab is in front."""
        self.call("Emulation.setFocusEmulationEnabled", enabled=True)

    def freeze(self) -> None:
        """Freeze the page, as browsers do with tabs in the background."""
        self.call("Page.setWebLifecycleState", state="frozen")

    def thaw(self) -> None:
        """Let a frozen page go on."""
        self.call("Page.setWebLifecycleState", state="active")

    def close(self) -> None:
        """Close the tab."""
        self._browser.forget(self._session)
        self._browser.call("Target.closeTarget", targetId=self._target)
