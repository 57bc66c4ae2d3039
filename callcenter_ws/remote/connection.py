"""The connection to the gateway that is made again whenever it is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from callcenter_ws.amp.commands import Authenticate, GatewayCommand
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.link import GatewayLink
from callcenter_ws.remote.sender import Sender
from callcenter_ws.remote.subscriptions import Subscriptions, message_of
from callcenter_ws.runtime.backoff import Backoff

_FIRST_RECONNECT = 0.2
_LAST_RECONNECT = 30.0
_CONNECT_TIMEOUT = 10.0

_log = Logger()


class Connection:
    """Owns the links, one after the other; on each it proves who we are, and asks for what we heard before.

    Args:
        endpoint: a Twisted client endpoint.
        token: what we prove ourselves with, or what returns it, asked anew for each link.
        sender: is given the link to send over.
        subscriptions: what to ask for on every link.
    """

    def __init__(
        self,
        endpoint: Any,
        reactor: Any,
        token: str | Callable[[], str] | None,
        sender: Sender,
        subscriptions: Subscriptions,
    ) -> None:
        self._endpoint = endpoint
        self._reactor = reactor
        self._token = token
        self._sender = sender
        self._subscriptions = subscriptions
        self._reconnect = Backoff(_FIRST_RECONNECT, _LAST_RECONNECT)
        self._service: ClientService | None = None
        self._links: set[GatewayLink] = set()
        self._waiting: list[Deferred[GatewayLink]] = []

    def start(self) -> None:
        """Connect, and stay connected."""
        factory: Any = Factory.forProtocol(lambda: GatewayLink(self, self._reactor))
        factory.noisy = False
        self._service = ClientService(
            self._endpoint, factory, retryPolicy=lambda _: self._reconnect.delay(), clock=self._reactor
        )
        self._service.startService()

    async def stop(self, refusal: Refusal, patience: float) -> None:
        """Disconnect, at the latest after ``patience`` seconds; calls that wait for a link get ``refusal``."""
        for waiting in list(self._waiting):
            waiting.errback(refusal)
        service, self._service = self._service, None
        if service is not None:
            stopped = service.stopService()
            for link in self._links:
                link.abort_after(patience)
            await stopped

    async def call(self, command: type[GatewayCommand], **arguments: Any) -> dict[str, Any]:
        """Call a command of the gateway, waiting up to 10 s for a link.

        Raises:
            Refusal: what the gateway answered; ``unavailable`` when there was no answer.
        """
        link = self._sender.link
        if link is None:
            waiting: Deferred[GatewayLink] = Deferred()
            self._waiting.append(waiting)
            try:
                link = await waiting.addTimeout(_CONNECT_TIMEOUT, self._reactor)
            except defer.TimeoutError:
                raise Refusal(ErrorCode.UNAVAILABLE, "there is no connection to the gateway") from None
            finally:
                self._waiting.remove(waiting)
        return await link.call(command, **arguments)

    def ask(self) -> None:
        """There is something new to subscribe to: ask for it if there is a link."""
        link = self._sender.link
        if link is not None:
            asked = Deferred.fromCoroutine(self._subscriptions.ask(link))
            asked.addErrback(lambda failure: _log.failure("subscribing failed", failure))

    # What a link tells its owner

    async def link_made(self, link: GatewayLink) -> None:
        """Prove who we are, ask for what we heard before, and begin to send."""
        self._links.add(link)
        try:
            token = self._token() if callable(self._token) else self._token
            if token is not None:
                await link.call(Authenticate, token=token)
            await self._subscriptions.renew(link)
        except Refusal as refusal:
            if refusal.code in (ErrorCode.UNAUTHORIZED, ErrorCode.FORBIDDEN):
                self._reconnect.exhaust()
                _log.error(
                    "the gateway refuses this daemon's token ({reason}); the next try is in about {seconds:g} s",
                    reason=refusal.message,
                    seconds=_LAST_RECONNECT,
                )
            link.drop(f"it does not let us begin: {refusal.message}")
            return
        self._reconnect.reset()
        self._sender.link = link
        self._sender.wake()
        for waiting in list(self._waiting):
            waiting.callback(link)
        await self._subscriptions.ask(link)

    def link_lost(self, link: GatewayLink) -> None:
        """What is not acknowledged is sent again over the next link."""
        self._links.discard(link)
        if self._sender.link is link:
            self._sender.link = None

    async def client_event(
        self, tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str
    ) -> None:
        """The gateway passes on what a client said."""
        await self._subscriptions.heard(message_of(tenant_id, type_, payload, user_id, event_id))
