"""One connection to a Redis: pipelined commands, replies in the same order."""

from __future__ import annotations

import os
import re
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
from callcenter_ws.runtime.transports import TwistedTransport

Reply = Any  # the type of a reply depends on the command

Argument = bytes | str | int | float

_FORBIDDEN_IN_SCRIPT = re.compile("user executing the script can't|ACL failure|no permissions? to ", re.IGNORECASE)
"""Matches the errors for a command within a script that the user may not run; their code is only ``ERR``.

The first alternative is the text of Redis 7.0; the others are those of Redis 7.2 and later, and of Valkey.
"""


class RedisError(Exception):
    """Redis answered a command with an error."""

    @property
    def kind(self) -> str:
        """The error's code, its first word, such as ``OOM`` or ``READONLY``; ``NOPERM`` also within scripts."""
        if _FORBIDDEN_IN_SCRIPT.search(str(self)):
            return "NOPERM"
        return str(self).partition(" ")[0]


class RedisUnavailable(Exception):
    """There is no usable connection, or it was lost before the reply arrived; the text is the reason."""


def redis_reason(error: object) -> str:
    """Return why there is no connection, in words that do not reveal where Redis is."""
    number = getattr(error, "osError", None)
    if isinstance(error, RedisUnavailable | RedisError):
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

    When a command has not been answered for ``timeout`` seconds, the connection is aborted and all pending commands
    fail.

    Args:
        timeout: seconds.
        on_push: receives what Redis sends once ``is_subscriber`` is set: messages, and replies to (un)subscribing.
        on_connected: called with this connection when it has been made.
        round_trip: called with the seconds from sending a command to its reply.

    Attributes:
        lost: fires with the reason when the connection has been lost or aborted.
        is_subscriber: whether replies are passed to ``on_push``.
    """

    transport: TwistedTransport

    def __init__(
        self,
        clock: Clock,
        timeout: float,
        *,
        on_push: Callable[[list[Reply]], None] | None = None,
        on_connected: Callable[[RedisConnection], None] | None = None,
        round_trip: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        self._clock = clock
        self._timeout = timeout
        self._on_push = on_push
        self._on_connected = on_connected
        self._round_trip = round_trip
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[Deferred[Reply], float]] = deque()
        self._last_received = 0.0
        self._timer: Timer | None = None
        self._reason: str | None = None
        self.is_subscriber = False
        self.lost: Deferred[str] = Deferred()

    def connectionMade(self) -> None:
        """Call ``on_connected``."""
        if self._on_connected is not None:
            self._on_connected(self)

    def send(self, *command: Argument) -> Deferred[Reply]:
        """Send a command; fires with its reply.

        Fails with ``RedisError`` if Redis answers with an error, with ``RedisUnavailable`` if there will be no answer.
        """
        if self._reason is not None:
            return fail(RedisUnavailable(self._reason))
        answer: Deferred[Reply] = Deferred()
        self._pending.append((answer, self._clock.monotonic()))
        if self._timer is None:
            self._timer = self._clock.call_later(self._timeout, self._check_timeout)
        self._write(command)
        return answer

    def send_subscriber_command(self, *command: Argument) -> None:
        """Send a command whose reply is passed to ``on_push``."""
        if self._reason is None:
            self._write(command)

    def _write(self, command: tuple[Argument, ...]) -> None:
        self.transport.write(hiredis.pack_command(command))  # type: ignore[arg-type]  # declared as a tuple of one item

    def abort(self, reason: str) -> None:
        """Abort the connection; pending commands fail with the reason."""
        if self._reason is None:
            self._end(reason)
            self.transport.abortConnection()

    def dataReceived(self, data: bytes) -> None:
        """Parse what was received."""
        reader = self._reader
        self._last_received = self._clock.monotonic()
        try:
            reader.feed(data)
            while self._reason is None and (reply := reader.gets()) is not False:
                self._reply_received(reply)
        except hiredis.ProtocolError as error:
            self.abort(f"what it answers is not Redis's protocol: {error}")

    def _reply_received(self, reply: Reply) -> None:
        if self.is_subscriber and self._on_push is not None:
            self._on_push(reply)
            return
        if not self._pending:
            self.abort("it sent a reply without a command")
            return
        answer, sent_at = self._pending.popleft()
        self._round_trip(self._last_received - sent_at)
        if isinstance(reply, hiredis.ReplyError):
            answer.errback(RedisError(str(reply)))
        else:
            answer.callback(reply)

    def _check_timeout(self) -> None:
        """Abort if the oldest pending command has timed out."""
        self._timer = None
        if not self._pending:
            return
        # A long reply that is still being received does not count as a timeout.
        left = max(self._pending[0][1], self._last_received) + self._timeout - self._clock.monotonic()
        if left <= 0:
            self.abort(f"it has not answered for {self._timeout:g} s")
        else:
            self._timer = self._clock.call_later(left, self._check_timeout)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail the pending commands, and fire ``lost`` with the reason."""
        if self._reason is None:
            self._end(redis_reason(reason.value))

    def _end(self, reason: str) -> None:
        self._reason = reason
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        pending, self._pending = self._pending, deque()
        for answer, _ in pending:
            answer.errback(RedisUnavailable(reason))
        self.lost.callback(reason)
