"""The worker's side of supervision: when it accepts connections, and what it reports."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fake_reactor import FakeReactor

from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.worker import ACCEPT_TIMEOUT_SECONDS, READINESS_CHECK_INTERVAL_SECONDS, Worker


class SupervisedWorker:
    """A worker and the other ends of its pipes."""

    def __init__(self, replaces: bool) -> None:
        self.reactor = FakeReactor()
        self.reasons: list[str] = []
        self.accepted = 0
        self._reports, status = os.pipe()
        supervisor, self._supervisor = os.pipe()
        handoff = WorkerHandoff(1, 1, 1, replaces, "/nonexistent", {})
        self.descriptors = [self._reports, status, supervisor, self._supervisor]
        self.worker = Worker(
            self.reactor,
            handoff,
            lambda: self.reasons,
            self._accept,
            stop_timeout=5,
            supervisor_descriptor=supervisor,
            status_descriptor=status,
        )

    def _accept(self) -> None:
        self.accepted += 1

    def start(self, *reasons: str) -> None:
        self.reasons = list(reasons)
        self.worker.startService()
        # The second call installs signal handlers, which would replace those of the test run.
        self.reactor.when_running[0]()

    def reports(self) -> list[str]:
        """Return the reports since the last call."""
        os.set_blocking(self._reports, False)
        try:
            return os.read(self._reports, 4096).decode().splitlines()
        except BlockingIOError:
            return []


@pytest.fixture(params=[False, True])
def supervised(request: pytest.FixtureRequest) -> Iterator[SupervisedWorker]:
    made = SupervisedWorker(replaces=request.param)
    yield made
    made.worker.stopService()
    assert made.reactor.getDelayedCalls() == []
    assert made.reactor.readers == set()
    for descriptor in made.descriptors:
        os.close(descriptor)


def test_a_worker_that_can_serve_reports_it_at_once(supervised: SupervisedWorker) -> None:
    supervised.start()
    assert supervised.accepted == 1
    assert supervised.reports() == ["ready"]


def test_a_worker_that_cannot_serve_accepts_nothing_and_reports_why(supervised: SupervisedWorker) -> None:
    supervised.start("the store is unavailable", "no keys\nyet")
    supervised.reactor.advance(READINESS_CHECK_INTERVAL_SECONDS)
    assert supervised.accepted == 0
    assert supervised.reports() == ["the store is unavailable; no keys yet"]
    supervised.reasons = ["no keys"]
    supervised.reactor.advance(READINESS_CHECK_INTERVAL_SECONDS)
    assert supervised.reports() == ["no keys"]
    supervised.reasons = []
    supervised.reactor.advance(READINESS_CHECK_INTERVAL_SECONDS)
    assert supervised.accepted == 1
    assert supervised.reports() == ["ready"]
    supervised.reactor.advance(ACCEPT_TIMEOUT_SECONDS)
    assert supervised.accepted == 1


@pytest.mark.parametrize(("supervised", "accepted"), [(False, 1), (True, 0)], indirect=["supervised"])
def test_only_a_worker_that_replaces_none_accepts_after_the_timeout(
    supervised: SupervisedWorker, accepted: int
) -> None:
    supervised.start("the store is unavailable")
    supervised.reactor.advance(ACCEPT_TIMEOUT_SECONDS)
    assert supervised.accepted == accepted
    assert supervised.reports() == ["the store is unavailable"]


def test_a_worker_that_stops_before_it_is_ready_reports_nothing_more(supervised: SupervisedWorker) -> None:
    supervised.start("the store is unavailable")
    supervised.reports()
    supervised.worker.stopService()
    supervised.reasons = []
    supervised.reactor.advance(ACCEPT_TIMEOUT_SECONDS)
    assert (supervised.accepted, supervised.reports()) == (0, [])
    supervised.worker.startService()
