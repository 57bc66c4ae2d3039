"""The files of an archive: a folder for each tenant, in it compressed JSON lines for each UTC day and process.

All calls block. A file consists of members of gzip: each call of ``append`` adds one, and is on disk when it returns.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from callcenter_ws.runtime.folders import sync_folder
from callcenter_ws.statistics.sums import DAY_MS

DIGESTS = "SHA256SUMS"
"""The file with the digests of the files of ended days; ``sha256sum --check`` reads it."""

MAX_NAME_BYTES = 200
"""Longer names of folders are cut, and end with a digest of the tenant."""

MAX_LINE_BYTES = 8_388_608
"""Lines that an archive has are shorter: a payload has 512 KiB."""

_READ_BYTES = 1_048_576
_FILE_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})\..+\.jsonl\.gz", re.DOTALL)


def folder_name(text: str) -> str:
    """Return the name of the folder of a tenant, or the part of a file's name for a process."""
    name = quote(text, safe=" ").replace(".", "%2E") if text in (".", "..") else quote(text, safe="")
    if len(name) <= MAX_NAME_BYTES:
        return name
    return f"{name[: MAX_NAME_BYTES - 33]}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def day_number(received_ms: int) -> int:
    """Return the number of the UTC day of an instant."""
    return received_ms // DAY_MS


def day_text(day: int) -> str:
    """Return a day as in the names of files."""
    return (date(1970, 1, 1) + timedelta(days=day)).isoformat()


class TenantFolder:
    """The archive of one tenant.

    Args:
        folder: of all tenants.
        process: the name of this process among those that share the store; several may share the folder.
    """

    def __init__(self, folder: Path, tenant_id: str, process: str) -> None:
        self.path = folder / folder_name(tenant_id)
        self._process = folder_name(process)

    def new_file(self, day: int) -> str:
        """Return the name of a file for a day that does not exist yet: what another run has left is not touched."""
        number, name = 1, f"{day_text(day)}.{self._process}.jsonl.gz"
        while (self.path / name).exists():
            number += 1
            name = f"{day_text(day)}.{self._process}.{number}.jsonl.gz"
        return name

    def append(self, name: str, size: int, lines: Sequence[bytes]) -> int:
        """Add lines to a file behind its first ``size`` bytes; return its new size when everything is on disk.

        What is behind ``size`` was written by a process that ended before it recorded the size; it is removed.

        Raises:
            OSError: the lines are not in the archive, or may be behind its recorded size.
        """
        is_new_folder = not self.path.is_dir()
        if is_new_folder:
            _make_folder(self.path)
        path = self.path / name
        is_new = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = file.seek(0, os.SEEK_END)
            if found > size:
                file.truncate(size)
            # If the file was shortened or removed, its recorded size is not valid any more.
            start = file.seek(min(found, size))
            member = gzip.compress(b"".join([line + b"\n" for line in lines]), 6, mtime=0)
            file.write(member)
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self.path)
        return start + len(member)

    def close_day(self, name: str) -> None:
        """Add the digest of a file to the list of digests.

        Raises:
            OSError: the list may lack it.
        """
        with suppress(FileNotFoundError):
            digest = _digest(self.path / name)
            with self._digests() as digests:
                digests[name] = digest

    def remove_before(self, day: int) -> int:
        """Remove the files of days before one, with their digests; return how many.

        Raises:
            OSError: some are left.
        """
        old = [path for path in self.files() if path.name[:10] < day_text(day)]
        if not old:
            return 0
        for path in old:
            path.unlink(missing_ok=True)
        with self._digests() as digests:
            for path in old:
                digests.pop(path.name, None)
        return len(old)

    def files(self) -> list[Path]:
        """Return the files of all processes, by day."""
        try:
            names = sorted(os.listdir(self.path))
        except FileNotFoundError:
            return []
        return [self.path / name for name in names if _FILE_NAME.fullmatch(name)]

    @contextmanager
    def _digests(self) -> Iterator[dict[str, str]]:
        """Yield the digests by file; replace the list with what they are then. Other processes wait meanwhile."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path = self.path / DIGESTS
            text = path.read_text() if path.exists() else ""
            digests = {line[66:]: line[:64] for line in text.splitlines() if len(line) > 66}
            yield digests
            new = path.with_name(f"{DIGESTS}.new")
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w") as file:
                file.writelines(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
                file.flush()
                os.fsync(file.fileno())
            new.replace(path)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def day_of_file(path: Path) -> date:
    """Return the day of a file of an archive: that of the newest of its events when the file was begun."""
    return datetime.strptime(path.name[:10], "%Y-%m-%d").replace(tzinfo=UTC).date()


def _make_folder(path: Path) -> None:
    """Make a folder, and those above it, for the owner alone."""
    missing = [one for one in (path, *path.parents) if not one.exists()]
    for one in reversed(missing):
        with suppress(FileExistsError):
            one.mkdir(0o700)
        sync_folder(one.parent)


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            found.update(piece)
    return found.hexdigest()


def read_lines(file: BinaryIO, torn: Callable[[], None] = lambda: None) -> Iterator[bytes]:
    """Yield the lines of a file, compressed or not, without line feeds.

    What is left of a member that was being written when its process ended is not yielded: its events are in another
    file, or still in the store. Lines are cut behind ``MAX_LINE_BYTES`` and one more byte, so memory is bounded.

    Args:
        torn: called if compressed data end within a member, or are damaged; nothing behind that place is yielded.
    """
    start = file.read(2)
    if start != b"\x1f\x8b":
        yield from _split(_plain(start, file), is_torn=False)
    else:
        yield from _split(_members(start, file, torn), is_torn=True)


def _plain(start: bytes, file: BinaryIO) -> Iterator[bytes]:
    yield start
    while piece := file.read(_READ_BYTES):
        yield piece


def _members(start: bytes, file: BinaryIO, torn: Callable[[], None]) -> Iterator[bytes]:
    """Yield the contents of the members in pieces, up to what is torn or damaged."""
    data, member = start + file.read(_READ_BYTES), zlib.decompressobj(zlib.MAX_WBITS | 16)
    while data:
        try:
            yield member.decompress(data, _READ_BYTES)
        except zlib.error:
            torn()
            return
        data = member.unused_data if member.eof else member.unconsumed_tail
        data = data or file.read(_READ_BYTES)
        if member.eof and data:
            member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    if not member.eof:
        torn()


def _split(pieces: Iterator[bytes], *, is_torn: bool) -> Iterator[bytes]:
    """Yield the lines of a text; what follows the last line feed is a line too, unless it may be torn."""
    line = bytearray()
    for piece in pieces:
        start = 0
        while (end := piece.find(b"\n", start)) >= 0:
            line += piece[start : min(end, start + _room(line))]
            yield bytes(line)
            line.clear()
            start = end + 1
        line += piece[start : start + _room(line)]
    if line and not is_torn:
        yield bytes(line)


def _room(line: bytearray) -> int:
    return MAX_LINE_BYTES + 1 - len(line)
