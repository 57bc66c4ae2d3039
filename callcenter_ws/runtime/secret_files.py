"""Files with secrets: how they are read, and whether other users of the machine can read or write them."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

MAX_FILE_BYTES = 65_536


def read_secret(path: Path) -> bytes:
    """Return the secret in a file, without one newline at its end.

    Raises:
        ValueError: the file cannot be read. The text contains the path only if there is such a file: an administrator
            may have set the secret in place of the path by mistake.
    """
    try:
        content = read_limited(path)
    except OSError as error:
        what = str(path) if os.path.exists(path) else "the file with the secret"
        raise ValueError(f"cannot read {what}: {error.strerror}") from None
    return content.removesuffix(b"\n").removesuffix(b"\r")


def read_limited(path: Path) -> bytes:
    """Return the content of a file; raises ``ValueError`` if it is too large for a key, and ``OSError``."""
    with path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise ValueError(f"the key file is larger than {MAX_FILE_BYTES} bytes")
    return content


def make_secret(path: Path, text: str) -> None:
    """Write a secret to a new file that only its owner can read; keep an existing one.

    The file appears complete, so that no other process reads a part of it.

    Raises:
        OSError: the folder cannot be written.
    """
    if path.exists():
        return
    # mkstemp makes the file with mode 600.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(f"{text}\n")
        with suppress(FileExistsError):  # another process has made it meanwhile
            os.link(name, path)
    finally:
        os.unlink(name)


def checked_secret(path: Path) -> bytes:
    """Return the content of a file with a secret, if no user but its owner can write to it.

    The path of a missing file is not shown: it may be the secret itself, written in place of its file. The last folder
    of the path that exists is shown, because it tells where a relative path started.

    Raises:
        ValueError: the file cannot be read, is a pipe, holds no usable secret, or other users may write to it.
    """
    check_not_a_pipe(path)
    try:
        content = read_secret(path)
    except ValueError as error:
        folder = next((folder for folder in path.absolute().parents if os.path.isdir(folder)), "/")
        raise ValueError(f"{error}; looked in {folder}") from None
    if writable_by_others(path):
        raise ValueError(f"users other than its owner may write to {path}; run: chmod go-w {path}")
    return content


def readable_by_others(path: Path) -> bool:
    """Return whether every user of the machine may read a file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def writable_by_others(path: Path) -> bool:
    """Return whether the group or every user of the machine may write to a file."""
    return bool(path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def check_not_a_pipe(path: Path) -> None:
    """Raise ``ValueError`` if a path is that of a pipe: reading it would block forever."""
    try:
        # Not Path.is_fifo: whether it raises for an inaccessible path depends on the version of Python.
        is_pipe = stat.S_ISFIFO(path.stat().st_mode)
    except (OSError, ValueError):
        return  # reading the file reports the reason
    if is_pipe:
        raise ValueError("the file is a pipe")
