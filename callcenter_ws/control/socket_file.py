"""The file of the control socket: made for the gateway's user only, and removed at the end."""

from __future__ import annotations

import os
import socket
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_BACKLOG = 16

MAX_PATH_BYTES = 107
"""The longest address of a unix socket (unix(7))."""

_MAX_NAME_BYTES = 80
"""Bytes of the file's name. In a folder with a longer path, it is reached through a descriptor of the folder."""


class CannotOpen(Exception):
    """The socket cannot be opened; the text gives the reason."""


class Folder:
    """The folder of a socket, through which paths of any length are reached."""

    def __init__(self, path: Path) -> None:
        """Open the folder; raises ``OSError``."""
        self._path = path
        self._descriptor = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def address(self, name: str) -> str:
        """Return the address of a socket in this folder, for ``bind`` and ``connect``."""
        path = str(self._path / name)
        return path if len(os.fsencode(path)) <= MAX_PATH_BYTES else f"/proc/self/fd/{self._descriptor}/{name}"

    def look_up(self, name: str) -> os.stat_result | None:
        """Return what a file is; None if there is none."""
        try:
            return os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file; raises ``OSError``."""
        os.unlink(name, dir_fd=self._descriptor)

    def close(self) -> None:
        """Close the folder."""
        os.close(self._descriptor)


@dataclass(slots=True)
class SocketFile:
    """A listening socket and its file.

    Attributes:
        socket: the socket; its descriptor may be detached.
    """

    socket: socket.socket
    _folder: Folder
    _name: str
    _inode: int

    def remove(self) -> None:
        """Remove the file, unless another process has put its own in its place."""
        with suppress(OSError):
            found = self._folder.look_up(self._name)
            if found is not None and found.st_ino == self._inode:
                self._folder.remove(self._name)
        self._folder.close()


def open_socket(path: Path) -> SocketFile:
    """Open a listening socket that only this user may connect to. One that no process listens on is removed.

    Raises:
        CannotOpen: it cannot be opened, or another process listens there.
    """
    if len(os.fsencode(path.name)) > _MAX_NAME_BYTES:
        raise CannotOpen(f"the name of the file has more than {_MAX_NAME_BYTES} bytes")
    try:
        folder = Folder(path.parent)
    except OSError as error:
        raise CannotOpen(f"the folder {path.parent} cannot be used: {error.strerror}") from None
    try:
        _remove_stale(folder, path.name)
        listening = _listen(folder, path.name)
        found = folder.look_up(path.name)
    except CannotOpen:
        folder.close()
        raise
    except OSError as error:
        folder.close()
        raise CannotOpen(error.strerror or str(error)) from None
    return SocketFile(listening, folder, path.name, 0 if found is None else found.st_ino)


def _listen(folder: Folder, name: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file gets the mode of the descriptor. If it were set by the path, it could be set of another file, which a
        # process that may write to the folder has put there.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(folder.address(name))
        listening.listen(_BACKLOG)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _remove_stale(folder: Folder, name: str) -> None:
    found = folder.look_up(name)
    if found is None:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise CannotOpen("the file exists, and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.setblocking(False)
        try:
            peer.connect(folder.address(name))
        except (ConnectionRefusedError, FileNotFoundError):
            with suppress(FileNotFoundError):
                folder.remove(name)
            return
        except BlockingIOError:
            pass  # its queue of connections is full
    raise CannotOpen("another process listens there")
