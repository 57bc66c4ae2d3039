"""The worker's side of supervision: when it accepts connections, and what it reports."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fake_reactor import FakeReactor
from processes import DEADLINE

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.workers.channel import (
    Act,
    WorkerAnswer,
    WorkerRequest,
    decode_answer,
    encode_answer,
    encode_request,
)
from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.worker import ACCEPT_TIMEOUT_SECONDS, READINESS_CHECK_INTERVAL_SECONDS, Worker
from callcenter_ws.workers.worker_reload import WorkerReload


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
            return os.read(self._reports, 1_048_576).decode().removesuffix("\n").split("\n")
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


# Requests of the supervisor


class Settings:
    """The settings of a worker. Implements Reloadable and PreparedReload."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.committed = 0
        self.refused = 0
        self.report = ReloadReport(applied=("log.level",))
        self.source = SettingsSource(None, [], {}, demo=False, folder=Path("/"))
        self.reload = WorkerReload(self.source, self, self._refused)

    def prepare(self) -> Settings:
        if self.problems:
            raise ConfigError(self.problems)
        return self

    def commit(self) -> None:
        self.committed += 1

    def _refused(self) -> None:
        self.refused += 1


class Asked:
    """A worker that runs, and its supervisor's ends of the pipes."""

    def __init__(self, supervised: SupervisedWorker) -> None:
        self._supervised = supervised
        self.settings = Settings()
        supervised.worker.reload = self.settings.reload
        supervised.start()
        supervised.reports()
        self._last = 0

    def send(self, line: bytes) -> list[bytes]:
        """Send a line; return the lines that the worker answers."""
        os.write(self._supervised.descriptors[3], line + b"\n")
        self._supervised.reactor.turn()
        return [line.encode() for line in self._supervised.reports()]

    def ask(self, act: Act, settings: str = "") -> WorkerAnswer:
        """Send a request and return the answer."""
        self._last += 1
        (line,) = self.send(encode_request(WorkerRequest(self._last, act, settings)).rstrip(b"\n"))
        answer = decode_answer(line)
        assert answer is not None and answer.id == self._last
        return answer


@pytest.fixture
def asked(supervised: SupervisedWorker) -> Asked:
    return Asked(supervised)


def test_a_ping_is_answered(asked: Asked) -> None:
    assert asked.ask(Act.PING) == WorkerAnswer(1)
    assert asked.ask(Act.PING) == WorkerAnswer(2)


def test_the_answer_to_a_ping_says_why_the_worker_does_not_serve_now(supervised: SupervisedWorker) -> None:
    asked = Asked(supervised)
    supervised.reasons = ["Redis cannot be reached", "no keys"]
    assert asked.ask(Act.PING) == WorkerAnswer(1, not_ready_reason="Redis cannot be reached; no keys")
    supervised.reasons = []
    assert asked.ask(Act.PING) == WorkerAnswer(2)


def test_what_was_prepared_is_committed_once(asked: Asked) -> None:
    assert asked.ask(Act.PREPARE, "/private/settings-2.toml").report == asked.settings.report
    assert asked.settings.source.copy == Path("/private/settings-2.toml")
    assert asked.settings.committed == 0
    asked.ask(Act.COMMIT)
    asked.ask(Act.COMMIT)
    assert asked.settings.committed == 1


def test_what_was_aborted_is_not_committed(asked: Asked) -> None:
    asked.ask(Act.PREPARE)
    asked.ask(Act.ABORT)
    asked.ask(Act.COMMIT)
    assert (asked.settings.committed, asked.settings.refused) == (0, 1)


def test_problems_are_answered_and_nothing_is_committed(asked: Asked) -> None:
    asked.ask(Act.PREPARE)
    asked.settings.problems = [Problem("gw.toml", "web.listen", "is bad")]
    answer = asked.ask(Act.PREPARE)
    assert (answer.report, answer.problems) == (None, ("gw.toml: web.listen: is bad",))
    asked.ask(Act.COMMIT)
    assert asked.settings.committed == 0


@pytest.mark.logs_errors
def test_a_line_that_is_no_request_is_not_answered(asked: Asked) -> None:
    assert asked.send(b"nonsense") == []
    assert asked.send(b'{"id":1,"act":"of a later version"}') == []
    assert asked.ask(Act.PING) == WorkerAnswer(1)


def test_the_worker_hears_that_the_node_stops(asked: Asked, supervised: SupervisedWorker) -> None:
    heard: list[str] = []
    supervised.worker.node_stops = lambda: heard.append("the node stops")
    asked.ask(Act.NODE_STOPS)
    assert heard == ["the node stops"]


def test_a_long_answer_does_not_wait_for_its_reader(asked: Asked, supervised: SupervisedWorker) -> None:
    asked.settings.problems = [Problem("gw.toml", f"key-{number}", "x" * 1_000) for number in range(400)]
    line = encode_request(WorkerRequest(1, Act.PREPARE)).rstrip(b"\n")
    received = b"\n".join(asked.send(line))
    # The rest of the answer is written when there is room; further answers follow it.
    assert len(received) < 400_000
    os.write(supervised.descriptors[3], encode_request(WorkerRequest(2, Act.PING)))
    deadline = time.monotonic() + DEADLINE
    supervised.reactor.turn()
    while not received.endswith(encode_answer(WorkerAnswer(2))):
        for writer in tuple(supervised.reactor.writers):
            assert writer.doWrite() is None
        with suppress(BlockingIOError):
            received += os.read(supervised.descriptors[0], 65_536)
        assert time.monotonic() < deadline
    answer = decode_answer(received.partition(b"\n")[0])
    assert answer is not None and len(answer.problems) == 400
    assert supervised.reactor.writers == set()
