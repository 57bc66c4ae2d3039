"""The two phases of a reload over all workers, with fake processes and a fake clock."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_reactor import FakeChild, FakeReactor
from twisted.internet.defer import Deferred

from callcenter_ws.config.changes import ReloadReport
from callcenter_ws.config.source import SettingsSource
from callcenter_ws.control.messages import Outcome, Refused, Reloaded
from callcenter_ws.workers.channel import Act, WorkerAnswer, WorkerRequest, decode_request, encode_answer
from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR, WorkerHandoff
from callcenter_ws.workers.heartbeat import HUNG_AFTER_SECONDS
from callcenter_ws.workers.node_reload import COMMIT_TIMEOUT_SECONDS, PREPARE_TIMEOUT_SECONDS
from callcenter_ws.workers.node_settings import NodeSettings
from callcenter_ws.workers.supervisor import STOP_NOW_TIMEOUT_SECONDS, Supervisor

pytestmark = pytest.mark.logs_errors

REPORT = ReloadReport(applied=("limits.ping_interval",))


class Node:
    """A supervisor with two fake workers that serve, and answer only pings by themselves."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "gw.toml"
        self.file.write_text("")
        source = SettingsSource(self.file, [], {}, demo=False, folder=folder)
        self.reactor = FakeReactor()
        self.supervisor = Supervisor(
            self.reactor,
            ["tiny"],
            NodeSettings(source, source.read(), source.load()),
            [],
            2,
            stop_timeout=5,
            unusable=lambda: None,
            environ={"RUNTIME_DIRECTORY": str(folder)},
        )
        self.supervisor.startService()
        for child in self.children:
            self.serve(child)

    @property
    def children(self) -> list[FakeChild]:
        return self.reactor.children

    def serve(self, child: FakeChild) -> None:
        child.write(STATUS_DESCRIPTOR, b"ready\n")

    def reload(self, ping_interval: float) -> list[Outcome]:
        """Begin a reload; return its outcome in a list."""
        self.file.write_text(f"[limits]\nping_interval = {ping_interval}\n")
        outcomes: list[Outcome] = []
        Deferred.fromCoroutine(self.supervisor.reload()).addCallback(outcomes.append)
        return outcomes

    def asked(self, child: FakeChild) -> list[WorkerRequest]:
        """Return the requests to a worker, but for pings, and forget them."""
        requests = [decode_request(line) for line in child.received]
        child.received.clear()
        for request in requests:
            if request.act is Act.PING:
                self.answer(child, request)
        return [request for request in requests if request.act is not Act.PING]

    def answer(self, child: FakeChild, request: WorkerRequest, *problems: str) -> None:
        report = REPORT if request.act is Act.PREPARE and not problems else None
        child.write(STATUS_DESCRIPTOR, encode_answer(WorkerAnswer(request.id, report, problems)))

    def answer_next(self, child: FakeChild, act: Act, *problems: str) -> WorkerRequest:
        """Answer the one request that a worker has received, which must be this one."""
        (request,) = self.asked(child)
        assert request.act is act
        self.answer(child, request, *problems)
        return request

    def wait(self, seconds: float) -> None:
        """Let time pass, in which the workers answer pings."""
        for _ in range(round(seconds)):
            self.reactor.advance(1)
            for child in self.children:
                assert self.asked(child) == []

    def numbers(self) -> list[int]:
        """Return the versions of the settings that the workers use."""
        return [slot.current.settings_version for slot in self.supervisor.slots if slot.current is not None]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(tmp_path)
    yield made
    made.supervisor.stopService()
    for child in made.children:
        if not child.has_ended:
            child.end()
    assert made.reactor.getDelayedCalls() == []


def test_no_worker_commits_before_all_have_prepared(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    prepared = node.answer_next(one, Act.PREPARE)
    assert "ping_interval = 21" in Path(prepared.settings).read_text()
    assert node.asked(one) == []
    assert node.numbers() == [1, 1]
    node.answer_next(two, Act.PREPARE)
    assert node.numbers() == [2, 2]
    for child in (one, two):
        node.answer_next(child, Act.COMMIT)
    assert outcome == [Reloaded(REPORT)]


def test_one_refusal_aborts_all(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    node.answer_next(one, Act.PREPARE)
    prepared = node.answer_next(two, Act.PREPARE, "gw.toml: is bad")
    for child in (one, two):
        node.answer_next(child, Act.ABORT)
    assert outcome == [Refused(("gw.toml: is bad",))]
    assert node.numbers() == [1, 1]
    assert not Path(prepared.settings).exists()


def test_a_worker_that_does_not_answer_in_time_aborts_all(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    node.answer_next(one, Act.PREPARE)
    (late,) = node.asked(two)
    node.wait(PREPARE_TIMEOUT_SECONDS - 1)
    assert outcome == []
    node.reactor.advance(1)
    for child in (one, two):
        requests = node.asked(child)
        assert [request.act for request in requests] == [Act.ABORT]
        node.answer(child, requests[0])
    assert outcome == [Refused((f"worker 2 (pid {two.pid}) has not read the settings within 30 s",))]
    # Its late answer changes nothing.
    node.answer(two, late)
    assert node.numbers() == [1, 1]


def test_a_worker_that_ends_while_it_prepares_is_restarted_with_the_new_settings(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    two.end(None, 9)
    node.reactor.advance(0)
    started = node.children[2]
    node.answer_next(one, Act.PREPARE)
    node.answer_next(one, Act.COMMIT)
    assert outcome == [Reloaded(REPORT)]
    # It was started before the others had agreed.
    assert settings_of(started).endswith("settings-1.toml")
    assert Path(settings_of(started)).exists()
    node.serve(started)
    node.answer_next(started, Act.PREPARE)
    node.answer_next(started, Act.COMMIT)
    assert node.numbers() == [2, 2]
    assert not Path(settings_of(started)).exists()


def test_a_worker_that_ends_before_it_commits_is_restarted_with_the_new_settings(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    node.answer_next(one, Act.PREPARE)
    node.answer_next(two, Act.PREPARE)
    node.answer_next(one, Act.COMMIT)
    two.end(None, 9)
    node.reactor.advance(0)
    assert outcome == [Reloaded(REPORT)]
    started = node.children[2]
    assert settings_of(started).endswith("settings-2.toml")
    node.serve(started)
    assert node.asked(started) == []


def test_if_all_workers_end_while_they_prepare_the_settings_are_refused(node: Node) -> None:
    outcome = node.reload(21)
    for child in tuple(node.children):
        child.end(None, 9)
    (refused,) = outcome
    assert isinstance(refused, Refused)
    assert "every worker has ended before it had read the settings" in refused.problems[0]


def test_without_a_worker_the_settings_are_for_those_that_are_started(node: Node) -> None:
    for child in tuple(node.children):
        child.end(None, 9)
    node.reactor.advance(0)
    (outcome,) = node.reload(21)
    assert isinstance(outcome, Reloaded)
    assert outcome.report.applied == ("limits.ping_interval",)
    assert "no worker runs" in outcome.report.warnings[0]
    for child in node.children[2:]:
        node.serve(child)
        node.answer_next(child, Act.PREPARE)
        node.answer_next(child, Act.COMMIT)
    assert node.numbers() == [2, 2]


def test_a_worker_that_cannot_take_over_the_settings_is_restarted(node: Node) -> None:
    one, two = node.children
    two.end(None, 9)
    node.reactor.advance(0)
    started = node.children[2]
    outcome = node.reload(21)
    node.answer_next(one, Act.PREPARE)
    node.answer_next(one, Act.COMMIT)
    assert outcome == [Reloaded(REPORT)]
    node.serve(started)
    node.answer_next(started, Act.PREPARE, "gw.toml: is bad")
    assert started.signals == ["TERM"]
    started.end()
    node.reactor.advance(1)
    assert settings_of(node.children[3]).endswith("settings-2.toml")


def test_a_worker_that_does_not_confirm_hangs(node: Node) -> None:
    one, two = node.children
    outcome = node.reload(21)
    for child in (one, two):
        node.answer_next(child, Act.PREPARE)
    node.answer_next(one, Act.COMMIT)
    two.received.clear()
    for _ in range(round(HUNG_AFTER_SECONDS) + 3):
        node.reactor.advance(1)
        node.asked(one)
    assert "KILL" in two.signals
    two.end(None, 9)
    assert outcome == [Reloaded(REPORT)]
    assert COMMIT_TIMEOUT_SECONDS > HUNG_AFTER_SECONDS


def test_the_supervisor_refuses_what_no_worker_need_read(node: Node) -> None:
    outcome = node.reload(-1)
    for child in node.children:
        node.answer_next(child, Act.ABORT)
    (refused,) = outcome
    assert isinstance(refused, Refused)
    assert "limits.ping_interval: -1.0 is out of range" in refused.problems[0]


def test_a_worker_that_does_not_react_to_a_second_signal_is_killed(node: Node) -> None:
    one, two = node.children
    node.supervisor.stopService()
    node.supervisor.stop_now()
    acts = {request.act: request for request in node.asked(one)}
    assert set(acts) == {Act.NODE_STOPS, Act.STOP_NOW}
    node.answer(one, acts[Act.STOP_NOW])
    node.reactor.advance(STOP_NOW_TIMEOUT_SECONDS)
    assert "KILL" not in one.signals
    assert two.signals == ["TERM", "KILL"]


def test_a_node_that_stops_reloads_nothing(node: Node) -> None:
    node.supervisor.stopService()
    assert node.reload(21) == [Refused(("the gateway stops",))]


def settings_of(child: FakeChild) -> str:
    """Return the path of the copy of the settings that a worker is started with."""
    handoff = WorkerHandoff.pop(dict(child.environ or {}))
    assert handoff is not None
    return handoff.settings
