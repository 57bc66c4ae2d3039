"""Calls one command of a gateway over one AMP connection: ``callcenter-ws emit`` and ``callcenter-ws source``."""

from __future__ import annotations

from collections.abc import Mapping

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory

from callcenter_ws.amp.commands import Authenticate, GatewayCommand, PublishEvent
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.gateway_connection import CommandResponse, GatewayConnection
from callcenter_ws.runtime.reactor import Reactor


class _SingleConnectionOwner:
    """Records the end of the connection and does not reconnect, unlike a daemon's EventBroadcaster."""

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()

    async def connection_made(self, connection: GatewayConnection) -> None:
        """Do nothing: ``emit`` authenticates."""

    def connection_lost(self, connection: GatewayConnection) -> None:
        """Record that the connection is closed."""
        self.closed.callback(None)

    async def client_event(self, *event: object) -> None:
        """Do nothing: without a subscription no client event is sent."""


async def call_gateway(
    reactor: Reactor, endpoint: str, token: str | None, command: type[GatewayCommand], arguments: Mapping[str, object]
) -> CommandResponse:
    """Call one command and return its response.

    Args:
        endpoint: a Twisted client endpoint description.
        token: the shared secret or a token with the role ``service``; None for a unix socket, whose mode is enough.
        arguments: those that are None are left out.

    Raises:
        Refusal: the gateway's error; ``unavailable`` if it cannot be reached.
    """
    owner = _SingleConnectionOwner()
    factory = Factory.forProtocol(lambda: GatewayConnection(owner, reactor))
    factory.noisy = False
    try:
        connection = await clientFromString(reactor, endpoint).connect(factory)
    except Exception as error:
        # Errors of the description and of the network are shown to the user without a traceback.
        raise Refusal(ErrorCode.UNAVAILABLE, f"cannot connect to {endpoint}: {error}") from None
    try:
        if token is not None:
            await connection.call(Authenticate, token=token)
        given = {name: value for name, value in arguments.items() if value is not None}
        answer: CommandResponse = await connection.call(command, **given)
        return answer
    finally:
        connection.transport.abortConnection()
        await owner.closed


async def emit(reactor: Reactor, endpoint: str, token: str | None, event: Mapping[str, object]) -> PublishResult:
    """Publish one event; see ``call_gateway``.

    Args:
        event: the arguments of ``PublishEvent``.
    """
    answer = await call_gateway(reactor, endpoint, token, PublishEvent, event)
    return PublishResult(answer["epoch"], answer["seq"], answer["event_id"])
