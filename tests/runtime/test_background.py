"""``spawn``: coroutines in the background, their errors, and the end of those that wait for ever."""

from __future__ import annotations

import gc
import sys
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogEvent, Logger

from callcenter_ws.runtime import background
from callcenter_ws.runtime.background import spawn


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[BaseException | None]:
    """The exceptions that were raised where none can be, as when an object is collected."""
    found: list[BaseException | None] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda given: found.append(given.exc_value))
    return found


def test_a_coroutine_that_waits_for_ever_is_collected_in_silence(unraisable: list[BaseException | None]) -> None:
    ended: list[str] = []

    async def wait() -> None:
        # Only the task refers to it, which it refers to: a cycle.
        never: Deferred[None] = Deferred()
        try:
            await never
        finally:
            ended.append("wait")

    async def run() -> None:
        try:
            await wait()
        finally:
            ended.append("run")

    gc.collect()
    spawn(run())
    assert ended == []
    gc.collect()
    assert ended == ["wait", "run"]
    assert unraisable == []


def test_what_the_awaited_deferreds_give_reaches_the_coroutine() -> None:
    first: Deferred[Any] = Deferred()
    second: Deferred[Any] = Deferred()
    third: Deferred[Any] = Deferred()
    seen: list[Any] = []

    async def run() -> None:
        seen.append(await first)
        try:
            await second
        except ValueError as error:
            seen.append(str(error))
        try:
            await third
        except CancelledError:
            seen.append("cancelled")

    spawn(run())
    first.callback(1)
    second.errback(ValueError("two"))
    third.cancel()
    assert seen == [1, "two", "cancelled"]


@pytest.mark.parametrize("waits", [False, True])
def test_an_error_is_logged(monkeypatch: pytest.MonkeyPatch, waits: bool) -> None:
    logged: list[LogEvent] = []
    monkeypatch.setattr(background, "_log", Logger("test", observer=logged.append))
    begun: Deferred[None] = Deferred()

    async def run() -> None:
        if waits:
            await begun
        raise RuntimeError("a mistake")

    spawn(run())
    begun.callback(None)
    assert [(event["log_format"], str(event["log_failure"].value)) for event in logged] == [
        ("unhandled error in a background task", "a mistake")
    ]
