"""The browser of all tests of this folder, and the gateways that several of its modules use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser_driver import CHROMIUM, Browser, Context
from desk_calls import SETTINGS, Desk, Exchange
from desk_world import DeskWorld
from supervisor_world import SupervisorWorld


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with Browser.start(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture(scope="module")
def context(browser: Browser) -> Iterator[Context]:
    """A context of the browser for the tests of one module."""
    made = browser.context()
    yield made
    made.close()


@pytest.fixture
def own_context(browser: Browser) -> Iterator[Context]:
    """A context of the browser for one test."""
    made = browser.context()
    yield made
    made.close()


# To start a gateway takes longer than most tests, so modules with the same settings share one. Each test has users of
# its own.


@pytest.fixture(scope="session")
def chat_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskWorld]:
    """A gateway without a phone system."""
    made = DeskWorld(tmp_path_factory.mktemp("chats") / "gateway")
    yield made
    made.close()


@pytest.fixture(scope="session")
def supervisor_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SupervisorWorld]:
    """A gateway with agents and a call, for the supervisor's page."""
    made = SupervisorWorld(tmp_path_factory.mktemp("supervisor") / "gateway")
    yield made
    made.close()


@pytest.fixture(scope="session")
def call_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DeskWorld]:
    """A gateway for a phone system."""
    made = DeskWorld(tmp_path_factory.mktemp("calls") / "gateway", SETTINGS, amp="source_lease = 2\n")
    yield made
    made.close()


@pytest.fixture(scope="module")
def exchange(call_world: DeskWorld) -> Iterator[Exchange]:
    """The phone system."""
    made = Exchange(call_world)
    yield made
    made.close()


@pytest.fixture
def before() -> str:
    """A script that runs in the pages of ``desk`` before their own: a module may have another one."""
    return ""


@pytest.fixture
def desk(exchange: Exchange, own_context: Context, before: str) -> Iterator[Desk]:
    """The desk of an agent of this test alone, who is available."""
    made = Desk(exchange, own_context, before=before)
    made.wait(".own[data-state=available]")
    yield made
    made.world.line.mend()
    made.check()
