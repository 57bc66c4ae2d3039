"""The live view in a real browser: lines, filters, alerts, markup in names, and a gateway that is restarted."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port

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
LIVE = "document.querySelector('.status')?.dataset.state === 'live'"
TEXTS = "[...document.querySelectorAll('.lines [data-kind=event] .text')].map((one) => one.textContent)"


class RestartableDemo:
    """A demo that can be started again in the same folder and on the same port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._config = folder.with_suffix(".toml")
        self._config.write_text(f'[store]\nurl = "sqlite:{folder}.db"\n{CONFIG}')
        self.start()

    def start(self) -> None:
        self.demo = Demo(self._folder, self._port, config=self._config)

    def emit(self, type_: str, payload: dict[str, Any]) -> None:
        self.demo.publish(type_, payload)

    def alert(self, title: str, message: str) -> None:
        self.emit("alert", {"title": title, "message": message, "severity": "info"})


@pytest.fixture(scope="module")
def restartable(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestartableDemo]:
    made = RestartableDemo(tmp_path_factory.mktemp("live") / "demo")
    yield made
    made.demo.stop()
    assert "Traceback" not in made.demo.output, made.demo.output


@pytest.fixture(scope="module")
def signed_in(context: Context, restartable: RestartableDemo) -> Iterator[Tab]:
    tab = context.open(restartable.demo.url("/login?next=/live"))
    sign_in(tab, "supervisor")
    yield tab
    assert tab.hosts() == {f"127.0.0.1:{restartable.demo.port}"}


@pytest.fixture
def page(signed_in: Tab) -> Iterator[Tab]:
    signed_in.errors.clear()
    yield signed_in
    assert signed_in.csp_violations == []
    assert [error for error in signed_in.errors if "ERR_CONNECTION" not in error] == []


def sign_in(tab: Tab, role: str) -> None:
    tab.wait_for(f"document.querySelector('[data-role={role}]')")
    tab.click(f"[data-role={role}]")
    tab.wait_for(f"location.pathname === '/live' && {LIVE}")


def test_events_become_lines_with_the_newest_first(page: Tab, restartable: RestartableDemo) -> None:
    restartable.alert("first", "1")
    restartable.alert("second", "2")
    page.wait_for(f"{TEXTS}.includes('second: 2')")
    texts = page.evaluate(TEXTS)
    assert texts.index("second: 2") < texts.index("first: 1")
    assert "supervisor-01" in page.text("[data-value=user]")


def test_filters_limit_what_is_shown(page: Tab, restartable: RestartableDemo) -> None:
    choose(page, "family", "notice")
    restartable.emit("queue.joined", {"queue_name": "filtered", "unique_id": "f", "caller_id": "4711"})
    restartable.alert("third", "3")
    page.wait_for(f"{TEXTS}.includes('third: 3') && !{TEXTS}.some((text) => text.includes('filtered'))")
    choose(page, "family", "")
    page.wait_for(f"{TEXTS}.some((text) => text.includes('waits in filtered'))")
    page.wait_for("[...document.querySelector('[data-filter=queue]').options].some((one) => one.value === 'filtered')")
    choose(page, "queue", "filtered")
    page.wait_for(f"{TEXTS}.length === 1")
    choose(page, "queue", "")
    page.type("[data-filter=search]", "tHIrd")
    page.wait_for(f"{TEXTS}.length > 0 && {TEXTS}.every((text) => text.includes('third'))")
    page.type("[data-filter=search]", " ")
    page.wait_for(f"{TEXTS}.length > 1")


def choose(page: Tab, name: str, value: str) -> None:
    page.evaluate(
        f"""(() => {{
            const select = document.querySelector('[data-filter={name}]');
            select.value = {json.dumps(value)};
            select.dispatchEvent(new Event('change'));
        }})()"""
    )


def test_a_pause_keeps_what_comes(page: Tab, restartable: RestartableDemo) -> None:
    page.click("[data-action=pause]")
    page.wait_for("document.querySelector('[data-action=pause]').ariaPressed === 'true'")
    restartable.alert("while paused", "4")
    page.wait_for("/\\d/.test(document.querySelector('[data-action=pause]').textContent)")
    assert "while paused: 4" not in page.evaluate(TEXTS)
    page.click("[data-action=pause]")
    page.wait_for(f"{TEXTS}.includes('while paused: 4')")


def test_markup_is_text_and_a_click_shows_all_fields(page: Tab, restartable: RestartableDemo) -> None:
    restartable.emit("alert", {"title": "<img src=x onerror=alert(1)>", "message": "<b>now</b>", "severity": "warning"})
    page.wait_for(f"{TEXTS}.includes('<img src=x onerror=alert(1)>: <b>now</b>')")
    page.evaluate("[...document.querySelectorAll('summary')].find((one) => one.textContent.includes('<b>now')).click()")
    page.wait_for("document.querySelector('.lines pre')?.textContent.includes('\"severity\": \"warning\"')")
    assert page.evaluate("document.querySelectorAll('#live img, #live b, #live i').length") == 0


def test_an_alert_is_shown_until_it_is_cleared_and_can_be_acknowledged(page: Tab, restartable: RestartableDemo) -> None:
    restartable.emit("queue.joined", {"queue_name": VIP, "unique_id": "third"})
    page.wait_for("document.querySelectorAll('.alerts li').length === 1")
    assert page.text(".alerts strong") == f"{VIP}: {RULE}"
    assert "waiting 1, limit 0" in page.text(".alerts li")
    page.click("[data-action=acknowledge]")
    page.wait_for("document.querySelector('.alerts .acknowledged')")
    assert "supervisor-01" in page.text(".alerts li")
    assert page.evaluate("document.querySelector('[data-action=acknowledge]')") is None
    restartable.emit("call.ended", {"queue_name": VIP, "unique_id": "third", "duration": 9})
    page.wait_for("!document.querySelector('.alerts')")
    assert page.evaluate("document.querySelectorAll('#live img, #live b, #live i').length") == 0


def test_a_wallboard_does_not_receive_callers(page: Tab, context: Context, restartable: RestartableDemo) -> None:
    body = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": '{"role": "wallboard"}'}
    assert page.evaluate(f"fetch('/session/demo', {json.dumps(body)}).then((answer) => answer.status)") == 200
    page.navigate(restartable.demo.url("/live"))
    page.wait_for(LIVE)
    caller = {"caller_id": "+3225550101", "caller_name": "Zoe Dupont"}
    restartable.emit("call.incoming", {"unique_id": "from-the-test", "destination": "extension 4711", **caller})
    page.wait_for(f"{TEXTS}.includes('*** calls extension 4711')")
    assert "wallboard-01" in page.text("[data-value=user]")


@pytest.mark.parametrize("way", [signal.SIGTERM, signal.SIGKILL], ids=["stopped", "killed"])
def test_the_page_reconnects_after_a_restart_of_the_gateway(
    page: Tab, restartable: RestartableDemo, way: signal.Signals
) -> None:
    page.wait_for(LIVE)
    position = page.text("[data-value=position]")
    restartable.demo.stop(way)
    assert "Traceback" not in restartable.demo.output, restartable.demo.output
    module = "import(new URL('../session.js', document.querySelector('script[type=module]').src))"
    asking = f"{module}.then(({{ ask }}) => ask('POST', '/session/token')).catch(({{ message }}) => message)"
    assert page.evaluate(asking) == "the gateway does not answer"
    page.wait_for("document.querySelector('.status').dataset.state === 'offline'")
    assert "offline since" in page.text(".status")
    restartable.start()
    page.wait_for(LIVE)
    restartable.alert(f"after {way.name}", "5")
    page.wait_for(f"{TEXTS}.includes('after {way.name}: 5')")
    # The session, the stream and the position are those of before.
    assert page.text("[data-value=position]").split(",")[0] == position.split(",")[0]
