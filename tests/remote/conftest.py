"""A gateway on a loopback port, and EventBroadcasters that are stopped after the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import LoopbackGateway
from twisted.logger import LogEvent, formatEvent, globalLogPublisher

from callcenter_ws.remote import EventBroadcaster

SECRET = "a-shared-secret-of-the-tests"


@pytest_twisted.async_yield_fixture
async def gateway() -> AsyncIterator[LoopbackGateway]:
    from twisted.internet import reactor

    gateway = LoopbackGateway(reactor)
    gateway.listen()
    yield gateway
    await gateway.close()


@pytest_twisted.async_yield_fixture
async def connect(gateway: LoopbackGateway) -> AsyncIterator[Callable[..., EventBroadcaster]]:
    """Create and start EventBroadcasters."""
    from twisted.internet import reactor

    started: list[EventBroadcaster] = []

    def start(**options: Any) -> EventBroadcaster:
        remote = EventBroadcaster(gateway.endpoint, reactor, **{"token": SECRET, "stop_timeout": 0.2, **options})
        remote.startService()
        started.append(remote)
        return remote

    yield start
    for remote in started:
        await remote.stopService()


class InfoLog:
    """Collects what the package and ``ClientService`` log, at all levels."""

    def __init__(self) -> None:
        self.events: list[LogEvent] = []

    def __call__(self, event: LogEvent) -> None:
        if str(event.get("log_namespace")).startswith(("callcenter_ws", "twisted.app")):
            self.events.append(event)

    def __str__(self) -> str:
        return "\n".join(map(formatEvent, self.events))


@pytest.fixture
def info_log() -> Iterator[InfoLog]:
    log = InfoLog()
    globalLogPublisher.addObserver(log)
    yield log
    globalLogPublisher.removeObserver(log)
