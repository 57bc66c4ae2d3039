"""RedisClient: one connection to Redis for commands and one for messages of channels.

Both connections are made again when they are lost. Commands are not repeated: they fail with ``Refusal``, and the
caller decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.redis.address import RedisAddress
from callcenter_ws.redis.connection import Argument, RedisConnection, RedisError, RedisUnavailable, Reply
from callcenter_ws.redis.counters import RedisCounters
from callcenter_ws.redis.endpoint import RedisEndpoint
from callcenter_ws.redis.reconnecting import ReconnectingConnection
from callcenter_ws.redis.scripts import ALL, Script
from callcenter_ws.runtime.clock import ReactorClock, Timer
from callcenter_ws.runtime.reactor import Reactor

_RETRY_AFTER_SECONDS = 1.0

CLOCK_TOLERANCE_SECONDS = 0.25
CLOCK_WARNING_SECONDS = 2.0
"""By how much this machine's clock may differ from Redis's without being corrected, and without a warning."""

_NO_PARENT = "0" * 40

_NO_REDIS = "the server is not a Redis"

_REASONS = {
    "OOM": "Redis is out of memory",
    "READONLY": "this Redis is a replica, nothing can be written",
    "MISCONF": "Redis cannot write to its disk",
    "NOREPLICAS": "Redis has too few replicas that keep up",
    "LOADING": "Redis is still reading its data",
    "MASTERDOWN": "Redis has lost its master",
    "BUSY": "Redis is busy with a script",
    "NOAUTH": "Redis requires a password",
    "WRONGPASS": "Redis rejected the user name or password",
    "NOPERM": "the Redis user lacks permission for this command",
    "WRONGTYPE": "a key with store.key_prefix has an unexpected type",
}
"""Explanations of error codes."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class Dataset:
    """Identifies the data that a Redis holds.

    Attributes:
        replication_id: ``master_replid``: changes when Redis is started and when a replica is promoted.
        is_complete: whether after a start Redis holds all writes that it ever acknowledged, as far as its settings
            promise that: it reads an append-only file, and is not a promoted replica, which may have lagged.
    """

    replication_id: str
    is_complete: bool


class RedisClient:
    """Connects to a Redis, stays connected, and reports why it cannot be used.

    Args:
        ca_file: PEM certificates by which a TLS server's certificate is verified; None: those of the system.
        timeout: seconds after which a Redis that does not answer counts as unavailable.
        channels: returns the channels to subscribe to whenever the subscriber connection has been made.
        on_message: called with a channel and a message.
        on_subscribed: called with a channel when its subscription has been confirmed.
        on_connected: called whenever the connection for commands has been made.

    Attributes:
        dataset: of the Redis that was connected last.
        clock_error: seconds to add to this machine's time to get Redis's; 0 if they differ by less than
            ``CLOCK_TOLERANCE_SECONDS``.
        counters: for the metrics.
    """

    def __init__(
        self,
        reactor: Reactor,
        address: RedisAddress,
        *,
        ca_file: Path | None,
        timeout: float,
        channels: Callable[[], list[str]],
        on_message: Callable[[str, bytes], None],
        on_subscribed: Callable[[str], None],
        on_connected: Callable[[], None],
    ) -> None:
        # The reactor's clock: timeouts must not follow a clock that a test controls.
        clock = self._clock = ReactorClock(reactor)
        self._address = address
        self._timeout = timeout
        self._channels = channels
        self._on_message = on_message
        self._on_subscribed = on_subscribed
        self._on_connected = on_connected
        self._connection_problem: str | None = "not connected to Redis yet"
        self._write_problem: str | None = None
        self._subscribe_problem: str | None = None
        self._logged_problem: str | None = None
        self._was_connected = False
        self._commands: RedisConnection | None = None
        self._subscriber: RedisConnection | None = None
        self._last_push = 0.0
        self._timer: Timer | None = None
        self._is_stopped = False
        self.dataset = Dataset("", False)
        self.clock_error = 0.0
        self._compared_offset = self._clock_offset
        self.counters = RedisCounters()

        def endpoint() -> RedisEndpoint:
            return RedisEndpoint(
                reactor, clock, address, ca_file=ca_file, timeout=timeout, on_failure=self._cannot_connect
            )

        self._connections = [
            ReconnectingConnection(
                reactor,
                endpoint(),
                lambda made: RedisConnection(
                    clock, timeout, on_connected=made, round_trip=self.counters.round_trip_seconds.observe
                ),
                self._prepare_commands,
            ),
            ReconnectingConnection(
                reactor,
                endpoint(),
                lambda made: RedisConnection(clock, timeout, on_push=self._push_received, on_connected=made),
                self._prepare_subscriber,
            ),
        ]

    def start(self) -> None:
        """Connect, and stay connected."""
        self._is_stopped = False
        for connection in self._connections:
            connection.start()
        self._timer = self._clock.call_later(self._timeout / 2, self._check_connections)

    async def stop(self) -> None:
        """Close the connections."""
        self._is_stopped = True
        if self._timer is not None:
            self._timer.cancel()
        for connection in self._connections:
            await connection.stop()

    @property
    def problem(self) -> str | None:
        """Why Redis cannot be read, written or subscribed to now, in words that do not reveal where it is."""
        subscribe_problem = None
        if self._subscriber is None:
            subscribe_problem = self._subscribe_problem or "not subscribed to Redis yet"
        return self._connection_problem or self._write_problem or subscribe_problem

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent."""
        return self._commands is not None

    # Connecting

    def _cannot_connect(self, reason: str, detail: str = "") -> None:
        self._report(f"Redis cannot be reached: {reason}", detail)

    def _report(self, problem: str, detail: str = "") -> None:
        """Log a problem once, not at each attempt to connect.

        Args:
            problem: shown to clients and publishers, so it must not reveal where Redis is.
            detail: added in the log.
        """
        if self._commands is None:
            self._connection_problem = problem
        if problem != self._logged_problem and not self._is_stopped:
            self._logged_problem = problem
            more = f": {detail}" if detail and detail not in problem else ""
            _log.error(
                "the store is not ready: {problem}{more} ({address})", problem=problem, more=more, address=self._address
            )

    async def _authenticate(
        self, connection: RedisConnection, prepare: Callable[[RedisConnection], Awaitable[None]]
    ) -> None:
        """Authenticate, then prepare the connection; report why that fails."""
        try:
            address = self._address
            if address.password is not None:
                await connection.send("AUTH", *([address.username] if address.username else []), address.password)
            await prepare(connection)
        except RedisError as error:
            self._report(_REASONS.get(error.kind, "Redis refused the connection"), str(error)[:200])
            raise
        except RedisUnavailable as error:
            self._cannot_connect(str(error))
            raise

    async def _prepare_commands(self, connection: RedisConnection) -> None:
        await self._authenticate(connection, self._prepare_server)
        self._commands = connection
        self.counters.connected = True
        self.counters.connections += 1
        self._connection_problem = self._write_problem = None
        connection.lost.addCallback(self._commands_lost)
        if self._logged_problem is not None or not self._was_connected:
            self._logged_problem = None
            self._was_connected = True
            _log.info("connected to Redis at {address}", address=self._address)
        self._on_connected()

    async def _prepare_server(self, connection: RedisConnection) -> None:
        """Select the database, check what Redis it is, and load the scripts."""
        if self._address.database:
            await connection.send("SELECT", self._address.database)
        info = _parse_info(await connection.send("INFO"))
        replication_id = _check_info(info)
        for script in ALL:
            await connection.send("SCRIPT", "LOAD", script.source)
        await self._compare_clocks(connection)
        was_promoted = info.get("master_replid2", _NO_PARENT) != _NO_PARENT
        self.dataset = Dataset(replication_id, not was_promoted and info.get("aof_enabled") == "1")

    async def _compare_clocks(self, connection: RedisConnection) -> None:
        start = self._clock.monotonic()
        seconds, microseconds = await connection.send("TIME")
        took = self._clock.monotonic() - start
        if took > CLOCK_TOLERANCE_SECONDS:
            return  # the answer is too old
        error = int(seconds) + int(microseconds) / 1e6 + took / 2 - self._clock.time()
        self.counters.clock_difference = error
        self._compared_offset = self._clock_offset
        before, self.clock_error = self.clock_error, error if abs(error) > CLOCK_TOLERANCE_SECONDS else 0.0
        if abs(self.clock_error) > CLOCK_WARNING_SECONDS >= abs(before):
            _log.warn(
                "this machine's clock differs from Redis's by {error:+.1f} s; check NTP on both",
                error=-error,
            )

    @property
    def clock_step(self) -> float:
        """Seconds by which this machine's clock was set forward since ``clock_error`` was determined; 0 if by few."""
        step = self._clock_offset - self._compared_offset
        return step if abs(step) > CLOCK_TOLERANCE_SECONDS else 0.0

    @property
    def _clock_offset(self) -> float:
        return self._clock.time() - self._clock.monotonic()

    def _commands_lost(self, reason: str) -> str:
        self._commands = None
        self.counters.connected = False
        if self._subscriber is not None:
            # Both connections must be to the same Redis, and the next one may be to another.
            self._subscriber.abort("the connection for commands is lost")
        if not self._is_stopped:
            self._report(f"the connection to Redis is lost: {reason}")
        return reason

    async def _prepare_subscriber(self, connection: RedisConnection) -> None:
        await self._authenticate(connection, lambda connection: connection.send("PING"))
        connection.is_subscriber = True
        self._subscriber = connection
        self._last_push = self._clock.monotonic()
        connection.lost.addCallback(self._subscriber_lost)
        for channel in self._channels():
            connection.send_subscriber_command("SSUBSCRIBE", channel)

    def _subscriber_lost(self, reason: str) -> str:
        self._subscriber = None
        return reason

    def _check_connections(self) -> None:
        """Abort a subscriber connection that receives nothing; compare the clocks."""
        self._timer = self._clock.call_later(self._timeout / 2, self._check_connections)
        connection = self._subscriber
        if self._commands is not None:
            comparing = Deferred.fromCoroutine(self._compare_clocks(self._commands))
            comparing.addErrback(lambda failure: failure.trap(RedisUnavailable, RedisError) and None)
        if connection is None:
            return
        if self._clock.monotonic() - self._last_push > 2 * self._timeout:
            connection.abort("nothing was received for too long")
        else:
            connection.send_subscriber_command("PING")

    # Channels

    def subscribe(self, channel: str) -> None:
        """Subscribe to a channel; ``on_subscribed`` is called when that is confirmed."""
        if self._subscriber is not None:
            self._subscriber.send_subscriber_command("SSUBSCRIBE", channel)

    def unsubscribe(self, channel: str) -> None:
        """Unsubscribe from a channel."""
        if self._subscriber is not None:
            self._subscriber.send_subscriber_command("SUNSUBSCRIBE", channel)

    def _push_received(self, reply: Reply) -> None:
        self._last_push = self._clock.monotonic()
        if not isinstance(reply, list):
            if isinstance(reply, Exception) and self._subscriber is not None:
                self._subscribe_problem = "Redis refused a subscription"
                self._report(self._subscribe_problem, str(reply)[:200])
                self._subscriber.abort(self._subscribe_problem)
            return
        kind = reply[0]
        if kind == b"smessage":
            self._on_message(reply[1].decode(), reply[2])
        elif kind == b"ssubscribe":
            self._subscribe_problem = None
            self._on_subscribed(reply[1].decode())

    # Commands

    def run(self, script: Script, keys: list[str], *arguments: Argument) -> Deferred[Reply]:
        """Run a script; fires with its reply.

        Fails with ``Refusal``, ``unavailable``, if Redis does not run the script, or did not answer: then it may have
        run.
        """
        connection = self._commands
        if connection is None:
            return fail(self.unavailable())
        answer = connection.send("EVALSHA", script.sha, len(keys), *keys, *arguments)
        answer.addErrback(self._eval_in_full, connection, script, keys, arguments)
        return answer.addCallbacks(self._written if script.writes else _unchanged, self._command_failed)

    def send(self, *command: Argument) -> Deferred[Reply]:
        """Send a command; fires with its reply, and fails as ``run`` does."""
        if self._commands is None:
            return fail(self.unavailable())
        return self._commands.send(*command).addErrback(self._command_failed)

    def _eval_in_full(
        self,
        failure: Failure,
        connection: RedisConnection,
        script: Script,
        keys: list[str],
        arguments: tuple[Argument, ...],
    ) -> Failure | Deferred[Reply]:
        """Send the source of a script that Redis does not have: its script cache was flushed (SCRIPT FLUSH)."""
        error = failure.value
        if not (isinstance(error, RedisError) and error.kind == "NOSCRIPT"):
            return failure
        return connection.send("EVAL", script.source, len(keys), *keys, *arguments)

    def _written(self, reply: Reply) -> Reply:
        self.accepts_writes()
        return reply

    def accepts_writes(self) -> None:
        """Note that Redis has written what it might have refused to write."""
        if self._write_problem is not None:
            self._write_problem = None
            _log.info("Redis at {address} can be written again", address=self._address)

    def _command_failed(self, failure: Failure) -> NoReturn:
        failure.trap(RedisError, RedisUnavailable)
        error = failure.value
        if not isinstance(error, RedisError):
            raise self.unavailable(str(error)) from None
        reason = _REASONS.get(error.kind, "Redis does not accept a command")
        if self._write_problem != reason:
            _log.error(
                "the store cannot be written: {reason}: {error} ({address})",
                reason=reason,
                error=str(error)[:500],
                address=self._address,
            )
        self._write_problem = reason
        if error.kind in ("READONLY", "NOAUTH", "LOADING", "MASTERDOWN") and self._commands is not None:
            # Another Redis may have become the master, or this connection has to be authenticated again.
            self._commands.abort(reason)
        raise self.unavailable(reason) from None

    def unavailable(self, reason: str | None = None) -> Refusal:
        """Return the refusal for a request that needs Redis."""
        text = reason or self.problem or "Redis is unavailable"
        return Refusal(ErrorCode.UNAVAILABLE, text, retry_after=_RETRY_AFTER_SECONDS)


def _unchanged(reply: Reply) -> Reply:
    return reply


def _parse_info(reply: Reply) -> dict[str, str]:
    if not isinstance(reply, bytes):
        raise RedisUnavailable(_NO_REDIS)
    lines = [line.partition(":") for line in reply.decode("utf-8", "replace").splitlines()]
    return {name: value for name, _, value in lines}


def _check_info(info: dict[str, str]) -> str:
    """Check the answer of INFO, and return the replication id.

    Raises:
        RedisUnavailable: this Redis cannot be used.
    """
    version, replication_id = info.get("redis_version", ""), info.get("master_replid")
    major = version.partition(".")[0]
    if not (major.isascii() and major.isdecimal()) or not replication_id:
        raise RedisUnavailable(_NO_REDIS)
    if int(major) < 7:
        raise RedisUnavailable(f"it is Redis {version}; 7 or later is needed")
    if info.get("cluster_enabled") == "1":
        raise RedisUnavailable(
            "it is a node of a Redis Cluster, which is not supported; name a standalone Redis or sentinels"
        )
    if info.get("role") != "master":
        raise RedisUnavailable("it is a replica; name its master, or its sentinels")
    if info.get("loading") == "1":
        raise RedisUnavailable("it is still reading its data")
    if info.get("maxmemory", "0") != "0" and info.get("maxmemory_policy") != "noeviction":
        policy = info.get("maxmemory_policy")
        _log.warn("Redis may evict events: its maxmemory-policy is {policy}; set noeviction", policy=policy)
    return replication_id
