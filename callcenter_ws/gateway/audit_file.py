"""AuditFile: appends lines to a file that may be renamed at any time, also by several processes of one node."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from callcenter_ws.runtime.folders import sync_folder


class AuditFile:
    """A file of lines. All calls block, and open the file each: it can be rotated by renaming it, without a signal."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def check(self) -> None:
        """Create the file if there is none.

        Raises:
            OSError: it cannot be written, or is not a regular file.
        """
        with self._opened():
            pass

    def append(self, lines: Sequence[bytes]) -> None:
        """Add lines; they are on disk when this returns.

        A part of a line that a process has left that was killed while it wrote is ended first.

        Raises:
            OSError: no line is in the file, or all of them may be.
        """
        with self._opened() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            text = b"".join([b"\n"] * is_torn + [line + b"\n" for line in lines])
            try:
                _write(descriptor, text)
                os.fsync(descriptor)
            except OSError:
                with suppress(OSError):
                    os.ftruncate(descriptor, min(size, os.fstat(descriptor).st_size))
                raise

    @contextmanager
    def _opened(self) -> Iterator[int]:
        is_new = not self.path.exists()
        # Without O_NONBLOCK, opening a pipe would wait for its reader.
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
        descriptor = os.open(self.path, flags, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file", str(self.path))
            if is_new:
                sync_folder(self.path.parent)
            yield descriptor
        finally:
            os.close(descriptor)


def _write(descriptor: int, text: bytes) -> None:
    view = memoryview(text)
    while view:
        view = view[os.write(descriptor, view) :]
