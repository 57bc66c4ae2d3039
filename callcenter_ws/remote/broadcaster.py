"""EventBroadcaster over AMP: the gateway's own vocabulary, from another process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec
from twisted.application.service import Service
from twisted.internet import defer
from twisted.internet.defer import Deferred, fail
from twisted.internet.endpoints import clientFromString
from twisted.logger import Logger

from callcenter_ws.amp.commands import DisconnectUser, GatewayCommand, Ping, RevokeToken, UserOnline
from callcenter_ws.core.identity import IdMaker
from callcenter_ws.core.message import PAYLOAD_BYTES, encode_json, rfc3339
from callcenter_ws.core.vocabulary import EventVocabulary
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Published, UserPresence
from callcenter_ws.remote.buffer import Buffer, Unacknowledged
from callcenter_ws.remote.connection import Connection
from callcenter_ws.remote.sender import Sender
from callcenter_ws.remote.subscriptions import Callback, Subscriptions

_BUFFER_BYTES = 67_108_864

_log = Logger()


class Pong(NamedTuple):
    """Who answered a ping."""

    version: str
    node: str


class EventBroadcaster(Service, EventVocabulary[Deferred[Published]]):
    """Says what happens to a gateway in another process.

    Every event is given its ``event_id`` and its time at once, and is kept until the gateway has answered for
    it: over reconnects, in order, under the same id. The gateway publishes an id once within 5 minutes, so
    an event arrives once, with one exception: the gateway took it, the link broke before the answer, and
    5 minutes or more passed until it could be sent again. Then it may be published twice, both under the same id.

    ``publish`` and every method of the vocabulary return a Deferred that fires with ``Published`` when the event
    is durable; its ``duplicate`` is always False, because AMP does not carry it. It fails with ``Refusal`` when

    * the gateway refuses the event itself (``invalid_event``, ``forbidden``, ``too_large``),
    * the buffer is full (``overloaded``); nothing was kept,
    * the service was stopped before the gateway answered (``unavailable``).

    Args:
        endpoint: a Twisted client endpoint, or the description of one (``unix:/run/x.sock``,
            ``tcp:gateway:8081``, ``tls:gateway:8082``).
        token: the shared secret of the gateway's ``amp.token_file`` or a JWT of role ``service``; or what
            returns one, asked anew for each connection. Not needed on a unix socket.
        buffer: how many events are kept at most.
        stop_timeout: seconds that ``stopService`` waits for answers.
    """

    def __init__(
        self,
        endpoint: Any,
        reactor: Any,
        *,
        token: str | Callable[[], str] | None = None,
        buffer: int = 10_000,
        stop_timeout: float = 5.0,
    ) -> None:
        self._reactor = reactor
        self._stop_timeout = stop_timeout
        self._new_id = IdMaker(reactor.seconds)
        self._buffer = Buffer(buffer, _BUFFER_BYTES)
        self._sender = Sender(self._buffer, reactor, self._emptied)
        self._subscriptions = Subscriptions()
        where = clientFromString(reactor, endpoint) if isinstance(endpoint, str) else endpoint
        self._connection = Connection(where, reactor, token, self._sender, self._subscriptions)
        self._waiting_for_empty: Deferred[None] | None = None
        self._is_stopped = False

    @property
    def unacknowledged(self) -> int:
        """How many events the gateway has not answered for."""
        return len(self._buffer)

    # Service

    def startService(self) -> None:
        """Connect, and stay connected."""
        super().startService()
        self._is_stopped = False
        self._connection.start()

    def stopService(self) -> Deferred[None]:
        """Take no more events, wait for the answers to those kept, then refuse the rest and disconnect."""
        super().stopService()
        self._is_stopped = True
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        if len(self._buffer):
            self._waiting_for_empty = Deferred()
            try:
                await self._waiting_for_empty.addTimeout(self._stop_timeout, self._reactor)
            except defer.TimeoutError:
                _log.warn("{count} events are given up: the gateway did not answer", count=len(self._buffer))
            finally:
                self._waiting_for_empty = None
        refusal = Refusal(ErrorCode.UNAVAILABLE, "stopped before the gateway answered")
        self._buffer.give_up(refusal)
        await self._connection.stop(refusal, self._stop_timeout)

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
    ) -> Deferred[Published]:
        """Publish one event; see ``EventVocabulary.publish`` and the class."""
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


def _unacknowledged(fields: dict[str, Any], persist: bool, payload: Any) -> Unacknowledged:
    """Encode an event, or raise what is wrong with it as a Refusal."""
    if not isinstance(payload, dict):
        raise Refusal(ErrorCode.INVALID_EVENT, "payload: expected an object")
    for name, value in fields.items():
        if not isinstance(value, str) and (value is not None or name != "user_id"):
            raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a string")
    known = {**{name: value for name, value in fields.items() if value is not None}, "persist": bool(persist)}
    try:
        head, text = encode_json(known), encode_json(payload)
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise Refusal(ErrorCode.INVALID_EVENT, f"payload: no JSON can be made of it ({type(error).__name__})") from None
    if len(text) > PAYLOAD_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"payload: {len(text)} bytes of JSON, the limit is {PAYLOAD_BYTES}")
    if len(head) > 4096:
        raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id, type, user_id, event_id: too long")
    return Unacknowledged(known, text, len(head) + len(text) + 16, Deferred())
