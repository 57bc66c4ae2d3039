"""The heartbeat: which workers count as hung, with a fake clock."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from fake_reactor import FakeChild, FakeReactor

from callcenter_ws.workers.channel import Act, WorkerAnswer, decode_request, encode_answer
from callcenter_ws.workers.handoff import STATUS_DESCRIPTOR, SUPERVISOR_DESCRIPTOR
from callcenter_ws.workers.heartbeat import (
    HUNG_AFTER_SECONDS,
    INTERVAL_SECONDS,
    START_TIMEOUT_SECONDS,
    TRACEBACK_SECONDS,
    Heartbeat,
)
from callcenter_ws.workers.process import WorkerProcess

pytestmark = pytest.mark.logs_errors


def answer(line: bytes, not_ready_reason: str = "") -> bytes:
    """Return the answer to a ping."""
    request = decode_request(line)
    assert request.act is Act.PING
    return encode_answer(WorkerAnswer(request.id, not_ready_reason=not_ready_reason))


class Watched:
    """A heartbeat over one fake process."""

    def __init__(self) -> None:
        self.reactor = FakeReactor()
        self.process = WorkerProcess(self.reactor, 1, 1, lambda: None, lambda process: None)
        descriptors = {SUPERVISOR_DESCRIPTOR: "w", STATUS_DESCRIPTOR: "r"}
        self.reactor.spawnProcess(self.process, "tiny", ["tiny"], childFDs=descriptors)
        self.heartbeat = Heartbeat(self.reactor, lambda: [] if self.child.has_ended else [self.process])
        self.heartbeat.start()

    @property
    def child(self) -> FakeChild:
        return self.reactor.children[0]

    def wait(self, seconds: float) -> None:
        """Let time pass in the heartbeat's intervals."""
        for _ in range(round(seconds / INTERVAL_SECONDS)):
            self.reactor.advance(INTERVAL_SECONDS)

    def report(self) -> None:
        self.child.write(STATUS_DESCRIPTOR, b"ready\n")


@pytest.fixture
def watched() -> Iterator[Watched]:
    made = Watched()
    yield made
    made.child.end(None, 9)
    made.heartbeat.stop()
    assert made.reactor.getDelayedCalls() == []


def test_a_worker_that_answers_is_left_alone(watched: Watched) -> None:
    watched.report()
    watched.child.answer = answer
    watched.wait(10 * HUNG_AFTER_SECONDS)
    assert watched.child.signals == []


def test_a_worker_that_does_not_answer_is_killed_once(watched: Watched) -> None:
    watched.report()
    watched.wait(HUNG_AFTER_SECONDS)
    assert watched.child.signals == []
    watched.wait(INTERVAL_SECONDS)
    assert watched.child.signals == [signal.SIGUSR2]
    watched.wait(TRACEBACK_SECONDS)
    assert watched.child.signals == [signal.SIGUSR2, "KILL"]
    watched.wait(3 * HUNG_AFTER_SECONDS)
    assert watched.child.signals == [signal.SIGUSR2, "KILL"]


def test_a_late_answer_is_an_answer(watched: Watched) -> None:
    watched.report()
    for _ in range(4):
        watched.wait(HUNG_AFTER_SECONDS - INTERVAL_SECONDS)
        watched.child.write(STATUS_DESCRIPTOR, answer(watched.child.received[-1]))
    assert watched.child.signals == []
    assert len(watched.child.received) == 4


def test_answers_tell_whether_the_worker_serves(watched: Watched) -> None:
    watched.report()
    assert watched.process.not_ready_reason == ""
    watched.child.answer = lambda line: answer(line, "Redis cannot be reached")
    watched.wait(INTERVAL_SECONDS)
    assert watched.process.not_ready_reason == "Redis cannot be reached"
    # It accepts connections all the same, and is not replaced.
    assert watched.process.ready
    watched.child.answer = answer
    watched.wait(INTERVAL_SECONDS)
    assert watched.process.not_ready_reason == ""


def test_before_a_worker_has_served_its_own_reports_count(watched: Watched) -> None:
    watched.child.write(STATUS_DESCRIPTOR, b"not connected\n")
    watched.child.answer = answer
    watched.wait(INTERVAL_SECONDS)
    assert watched.process.not_ready_reason == "not connected"
    watched.report()
    assert watched.process.not_ready_reason == ""


def test_only_one_answer_is_due_at_a_time(watched: Watched) -> None:
    watched.report()
    watched.wait(HUNG_AFTER_SECONDS)
    assert len(watched.child.received) == 1


def test_a_worker_may_take_longer_to_start(watched: Watched) -> None:
    watched.wait(START_TIMEOUT_SECONDS - INTERVAL_SECONDS)
    assert watched.child.signals == []
    # The time of its start does not count afterwards.
    watched.report()
    watched.wait(HUNG_AFTER_SECONDS)
    assert watched.child.signals == []


def test_a_worker_that_hangs_while_it_starts_is_killed(watched: Watched) -> None:
    watched.wait(START_TIMEOUT_SECONDS)
    assert watched.child.signals == [signal.SIGUSR2]


def test_time_in_which_the_supervisor_stood_still_does_not_count(watched: Watched) -> None:
    watched.report()
    for _ in range(3):
        watched.reactor.advance(100 * HUNG_AFTER_SECONDS)
    assert watched.child.signals == []
    watched.wait(HUNG_AFTER_SECONDS)
    assert watched.child.signals == [signal.SIGUSR2, "KILL"]


def test_a_worker_that_stops_is_not_watched(watched: Watched) -> None:
    watched.report()
    watched.process.is_stopping = True
    watched.wait(START_TIMEOUT_SECONDS)
    assert watched.child.signals == []
    assert watched.child.received == []
