"""Reloads that run one at a time, of a gateway of one process, and their text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.control.messages import Outcome, Refused, Reloaded
from callcenter_ws.control.reloads import ProcessOperations, Reloads
from callcenter_ws.control.report import report_lines
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.setting_problems import ConfigError, Problem
from callcenter_ws.testing import FakeClock

DONE = Reloaded(ReloadReport())


def succeeds(result: Deferred[Outcome]) -> list[Outcome]:
    """Return the outcome in a list; empty if there is none yet."""
    outcomes: list[Outcome] = []
    result.addCallback(outcomes.append)
    return outcomes


@pytest.mark.logs_errors
def test_requests_during_a_reload_share_the_next() -> None:
    clock = FakeClock()
    runs: list[Deferred[Outcome]] = []

    def run() -> Deferred[Outcome]:
        runs.append(Deferred())
        return runs[-1]

    reloads = Reloads(run, clock, spawn)
    first = succeeds(reloads.request())
    others = [succeeds(reloads.request()) for _ in range(3)]
    assert len(runs) == 1
    runs[0].callback(Refused(("a problem",)))
    assert first == [Refused(("a problem",))]
    assert reloads.last is not None and reloads.last.outcome == "refused: 1 problem"
    # What they found is newer than what the first run has read.
    assert others == [[], [], []]
    clock.advance(0)
    assert len(runs) == 2
    runs[1].callback(DONE)
    assert others == [[DONE], [DONE], [DONE]]
    assert reloads.last.outcome == "loaded: no setting has changed"


@pytest.mark.logs_errors
def test_a_bug_is_answered_too() -> None:
    def run() -> Deferred[Outcome]:
        raise ZeroDivisionError

    reloads = Reloads(run, FakeClock(), spawn)
    assert succeeds(reloads.request()) == [Refused(("the reload met an error in the gateway, which its log has",))]
    assert succeeds(reloads.request())


class Gateway:
    """A Reloadable and its Health."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.draining = False
        self.committed = 0
        self.entered: list[str] = []
        self.operations = ProcessOperations(self, self, FakeClock(), spawn, self.around)
        self.report = ReloadReport(applied=("web.allowed_origins",))

    @contextmanager
    def around(self) -> Iterator[None]:
        self.entered.append("reloading")
        yield
        self.entered.append("ready")

    def reasons(self) -> Sequence[str]:
        return ["no Redis"]

    def prepare(self) -> Gateway:
        assert self.entered[-1] == "reloading"
        if self.problems:
            raise ConfigError(self.problems)
        return self

    def commit(self) -> None:
        self.committed += 1

    def reload(self) -> Outcome:
        (outcome,) = succeeds(Deferred.fromCoroutine(self.operations.reload()))
        return outcome


def test_a_process_commits_what_it_could_prepare() -> None:
    gateway = Gateway()
    assert gateway.reload() == Reloaded(gateway.report)
    assert gateway.committed == 1
    assert gateway.entered == ["reloading", "ready"]
    status = gateway.operations.node_status()
    assert (status.reasons, status.workers, status.draining) == (("no Redis",), (), False)
    assert status.last_reload is not None and status.last_reload.outcome == "loaded: in use now: web.allowed_origins"


@pytest.mark.logs_errors
def test_a_process_commits_nothing_that_has_a_problem() -> None:
    gateway = Gateway()
    gateway.problems = [Problem("gw.toml", "web.listen", "is bad"), Problem("", "", "is bad, too")]
    assert gateway.reload() == Refused(("gw.toml: web.listen: is bad", "is bad, too"))
    assert gateway.committed == 0


@pytest.mark.logs_errors
def test_a_process_that_stops_reloads_nothing() -> None:
    gateway = Gateway()
    gateway.draining = True
    assert gateway.reload() == Refused(("the gateway stops",))
    assert gateway.operations.node_status().draining


def test_the_text_of_a_report() -> None:
    report = ReloadReport(
        applied=("limits.ping_interval", "web.allowed_origins", "log.level"),
        files=("jwt.secret_file", "web.listen"),
        waiting=(("store.url", "in new workers"),),
    )
    assert list(report_lines(report)) == [
        "in use now: web.allowed_origins, log.level",
        "in use for new connections: limits.ping_interval",
        "files with new contents: jwt.secret_file, web.listen",
        "not in use yet: store.url: in new workers",
    ]
