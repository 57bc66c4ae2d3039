"""The listening sockets of a node: opened once by the supervisor, accepted from by every worker."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from twisted.internet.abstract import isIPv6Address
from twisted.logger import Logger
from twisted.python.lockfile import FilesystemLock

from callcenter_ws.runtime.endpoints import EndpointDescription
from callcenter_ws.runtime.listener import remove_stale_socket
from callcenter_ws.runtime.start_failed import StartFailed, cannot_listen
from callcenter_ws.runtime.systemd_sockets import systemd_socket
from callcenter_ws.runtime.tls import BACKLOG
from callcenter_ws.workers.handoff import ListenEndpoint

_log = Logger()


@dataclass(slots=True)
class ListeningSocket:
    """A listening socket, and the files that belong to it: the unix socket's path and Twisted's lock."""

    socket: socket.socket
    path: Path | None = None
    lock: FilesystemLock | None = None

    def close(self) -> None:
        """Close this process's descriptor and remove the files; other processes go on listening."""
        # The file is removed first: while it exists, connecting to it must succeed.
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()
        if self.lock is not None:
            with suppress(OSError, ValueError):
                self.lock.unlock()
        self.socket.close()


class ListeningSockets:
    """The listening sockets of a node.

    All workers accept from the same queue. If each worker had a socket of its own, bound with SO_REUSEPORT, it would
    have a queue of its own, and connections waiting in it would be reset when the worker ends.
    """

    def __init__(self, endpoints: Iterable[ListenEndpoint]) -> None:
        self._endpoints = list(endpoints)
        self._open: dict[str, ListeningSocket] = {}

    @property
    def descriptors(self) -> Mapping[str, int]:
        """This process's descriptors, by the text of the ``ListenEndpoint``."""
        return {endpoint: opened.socket.fileno() for endpoint, opened in self._open.items()}

    def open(self) -> None:
        """Open the sockets that are not open yet.

        Raises:
            StartFailed: a socket cannot be opened; the reason has been logged and the others are closed.
        """
        for listen_endpoint in self._endpoints:
            if str(listen_endpoint) in self._open:
                continue
            endpoint = listen_endpoint.endpoint
            try:
                opened = open_listening_socket(endpoint)
            except (OSError, ValueError, LookupError) as error:
                reason = cannot_listen(endpoint, listen_endpoint.setting, error)
                _log.critical("cannot start: {reason}", reason=reason)
                self.close()
                raise StartFailed(reason) from None
            self._open[str(listen_endpoint)] = opened
            address = opened.path or opened.socket.getsockname()
            _log.info("the workers will listen on {endpoint}, {address}", endpoint=str(endpoint), address=address)

    def close(self) -> None:
        """Close all sockets in this process."""
        while self._open:
            self._open.popitem()[1].close()


def open_listening_socket(endpoint: EndpointDescription) -> ListeningSocket:
    """Open the socket of an endpoint, as Twisted would.

    Raises:
        OSError: the operating system refuses it.
        ValueError: another process listens on the unix socket.
        LookupError: systemd passed on no such socket.
    """
    if endpoint.kind == "systemd":
        # Its file belongs to systemd and is not removed.
        return ListeningSocket(systemd_socket(endpoint))
    if endpoint.kind == "unix":
        remove_stale_socket(endpoint)
        return _unix(*endpoint.positional, **endpoint.options)
    if endpoint.kind == "ssl":
        # The certificate and its key are read by the workers.
        options = {name: endpoint.options[name] for name in ("interface", "backlog") if name in endpoint.options}
        return _tcp(endpoint.port, **options)
    return _tcp(*endpoint.positional, **endpoint.options)


def _tcp(port: str, interface: str = "", backlog: str = str(BACKLOG)) -> ListeningSocket:
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
    return ListeningSocket(listening)


def _unix(address: str, mode: str = "666", backlog: str = str(BACKLOG), lockfile: str = "1") -> ListeningSocket:
    path = Path(address)
    lock = FilesystemLock(f"{path}.lock") if int(lockfile) else None
    if lock is not None and not lock.lock():
        raise ValueError("another process listens there")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(path))
    except BaseException:
        ListeningSocket(listening, None, lock).close()
        raise
    opened = ListeningSocket(listening, path, lock)
    try:
        # The mode is set before listen(): until then no process can connect.
        path.chmod(int(mode, 8))
        listening.listen(int(backlog))
        listening.setblocking(False)
    except BaseException:
        opened.close()
        raise
    return opened
