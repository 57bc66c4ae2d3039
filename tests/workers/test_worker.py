"""What a worker does besides serving: it opens its doors, reports, and watches its supervisor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.task import Clock

from callcenter_ws.workers.handoff import WorkerHandoff
from callcenter_ws.workers.worker import DOOR_PATIENCE, LOOK_EVERY, Worker


class Reactor(Clock):
    """A clock that knows its readers, and begins to run when the test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []
        self.at_start: list[Callable[[], None]] = []
        self.addReader = self.readers.append
        self.removeReader = self.readers.remove
        self.callWhenRunning = self.at_start.append


class Scene:
    """A worker and the other ends of its pipes."""

    def __init__(self, replaces: bool) -> None:
        self.reactor = Reactor()
        self.reasons: list[str] = []
        self.opened = 0
        self._reports, status = os.pipe()
        lifeline, self._supervisor = os.pipe()
        handoff = WorkerHandoff(1, 1, 1, replaces, "/nonexistent", {})
        self.descriptors = [self._reports, status, lifeline, self._supervisor]
        self.worker = Worker(
            self.reactor, handoff, lambda: self.reasons, self._open, patience=5, lifeline=lifeline, status=status
        )

    def _open(self) -> None:
        self.opened += 1

    def start(self, *reasons: str) -> None:
        self.reasons = list(reasons)
        self.worker.startService()
        # The second is for signals, which are the test run's own.
        self.reactor.at_start[0]()

    def reports(self) -> list[str]:
        """What was reported since the last time."""
        os.set_blocking(self._reports, False)
        try:
            return os.read(self._reports, 4096).decode().splitlines()
        except BlockingIOError:
            return []


@pytest.fixture(params=[False, True])
def scene(request: pytest.FixtureRequest) -> Iterator[Scene]:
    made = Scene(replaces=request.param)
    yield made
    made.worker.stopService()
    assert made.reactor.getDelayedCalls() == []
    assert made.reactor.readers == []
    for descriptor in made.descriptors:
        os.close(descriptor)


def test_one_that_can_serve_says_so_at_once(scene: Scene) -> None:
    scene.start()
    assert scene.opened == 1
    assert scene.reports() == ["ready"]


def test_one_that_cannot_keeps_its_doors_shut_and_says_why(scene: Scene) -> None:
    scene.start("the store is away", "no keys\nyet")
    scene.reactor.advance(LOOK_EVERY)
    assert scene.opened == 0
    assert scene.reports() == ["the store is away; no keys yet"]
    scene.reasons = ["no keys"]
    scene.reactor.advance(LOOK_EVERY)
    assert scene.reports() == ["no keys"]
    scene.reasons = []
    scene.reactor.advance(LOOK_EVERY)
    assert scene.opened == 1
    assert scene.reports() == ["ready"]
    scene.reactor.advance(DOOR_PATIENCE)
    assert scene.opened == 1


@pytest.mark.parametrize(("scene", "opened"), [(False, 1), (True, 0)], indirect=["scene"])
def test_who_has_nobody_beside_it_does_not_wait_for_ever(scene: Scene, opened: int) -> None:
    scene.start("the store is away")
    scene.reactor.advance(DOOR_PATIENCE)
    assert scene.opened == opened
    assert scene.reports() == ["the store is away"]


def test_one_that_ends_before_it_is_ready_reports_no_more(scene: Scene) -> None:
    scene.start("the store is away")
    scene.reports()
    scene.worker.stopService()
    scene.reasons = []
    scene.reactor.advance(DOOR_PATIENCE)
    assert (scene.opened, scene.reports()) == (0, [])
    scene.worker.startService()
