"""A disk of some megabytes."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


class SmallDisk:
    """A file system of its own, in memory.

    Raises:
        pytest.skip.Exception: it may not be mounted.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir()
        mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "callcenter-ws-test", str(path))
        self._filler = path / "filler"

    @property
    def free(self) -> int:
        """Bytes that are left."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Take all the space but ``leave`` bytes."""
        with self._filler.open("ab") as filler:
            block = bytes(4096)
            while self.free > leave:
                try:
                    filler.write(block)
                    filler.flush()
                except OSError:
                    break

    def clear(self) -> None:
        """Give back what ``fill`` took."""
        self._filler.unlink()

    def remount(self, how: str) -> None:
        """``ro`` or ``rw``; nothing may be open for writing."""
        mount("-o", f"remount,{how}", str(self.path))

    def unmount(self) -> None:
        """Take it away with all that is on it."""
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)


def mount(*arguments: str) -> None:
    """Mount, or skip the test where that is not allowed."""
    try:
        done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")


def make_immutable(path: Path, immutable: bool) -> None:
    """Forbid writing to a file, also to those who have it open, as ``chattr +i`` does; or allow it again.

    Raises:
        pytest.skip.Exception: the file system or our rights do not let us.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        packed = fcntl.ioctl(handle, _GET_FLAGS, struct.pack("l", 0))
        (flags,) = struct.unpack("l", packed)
        flags = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        fcntl.ioctl(handle, _SET_FLAGS, struct.pack("l", flags))
    except OSError as error:
        pytest.skip(f"files cannot be made immutable here: {error.strerror}")
    finally:
        os.close(handle)
