"""Reads captures of the manager interface, with the files beside them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from callcenter_ws.bridge.asterisk.capture import Capture, NotACapture, parse_times
from callcenter_ws.cli.target import CommandFailed


def read_capture(path: Path) -> Capture:
    """Return the capture in a file, with its times and with what the client sent, if these lie beside it.

    Raises:
        CommandFailed: a file cannot be read, or the times are not those of this capture.
    """
    content = _read(path)
    times_file = beside(path, ".times")
    try:
        times = parse_times(_read(times_file).decode("ascii", "replace")) if times_file.exists() else []
    except NotACapture as error:
        raise CommandFailed(f"{times_file}: {error}") from None
    if times and times[-1][1] > len(content):
        raise CommandFailed(f"{times_file}: belongs to a longer capture ({times[-1][1]} bytes, {path}: {len(content)})")
    sent = b""
    with suppress(FileNotFoundError):
        sent = beside(path, ".sent").read_bytes()
    return Capture(content, times, sent)


def beside(path: Path, suffix: str) -> Path:
    """Return the file that belongs to a capture: ``NAME.times`` and ``NAME.sent`` to ``NAME.txt``."""
    return path.with_suffix(suffix) if path.suffix == ".txt" else path.with_name(path.name + suffix)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{path}: cannot read the file: {error.strerror}") from None
