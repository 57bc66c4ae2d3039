"""Sockets: opened once by the supervisor, listened on by every worker."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.internet.abstract import isIPv6Address
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.lockfile import FilesystemLock

from callcenter_ws.runtime.endpoints import endpoint_arguments
from callcenter_ws.runtime.listener import remove_leftovers
from callcenter_ws.runtime.tls import BACKLOG
from callcenter_ws.workers.handoff import Endpoint

_log = Logger()


@dataclass(slots=True)
class OpenSocket:
    """A listening socket, and what it left in the file system."""

    socket: socket.socket
    path: Path | None = None
    lock: Any = None  # a FilesystemLock

    def close(self) -> None:
        """Close this process's descriptor: who shares the socket goes on listening."""
        # The file first: whoever finds it must be able to connect.
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()
        if self.lock is not None:
            with suppress(OSError, ValueError):
                self.lock.unlock()
        self.socket.close()


class Sockets:
    """The listening sockets of the node.

    All workers accept from one queue. With a socket for each, bound with SO_REUSEPORT, each would have a queue of its
    own, and what waits in it when the worker goes would be reset.
    """

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        self._endpoints = list(endpoints)
        self._open: dict[str, OpenSocket] = {}

    @property
    def descriptors(self) -> Mapping[str, int]:
        """This process's descriptors, by the text of their Endpoint."""
        return {endpoint: opened.socket.fileno() for endpoint, opened in self._open.items()}

    def open(self) -> None:
        """Open what is not open, or say why not and end the start."""
        for endpoint in self._endpoints:
            if str(endpoint) in self._open:
                continue
            try:
                opened = open_socket(endpoint.description)
            except (OSError, ValueError, LookupError) as error:
                reason = getattr(error, "strerror", None) or error
                _log.critical("cannot listen on {endpoint}: {reason}", endpoint=endpoint.description, reason=reason)
                self.close()
                raise SystemExit(1) from None
            self._open[str(endpoint)] = opened
            where = opened.path or opened.socket.getsockname()
            _log.info("the workers will listen on {endpoint}, {where}", endpoint=endpoint.description, where=where)

    def close(self) -> None:
        """Close all of them in this process."""
        while self._open:
            self._open.popitem()[1].close()


def open_socket(description: str) -> OpenSocket:
    """Open what an endpoint description of the settings names, as Twisted would.

    Raises:
        OSError: the system does not allow it.
        ValueError: there is a socket that somebody listens on.
        LookupError: systemd passed no such socket on.
    """
    kind = description.partition(":")[0]
    positional, named = endpoint_arguments(description)
    if kind == "systemd":
        return _from_systemd(description)
    if kind == "unix":
        remove_leftovers(description)
        return _unix(*positional, **named)
    if kind == "ssl":
        # The certificate is the workers' business.
        positional = [named.get("port") or positional[0]]
        named = {name: named[name] for name in ("interface", "backlog") if name in named}
    return _tcp(*positional, **named)


def _tcp(port: str, interface: str = "", backlog: str = str(BACKLOG)) -> OpenSocket:
    family, address = socket.AF_INET, (interface, int(port))
    if isIPv6Address(interface):
        numeric = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
        family, _, _, _, address = socket.getaddrinfo(interface, port, flags=numeric)[0]  # type: ignore[assignment]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(int(backlog))
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return OpenSocket(listening)


def _unix(address: str, mode: str = "666", backlog: str = str(BACKLOG), lockfile: str = "1") -> OpenSocket:
    path = Path(address)
    lock = FilesystemLock(f"{path}.lock") if int(lockfile) else None
    if lock is not None and not lock.lock():
        raise ValueError("another process listens there")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
    except BaseException:
        OpenSocket(listening, None, lock).close()
        raise
    opened = OpenSocket(listening, path, lock)
    try:
        # Before it listens: until then nobody can connect.
        path.chmod(int(mode, 8))
        listening.listen(int(backlog))
        listening.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened


def _from_systemd(description: str) -> OpenSocket:
    """Keep a socket that systemd opened; it outlives this process, as does its file."""
    endpoint: Any = serverFromString(object(), description)
    passed_on = socket.socket(fileno=os.dup(endpoint.fileno))
    passed_on.setblocking(False)
    return OpenSocket(passed_on)
