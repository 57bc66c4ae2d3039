"""Keeps the daemon connected: connects, authenticates, subscribes again, and reconnects with back-off."""

from __future__ import annotations

from collections.abc import Callable

from twisted.application.internet import ClientService
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from callcenter_ws.amp.commands import Authenticate, GatewayCommand
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.callbacks import CallbackRegistry, client_message
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.remote.sender import Sender
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

_FIRST_RECONNECT_SECONDS = 0.2
_MAX_RECONNECT_SECONDS = 30.0
_CONNECT_TIMEOUT_SECONDS = 10.0

_log = Logger()


class GatewayConnector:
    """Maintains one authenticated connection to the gateway.

    Twisted's ``ClientService`` makes the connections. Authentication is not its ``prepareConnection``: a connection
    that is lost during that raises ``NoTransition`` in ClientService (Twisted 26.10).

    Args:
        endpoint: a Twisted client endpoint.
        token: what to authenticate with, or a function that returns it, called for each connection; None on a unix
            socket.
        sender: its ``connection`` is set to the authenticated connection while there is one.
        callbacks: the callbacks for events of clients.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
        clock: Clock,
        token: str | Callable[[], str] | None,
        sender: Sender,
        callbacks: CallbackRegistry,
    ) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._token = token
        self._sender = sender
        self._callbacks = callbacks
        self._backoff = Backoff(_FIRST_RECONNECT_SECONDS, _MAX_RECONNECT_SECONDS)
        self._subscribing = SingleFlight(self._subscribe_pending, clock, spawn)
        self._service: ClientService | None = None
        self._connections: set[GatewayConnection] = set()
        self._waiters: list[Deferred[GatewayConnection]] = []

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""
        factory = Factory.forProtocol(lambda: GatewayConnection(self, self._reactor))
        factory.noisy = False
        self._service = ClientService(
            self._endpoint, factory, retryPolicy=lambda _: self._backoff.delay(), clock=self._reactor
        )
        self._service.startService()

    async def stop(self, refusal: Refusal, abort_after: float) -> None:
        """Close the connection, and abort it if it is still open after ``abort_after`` seconds.

        Args:
            refusal: raised by the calls that wait for a connection.
        """
        for waiter in list(self._waiters):
            waiter.errback(refusal)
        service, self._service = self._service, None
        if service is not None:
            stopped = service.stopService()
            for connection in self._connections:
                connection.abort_after(abort_after)
            await stopped

    async def call(self, command: type[GatewayCommand], **arguments: object) -> CommandResponse:
        """Call a command of the gateway and return its response; wait up to 10 s for a connection.

        Raises:
            Refusal: the gateway's error; ``unavailable`` without a connection or an answer.
        """
        connection = self._sender.connection or await self._next_connection()
        return await connection.call(command, **arguments)

    async def _next_connection(self) -> GatewayConnection:
        waiter: Deferred[GatewayConnection] = Deferred()
        self._waiters.append(waiter)
        try:
            return await waiter.addTimeout(_CONNECT_TIMEOUT_SECONDS, self._reactor)
        except defer.TimeoutError:
            raise Refusal(ErrorCode.UNAVAILABLE, "there is no connection to the gateway") from None
        finally:
            self._waiters.remove(waiter)

    def subscribe(self) -> None:
        """Subscribe for callbacks added since the last call, now or as soon as there is a connection."""
        self._subscribing.request()

    async def _subscribe_pending(self) -> None:
        connection = self._sender.connection
        if connection is not None:
            await self._callbacks.subscribe_pending(connection)

    # ConnectionOwner

    async def connection_made(self, connection: GatewayConnection) -> None:
        """Authenticate, subscribe again, and let the sender and the waiting calls use the connection."""
        self._connections.add(connection)
        try:
            token = self._token() if callable(self._token) else self._token
            if token is not None:
                await connection.call(Authenticate, token=token)
            await self._callbacks.resubscribe(connection)
        except Refusal as refusal:
            if refusal.code in (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN):
                self._backoff.exhaust()
                _log.error(
                    "the gateway refuses this daemon's token ({reason}); the next attempt is in about {seconds:g} s",
                    reason=refusal.message,
                    seconds=_MAX_RECONNECT_SECONDS,
                )
            connection.abort(f"it cannot be used: {refusal.message}")
            return
        self._backoff.reset()
        self._sender.connection = connection
        self._sender.wake()
        for waiter in list(self._waiters):
            waiter.callback(connection)
        self._subscribing.request()

    def connection_lost(self, connection: GatewayConnection) -> None:
        """Stop using a closed connection. Unacknowledged events are sent again over the next one."""
        self._connections.discard(connection)
        if self._sender.connection is connection:
            self._sender.connection = None

    async def client_event(
        self, tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str
    ) -> None:
        """Pass an event of the gateway to the callbacks."""
        await self._callbacks.dispatch(client_message(tenant_id, type_, payload, user_id, event_id))
