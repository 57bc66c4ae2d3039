"""Ports: from an endpoint description to a listening socket that is a Service."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocolFactory
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from callcenter_ws.runtime.endpoints import endpoint_arguments
from callcenter_ws.runtime.shared_port import adopt
from callcenter_ws.runtime.tls import server_contexts, server_endpoint

_log = Logger()


class Listener(Service):
    """Listens on one endpoint while it runs.

    The socket is opened in ``privilegedStartService``, so that a port below 1024 is bound before twistd gives up
    its privileges. One that was inherited is open already: nothing is accepted from it before ``take_up``.

    Args:
        inherited: the descriptor of the socket, in a worker that shares it with others.

    Attributes:
        port: the listening port; None while the socket is not open.
    """

    def __init__(self, reactor: Any, description: str, factory: IProtocolFactory, inherited: int | None = None) -> None:
        self._reactor = reactor
        self._description = description
        self._factory = factory
        self._inherited = inherited
        self.port: Any = None  # an IListeningPort

    def privilegedStartService(self) -> None:
        """Open the socket while there may be the privileges for it."""
        super().privilegedStartService()
        if self._inherited is None:
            self._listen()

    def startService(self) -> None:
        """Open the socket, unless that is done."""
        super().startService()
        if self.port is None and self._inherited is None:
            self._listen()

    def take_up(self) -> None:
        """Begin to accept from the inherited socket. Without one there is nothing to do."""
        descriptor, self._inherited = self._inherited, None
        if descriptor is None:
            return
        factory: Any = self._factory
        if self._description.startswith("ssl:"):
            contexts: Any = server_contexts(self._reactor, self._description)
            factory = TLSMemoryBIOFactory(contexts, False, factory)
        self.port = adopt(self._reactor, descriptor, factory)

    def _listen(self) -> None:
        """Open the socket, or say why not and end the start: half a gateway is worse than one that is plainly down."""
        remove_leftovers(self._description)
        # Every endpoint that the settings allow answers at once.
        server_endpoint(self._reactor, self._description).listen(self._factory).addCallbacks(
            self._opened, self._refused
        )
        if self.port is None:
            raise SystemExit(1)

    def _opened(self, port: Any) -> None:
        self.port = port

    def _refused(self, failure: Failure) -> None:
        reason = getattr(failure.value, "socketError", failure.value)
        _log.critical("cannot listen on {endpoint}: {reason}", endpoint=self._description, reason=reason)

    async def close(self) -> None:
        """Take no more connections; those that are open stay."""
        if self._inherited is not None:
            os.close(self._inherited)
            self._inherited = None
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


def remove_leftovers(description: str) -> None:
    """Remove a unix socket that nobody listens on any more, and its lock.

    Twisted's lock holds the number of the process that made it. When that was killed, the number may be another's by
    now; in a container it is, as a rule, the new process's own.
    """
    if not description.startswith("unix:"):
        return
    positional, named = endpoint_arguments(description)
    path = Path(named.get("address") or positional[0])
    if path.exists() and not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as peer:
        peer.setblocking(False)
        try:
            peer.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except (OSError, ValueError):
            # Not ours to judge.
            return
        else:
            return
    for leftover in (path.with_name(path.name + ".lock"), path):
        with suppress(OSError):
            leftover.unlink()
