"""EventBroadcaster over AMP: the gateway's own vocabulary, from another process."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import clientFromString
from twisted.logger import Logger

from callcenter_ws.amp.commands import DisconnectUser, GatewayCommand, Ping, RevokeToken, UserOnline
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import PAYLOAD_BYTES
from callcenter_ws.events.methods import EventMethods
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import PublishResult, UserPresence
from callcenter_ws.remote.buffer import Buffer, WhenFull
from callcenter_ws.remote.connection import Connection
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.persistence import MemoryOnly, Persistence
from callcenter_ws.remote.recovered import RecoveredEvents, SpoolRefused
from callcenter_ws.remote.sender import Sender
from callcenter_ws.remote.spool import Spool
from callcenter_ws.remote.spool_thread import SpoolThread
from callcenter_ws.remote.subscriptions import Callback, Subscriptions
from callcenter_ws.runtime.json import encode_json, rfc3339

_BUFFER_BYTES = 67_108_864
_FIELDS_BYTES = 4_112
"""What an event may take in a batch besides its payload."""

_log = Logger()


class Pong(NamedTuple):
    """Who answered a ping."""

    version: str
    node: str


class EventBroadcaster(Service, EventMethods[Deferred[PublishResult]]):
    """Says what happens to a gateway in another process.

    Every event is given its ``event_id`` and its time at once, and is kept until the gateway has answered for
    it: over reconnects, in order, under the same id. The gateway publishes an id once within 5 minutes, so
    an event arrives once, with one exception: the gateway took it, the link broke before the answer, and
    5 minutes or more passed until it could be sent again. Then it may be published twice, both under the same id.

    ``publish`` and every method of the vocabulary return a Deferred that fires with ``PublishResult`` when the event
    is durable; its ``duplicate`` is always False, because AMP does not carry it. It fails with ``Refusal`` when

    * the gateway refuses the event itself (``invalid_event``, ``forbidden``, ``too_large``),
    * the buffer is full (``overloaded``), and ``when_full`` chose this event,
    * the service was stopped before the gateway answered (``unavailable``). With a spool, the text says whether
      the event is kept in it and will be sent at the next start; do not publish such a one again.

    With ``spool``, an event is in a file before it is sent, and stays there until the gateway has answered for it.
    So it survives the end of the process, ``kill -9`` included; after power loss the last moments may be missing.
    What the file holds at the start is sent first, in order, under the same ids and times, and counts towards
    ``buffer``. Nobody waits for these any more: one that is refused is logged, without its payload, and given to
    ``spool_refused``. A process that is killed after an answer, but before the file has forgotten the event, leaves it
    to be sent again; the gateway notices that for 5 minutes, as above.

    The file is written by a thread of its own, many events at a time: a slow disk delays events, not the reactor. On
    a disk that is full or fails, events are sent all the same, from memory; an error is logged once per outage, and
    ``unspooled`` counts what would be lost with the process. To refuse them would be the worse choice: the gateway may
    well be there to take them. When the disk works again, what is still unacknowledged is written.

    Args:
        endpoint: a Twisted client endpoint, or the description of one (``unix:/run/x.sock``,
            ``tcp:gateway:8081``, ``tls:gateway:8082``).
        token: the shared secret of the gateway's ``amp.token_file`` or a JWT of role ``service``; or what
            returns one, asked anew for each connection. Not needed on a unix socket.
        buffer: how many events are kept at most; at most 64 MiB of them, too.
        stop_timeout: seconds that ``stopService`` waits for answers. For the spool's disk it waits without a limit.
        spool: the path of the file, a SQLite database with ``-lock``, ``-wal`` and ``-shm`` beside it; it is made where
            it does not exist, for its owner alone. A broadcaster has it for itself. It has to be on a local disk.
        when_full: which event is refused when there are too many: ``refuse_newest``, the one that comes; or
            ``refuse_oldest``, those that wait longest and are not under way (one whose answer was lost before may
            have arrived all the same).
        spool_refused: called with a ``SpooledEvent`` and the ``Refusal`` for each event of an earlier process that was
            refused.

    Raises:
        ValueError: an argument makes no sense.
    """

    def __init__(
        self,
        endpoint: Any,
        reactor: Any,
        *,
        token: str | Callable[[], str] | None = None,
        buffer: int = 10_000,
        stop_timeout: float = 5.0,
        spool: str | os.PathLike[str] | None = None,
        when_full: WhenFull = "refuse_newest",
        spool_refused: SpoolRefused | None = None,
    ) -> None:
        if when_full not in get_args(WhenFull):
            raise ValueError(f"when_full: expected one of {', '.join(get_args(WhenFull))}, not {when_full!r}")
        if buffer < 1:
            raise ValueError(f"buffer: expected a number of events, not {buffer!r}")
        self._reactor = reactor
        self._stop_timeout = stop_timeout
        self._new_id = UlidFactory(reactor.seconds)
        self._keeping = self._kept_in(spool)
        self._leftovers = RecoveredEvents(spool_refused)
        self._buffer = Buffer(buffer, _BUFFER_BYTES, self._keeping, when_full)
        self._sender = Sender(self._buffer, reactor, self._emptied)
        self._subscriptions = Subscriptions()
        where = clientFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        self._connection = Connection(where, reactor, token, self._sender, self._subscriptions)
        self._waiting_for_empty: Deferred[None] | None = None
        self._is_stopped = False

    def _kept_in(self, spool: str | os.PathLike[str] | None) -> Persistence:
        if spool is None:
            return MemoryOnly()
        if not os.fspath(spool):
            raise ValueError("spool: expected the path of a file")
        # A daemon may change its folder before the start.
        path = Path(spool).absolute()
        return Spool(path, self._reactor, SpoolThread(self._reactor), lambda: self._sender.wake())

    @property
    def unacknowledged(self) -> int:
        """How many events the gateway has not answered for."""
        return len(self._buffer)

    @property
    def unspooled(self) -> int:
        """How many of them would be lost with this process: all, if there is no spool."""
        return self._buffer.mortal

    # Service

    def startService(self) -> None:
        """Read the spool, then connect, and stay connected.

        Raises:
            SpoolUnusable: the spool is somebody else's, damaged, of a newer version, in use, or cannot be written.
                Nothing was started.
        """
        # Not earlier: by now a daemon has forked, and is the user that it will be.
        left = self._buffer.open()
        for event in left:
            self._leftovers.adopt(event)
        if left:
            _log.info("{count} events out of the spool are sent first", count=len(left))
        super().startService()
        self._is_stopped = False
        self._connection.start()

    def stopService(self) -> Deferred[None]:
        """Take no more events, wait for the answers to those kept, then refuse the rest and disconnect.

        The rest stays in the spool if there is one. The service can be started again.
        """
        super().stopService()
        self._is_stopped = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if len(self._buffer):
            self._waiting_for_empty = Deferred()
            try:
                await self._waiting_for_empty.addTimeout(self._stop_timeout, self._reactor)
            except defer.TimeoutError:
                pass
            finally:
                self._waiting_for_empty = None
        await self._keeping.flush()
        if lost := self.unspooled:
            _log.warn("{count} events are given up: the gateway did not answer", count=lost)
        if kept := self.unacknowledged - lost:
            _log.info("{count} events stay in the spool: the gateway did not answer", count=kept)
        self._buffer.give_up()
        await self._keeping.close()
        await self._connection.stop(
            Refusal(ErrorCode.UNAVAILABLE, "stopped before the gateway answered"), self._stop_timeout
        )

    def _emptied(self) -> None:
        if self._waiting_for_empty is not None and not self._waiting_for_empty.called:
            self._waiting_for_empty.callback(None)

    # Publishing

    def publish(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the wire's own name for it
        payload: dict[str, Any],
        *,
        user_id: str | None = None,
        event_id: str | None = None,
        timestamp: str | None = None,
        persist: bool = False,
    ) -> Deferred[PublishResult]:
        """Publish one event; see ``EventMethods.publish`` and the class."""
        fields = {
            "tenant_id": tenant_id,
            "type": type,
            "user_id": user_id,
            "event_id": self._new_id() if event_id is None else event_id,
            "timestamp": rfc3339(self._reactor.seconds()) if timestamp is None else timestamp,
        }
        try:
            event = _unacknowledged(fields, persist, payload)
            if self._is_stopped:
                raise Refusal(ErrorCode.UNAVAILABLE, "this broadcaster is stopped")
            self._buffer.append(event)
        except Refusal as refusal:
            return fail(refusal)
        self._sender.wake()
        return event.answer

    # Asking

    def user_online(self, tenant_id: str, user_id: str) -> Deferred[UserPresence]:
        """Ask whether a user has open connections; ``since`` and ``last_seen`` are not known over AMP."""

        async def ask() -> UserPresence:
            answer = await self._connection.call(UserOnline, tenant_id=tenant_id, user_id=user_id)
            return UserPresence(answer["online"], answer["connections"], None, None)

        return Deferred.fromCoroutine(ask())

    def disconnect_user(self, tenant_id: str, user_id: str, reason: str | None = None) -> Deferred[int]:
        """Close all connections of a user; fires with how many. ``reason`` is for the gateway's log."""
        return self._closed(DisconnectUser, tenant_id=tenant_id, user_id=user_id, reason=reason)

    def revoke_token(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> Deferred[int]:
        """Refuse a token, or all that a user was issued until now; fires with how many connections were closed."""
        return self._closed(RevokeToken, tenant_id=tenant_id, jti=jti, user_id=user_id)

    def ping(self) -> Deferred[Pong]:
        """Ask who is there."""

        async def ask() -> Pong:
            answer = await self._connection.call(Ping)
            return Pong(answer["version"], answer["node"])

        return Deferred.fromCoroutine(ask())

    def subscribe(self, kinds: Sequence[str], callback: Callback) -> Deferred[None]:
        """Have ``callback`` called with a ClientMessage for what clients say, now and after every reconnect.

        A message may come twice, under the same ``event_id``. It is acknowledged when the callback is done,
        its awaitable included; one that fails is logged and not called again for that message.

        Args:
            kinds: event names, prefixes as ``chat.*``, or ``*``.

        Returns:
            Fires when the gateway has agreed; fails with ``Refusal`` for kinds that do not exist.
        """
        granted = self._subscriptions.add(kinds, callback)
        self._connection.ask()
        return granted

    def _closed(self, command: type[GatewayCommand], **arguments: Any) -> Deferred[int]:
        async def ask() -> int:
            closed: int = (await self._connection.call(command, **arguments))["closed"]
            return closed

        return Deferred.fromCoroutine(ask())


def _unacknowledged(fields: dict[str, Any], persist: bool, payload: Any) -> PendingEvent:
    """Encode an event, or raise what is wrong with it as a Refusal."""
    if not isinstance(payload, dict):
        raise Refusal(ErrorCode.INVALID_EVENT, "payload: expected an object")
    for name, value in fields.items():
        if not isinstance(value, str) and (value is not None or name != "user_id"):
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a string")
    known = {**{name: value for name, value in fields.items() if value is not None}, "persist": bool(persist)}
    try:
        text = encode_json(payload)
        event = PendingEvent.of(known, text)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Refusal(ErrorCode.INVALID_EVENT, f"payload: no JSON can be made of it ({type(error).__name__})") from None
    if len(text) > PAYLOAD_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"payload: {len(text)} bytes of JSON, the limit is {PAYLOAD_BYTES}")
    if event.size - len(text) > _FIELDS_BYTES:
        raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id, type, user_id, event_id: too long")
    return event
