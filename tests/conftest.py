"""What every test gets: it fails when something was logged as an error that it did not announce."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from core_world import World
from hypothesis import HealthCheck, settings
from twisted.logger import ILogObserver, LogEvent, LogLevel, formatEvent, globalLogPublisher
from zope.interface import implementer

pytest_plugins = ["redis_fixtures"]

# Failed asserts in these show their operands, as those of test modules do.
for _name in ("broker_contract", "redis_nodes"):
    pytest.register_assert_rewrite(_name)

# How long an example takes says something about the machine, which is shared, and nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


@implementer(ILogObserver)
class ErrorLog:
    """Collects what is logged as an error."""

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
    """The errors logged during a test; one that expects some is marked ``logs_errors``."""
    log = ErrorLog()
    globalLogPublisher.addObserver(log)
    try:
        yield log
    finally:
        globalLogPublisher.removeObserver(log)
    if log.events and request.node.get_closest_marker("logs_errors") is None:
        pytest.fail(f"the test logged errors:\n{log}")


def pytest_configure(config: pytest.Config) -> None:
    """PresenceStore the marker of tests that provoke an error on purpose."""
    config.addinivalue_line("markers", "logs_errors: the test provokes a bug or a failure that is logged as an error")


@pytest.fixture
def world() -> World:
    """A gateway's parts over fakes of the sockets and the clock, for the tests of single modules."""
    return World()
