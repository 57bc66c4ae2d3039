"""ReconnectingConnection: one connection that comes back by itself.

Twisted's ``ClientService`` would do, but it fails when it is stopped while a connection is being prepared
(``NoTransition`` in Twisted 26.10), which a Redis that does not answer makes likely.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from callcenter_ws.redis.connection import RedisAway, RedisConnection, RedisError
from callcenter_ws.runtime.clock import Clock

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds between two tries to connect."""

_log = Logger("callcenter_ws.broker")


class ReconnectingConnection:
    """Connects, prepares the connection, waits for its end, and begins anew.

    Args:
        make: makes the protocol of a new connection.
        prepare: greets the peer. What it raises ends the connection; the peer is tried again.
    """

    def __init__(
        self,
        clock: Clock,
        endpoint: Any,
        make: Callable[[], RedisConnection],
        prepare: Callable[[RedisConnection], Awaitable[None]],
    ) -> None:
        self._clock = clock
        self._endpoint = endpoint
        self._factory: Any = Factory.forProtocol(make)
        self._factory.noisy = False
        self._prepare = prepare
        self._stopped = True
        self._connection: RedisConnection | None = None
        self._waits_for: Deferred[Any] | None = None
        self._ended: Deferred[None] | None = None

    def start(self) -> None:
        """Connect, and stay connected."""
        self._stopped = False
        self._ended = Deferred.fromCoroutine(self._run())
        self._ended.addErrback(lambda failure: _log.failure("keeping a connection to Redis met a bug", failure))

    async def stop(self) -> None:
        """Close the connection."""
        self._stopped = True
        if self._connection is not None:
            self._connection.abort("the store is closed")
        if self._waits_for is not None:
            self._waits_for.cancel()
        if self._ended is not None:
            await self._ended

    async def _run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stopped:
            began = self._clock.monotonic()
            with suppress(Exception):
                # Whatever keeps us from it, the endpoint and ``prepare`` have said so.
                await self._once()
            # One that breaks as soon as it is made is no better than none.
            lasted = self._clock.monotonic() - began > LONGEST_PAUSE
            pause = FIRST_PAUSE if lasted else min(LONGEST_PAUSE, pause * 1.6)
            if not self._stopped:
                await self._pause(pause * random.uniform(0.75, 1.0))  # noqa: S311 - it spreads load, it keeps no secret

    async def _once(self) -> None:
        connecting = self._waits_for = self._endpoint.connect(self._factory)
        connection: RedisConnection = await connecting
        self._waits_for = None
        self._connection = connection
        try:
            await self._prepare(connection)
            await connection.lost
        except (RedisAway, RedisError) as error:
            connection.abort(str(error))
            raise
        except BaseException:
            connection.abort("greeting it met a bug")
            _log.failure("greeting Redis met a bug")
            raise
        finally:
            self._connection = None

    async def _pause(self, seconds: float) -> None:
        waiting = self._waits_for = Deferred()
        timer = self._clock.call_later(seconds, waiting.callback, None)
        try:
            await waiting
        except CancelledError:
            timer.cancel()
        finally:
            self._waits_for = None
