"""Ports on sockets that somebody else opened, and that other processes may listen on at the same time.

Twisted's ``adoptStreamPort`` is not made for that (seen in Twisted 26.10): its unix port sets the mode of the socket's
file to 666, the length of the queue to 50, and at the end shuts the socket down for everybody and removes its file; its
TCP port accepts 100 connections at a time and more, so that whoever wakes first takes them all.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure

ACCEPTS = 4
"""Connections that a port takes before its process does something else, and another process has its turn."""


def adopt(reactor: Any, descriptor: int, factory: IProtocolFactory) -> Any:
    """Listen on a socket that is listened on already, and return the port; the descriptor is closed.

    Stopping the port leaves the socket as it is to whoever shares it.

    Raises:
        OSError: the descriptor is not a socket.
    """
    with socket.socket(fileno=descriptor) as inherited:
        # For the process: the flags of the open socket itself are shared with whoever opened it.
        inherited.set_inheritable(False)
        port: Any
        if inherited.family == socket.AF_UNIX:
            port = SharedUnixPort._fromListeningDescriptor(reactor, descriptor, factory)
        else:
            port = SharedPort._fromListeningDescriptor(reactor, descriptor, inherited.family, factory)
        port.startListening()
    return port


class _FewAccepts:
    """Twisted sets the number after each turn, to what came in it or more."""

    @property
    def numberAccepts(self) -> int:  # noqa: N802 - Twisted's name
        """How many connections are taken at a time."""
        return ACCEPTS

    @numberAccepts.setter
    def numberAccepts(self, wanted: int) -> None:  # noqa: N802 - Twisted's name
        pass


class SharedPort(_FewAccepts, tcp.Port):
    """A TCP port. Twisted does not shut down a socket of this kind that it did not open."""


class SharedUnixPort(_FewAccepts, unix.Port):
    """A port on a unix socket, whose file, mode and queue belong to whoever opened it."""

    _shouldShutdown = False  # noqa: N815 - Twisted's name

    def startListening(self) -> None:  # noqa: N802 - Twisted's name
        """Begin to accept."""
        # So that there is a descriptor left to refuse connections with when all are in use.
        tcp._reservedFD.reserve()
        self._logger.info(
            "{factory} starting on {path}", factory=self._getLogPrefix(self.factory), path=_path(self._bindPath)
        )
        self.factory.doStart()  # type: ignore[union-attr]  # it has one from the beginning
        taken: Any = self._preexistingSocket
        self._preexistingSocket = None
        self.socket = taken
        self.fileno = taken.fileno  # type: ignore[method-assign]  # as Twisted does
        self.connected = True
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """Close this process's descriptor, and nothing else."""
        tcp.Port.connectionLost(self, reason)


def _path(path: bytes | str) -> str:
    return os.fsdecode(path)
