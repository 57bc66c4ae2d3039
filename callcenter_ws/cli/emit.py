"""Emit: one AMP connection that publishes one event and tells what came of it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory

from callcenter_ws.amp.commands import Authenticate, PublishEvent
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.link import GatewayLink


class _Owner:
    """Takes note of the end of the one link. A daemon's EventBroadcaster would make another one."""

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()

    async def link_made(self, link: GatewayLink) -> None:
        """Nothing: the caller has the link."""

    def link_lost(self, link: GatewayLink) -> None:
        """The connection is closed."""
        self.gone.callback(None)

    async def client_event(self, *event: object) -> None:
        """Nothing: without a subscription there is none."""


async def emit(reactor: Any, endpoint: str, token: str | None, event: dict[str, Any]) -> PublishResult:
    """Publish one event.

    Args:
        endpoint: a Twisted client endpoint description.
        token: the shared secret or a token of role ``service``; None where a unix socket's mode is enough.
        event: the arguments of ``PublishEvent``; those that are None are left out.

    Raises:
        Refusal: what the gateway answered; ``unavailable`` when it could not be reached.
    """
    owner = _Owner()
    factory = Factory.forProtocol(lambda: GatewayLink(owner, reactor))
    factory.noisy = False
    try:
        link = await clientFromString(reactor, endpoint).connect(factory)
    except Exception as error:
        # Whatever a description or a network can do wrong is for the person to read, not to debug.
        raise Refusal(ErrorCode.UNAVAILABLE, f"cannot connect to {endpoint}: {error}") from None
    try:
        if token is not None:
            await link.call(Authenticate, token=token)
        given = {name: value for name, value in event.items() if value is not None}
        answer = await link.call(PublishEvent, **given)
        return PublishResult(answer["epoch"], answer["seq"], answer["event_id"])
    finally:
        link.transport.abortConnection()
        await owner.gone
