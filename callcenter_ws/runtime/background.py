"""Coroutines in the background."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import coroutine as coroutine_function
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

_log = Logger("callcenter_ws")

Spawn = Callable[[Coroutine[Any, Any, None]], None]
"""Runs a coroutine to its end in the background; what it raises is logged as a bug."""


_BUG = "a background task met a bug"


def spawn(coroutine: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine in the background; what it raises is a bug and is logged as one (``interfaces.Spawn``).

    Most have nothing to wait for, and end here: they need no Deferred.
    """
    try:
        awaited = coroutine.send(None)
    except StopIteration:
        return
    except Exception:
        _log.failure(_BUG)
        return
    Deferred.fromCoroutine(_rest(coroutine, awaited)).addErrback(lambda failure: _log.failure(_BUG, failure=failure))


@coroutine_function
def _rest(begun: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """What is left of a coroutine that waits for ``awaited``."""
    while True:
        try:
            answer = yield awaited
        except BaseException as error:
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, answer)
        try:
            awaited = step()
        except StopIteration:
            return
