"""Fixtures of all tests: a test fails if it logs an error, unless it is marked ``logs_errors``."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from processes import wait_until
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from world import World
from zope.interface import implementer

pytest_plugins = ["redis_fixtures"]

# pytest shows the operands of failed asserts in these modules too.
for _name in ("account_store_contract", "broker_contract", "figure_store_contract", "redis_nodes"):
    pytest.register_assert_rewrite(_name)

# The time that an example takes depends on the load of the machine, so it is not checked.
settings.register_profile("no deadline", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no deadline")


@implementer(ILogObserver)
class ErrorLog:
    """Collects the log events of level ``error`` and above."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_level", LogLevel.info) >= LogLevel.error:
            self.events.append(event)

    def __str__(self) -> str:
        return "\n".join(
            f"{formatEvent(event)}\n{event['log_failure'].getTraceback() if 'log_failure' in event else ''}"
            for event in self.events
        )


@pytest.fixture(autouse=True)
def error_log(request: pytest.FixtureRequest) -> Iterator[ErrorLog]:
    """Return the errors that the test logs; fail the test if there are any and it is not marked ``logs_errors``."""
    log = ErrorLog()
    globalLogPublisher.addObserver(log)
    try:
        yield log
    finally:
        globalLogPublisher.removeObserver(log)
    if log.events and request.node.get_closest_marker("logs_errors") is None:
        pytest.fail(f"the test logged errors:\n{log}")


@pytest.fixture(autouse=True, scope="module")
def no_pings_in_later_tests() -> Iterator[None]:
    """Fail a module that leaves a connection of ``websockets`` whose thread sends pings.

    Their payloads are drawn from the shared generator of ``random``, which property tests must have for themselves.
    """
    yield
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.endswith("(keepalive)")], "pings")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of tests that cause an error on purpose, and accept SIGINT."""
    config.addinivalue_line("markers", "logs_errors: the test causes an error that is logged")
    # A shell starts background jobs with SIGINT ignored, and so do the programs that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def world() -> World:
    """Return the parts of a gateway, with fakes of the sockets and the clock."""
    return World()
