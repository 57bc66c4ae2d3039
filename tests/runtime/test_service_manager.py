"""Notifications to the service manager, over real datagram sockets and with a fake clock."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from callcenter_ws.runtime.service_manager import (
    MAX_INTERVAL_SECONDS,
    READY_TIMEOUT_SECONDS,
    STOPPING_INTERVAL_SECONDS,
    NotifySocket,
    ServiceReports,
    ServiceStatus,
)

WAITS = ServiceStatus(False, "does not serve: Redis is away")
SERVES = ServiceStatus(True, "serves: 3 clients")


class ServiceManager:
    """The receiving side: a datagram socket."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)
        self.socket.setblocking(False)

    def received(self) -> list[dict[str, str]]:
        """Return the messages since the last call."""
        messages = []
        while True:
            try:
                text = self.socket.recv(65_536).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServiceManager]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@callcenter-ws-test-{secrets.token_hex(8)}"
    manager = ServiceManager(path)
    yield manager
    manager.socket.close()


class RunningClock(Clock):
    """A clock that is a reactor which runs."""

    def __init__(self) -> None:
        super().__init__()
        self.after_shutdown: list[Any] = []

    def callWhenRunning(self, call: Any) -> None:
        call()

    def addSystemEventTrigger(self, phase: str, event: str, call: Any) -> None:  # noqa: N802 - Twisted's name
        assert (phase, event) == ("after", "shutdown")
        self.after_shutdown.append(call)


@dataclass
class Reporting:
    """Reports of a process with a given status."""

    manager: ServiceManager
    watchdog: float | None = None
    status: ServiceStatus = WAITS

    def __post_init__(self) -> None:
        self.clock = RunningClock()
        notify = NotifySocket(self.manager.address, self.watchdog)
        self.reports: Any = ServiceReports(self.clock, notify, lambda: self.status, lambda: 50.0)  # type: ignore[arg-type]
        self.reports.startService()

    def after(self, seconds: float) -> list[dict[str, str]]:
        """Return what is reported within some seconds."""
        self.clock.pump([0.1] * round(seconds * 10))
        return self.manager.received()

    def end(self) -> None:
        for call in self.clock.after_shutdown:
            call()


def test_without_a_service_manager_nothing_happens() -> None:
    environ = {"PATH": "/bin"}
    notify = NotifySocket.pop(environ, 1)
    assert not notify.is_used
    assert not notify.send(READY=1)
    clock: Any = RunningClock()
    reports: Any = ServiceReports(clock, notify, lambda: SERVES, lambda: 50.0)
    reports.startService()
    with reports.reload():
        pass
    reports.stopService()
    assert not clock.getDelayedCalls()
    notify.close()


def test_child_processes_do_not_inherit_the_variables(manager: ServiceManager) -> None:
    pid = os.getpid()
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "5000000", "WATCHDOG_PID": str(pid), "PATH": "/bin"}
    notify = NotifySocket.pop(environ, pid)
    assert environ == {"PATH": "/bin"}
    assert notify.watchdog == 5.0
    assert notify.send(READY=1)
    assert manager.received() == [{"READY": "1"}]
    notify.close()


@pytest.mark.parametrize(
    ("variables", "watchdog"),
    [
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "2"}, None),  # another process of the unit is watched
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": ""}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_of_the_environment(variables: dict[str, str], watchdog: float | None) -> None:
    assert NotifySocket.pop(dict(variables), 1).watchdog == watchdog


def test_an_address_of_an_unknown_kind() -> None:
    assert not NotifySocket("vsock:2:1234").is_used


def test_a_text_is_one_line(manager: ServiceManager) -> None:
    notify = NotifySocket(manager.address)
    notify.send(STATUS="Redis is away\nREADY=1 \ud800")
    assert manager.received() == [{"STATUS": "Redis is away READY=1 ?"}]
    notify.close()


def test_a_service_manager_that_does_not_read_blocks_nothing(manager: ServiceManager) -> None:
    notify = NotifySocket(manager.address)
    sent = [notify.send(STATUS="x" * 10_000) for _ in range(2_000)]
    assert sent[0] and not sent[-1]
    manager.received()
    assert notify.send(STATUS="y")
    notify.close()
    assert not notify.send(STATUS="closed")


def test_a_service_manager_that_is_away() -> None:
    notify = NotifySocket("@callcenter-ws-no-such-socket")
    assert not notify.send(READY=1)
    notify.close()


def test_ready_once_the_gateway_serves(manager: ServiceManager) -> None:
    reporting = Reporting(manager)
    assert manager.received() == [{"STATUS": WAITS.text}]
    assert reporting.after(2) == []
    reporting.status = SERVES
    assert reporting.after(1) == [{"READY": "1", "STATUS": SERVES.text}]
    reporting.status = ServiceStatus(True, "serves: 4 clients")
    assert reporting.after(MAX_INTERVAL_SECONDS) == [{"STATUS": "serves: 4 clients"}]
    assert reporting.after(60) == []
    reporting.end()


def test_ready_after_a_while_in_any_case(manager: ServiceManager) -> None:
    reporting = Reporting(manager)
    reports = reporting.after(READY_TIMEOUT_SECONDS + 1)
    assert reports == [{"STATUS": WAITS.text}, {"READY": "1"}]
    reporting.end()


def test_ready_is_repeated_until_it_could_be_sent(manager: ServiceManager) -> None:
    reporting = Reporting(manager)
    filling = NotifySocket(manager.address)
    while filling.send(STATUS="full"):
        pass
    reporting.status = SERVES
    assert {"READY": "1", "STATUS": SERVES.text} not in reporting.after(1)
    assert reporting.after(1) == [{"READY": "1", "STATUS": SERVES.text}]
    filling.close()
    reporting.end()


def test_the_watchdog(manager: ServiceManager) -> None:
    reporting = Reporting(manager, watchdog=4.0, status=SERVES)
    assert reporting.after(9) == [
        {"READY": "1", "WATCHDOG": "1", "STATUS": SERVES.text},
        *[{"WATCHDOG": "1"}] * 4,
    ]
    reporting.status = ServiceStatus(False, "no worker runs", is_alive=False)
    assert reporting.after(10) == [{"STATUS": "no worker runs"}]
    reporting.end()


def test_a_reload(manager: ServiceManager) -> None:
    reporting = Reporting(manager)
    with reporting.reports.reload():
        assert reporting.after(0) == [{"STATUS": WAITS.text}]  # before it is ready, READY=1 would be wrong
    assert manager.received() == []
    reporting.status = SERVES
    reporting.after(1)

    def fails() -> None:
        with reporting.reports.reload():
            (message,) = manager.received()
            assert message["RELOADING"] == "1"
            assert message["MONOTONIC_USEC"].isdecimal()
            raise LookupError

    with pytest.raises(LookupError):
        fails()
    assert manager.received() == [{"READY": "1"}]
    reporting.end()


def test_a_stop(manager: ServiceManager) -> None:
    reporting = Reporting(manager, watchdog=30.0, status=SERVES)
    reporting.after(1)
    reporting.status = ServiceStatus(False, "drains: 3 clients")
    reporting.reports.stopService()
    reporting.clock.advance(0)
    extended = {"EXTEND_TIMEOUT_USEC": "20000000", "WATCHDOG": "1"}
    assert manager.received() == [{"STOPPING": "1"}, {**extended, "STATUS": "drains: 3 clients"}]
    assert reporting.after(2) == [extended] * round(2 / STOPPING_INTERVAL_SECONDS)
    # After the time that a stop may take, it is for the service manager to end the process.
    reporting.after(48)
    assert reporting.after(2) == [{"WATCHDOG": "1"}] * 2
    with reporting.reports.reload():
        pass
    assert manager.received() == []
    reporting.end()
    assert reporting.after(2) == []
