"""RedisClient: a Redis, as the gateway uses it: one connection for commands, one for what is announced.

Both come back by themselves. Nothing is sent anew when one has broken: whoever asked is refused, and decides.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.redis.address import RedisAddress
from callcenter_ws.redis.connection import Argument, RedisAway, RedisConnection, RedisError
from callcenter_ws.redis.endpoint import RedisEndpoint
from callcenter_ws.redis.reconnecting import ReconnectingConnection
from callcenter_ws.redis.scripts import ALL, Script
from callcenter_ws.runtime.clock import ReactorClock, Timer

_RETRY = 1.0

CLOCK_TOLERANCE = 0.25
CLOCK_ALARM = 2.0
"""Seconds by which a machine's clock may be off Redis's: without being corrected, and without a line in the log."""

_NO_PARENT = "0" * 40

_NO_REDIS = "what answers there is no Redis"

_REASONS = {
    "OOM": "Redis is out of memory",
    "READONLY": "this Redis is a replica, nothing can be written",
    "MISCONF": "Redis cannot write to its disk",
    "NOREPLICAS": "Redis has too few replicas that keep up",
    "LOADING": "Redis is still reading its data",
    "MASTERDOWN": "Redis has lost its master",
    "BUSY": "Redis is busy with a script",
    "NOAUTH": "Redis wants a password",
    "WRONGPASS": "Redis refuses our name or password",
    "NOPERM": "our user may not do this in Redis",
    "WRONGTYPE": "something else uses keys of our prefix",
}
"""What the first word of an error means, for a person."""

_log = Logger("callcenter_ws.broker")


@dataclass(frozen=True, slots=True)
class Incarnation:
    """Which history of data it is that a Redis has.

    Attributes:
        run: changes when a Redis is started, and when a replica takes its master's place (``master_replid``).
        vouched: after a start it has all that it ever acknowledged, as far as its own settings promise: it reads an
            append-only file, and is not a replica that may have been behind.
    """

    run: str
    vouched: bool


class RedisClient:
    """A Redis and the state of the connections to it.

    Args:
        channels: returns the channels to listen to, each time that the connection for announcements is made.
        announced: is given what came on a channel.
        listening: is told that a channel is listened to from now on.
        connected: is told that commands can be sent, each time anew.

    Attributes:
        incarnation: of the Redis that was connected last.
        clock_error: seconds that have to be added to this machine's time for that of Redis; 0 where that is as good.
    """

    def __init__(
        self,
        reactor: Any,
        address: RedisAddress,
        *,
        ca_file: Path | None,
        timeout: float,
        channels: Callable[[], list[str]],
        announced: Callable[[str, bytes], None],
        listening: Callable[[str], None],
        connected: Callable[[], None],
    ) -> None:
        # Redis and the network know nothing of any other clock.
        clock = self._clock = ReactorClock(reactor)
        self._address = address
        self._timeout = timeout
        self._channels = channels
        self._announced = announced
        self._listening = listening
        self._connected = connected
        self._trouble: str | None = "not connected to Redis yet"
        self._write_trouble: str | None = None
        self._deaf_because: str | None = None
        self._complaint: str | None = None
        self._commands: RedisConnection | None = None
        self._announcements: RedisConnection | None = None
        self._heard_at = 0.0
        self._watch: Timer | None = None
        self._stopped = False
        self.incarnation = Incarnation("", False)
        self.clock_error = 0.0
        endpoint = RedisEndpoint(reactor, clock, address, ca_file=ca_file, timeout=timeout, failed=self._cannot_connect)
        self._lifelines = [
            ReconnectingConnection(clock, endpoint, partial(RedisConnection, clock, timeout), self._prepare_commands),
            ReconnectingConnection(
                clock, endpoint, partial(RedisConnection, clock, timeout, self._pushed), self._prepare_announcements
            ),
        ]

    # Life

    def start(self) -> None:
        """Connect, and stay connected."""
        self._stopped = False
        for reconnecting in self._lifelines:
            reconnecting.start()
        self._watch = self._clock.call_later(self._timeout / 2, self._look)

    async def stop(self) -> None:
        """Close the connections."""
        self._stopped = True
        if self._watch is not None:
            self._watch.cancel()
        for reconnecting in self._lifelines:
            await reconnecting.stop()

    @property
    def trouble(self) -> str | None:
        """Why nothing can be asked or written now, or nothing is heard of other nodes, for a person."""
        deaf = None if self._announcements is not None else self._deaf_because or "Redis announces nothing yet"
        return self._trouble or self._write_trouble or deaf

    @property
    def is_connected(self) -> bool:
        """Whether commands can be sent."""
        return self._commands is not None

    # Connecting

    def _cannot_connect(self, reason: str, detail: str = "") -> None:
        self._complain(f"Redis cannot be reached: {reason}", detail)

    def _complain(self, complaint: str, detail: str = "") -> None:
        """Once for each reason: a Redis that is away is tried every few moments.

        Args:
            complaint: is told to anybody who asks, so that it must not say where Redis is.
            detail: what the log says, too.
        """
        if self._commands is None:
            self._trouble = complaint
        if complaint != self._complaint and not self._stopped:
            self._complaint = complaint
            more = f": {detail}" if detail and detail not in complaint else ""
            _log.error("{complaint}{more} ({address})", complaint=complaint, more=more, address=self._address)

    async def _greet(self, connection: RedisConnection, greeting: Callable[[RedisConnection], Awaitable[None]]) -> None:
        try:
            address = self._address
            if address.password is not None:
                await connection.send("AUTH", *([address.username] if address.username else []), address.password)
            await greeting(connection)
        except RedisError as error:
            self._complain(_REASONS.get(error.kind, "Redis refuses to serve us"), str(error)[:200])
            raise
        except RedisAway as error:
            self._cannot_connect(str(error))
            raise

    async def _prepare_commands(self, connection: RedisConnection) -> None:
        await self._greet(connection, self._learn)
        self._commands = connection
        self._trouble = self._write_trouble = None
        connection.lost.addCallback(self._commands_lost)
        if self._complaint is not None:
            self._complaint = None
            _log.info("connected to Redis at {address}", address=self._address)
        self._connected()

    async def _learn(self, connection: RedisConnection) -> None:
        """Learn which Redis it is, and have it learn the scripts."""
        if self._address.database:
            await connection.send("SELECT", self._address.database)
        facts = _facts(await connection.send("INFO"))
        run = _run(facts)
        for script in ALL:
            await connection.send("SCRIPT", "LOAD", script.source)
        await self._compare_clocks(connection)
        is_first = facts.get("master_replid2", _NO_PARENT) == _NO_PARENT
        self.incarnation = Incarnation(run, is_first and facts.get("aof_enabled") == "1")

    async def _compare_clocks(self, connection: RedisConnection) -> None:
        began = self._clock.monotonic()
        seconds, microseconds = await connection.send("TIME")
        took = self._clock.monotonic() - began
        if took > CLOCK_TOLERANCE:
            return  # the answer was old when it came
        error = int(seconds) + int(microseconds) / 1e6 + took / 2 - self._clock.time()
        before, self.clock_error = self.clock_error, error if abs(error) > CLOCK_TOLERANCE else 0.0
        if abs(self.clock_error) > CLOCK_ALARM >= abs(before):
            _log.warn(
                "this machine's clock is {error:+.1f} s off Redis's, by which everything is kept; see to its NTP",
                error=-error,
            )

    def _commands_lost(self, reason: str) -> str:
        self._commands = None
        if self._announcements is not None:
            # Both have to lead to the same Redis, and the next one may be another.
            self._announcements.abort("the connection for commands is lost")
        if not self._stopped:
            self._complain(f"the connection to Redis is lost: {reason}")
        return reason

    async def _prepare_announcements(self, connection: RedisConnection) -> None:
        await self._greet(connection, lambda connection: connection.send("PING"))
        connection.listens = True
        self._announcements = connection
        self._heard_at = self._clock.monotonic()
        connection.lost.addCallback(self._announcements_lost)
        for channel in self._channels():
            connection.tell("SSUBSCRIBE", channel)

    def _announcements_lost(self, reason: str) -> str:
        self._announcements = None
        return reason

    def _look(self) -> None:
        """See whether the connection that only listens still leads anywhere, and what time it is there."""
        self._watch = self._clock.call_later(self._timeout / 2, self._look)
        connection = self._announcements
        if self._commands is not None:
            comparing = Deferred.fromCoroutine(self._compare_clocks(self._commands))
            comparing.addErrback(lambda failure: failure.trap(RedisAway, RedisError) and None)
        if connection is None:
            return
        if self._clock.monotonic() - self._heard_at > 2 * self._timeout:
            connection.abort("nothing was heard of it for too long")
        else:
            connection.tell("PING")

    # Announcements

    def listen(self, channel: str) -> None:
        """Listen to a channel; ``listening`` is told when that is so."""
        if self._announcements is not None:
            self._announcements.tell("SSUBSCRIBE", channel)

    def forget(self, channel: str) -> None:
        """Listen to a channel no more."""
        if self._announcements is not None:
            self._announcements.tell("SUNSUBSCRIBE", channel)

    def _pushed(self, reply: Any) -> None:
        self._heard_at = self._clock.monotonic()
        if not isinstance(reply, list):
            if isinstance(reply, Exception) and self._announcements is not None:
                self._deaf_because = "Redis refuses to announce anything"
                self._complain(self._deaf_because, str(reply)[:200])
                self._announcements.abort(self._deaf_because)
            return
        kind = reply[0]
        if kind == b"smessage":
            self._announced(reply[1].decode(), reply[2])
        elif kind == b"ssubscribe":
            self._deaf_because = None
            self._listening(reply[1].decode())

    # Commands

    def run(self, script: Script, keys: list[str], *arguments: Argument) -> Deferred[Any]:
        """Run a script; fires with its reply.

        Fails with ``Refusal``: ``unavailable``, when Redis cannot do it, or it is not known whether it did.
        """
        connection = self._commands
        if connection is None:
            return fail(self.unavailable())
        answer = connection.send("EVALSHA", script.sha, len(keys), *keys, *arguments)
        answer.addErrback(self._again_in_full, connection, script, keys, arguments)
        return answer.addCallbacks(self._done if script.writes else _unchanged, self._not_done)

    def send(self, *command: Argument) -> Deferred[Any]:
        """Send a command; as ``run``."""
        if self._commands is None:
            return fail(self.unavailable())
        return self._commands.send(*command).addErrback(self._not_done)

    def _again_in_full(
        self, failure: Any, connection: RedisConnection, script: Script, keys: list[str], arguments: tuple[Any, ...]
    ) -> Any:
        """Somebody had Redis forget its scripts, and this one has not run."""
        if not (failure.check(RedisError) and failure.value.kind == "NOSCRIPT"):
            return failure
        return connection.send("EVAL", script.source, len(keys), *keys, *arguments)

    def _done(self, reply: Any) -> Any:
        if self._write_trouble is not None:
            self._write_trouble = None
            _log.info("Redis at {address} can be written again", address=self._address)
        return reply

    def _not_done(self, failure: Any) -> Any:
        failure.trap(RedisError, RedisAway)
        error = failure.value
        if isinstance(error, RedisAway):
            raise self.unavailable(str(error)) from None
        reason = _REASONS.get(error.kind, "Redis does not accept a command")
        if self._write_trouble != reason:
            _log.error(
                "the store cannot be written: {reason}: {error} ({address})",
                reason=reason,
                error=str(error)[:500],
                address=self._address,
            )
        self._write_trouble = reason
        if error.kind in ("READONLY", "NOAUTH", "LOADING", "MASTERDOWN") and self._commands is not None:
            # There may be another one to go to, or this one has to be greeted again.
            self._commands.abort(reason)
        raise self.unavailable(reason) from None

    def unavailable(self, reason: str | None = None) -> Refusal:
        """What whoever asks is told now."""
        return Refusal(ErrorCode.UNAVAILABLE, reason or self.trouble or "Redis is away", retry_after=_RETRY)


def _unchanged(reply: Any) -> Any:
    return reply


def _facts(info: Any) -> dict[str, str]:
    if not isinstance(info, bytes):
        raise RedisAway(_NO_REDIS)
    lines = [line.partition(":") for line in info.decode("utf-8", "replace").splitlines()]
    return {name: value for name, _, value in lines}


def _run(facts: dict[str, str]) -> str:
    """Return the run of a Redis, having seen whether it can serve.

    Raises:
        RedisAway: it cannot.
    """
    version, run = facts.get("redis_version", ""), facts.get("master_replid")
    major = version.partition(".")[0]
    if not (major.isascii() and major.isdecimal()) or not run:
        raise RedisAway(_NO_REDIS)
    if int(major) < 7:
        raise RedisAway(f"it is Redis {version}; 7 or later is needed")
    if facts.get("cluster_enabled") == "1":
        raise RedisAway("it is part of a cluster, which is not spoken here; name a standalone Redis or sentinels")
    if facts.get("role") != "master":
        raise RedisAway("it is a replica; name its master, or its sentinels")
    if facts.get("loading") == "1":
        raise RedisAway("it is still reading its data")
    if facts.get("maxmemory", "0") != "0" and facts.get("maxmemory_policy") != "noeviction":
        policy = facts.get("maxmemory_policy")
        _log.warn("Redis may throw events away: its maxmemory-policy is {policy}; set noeviction", policy=policy)
    return run
