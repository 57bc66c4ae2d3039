"""The callbacks of a daemon for events of clients, and the subscription at the gateway that they need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from callcenter_ws.amp.commands import InvalidEvent, Subscribe
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.catalogue import covers
from callcenter_ws.events.commands import COMMAND
from callcenter_ws.remote.gateway_connection import GatewayConnection
from callcenter_ws.runtime.json import JsonObject, decode_json, encode_json

_log = Logger()


@dataclass(frozen=True, slots=True)
class ClientMessage:
    """An event that a daemon has subscribed to: a message of a visitor or an agent, or a change of presence.

    Attributes:
        tenant_id: the tenant of the event.
        type: the name of the event type, as ``chat.message``.
        payload: the decoded payload; ``docs/events.rst`` lists the fields of each type.
        user_id: the user that the event is for; None if it is not for one user.
        event_id: identifies the event. The same event may be delivered twice, with the same id.
    """

    tenant_id: str
    type: str
    payload: JsonObject
    user_id: str | None
    event_id: str


Callback = Callable[[ClientMessage], object]
"""Called with each event; may return an awaitable. The event is acknowledged when that has fired."""


@dataclass(slots=True, eq=False)
class _Registration:
    """A callback with the patterns of its event types; ``subscribed`` fires when the gateway has accepted them."""

    kinds: tuple[str, ...]
    callback: Callback
    subscribed: Deferred[None]

    def covers(self, type_: str) -> bool:
        return any(covers(kind, type_) for kind in self.kinds)

    def resolve(self, refusal: Refusal | None) -> None:
        """Fire ``subscribed``, unless the caller has cancelled it."""
        if self.subscribed.called:
            return
        if refusal is None:
            self.subscribed.callback(None)
        else:
            self.subscribed.errback(refusal)


class CallbackRegistry:
    """Holds the callbacks and subscribes to the union of their event types, again on each connection.

    Attributes:
        takes_commands: whether the connection is subscribed to commands, too. A gateway that refuses that, because it
            is of an earlier release, is used without.
    """

    def __init__(self) -> None:
        self.takes_commands = False
        self._without_commands: GatewayConnection | None = None
        self._is_refusal_logged = False
        self._accepted: list[_Registration] = []
        self._pending: list[_Registration] = []

    def add(self, kinds: Sequence[str], callback: Callback) -> Deferred[None]:
        """Register a callback; call ``subscribe_pending`` next.

        Returns:
            Fires when the gateway has accepted ``kinds``; fails with its ``Refusal``.
        """
        subscribed: Deferred[None] = Deferred()
        self._pending.append(_Registration(tuple(kinds), callback, subscribed))
        return subscribed

    async def resubscribe(self, connection: GatewayConnection) -> None:
        """Subscribe on a new connection to what was accepted on an earlier one.

        Raises:
            Refusal: the gateway does not accept it now.
        """
        await self._subscribe_to_commands(connection)
        if self._accepted:
            await self._subscribe(connection, self._accepted)

    async def subscribe_pending(self, connection: GatewayConnection) -> None:
        """Subscribe for the callbacks that were not accepted yet, one by one: a refusal concerns one callback only.

        Raises:
            Refusal: ``unavailable`` or ``overloaded``: the remaining ones stay pending; try again.
        """
        while self._pending:
            registration = self._pending[0]
            try:
                await self._subscribe(connection, [*self._accepted, registration])
            except Refusal as refusal:
                if refusal.code in (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED):
                    raise
                self._pending.remove(registration)
                registration.resolve(refusal)
            else:
                self._pending.remove(registration)
                self._accepted.append(registration)
                registration.resolve(None)

    def refuse_pending(self, refusal: Refusal) -> None:
        """Fail the answers of callbacks that were not accepted yet. They stay registered, and may be accepted later."""
        for registration in self._pending:
            registration.resolve(refusal.copy())

    async def dispatch(self, message: ClientMessage) -> None:
        """Call the callbacks for a message one after the other, and wait for each.

        Raises:
            InvalidEvent: a callback failed; the exception is logged.
        """
        failed = False
        for registration in [*self._accepted, *self._pending]:
            if registration.covers(message.type):
                try:
                    await maybeDeferred(registration.callback, message)
                except Exception:
                    _log.failure("unhandled error in the callback for {type}", type=message.type)
                    failed = True
        if failed:
            raise InvalidEvent("the callback of the daemon failed")

    async def _subscribe(self, connection: GatewayConnection, registrations: Sequence[_Registration]) -> None:
        kinds = list(dict.fromkeys(kind for registration in registrations for kind in registration.kinds))
        await connection.call(Subscribe, kinds=encode_json([*kinds, *self._command_kinds(connection)]))

    async def _subscribe_to_commands(self, connection: GatewayConnection) -> None:
        """Subscribe a new connection to commands, or find out that the gateway sends none.

        Raises:
            Refusal: the gateway does not answer.
        """
        if not self.takes_commands:
            return
        try:
            await connection.call(Subscribe, kinds=encode_json([COMMAND]))
        except Refusal as refusal:
            if connection.lost_reason or refusal.code in (ErrorCode.UNAVAILABLE, ErrorCode.OVERLOADED):
                raise
            self._without_commands = connection
            if not self._is_refusal_logged:
                self._is_refusal_logged = True
                _log.warn("the gateway sends this source no commands: {reason}", reason=refusal.message)

    def _command_kinds(self, connection: GatewayConnection) -> Sequence[str]:
        return (COMMAND,) if self.takes_commands and connection is not self._without_commands else ()


def client_message(tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str) -> ClientMessage:
    """Return the arguments of ``ClientEvent`` as a ClientMessage, with the payload decoded."""
    return ClientMessage(tenant_id, type_, decode_json(payload), user_id, event_id)
