"""Ports on listening sockets that another process opened and that several processes accept from.

Twisted's ``adoptStreamPort`` does not fit (Twisted 26.10): its unix port sets the mode of the socket's file to 666 and
the backlog to 50, and when it stops it shuts the socket down for all processes and removes its file. Its TCP port
accepts 100 or more connections in a row, so the first process that wakes up takes all of them.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.python.failure import Failure

from callcenter_ws.runtime.reactor import Reactor

ACCEPTS_PER_TURN = 4
"""Connections accepted in one reactor turn; then other work of the process, and other processes, have their turn."""


def listen_on_inherited(reactor: Reactor, descriptor: int, factory: IProtocolFactory) -> IListeningPort:
    """Start to accept from a listening socket and return the ``IListeningPort``. The descriptor is closed.

    Stopping the port closes this process's descriptor only; the other processes go on listening.

    Raises:
        OSError: the descriptor is not a socket.
    """
    with socket.socket(fileno=descriptor) as inherited:
        # A flag of the descriptor. The flags of the open socket are shared with the process that opened it.
        inherited.set_inheritable(False)
        port: IListeningPort
        if inherited.family == socket.AF_UNIX:
            port = SharedUnixPort._fromListeningDescriptor(reactor, descriptor, factory)
        else:
            port = SharedPort._fromListeningDescriptor(reactor, descriptor, inherited.family, factory)
        port.startListening()
    return port


class _FewAccepts:
    """Keeps ``numberAccepts`` constant; Twisted sets it after each turn to the number just accepted, or more."""

    @property
    def numberAccepts(self) -> int:  # noqa: N802 - Twisted's name
        """The number of connections to accept in one reactor turn."""
        return ACCEPTS_PER_TURN

    @numberAccepts.setter
    def numberAccepts(self, wanted: int) -> None:  # noqa: N802 - Twisted's name
        pass


class SharedPort(_FewAccepts, tcp.Port):
    """A TCP port. Twisted does not shut down an inherited socket of this kind."""


class SharedUnixPort(_FewAccepts, unix.Port):
    """A port on a unix socket whose file, mode and backlog belong to the process that opened it."""

    _shouldShutdown = False  # noqa: N815 - Twisted's name

    def startListening(self) -> None:  # noqa: N802 - Twisted's name
        """Start to accept connections."""
        # Reserves a descriptor, with which connections can be accepted and closed when all others are in use.
        tcp._reservedFD.reserve()
        self._logger.info(
            "{factory} starting on {path}",
            factory=self._getLogPrefix(self.factory),
            path=os.fsdecode(self._bindPath),
        )
        self.factory.doStart()  # type: ignore[union-attr]  # the constructor has set it
        inherited: Any = self._preexistingSocket  # Twisted declares it as None
        self._preexistingSocket = None
        self.socket = inherited
        self.fileno = inherited.fileno  # type: ignore[method-assign]  # as Twisted does
        self.connected = True
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close this process's descriptor; do not remove the socket's file."""
        tcp.Port.connectionLost(self, reason)
