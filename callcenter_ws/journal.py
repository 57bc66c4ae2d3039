"""What the gateway writes into its log about connections: one line each, without tokens and payloads."""

from __future__ import annotations

from collections.abc import Coroutine, Generator
from functools import partial
from types import coroutine as coroutine_function
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import CLOSES, CloseCode, Refusal

_log = Logger("callcenter_ws")
_BUG = "a background task met a bug"


class LogJournal:
    """Implements ``interfaces.Journal`` on Twisted's log."""

    def refused(self, who: str, refusal: Refusal) -> None:
        """A client asked for something and was refused."""
        _log.info("{who} is refused: {code}, {reason}", who=who, code=refusal.code.value, reason=refusal.message)

    def closed(self, who: str, code: CloseCode) -> None:
        """The gateway closed a connection."""
        _log.info("{who} is closed with {code} {name}", who=who, code=code.value, name=CLOSES[code].name)

    def bug(self, what: str) -> None:
        """The exception being handled is a bug."""
        _log.failure("{what} met a bug", what=what)

    def handshake_refused(self, ip: str, refusal: Refusal) -> None:
        """A peer asked for a WebSocket and got none."""
        _log.info(
            "a handshake from {ip} is refused: {code}, {reason}", ip=ip, code=refusal.code.value, reason=refusal.message
        )


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
