"""Keeps the daemon connected: connects, authenticates, subscribes again, and reconnects with back-off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater

from callcenter_ws.amp.commands import Authenticate, GatewayCommand, Ping
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.callbacks import CallbackRegistry, client_message
from callcenter_ws.remote.command_runner import Command, CommandRunner
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.remote.link_state import LinkFailure, LinkState, LinkStatus
from callcenter_ws.remote.reasons import connection_reason
from callcenter_ws.remote.sender import Sender
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.client_service import QuietClientService, ReportingEndpoint
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

_CONNECT_TIMEOUT_SECONDS = 10.0
_FIRST_SUBSCRIBE_SECONDS, _MAX_SUBSCRIBE_SECONDS = 0.2, 30.0
"""The delays after a gateway could not accept a subscription."""


class GatewayConnector:
    """Maintains one authenticated connection to the gateway.

    Twisted's ``ClientService`` makes the connections. Authentication is not its ``prepareConnection``: a connection
    that is lost during that raises ``NoTransition`` in ClientService (Twisted 26.10).

    Args:
        endpoint: a Twisted client endpoint.
        token: what to authenticate with, or a function that returns it, called for each connection; None on a unix
            socket.
        introduce: says on a new connection which source its events come from; None if they have none. May raise
            Refusal: the connection cannot be used.
        sender: its ``connection`` is set to the authenticated connection while there is one.
        callbacks: the callbacks for events of clients.
        commands: takes the commands of the gateway.
        status: is told of each success and failure, and chooses the delays.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: IReactorTime,
        clock: Clock,
        token: str | Callable[[], str] | None,
        introduce: Callable[[GatewayConnection], Awaitable[None]] | None,
        sender: Sender,
        callbacks: CallbackRegistry,
        commands: CommandRunner,
        status: LinkStatus,
    ) -> None:
        self._endpoint = ReportingEndpoint(
            endpoint, lambda error: status.failed(LinkFailure.unreachable(connection_reason(error)))
        )
        self._reactor = reactor
        self._token = token
        self._introduce = introduce
        self._sender = sender
        self._callbacks = callbacks
        self._commands = commands
        self._status = status
        self._clock = clock
        self._subscribing = self._new_subscribing()
        self._service: ClientService | None = None
        self._connections: set[GatewayConnection] = set()
        # Of these, those that are ended by ``reconnect``: the gateway was reached.
        self._renewed: set[GatewayConnection] = set()
        self._waiters: list[Deferred[GatewayConnection]] = []

    def _new_subscribing(self) -> SingleFlight:
        backoff = Backoff(_FIRST_SUBSCRIBE_SECONDS, _MAX_SUBSCRIBE_SECONDS)
        return SingleFlight(self._subscribe_pending, self._clock, spawn, backoff=backoff)

    def start(self) -> None:
        """Connect, and reconnect until ``stop``."""
        factory = Factory.forProtocol(lambda: GatewayConnection(self, self._reactor))
        factory.noisy = False
        self._service = QuietClientService(
            self._endpoint, factory, retryPolicy=lambda _: self._status.retry_delay(), clock=self._reactor
        )
        self._status.started()
        self._service.startService()

    async def stop(self, refusal: Refusal, abort_after: float) -> None:
        """Close the connection, and abort it if it is still open after ``abort_after`` seconds.

        Args:
            refusal: raised by the calls that wait for a connection.
        """
        self.refuse_waiters(refusal)
        self._status.stopped()
        self._subscribing.stop()
        self._subscribing = self._new_subscribing()
        service, self._service = self._service, None
        if service is not None:
            stopped = service.stopService()
            for connection in self._connections:
                connection.abort_after(abort_after)
            await stopped

    def reconnect(self, reason: str) -> None:
        """End the connection, for ``reason``, and make a new one."""
        for connection in list(self._connections):
            self._renewed.add(connection)
            connection.abort(reason)

    def refuse_waiters(self, refusal: Refusal) -> None:
        """Make the calls that wait for a connection raise ``refusal``."""
        for waiter in list(self._waiters):
            waiter.errback(refusal.copy())

    async def call(self, command: type[GatewayCommand], **arguments: object) -> CommandResponse:
        """Call a command of the gateway and return its response; wait up to 10 s for a connection.

        Raises:
            Refusal: the gateway's error; ``unavailable`` without a connection or an answer.
        """
        connection = self._sender.connection or await self._next_connection()
        return await connection.call(command, **arguments)

    async def _next_connection(self) -> GatewayConnection:
        if self._status.refusal is not None:
            raise self._status.refusal.copy()
        waiter: Deferred[GatewayConnection] = Deferred()
        self._waiters.append(waiter)
        try:
            return await waiter.addTimeout(_CONNECT_TIMEOUT_SECONDS, self._reactor)
        except defer.TimeoutError:
            text = f"there is no connection to the gateway: {self._status.reason or self._status.state}"
            raise Refusal(ErrorCode.UNAVAILABLE, text) from None
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
        """Prepare a connection, and let the sender and the waiting calls use it."""
        self._connections.add(connection)
        try:
            await self._prepare(connection)
        except Refusal as refusal:
            if connection in self._connections:
                self._status.failed(LinkFailure.of_handshake(refusal))
                connection.abort(refusal.message)
            return
        if connection.lost_reason:
            # While it was prepared without a call on it, as the generation was written to disk.
            return
        self._status.connected()
        self._sender.use(connection)
        for waiter in list(self._waiters):
            waiter.callback(connection)
        self._subscribing.request(skip_backoff=True)

    async def _prepare(self, connection: GatewayConnection) -> None:
        """Authenticate, introduce the source, and subscribe again.

        Raises:
            Refusal: the gateway refuses it, or does not answer.
        """
        token = await self._call_token(self._token) if callable(self._token) else self._token
        if token is not None:
            await connection.call(Authenticate, token=token)
        if self._introduce is not None:
            await self._introduce(connection)
        elif token is None:
            # Over TCP a connection without a token can be made, and then refuses everything. Any command shows it.
            await connection.call(Ping, waiting=self.waiting_events())
        await self._callbacks.resubscribe(connection)

    async def _call_token(self, token: Callable[[], str]) -> str:
        """Return the token of a function.

        Raises:
            Refusal: ``unauthorized``: the function failed. Its text is not shown: it may hold a part of the token.
        """
        try:
            return token()
        except Exception as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        # Not while the connection is being made: ClientService cannot be stopped then, as the caller might do.
        await deferLater(self._reactor, 0)
        raise Refusal(ErrorCode.UNAUTHORIZED, f"the daemon has no token: {reason}")

    def server_time(self, server_time_ms: int, sent_at: float) -> None:
        """Note the time of the gateway."""
        self._commands.gateway_clock.answered(server_time_ms, sent_at)

    def waiting_events(self) -> int:
        """Return how many events wait to be sent or for an answer."""
        return self._sender.waiting_events

    def connection_lost(self, connection: GatewayConnection) -> None:
        """Stop using a closed connection. Unacknowledged events are sent again over the next one."""
        self._connections.discard(connection)
        is_renewed = connection in self._renewed
        self._renewed.discard(connection)
        if self._sender.connection is connection:
            self._sender.connection = None
            self._status.lost(connection.lost_reason, is_proven=connection.is_proven)
        elif is_renewed:
            self._status.renewed()
        elif self._status.state is LinkState.CONNECTING:
            self._status.failed(LinkFailure.unreachable(connection.lost_reason))
        if self._status.is_final and self._service is not None:
            self._service.stopService()

    async def client_event(
        self, tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str
    ) -> None:
        """Pass an event of the gateway to the callbacks."""
        await self._callbacks.dispatch(client_message(tenant_id, type_, payload, user_id, event_id))

    async def command(self, **arguments: Any) -> None:  # those of the declaration
        """Have a command carried out."""
        await self._commands.take(Command.decode(self._commands.gateway_clock, **arguments))
