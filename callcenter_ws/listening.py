"""Ports: from an endpoint description to a listening socket that is a Service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger

_log = Logger()


class Listener(Service):
    """Listens on one endpoint while it runs.

    The socket is opened in ``privilegedStartService``, so that a port below 1024 is bound before twistd gives up
    its privileges.

    Args:
        give_up: called when the endpoint cannot be opened, after the log said why.
    """

    def __init__(
        self, reactor: Any, description: str, factory: IProtocolFactory, give_up: Callable[[], object]
    ) -> None:
        self._reactor = reactor
        self._description = description
        self._factory = factory
        self._give_up = give_up
        self._begun = False
        self.port: Any = None  # an IListeningPort, while the socket is open

    def privilegedStartService(self) -> None:
        """Open the socket while there may be the privileges for it."""
        super().privilegedStartService()
        self._begin()

    def startService(self) -> None:
        """Open the socket, unless that is done."""
        super().startService()
        self._begin()

    def _begin(self) -> None:
        if not self._begun:
            self._begun = True
            Deferred.fromCoroutine(self._listen()).addErrback(
                lambda failure: _log.failure("listening on {endpoint} met a bug", failure, endpoint=self._description)
            )

    async def _listen(self) -> None:
        endpoint = serverFromString(self._reactor, self._description)
        try:
            self.port = await endpoint.listen(self._factory)
        except (CannotListenError, OSError) as error:
            reason = getattr(error, "socketError", error)
            _log.critical("cannot listen on {endpoint}: {reason}", endpoint=self._description, reason=reason)
            self._give_up()

    async def close(self) -> None:
        """Take no more connections; those that are open stay."""
        port, self.port = self.port, None
        if port is not None:
            closing = port.stopListening()
            if closing is not None:
                await closing

    def stopService(self) -> Deferred[None]:
        """Close the socket."""
        super().stopService()
        return Deferred.fromCoroutine(self.close())


def private_unix(description: str) -> str:
    """Return an endpoint description whose unix socket only its owner and group may use.

    Twisted makes unix sockets with mode 666, which would let every user of the machine publish events.
    """
    if description.startswith("unix:") and ":mode=" not in description:
        return f"{description}:mode=660"
    return description
