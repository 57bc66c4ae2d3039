"""One connection to the gateway."""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.protocol import connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure

from callcenter_ws.amp.commands import AmpRefusal, ClientEvent, GatewayCommand, Ping, refusal_of
from callcenter_ws.errors import ErrorCode, Refusal

CALL_TIMEOUT = 30.0
PING_INTERVAL = 30.0

_log = Logger()


class LinkOwner(Protocol):
    """Who is told about a link."""

    def link_made(self, link: GatewayLink) -> Coroutine[Any, Any, None]:
        """The connection is there; prove who we are."""

    def link_lost(self, link: GatewayLink) -> None:
        """The connection is gone."""

    def client_event(
        self, tenant_id: str, type_: str, payload: bytes, user_id: str | None, event_id: str
    ) -> Coroutine[Any, Any, None]:
        """The gateway passes on what a client said."""


class GatewayLink(amp.AMP):
    """Calls the gateway with a deadline, notices a gateway that is gone, and answers its calls.

    Every failure of a call is a ``Refusal``: the gateway's own, or ``unavailable`` for a broken link.
    """

    # Twisted's interfaces are not understood by mypy without a plugin.
    transport: Any

    def __init__(self, owner: LinkOwner, reactor: Any) -> None:
        super().__init__()
        self._owner = owner
        self._reactor = reactor
        self._keepalive = LoopingCall(self._ping)
        self._keepalive.clock = reactor
        self._abort: Any = None

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self._keepalive.start(PING_INTERVAL, now=False)
        Deferred.fromCoroutine(self._owner.link_made(self)).addErrback(self._failed)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End."""
        if self._keepalive.running:
            self._keepalive.stop()
        if self._abort is not None and self._abort.active():
            self._abort.cancel()
        super().connectionLost(reason)
        self._owner.link_lost(self)

    async def call(self, command: type[GatewayCommand], **arguments: Any) -> dict[str, Any]:
        """Call a command of the gateway.

        Raises:
            Refusal: what the gateway answered; ``unavailable`` when there was no answer.
        """
        if self.transport is None:
            raise Refusal(ErrorCode.UNAVAILABLE, "the connection to the gateway is lost")
        try:
            answer: Deferred[dict[str, Any]] = self.callRemote(command, **arguments)
            return await answer.addTimeout(CALL_TIMEOUT, self._reactor)
        except AmpRefusal as error:
            raise refusal_of(error.amp_code, str(error)) from None
        except defer.TimeoutError:
            self.drop(f"no answer to {command.__name__} within {CALL_TIMEOUT:g} s")
        except (amp.RemoteAmpError, amp.UnhandledCommand) as error:
            self.drop(f"{type(error).__name__} in answer to {command.__name__}; is it a gateway?")
        except ConnectionClosed:
            pass
        raise Refusal(ErrorCode.UNAVAILABLE, "the connection to the gateway is lost")

    def drop(self, reason: str) -> None:
        """Give this connection up; another one will be made."""
        if self.transport is not None:
            _log.warn("the connection to the gateway is dropped: {reason}", reason=reason)
            self.transport.abortConnection()

    def abort_after(self, seconds: float) -> None:
        """Do not wait longer than this for a gateway that does not let go."""
        self._abort = self._reactor.callLater(seconds, self.transport.abortConnection)

    def unhandledError(self, failure: Failure) -> None:  # noqa: N802 - Twisted's name
        """A bug, ours or the gateway's."""
        self._failed(failure)

    @ClientEvent.responder
    def client_event(
        self,
        tenant_id: str,
        type: str,  # noqa: A002 - the wire's own name for it
        payload: bytes,
        user_id: str | None,
        event_id: str,
    ) -> Deferred[dict[str, Any]]:
        """Pass on what a client said; the answer acknowledges it."""
        heard = Deferred.fromCoroutine(self._owner.client_event(tenant_id, type, payload, user_id, event_id))
        return heard.addCallback(lambda _: {})

    def _ping(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._check_gateway()).addErrback(self._failed)

    async def _check_gateway(self) -> None:
        # Without an answer ``call`` has dropped the link; any other refusal shows that somebody is there.
        with suppress(Refusal):
            await self.call(Ping)

    def _failed(self, failure: Failure) -> None:
        _log.failure("the connection to the gateway failed", failure)
        self.drop("an error of its own")
