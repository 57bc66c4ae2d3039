"""Calls in the threads of the store, whose errors become refusals."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from twisted.logger import Logger

from callcenter_ws.broker.sqlite.group_commit import RETRY_SECONDS
from callcenter_ws.broker.sqlite.threads import Threads
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.runtime.sqlite import sqlite_reason

CLOSED = "the store is closed"

_log = Logger("callcenter_ws.broker")

P = ParamSpec("P")
T = TypeVar("T")


async def read(threads: Threads, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a call in a reading thread.

    Raises:
        Refusal: ``unavailable``: the file cannot be read.
    """
    try:
        return await threads.read(call, *args, **kwargs)
    except sqlite3.Error as error:
        _log.error("the store cannot be read: {reason}", reason=sqlite_reason(error))
        raise _unavailable("read", error) from None


async def written(call: Awaitable[T]) -> T:
    """Wait for a call in the writing thread.

    Raises:
        Refusal: ``unavailable``: the file cannot be written.
    """
    try:
        return await call
    except sqlite3.Error as error:
        raise _unavailable("written", error) from None


def _unavailable(what: str, error: sqlite3.Error) -> Refusal:
    text = f"the store cannot be {what}: {sqlite_reason(error)}"
    return Refusal(ErrorCode.UNAVAILABLE, text, retry_after=RETRY_SECONDS)
