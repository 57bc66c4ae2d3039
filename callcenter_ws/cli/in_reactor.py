"""Runs the part of a command that uses the network in Twisted's reactor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

from twisted.internet.defer import Deferred

from callcenter_ws.runtime.reactor import Reactor

T = TypeVar("T")


def run_in_reactor(work: Callable[[Reactor], Awaitable[T]]) -> T:
    """Run ``work`` in the reactor and return its result or raise its exception.

    Raises:
        KeyboardInterrupt: a signal ended it.
    """
    # This import installs the reactor, which only the commands that use the network need.
    from twisted.internet.task import react

    results: list[T] = []
    errors: list[Exception] = []

    async def finish(reactor: Reactor) -> None:
        interrupted: list[bool] = []
        reactor.addSystemEventTrigger("before", "shutdown", interrupted.append, True)
        try:
            result = await work(reactor)
        except Exception as error:
            # react would log it as an unhandled error. After an interrupt, errors of the teardown are expected.
            if not interrupted:
                errors.append(error)
        else:
            if not interrupted:
                results.append(result)

    with suppress(SystemExit):
        react(lambda reactor: Deferred.fromCoroutine(finish(reactor)))
    if errors:
        raise errors[0]
    if not results:
        raise KeyboardInterrupt
    return results[0]
