"""ReconnectingConnection: made again when lost; stopped or lost at any moment, also while it is being prepared."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import pytest_twisted
from redis_nodes import until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from callcenter_ws.redis import reconnecting
from callcenter_ws.redis.address import redis_address
from callcenter_ws.redis.connection import RedisConnection, RedisUnavailable
from callcenter_ws.redis.endpoint import RedisEndpoint
from callcenter_ws.redis.reconnecting import ReconnectingConnection
from callcenter_ws.runtime.clock import ReactorClock

Prepare = Callable[[RedisConnection], Awaitable[None]]


class Silent(Protocol):
    """A server that never answers; ``peers`` are its connections."""

    def connectionMade(self) -> None:
        self.factory.peers.append(self)
        self.factory.count += 1

    def connectionLost(self, reason: Failure) -> None:
        self.factory.peers.remove(self)


class Server:
    """A server that never answers, and connections to it."""

    def __init__(self) -> None:
        self.factory: Any = Factory.forProtocol(Silent)
        self.factory.noisy = False
        self.factory.peers = []
        self.factory.count = 0
        self._listening = reactor.listenTCP(0, self.factory, interface="127.0.0.1")
        self.port = self._listening.getHost().port
        self.connections: list[ReconnectingConnection] = []

    @property
    def peers(self) -> list[Silent]:
        return list(self.factory.peers)

    @property
    def count(self) -> int:
        """How many connections have been made."""
        return self.factory.count

    def connect(self, prepare: Prepare) -> ReconnectingConnection:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        connection = ReconnectingConnection(reactor, endpoint, make, prepare)
        connection.start()
        self.connections.append(connection)
        return connection

    async def close(self) -> None:
        for connection in self.connections:
            await connection.stop()
        await until(lambda: not self.peers)
        await self._listening.stopListening()


def make(made: Callable[[RedisConnection], None]) -> RedisConnection:
    return RedisConnection(ReactorClock(reactor), 30.0, on_connected=made)


async def never_answered(connection: RedisConnection) -> None:
    await connection.send("PING")


async def prepared(connection: RedisConnection) -> None:
    return


@pytest_twisted.async_yield_fixture
async def silent() -> AsyncIterator[Server]:
    server = Server()
    yield server
    await server.close()


@pytest_twisted.ensureDeferred
async def test_stopped_while_it_is_prepared(silent: Server) -> None:
    connection = silent.connect(never_answered)
    await until(lambda: silent.peers and connection._connection)
    await connection.stop()
    await until(lambda: not silent.peers)
    assert connection._connection is None
    assert silent.count == 1


@pytest_twisted.ensureDeferred
async def test_lost_while_it_is_prepared(silent: Server) -> None:
    silent.connect(never_answered)
    for count in (1, 2, 3):
        await until(lambda count=count: silent.count == count and silent.peers)
        silent.peers[0].transport.abortConnection()
    await until(lambda: silent.count == 4)


@pytest_twisted.ensureDeferred
async def test_stopped_in_the_moment_in_which_it_is_lost(silent: Server) -> None:
    for prepare in (never_answered, prepared):
        connection = silent.connect(prepare)
        await until(lambda: silent.peers)
        await until(lambda connection=connection: connection._connection)
        found = connection._connection
        assert found is not None
        found.abort("by the test")
        await connection.stop()
        await until(lambda: not silent.peers)


@pytest_twisted.ensureDeferred
async def test_stopped_before_it_is_connected(silent: Server) -> None:
    connection = silent.connect(prepared)
    await connection.stop()
    assert connection._connection is None
    connection.start()
    await until(lambda: connection._connection)


@pytest_twisted.ensureDeferred
async def test_lost_after_it_was_prepared(silent: Server) -> None:
    made: list[RedisConnection] = []

    async def note(connection: RedisConnection) -> None:
        made.append(connection)

    connection = silent.connect(note)
    for count in (1, 2, 3):
        await until(lambda count=count: len(made) == count and silent.peers)
        assert connection._connection is made[-1]
        silent.peers[0].transport.loseConnection()
    await until(lambda: len(made) == 4)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_unhandled_error_in_preparing_is_logged_and_the_connection_is_made_again(
    silent: Server, error_log: Any
) -> None:
    errors = iter([ZeroDivisionError(), RedisUnavailable("expected")])

    async def prepare(connection: RedisConnection) -> None:
        for error in errors:
            raise error

    connection = silent.connect(prepare)
    await until(lambda: silent.count == 3 and connection._connection)
    failures = [event["log_failure"].type for event in error_log.events if "log_failure" in event]
    assert failures == [ZeroDivisionError]


@pytest_twisted.ensureDeferred
async def test_stopped_while_sentinels_are_asked(silent: Server) -> None:
    address = redis_address(f"redis+sentinel://127.0.0.1:{silent.port},127.0.0.1:{silent.port}/mymaster")
    failures: list[str] = []
    endpoint = RedisEndpoint(
        reactor,
        ReactorClock(reactor),
        address,
        ca_file=None,
        timeout=30.0,
        on_failure=lambda reason, detail: failures.append(reason),
    )
    connection = ReconnectingConnection(reactor, endpoint, make, prepared)
    connection.start()
    await until(lambda: silent.peers)
    await connection.stop()
    assert silent.count == 1
    await until(lambda: not silent.peers)
    assert len(failures) == 1


class FailingEndpoint:
    """An endpoint whose attempts fail at once, or when ``waiting`` does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.attempts: list[float] = []
        self.waiting: Deferred[Any] | None = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts.append(self._clock.seconds())
        return self.waiting or fail(ConnectionRefusedError())


def test_attempts_become_rarer_until_one_has_lasted(monkeypatch: pytest.MonkeyPatch) -> None:
    without_jitter = partial(reconnecting.Backoff, uniform=lambda low, high: high)
    for name, value in {"FIRST_RETRY_SECONDS": 0.1, "MAX_RETRY_SECONDS": 2.0, "Backoff": without_jitter}.items():
        monkeypatch.setattr(reconnecting, name, value)
    clock = Clock()
    endpoint = FailingEndpoint(clock)
    ReconnectingConnection(clock, endpoint, make, prepared).start()
    clock.pump([0.05] * 200)
    delays = [round(after - before, 1) for before, after in pairwise(endpoint.attempts)]
    assert delays[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    endpoint.waiting = waiting = Deferred()
    clock.pump([0.05] * 100)
    endpoint.waiting = None
    count = len(endpoint.attempts)
    waiting.errback(Failure(ConnectionDone()))
    clock.pump([0.05] * 3)
    assert len(endpoint.attempts) == count + 1
