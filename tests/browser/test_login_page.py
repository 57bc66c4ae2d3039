"""Signing in at the page of the gateway, in a real browser: a click at the demo, a name and a password, a code."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

import pytest
from browser_driver import Context, Tab
from processes import Demo, free_port, run

PASSWORD = "correct horse battery"
NAME = '<img src=x onerror="document.title=1">'
VIEW = "document.querySelector('#login').dataset.view"


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    running = Demo(tmp_path_factory.mktemp("demo") / "demo", free_port())
    yield running
    running.stop()
    assert "Traceback" not in running.output, running.output
    assert PASSWORD not in running.output


@pytest.fixture
def tab(own_context: Context, demo: Demo) -> Iterator[Tab]:
    opened = own_context.open(demo.url("/login"))
    yield opened
    assert opened.csp_violations == []
    assert opened.hosts() == {f"127.0.0.1:{demo.port}"}


def test_a_click_signs_in_at_the_demo_and_out_again_in_all_tabs(own_context: Context, tab: Tab, demo: Demo) -> None:
    tab.wait_for(f"{VIEW} === 'demo'")
    roles = "[...document.querySelectorAll('[data-role]')].map((one) => one.dataset.role)"
    assert tab.evaluate(roles) == ["supervisor", "agent", "wallboard"]
    tab.click("[data-role=agent]")
    tab.wait_for("location.pathname === '/desk' && document.querySelector('[data-state=live]')")
    (cookie,) = own_context.cookies()
    assert (cookie["path"], cookie["httpOnly"], cookie["sameSite"]) == ("/session/token", True, "Strict")
    # No script can read a token, and none is stored.
    assert tab.evaluate("document.cookie + localStorage.length + sessionStorage.length") == "00"
    other = own_context.open(demo.url("/login"))
    other.wait_for(f"{VIEW} === 'signed_in'")
    assert "Amara Okafor" in other.text("#login p")
    other.click("[data-action=sign-out]")
    other.wait_for(f"{VIEW} === 'demo'")
    tab.wait_for("location.pathname === '/login'")
    assert own_context.cookies() == []


@pytest.mark.parametrize(
    "wanted", ["/live?x=1#y", "https://evil.example/live", "//evil.example/live", "/session/token", "http://"]
)
def test_only_pages_of_the_gateway_come_next(tab: Tab, demo: Demo, wanted: str) -> None:
    tab.navigate(demo.url(f"/login?next={quote(wanted, safe='')}"))
    tab.wait_for(f"{VIEW} === 'demo'")
    tab.click("[data-role=agent]")
    # An agent comes to the desk by default.
    tab.wait_for(f"location.pathname === '{'/live' if wanted.startswith('/live') else '/desk'}'")
    query = tab.evaluate("location.search + location.hash")
    assert query == ("?x=1#y" if wanted.startswith("/live") else "")


def test_a_page_that_needs_a_session_comes_back_after_signing_in(tab: Tab, demo: Demo) -> None:
    tab.navigate(demo.url("/live?from=here"))
    tab.wait_for(f"location.pathname === '/login' && {VIEW} === 'demo'")
    tab.click("[data-role=supervisor]")
    tab.wait_for("location.pathname + location.search === '/live?from=here'")


def test_a_name_and_a_password_sign_in(tab: Tab, demo: Demo) -> None:
    added = run(
        "user", "add", "ada", "--tenant", "demo", "--role", "supervisor", "--display-name", NAME,
        "--password-file", "-", environment=demo.environment, input=f"{PASSWORD}\n",
    )  # fmt: skip
    assert added.returncode == 0, added.stderr
    tab.wait_for(f"{VIEW} === 'demo'")
    tab.click("[data-action=name]")
    tab.wait_for("document.activeElement.name === 'name' || document.querySelector('[name=name]')")
    tab.type("[name=name]", "ada")
    tab.type("[name=password]", "another password")
    tab.key("Enter")
    tab.wait_for("document.querySelector('.problem[role=alert]')")
    assert tab.text(".problem") == "The name or the password is wrong."
    tab.type("[name=password]", PASSWORD)
    tab.key("Enter")
    tab.wait_for("location.pathname === '/supervisor'")
    tab.navigate(demo.url("/login"))
    tab.wait_for(f"{VIEW} === 'signed_in'")
    assert NAME in tab.text("#login p")
    assert tab.evaluate("document.querySelectorAll('#login p img').length") == 0


def test_a_screen_that_shows_a_code_goes_on_when_it_is_approved(tab: Tab, demo: Demo) -> None:
    tab.wait_for(f"{VIEW} === 'demo'")
    tab.click("[data-action=name]")
    tab.wait_for("document.querySelector('[data-action=code]')")
    tab.click("[data-action=code]")
    tab.wait_for("/^[0-9A-Z]{4}-[0-9A-Z]{4}$/.test(document.querySelector('.code')?.textContent)")
    # Another gateway than the demo shows "--config FILE", too.
    assert tab.text(".command").split() == ["callcenter-ws", "pair", tab.text(".code"), "--tenant", "TENANT"]
    approved = run("pair", tab.text(".code"), "--tenant", "demo", environment=demo.environment)
    assert approved.returncode == 0, approved.stderr
    tab.wait_for("location.pathname === '/wallboard'")
