"""A pytest plugin for CI that fails skipped tests, except for the reasons listed here."""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

import pytest

ALLOWED = (
    # Current Debian has no package of Python 2.7; the test uses it where it is installed.
    re.compile(r"no Python 2\.7 with Twisted"),
)

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _fail_if_skipped(report: Report) -> Report:
    if report.outcome != "skipped" or hasattr(report, "wasxfail"):
        return report
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    if not any(allowed.search(reason) for allowed in ALLOWED):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} must run in CI, but was skipped. {reason}"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail a skipped test."""
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module that was skipped as a whole."""
    return _fail_if_skipped((yield))
