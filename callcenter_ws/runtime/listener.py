"""Listening ports as services: an endpoint description is opened when the service starts."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.shared_port import listen_on_inherited
from callcenter_ws.runtime.start_failed import StartFailed, cannot_listen
from callcenter_ws.runtime.systemd_sockets import systemd_socket
from callcenter_ws.runtime.tls import ServerContexts, server_contexts, server_endpoint
from callcenter_ws.runtime.tls_turns import TurnTLSFactory
from callcenter_ws.runtime.turns import Turns

MAX_ACCEPTS_PER_TURN = 16
"""Connections that a port accepts in a turn of the reactor; of TLS, each takes half a millisecond."""

_log = Logger()


class Listener(Service):
    """Listens on one endpoint while the service runs.

    The socket is opened in ``privilegedStartService``, so that a port below 1024 is bound before twistd drops its
    privileges. An inherited socket is open already; no connection is accepted from it before ``accept_from_inherited``.

    Args:
        inherited: the descriptor of the listening socket, in a worker that shares it with other workers.
        setting: the key that has the endpoint, for the log.
        turns: divides TLS handshakes over turns of the reactor; None: the listener has turns of its own.
        proxied: returns a factory that reads the header of the PROXY protocol, for a ``haproxy:`` endpoint.

    Attributes:
        port: the ``IListeningPort``; None while the socket is not open.
        endpoint, setting: as given.
        contexts: the TLS contexts of an ``ssl:`` endpoint, once it is listened on; None for another.
    """

    contexts: ServerContexts | None = None

    def __init__(
        self,
        reactor: Reactor,
        endpoint: EndpointDescription,
        factory: IProtocolFactory,
        inherited: int | None = None,
        setting: str = "listen",
        turns: Turns | None = None,
        proxied: Callable[[IProtocolFactory], IProtocolFactory] | None = None,
    ) -> None:
        self._reactor = reactor
        self.endpoint = endpoint
        self._factory = factory
        self._inherited = inherited
        self.setting = setting
        self._turns = turns or Turns(lambda call: reactor.callLater(0, call))
        self._proxied = proxied
        self._failure = ""
        self.port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Open the socket, before twistd drops its privileges.

        Raises:
            StartFailed: the socket cannot be opened; the reason has been logged.
        """
        super().privilegedStartService()
        if self._inherited is None:
            self._listen()

    def startService(self) -> None:
        """Open the socket if it is not open; raises as ``privilegedStartService`` does."""
        super().startService()
        if self.port is None and self._inherited is None:
            self._listen()

    def accept_from_inherited(self) -> None:
        """Start to accept connections from the inherited socket. Without one, do nothing."""
        descriptor, self._inherited = self._inherited, None
        if descriptor is None:
            return
        self.port = listen_on_inherited(self._reactor, descriptor, self._wrapped_factory())

    @property
    def label(self) -> str:
        """An ``ssl:`` endpoint without the files that it names: kind, port and interface."""
        return ":".join(filter(None, (self.endpoint.kind, self.endpoint.port, self.endpoint.interface)))

    def _wrapped_factory(self) -> IProtocolFactory:
        """Return the factory, wrapped in TLS and in the PROXY protocol, whose header precedes TLS, by the endpoint."""
        factory = self._factory
        if self.endpoint.kind == "ssl":
            self.contexts = server_contexts(self.endpoint)
            factory = TurnTLSFactory(self.contexts, factory, self._turns)
        if self.endpoint.is_proxied and self._proxied is not None:
            factory = self._proxied(factory)
        return factory

    def _listen(self) -> None:
        """Open the socket. A gateway without one of its ports must not start: the failure would go unnoticed."""
        if self.endpoint.kind == "systemd":
            self._listen_on_socket_of_systemd()
            return
        remove_stale_socket(self.endpoint)
        # Every kind of endpoint that the settings allow has its result when ``listen`` returns.
        server_endpoint(self._reactor, self.endpoint).listen(self._wrapped_factory()).addCallbacks(
            self._opened, self._failed
        )
        if self.port is None:
            raise StartFailed(self._failure)

    def _listen_on_socket_of_systemd(self) -> None:
        """Accept from a socket that systemd opened. Twisted's own port would remove and open up its file."""
        try:
            descriptor = systemd_socket(self.endpoint).detach()
        except (LookupError, OSError, ValueError) as error:
            self._failed(Failure(error))
            raise StartFailed(self._failure) from None
        self.port = listen_on_inherited(self._reactor, descriptor, self._wrapped_factory())

    def _opened(self, port: IListeningPort) -> None:
        _limit_accepts(port)
        self.port = port

    def _failed(self, failure: Failure) -> None:
        error = getattr(failure.value, "socketError", failure.value)
        self._failure = cannot_listen(self.endpoint, self.setting, error)
        _log.critical("cannot start: {reason}", reason=self._failure)

    async def close(self) -> None:
        """Accept no more connections; established ones stay open."""
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


def _limit_accepts(port: Any) -> None:  # Any: the attribute is in no interface of Twisted
    """Have a port accept at most ``MAX_ACCEPTS_PER_TURN`` connections in a turn; Twisted's own accept more."""
    accept = port.doRead

    def accept_some() -> None:
        port.numberAccepts = min(port.numberAccepts, MAX_ACCEPTS_PER_TURN)
        accept()

    port.doRead = accept_some


def with_private_mode(endpoint: EndpointDescription) -> EndpointDescription:
    """Return the endpoint, with mode 660 if it is a ``unix:`` endpoint without a mode.

    Twisted's default mode is 666, with which every user of the machine could publish events.
    """
    if endpoint.kind == "unix" and "mode" not in endpoint.options:
        return endpoint.with_option("mode", "660")
    return endpoint


def remove_stale_socket(endpoint: EndpointDescription) -> None:
    """Remove a unix socket that no process listens on, and Twisted's lock file beside it.

    The lock holds the pid of the process that made it. If that process was killed, another process may have the pid by
    now; in a container the new process itself usually has it.
    """
    if endpoint.kind != "unix":
        return
    path = endpoint.socket_path
    # Not Path.exists, which may raise for an inaccessible folder; listening reports the reason then.
    if os.path.exists(path) and not path.is_socket():
        return
    with socket.socket(socket.AF_UNIX) as peer:
        peer.setblocking(False)
        try:
            peer.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            pass
        except (OSError, ValueError):
            # Whether a process listens is unknown, so the socket stays.
            return
        else:
            return
    for stale in (path.with_name(path.name + ".lock"), path):
        with suppress(OSError):
            stale.unlink()
