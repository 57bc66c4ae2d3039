"""ReconnectingConnection: one connection to Redis that is made again whenever it is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from callcenter_ws.redis.connection import RedisConnection, RedisError, RedisUnavailable
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.client_service import QuietClientService

FIRST_RETRY_SECONDS = 0.1
MAX_RETRY_SECONDS = 2.0

_log = Logger()


class ReconnectingConnection:
    """Connects, prepares the connection, and connects again when it is lost.

    The connection is prepared when it has been made, by its protocol, and not by the ``prepareConnection`` of
    ``ClientService``: that raises ``NoTransition`` when the connection is lost, or the service is stopped, while a
    connection is being prepared (Twisted 26.10), as happens with a Redis that does not answer.

    Args:
        endpoint: it reports why a connection cannot be made.
        make: returns the protocol of a new connection, given what that has to call when the connection is made.
        prepare: prepares a new connection. If it raises, the connection is aborted and made again.
    """

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        make: Callable[[Callable[[RedisConnection], None]], RedisConnection],
        prepare: Callable[[RedisConnection], Awaitable[None]],
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._prepare = prepare
        self._backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._attempted_at = 0.0
        self._connection: RedisConnection | None = None
        factory = Factory.forProtocol(lambda: make(self._connected))
        factory.noisy = False
        self._service = QuietClientService(endpoint, factory, retryPolicy=self._retry_delay, clock=reactor)

    def start(self) -> None:
        """Connect, and stay connected."""
        self._attempted_at = self._reactor.seconds()
        self._service.startService()

    async def stop(self) -> None:
        """Close the connection; return when it is closed."""
        if self._connection is not None:
            self._connection.abort("the store is closed")
        await self._service.stopService()

    def _retry_delay(self, _attempt: int) -> float:
        now = self._reactor.seconds()
        # A connection that is lost as soon as it is made counts as a failed attempt.
        if now - self._attempted_at > MAX_RETRY_SECONDS:
            self._backoff.reset()
        delay = self._backoff.delay()
        self._attempted_at = now + delay
        return delay

    def _connected(self, connection: RedisConnection) -> None:
        self._connection = connection
        connection.lost.addCallback(self._lost)
        Deferred.fromCoroutine(self._prepare_or_abort(connection))

    def _lost(self, reason: str) -> str:
        self._connection = None
        return reason

    async def _prepare_or_abort(self, connection: RedisConnection) -> None:
        try:
            await self._prepare(connection)
        except (RedisUnavailable, RedisError) as error:
            connection.abort(str(error))
        except Exception:
            _log.failure("unhandled error in preparing a connection to Redis")
            connection.abort("the gateway failed to prepare it")
