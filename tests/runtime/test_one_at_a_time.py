"""OneAtATime: calls with one key in order, bounds, and nothing left of a key that is idle."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime import one_at_a_time
from callcenter_ws.runtime.one_at_a_time import OneAtATime
from callcenter_ws.testing import FakeClock


class Calls:
    """Calls that return when the test says so.

    Attributes:
        started: the names of the calls in the order in which they were made.
        results: what ``run`` returned or raised for each name.
    """

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.queue = OneAtATime(self.clock, "calls")
        self.started: list[str] = []
        self.results: dict[str, Any] = {}
        self._running: dict[str, Deferred[str]] = {}

    def run(self, key: str, name: str, size: int = 1) -> None:
        def call() -> Deferred[str]:
            self.started.append(name)
            self._running[name] = Deferred()
            return self._running[name]

        running = Deferred.fromCoroutine(self.queue.run(key, size, call))
        running.addBoth(lambda result: self.results.update({name: getattr(result, "value", result)}))

    def end(self, name: str, result: Any = "done") -> None:
        running = self._running.pop(name)
        if isinstance(result, Exception):
            running.errback(result)
        else:
            running.callback(result)
        self.clock.turn()


@pytest.fixture
def calls() -> Calls:
    return Calls()


def test_calls_with_one_key_follow_each_other(calls: Calls) -> None:
    for name in ("a1", "a2", "b1", "a3"):
        calls.run(name[0], name)
    assert calls.started == ["a1", "b1"]
    calls.end("a1")
    calls.run("a", "a4")
    assert calls.started == ["a1", "b1", "a2"]
    for name in ("a2", "a3", "a4", "b1"):
        calls.end(name)
    assert calls.started == ["a1", "b1", "a2", "a3", "a4"]
    assert len(calls.queue) == 0


def test_a_call_that_fails_lets_the_next_one_run(calls: Calls) -> None:
    calls.run("a", "a1")
    calls.run("a", "a2")
    error = ValueError("a1")
    calls.end("a1", error)
    assert calls.results == {"a1": error}
    calls.end("a2")
    assert calls.results["a2"] == "done"
    assert len(calls.queue) == 0


def test_the_result_is_used_before_the_next_call_is_made(calls: Calls) -> None:
    calls.run("a", "a1")
    calls.run("a", "a2")
    calls._running.pop("a1").callback("done")
    assert (calls.results, calls.started) == ({"a1": "done"}, ["a1"])
    # One that comes in this moment does not overtake the one that waits.
    calls.run("a", "a3")
    calls.clock.turn()
    assert calls.started == ["a1", "a2"]


@pytest.mark.parametrize(
    ("limit", "value", "is_per_key"),
    [("MAX_WAITING_OF_KEY", 2, True), ("MAX_WAITING_CALLS", 2, False), ("MAX_WAITING_CALL_BYTES", 20, False)],
)
def test_bounds(calls: Calls, monkeypatch: pytest.MonkeyPatch, limit: str, value: int, is_per_key: bool) -> None:
    monkeypatch.setattr(one_at_a_time, limit, value)
    for name in ("a1", "b1", "a2", "a3", "a4"):
        calls.run(name[0], name, 10)
    refusal = calls.results.pop("a4")
    assert isinstance(refusal, Refusal)
    assert (refusal.code, calls.results) == (ErrorCode.OVERLOADED, {})
    calls.run("b", "b2", 10)
    assert ("b2" in calls.results) is not is_per_key
    # There is room again once the waiting calls have been made.
    for name in ("a1", "a2", "a3"):
        calls.end(name)
    calls.run("a", "a5")
    calls.run("a", "a6", 10)
    calls.end("a5")
    calls.end("a6")
    assert calls.results["a6"] == "done"
