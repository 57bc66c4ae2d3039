"""A disk of a few megabytes, and immutable files."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from pathlib import Path

import pytest

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10


class SmallDisk:
    """A tmpfs file system.

    Raises:
        pytest.skip.Exception: mounting is not permitted.
    """

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        path.mkdir()
        mount("-t", "tmpfs", "-o", f"size={megabytes}m,mode=700", "callcenter-ws-test", str(path))
        self._filler = path / "filler"

    @property
    def free(self) -> int:
        """The number of free bytes."""
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Fill the disk except for ``leave`` bytes."""
        with self._filler.open("ab") as filler:
            block = bytes(4096)
            while self.free > leave:
                try:
                    filler.write(block)
                    filler.flush()
                except OSError:
                    break

    def clear(self) -> None:
        """Free what ``fill`` has filled."""
        self._filler.unlink()

    def remount(self, how: str) -> None:
        """Remount as ``ro`` or ``rw``; no file may be open for writing."""
        mount("-o", f"remount,{how}", str(self.path))

    def unmount(self) -> None:
        """Unmount the disk; its content is lost."""
        subprocess.run(["umount", str(self.path)], check=True, capture_output=True)


def mount(*arguments: str) -> None:
    """Call ``mount``, or skip the test if that is not permitted."""
    try:
        done = subprocess.run(["mount", *arguments], check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command")
    if done.returncode:
        pytest.skip(f"mount is not allowed here: {done.stderr.strip()}")


def make_immutable(path: Path, immutable: bool) -> None:
    """Make a file immutable as ``chattr +i`` does, also for processes that have it open; or writable again.

    Raises:
        OSError: the file system or our permissions do not allow it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        packed = fcntl.ioctl(handle, _GET_FLAGS, struct.pack("l", 0))
        (flags,) = struct.unpack("l", packed)
        flags = flags | _IMMUTABLE if immutable else flags & ~_IMMUTABLE
        fcntl.ioctl(handle, _SET_FLAGS, struct.pack("l", flags))
    finally:
        os.close(handle)


def can_make_immutable(folder: Path) -> bool:
    """Return whether ``make_immutable`` has an effect in a folder.

    On a tmpfs, processes that have an immutable file open can still write to it.
    """
    path = folder / "immutable"
    with path.open("wb", buffering=0) as file:
        try:
            make_immutable(path, True)
        except OSError:
            return False
        try:
            file.write(b"x")
        except OSError:
            return True
        finally:
            make_immutable(path, False)
            path.unlink()
    return False
