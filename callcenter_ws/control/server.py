"""The server of the control socket."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IListeningPort, IReactorTime
from twisted.internet.protocol import Factory, connectionDone
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure

from callcenter_ws.control.messages import (
    MAX_REQUEST_BYTES,
    Answer,
    Failed,
    Operations,
    ReloadRequest,
    Request,
    decode_request,
    encode,
)
from callcenter_ws.control.socket_file import CannotOpen, SocketFile, open_socket
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.shared_port import listen_on_inherited

_log = Logger()

MAX_CONNECTIONS = 16

TRANSFER_TIMEOUT_SECONDS = 10.0
"""Seconds within which a connection must send its request, and within which it must have read the answer."""


class ControlledService(Service):
    """Runs a service, and serves the control socket from its start until its end.

    The socket is opened after ``twistd`` has dropped its privileges: it must belong to the user of the gateway.

    Args:
        path: the path of the socket; None: there is none.
    """

    def __init__(self, reactor: Reactor, service: Service, operations: Operations, path: Path | None) -> None:
        self._reactor = reactor
        self._services = MultiService()
        service.setServiceParent(self._services)
        self._operations = operations
        self._path = path
        self._file: SocketFile | None = None
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Do what needs privileges."""
        super().privilegedStartService()
        self._services.privilegedStartService()

    def startService(self) -> None:
        """Start the service and open the socket. A gateway without the socket serves all the same, with a warning."""
        super().startService()
        self._services.startService()
        if self._path is not None:
            self._open(self._path)

    def _open(self, path: Path) -> None:
        try:
            self._file = opened = open_socket(path)
        except CannotOpen as error:
            _log.warn(
                "callcenter-ws reload and status will not work: cannot open the control socket {path}: {reason}. Set "
                'control.socket to a path in a folder that this user may write to, or to "" for none',
                path=str(path),
                reason=error,
            )
            return
        factory = ControlFactory(self._reactor, self._operations)
        self._port = listen_on_inherited(self._reactor, opened.socket.detach(), factory)

    def stopService(self) -> Deferred[None]:
        """Stop the service, and then close the socket."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._services.stopService()
        port, self._port = self._port, None
        if port is not None:
            closed = port.stopListening()
            if closed is not None:
                await closed
        file, self._file = self._file, None
        if file is not None:
            file.remove()


class ControlFactory(Factory):
    """Makes the protocols of connections, of which there may be ``MAX_CONNECTIONS``."""

    noisy = False

    def __init__(self, reactor: IReactorTime, operations: Operations) -> None:
        self.reactor = reactor
        self.operations = operations
        self.connections = 0

    def buildProtocol(self, addr: object) -> ControlProtocol:
        """Return the protocol of a new connection."""
        return ControlProtocol(self)


class ControlProtocol(LineOnlyReceiver):
    """Answers one request and closes the connection."""

    delimiter = b"\n"
    MAX_LENGTH = MAX_REQUEST_BYTES
    transport: Any  # a connection of a unix port, whose socket is in no interface of Twisted

    def __init__(self, factory: ControlFactory) -> None:
        self._factory = factory
        self._deadline: IDelayedCall | None = None
        self._is_open = False
        self._was_asked = False

    def connectionMade(self) -> None:
        """Refuse the connection of another user, and one too many."""
        self._is_open = True
        self._factory.connections += 1
        self._limit_time()
        user = peer_user(self.transport.socket)
        if user not in (0, os.geteuid()):
            _log.warn("control socket: refused a process of the user {uid}", uid=user)
            self._answer(Failed(f"the user {user} may not use this socket"))
        elif self._factory.connections > MAX_CONNECTIONS:
            self._answer(Failed(f"{MAX_CONNECTIONS} requests are being answered; try again later"))

    def lineReceived(self, line: bytes) -> None:
        """Answer the request; ignore what follows it."""
        if self._was_asked:
            return
        self._was_asked = True
        try:
            request = decode_request(line)
        except ValueError:
            self._answer(Failed("this gateway does not know the request: another version of callcenter-ws runs"))
            return
        self._cancel_deadline()
        spawn(self._execute(request))

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Close the connection."""
        self.transport.abortConnection()

    async def _execute(self, request: Request) -> None:
        operations = self._factory.operations
        try:
            answer = await operations.reload() if isinstance(request, ReloadRequest) else operations.node_status()
        except Exception:
            self._answer(Failed("the request met an error in the gateway, which its log has"))
            raise
        self._answer(answer)

    def _answer(self, answer: Answer) -> None:
        self._was_asked = True
        if self._is_open:
            self.transport.write(encode(answer))
            self.transport.loseConnection()
            self._cancel_deadline()
            self._limit_time()

    def _limit_time(self) -> None:
        self._deadline = self._factory.reactor.callLater(TRANSFER_TIMEOUT_SECONDS, self.transport.abortConnection)

    def _cancel_deadline(self) -> None:
        deadline, self._deadline = self._deadline, None
        if deadline is not None and deadline.active():
            deadline.cancel()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Make room for another connection."""
        self._is_open = False
        self._factory.connections -= 1
        self._cancel_deadline()


def peer_user(peer: socket.socket) -> int:
    """Return the user id of the process at the other end of a unix socket."""
    credentials = struct.Struct("3i")
    _, user, _ = credentials.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return int(user)
