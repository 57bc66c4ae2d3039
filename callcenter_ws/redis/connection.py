"""One connection to a Redis: commands go out, replies come in, in the same order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from OpenSSL import SSL
from service_identity import VerificationError
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionClosed, DNSLookupError, TimeoutError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from callcenter_ws.runtime.clock import Clock, Timer

Argument = bytes | str | int | float


class RedisError(Exception):
    """Redis answered with an error. The first word says which."""

    @property
    def kind(self) -> str:
        """The error's code, as ``OOM`` or ``READONLY``."""
        if "The user executing the script can't" in str(self):
            # Redis 7.0 has no code for what is forbidden within a script.
            return "NOPERM"
        return str(self).partition(" ")[0]


class RedisAway(Exception):
    """There is no connection, or it has broken before the reply came; the text says why."""


def reason_of(error: object) -> str:
    """Why there is no connection, for a person who is not to learn where Redis is."""
    number = getattr(error, "osError", None)
    if isinstance(error, RedisAway | RedisError):
        return str(error)
    if isinstance(number, int):
        return os.strerror(number)
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, DNSLookupError):
        return "its name is not known"
    if isinstance(error, SSL.Error):
        return f"TLS: {', '.join(part[-1] for part in error.args[0])}" if error.args else "TLS failed"
    if isinstance(error, VerificationError):
        return "TLS: its certificate is for another name"
    if isinstance(error, ConnectionClosed):
        return "it closed the connection"
    return type(error).__name__


class RedisConnection(Protocol):
    """Speaks RESP2 (https://redis.io/docs/latest/develop/reference/protocol-spec/), parsed by ``hiredis``.

    A Redis that leaves a command unanswered for ``timeout`` seconds counts as gone: the connection is aborted, and
    whoever waits is told.

    Args:
        timeout: seconds.
        pushed: given what comes without having been asked for, once ``listens`` is set: announcements, and the answers
            to (un)subscribing.

    Attributes:
        lost: fires with the reason when the connection is gone.
        listens: it is a subscriber's; replies are for ``pushed``.
    """

    def __init__(self, clock: Clock, timeout: float, pushed: Callable[[list[Any]], None] | None = None) -> None:
        self._clock = clock
        self._timeout = timeout
        self._pushed = pushed
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[Deferred[Any], float]] = deque()
        self._heard_at = 0.0
        self._watch: Timer | None = None
        self._reason: str | None = None
        self.listens = False
        self.lost: Deferred[str] = Deferred()

    @property
    def gone(self) -> bool:
        """Whether nothing more can be sent."""
        return self._reason is not None

    def send(self, *command: Argument) -> Deferred[Any]:
        """Send a command; fires with its reply.

        Fails with ``RedisError`` when that is an error, ``RedisAway`` when there will be none.
        """
        if self._reason is not None:
            return fail(RedisAway(self._reason))
        answer: Deferred[Any] = Deferred()
        self._waiting.append((answer, self._clock.monotonic()))
        if self._watch is None:
            self._watch = self._clock.call_later(self._timeout, self._look)
        self._write(command)
        return answer

    def tell(self, *command: Argument) -> None:
        """Send a command whose answer is for ``pushed``."""
        if self._reason is None:
            self._write(command)

    @property
    def _socket(self) -> Any:
        # Any: mypy cannot see what Twisted's interfaces promise.
        return self.transport

    def _write(self, command: tuple[Any, ...]) -> None:
        self._socket.write(hiredis.pack_command(command))

    def abort(self, reason: str) -> None:
        """Give the connection up; whoever waits is told the reason."""
        if self._reason is None:
            self._end(reason)
            self._socket.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Take what came from the socket."""
        reader = self._reader
        self._heard_at = self._clock.monotonic()
        try:
            reader.feed(data)
            while self._reason is None and (reply := reader.gets()) is not False:
                self._take(reply)
        except hiredis.ProtocolError as error:
            self.abort(f"what it answers is not Redis's protocol: {error}")

    def _take(self, reply: Any) -> None:
        if self.listens and self._pushed is not None:
            self._pushed(reply)
            return
        if not self._waiting:
            self.abort("it answered what nobody asked")
            return
        answer, _ = self._waiting.popleft()
        if isinstance(reply, hiredis.ReplyError):
            answer.errback(RedisError(str(reply)))
        else:
            answer.callback(reply)

    def _look(self) -> None:
        """See whether the oldest command waits for too long."""
        self._watch = None
        if not self._waiting:
            return
        # A long reply is no silence.
        left = max(self._waiting[0][1], self._heard_at) + self._timeout - self._clock.monotonic()
        if left <= 0:
            self.abort(f"it has not answered for {self._timeout:g} s")
        else:
            self._watch = self._clock.call_later(left, self._look)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The socket is closed."""
        if self._reason is None:
            self._end(reason_of(reason.value))

    def _end(self, reason: str) -> None:
        self._reason = reason
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        waiting, self._waiting = self._waiting, deque()
        for answer, _ in waiting:
            answer.errback(RedisAway(reason))
        self.lost.callback(reason)
