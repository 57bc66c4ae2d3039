"""Runs coroutines in the background."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine as coroutine_function

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.runtime.clock import Clock

_log = Logger("callcenter_ws")

Task = Coroutine[Deferred[object], object, None]
"""A coroutine that waits for Deferreds only, and whose result is not used."""

Spawn = Callable[[Task], None]
"""Runs a coroutine in the background; an exception is logged as an unhandled error."""

_UNHANDLED_ERROR = "unhandled error in a background task"


def spawn(coroutine: Task) -> None:
    """Run a coroutine in the background; an exception is logged as an unhandled error. Implements Spawn.

    Most coroutines complete without waiting, and need no Deferred.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return
    except Exception:
        _log.failure(_UNHANDLED_ERROR)
        return
    Deferred.fromCoroutine(_resume(coroutine, awaited)).addErrback(
        lambda failure: _log.failure(_UNHANDLED_ERROR, failure=failure)
    )


@coroutine_function
def _resume(coroutine: Task, awaited: Deferred[object]) -> Generator[Deferred[object], object, None]:
    """Run the rest of a coroutine that waits for ``awaited``."""
    while True:
        try:
            result = yield awaited
        except GeneratorExit:
            # The garbage collector closes this, because nothing can fire the Deferred any more. It may have closed the
            # coroutine before this: then nothing can be thrown into it, but it can be closed again.
            coroutine.close()
            raise
        except BaseException as error:
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, result)
        try:
            awaited = step()
        except StopIteration:
            return


def next_turn(clock: Clock) -> Deferred[None]:
    """Return what has its result in the next turn of the reactor, after the input and the timers of this one."""
    begun: Deferred[None] = Deferred()
    clock.call_later(0, begun.callback, None)
    return begun
