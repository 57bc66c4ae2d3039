"""One browser for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser_driver import CHROMIUM, Browser, Context


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
