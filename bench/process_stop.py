"""Ends a process that was measured, and makes sure that it had no fault."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from bench.failure import InvalidRun

_TIMEOUT_SECONDS = 120.0


def stop_process(process: subprocess.Popen[bytes], log: Path, name: str) -> None:
    """End a process with SIGTERM.

    Args:
        log: what it has written.
        name: what it is, for the error.

    Raises:
        InvalidRun: if it had ended before, or has logged a traceback.
    """
    ended_before = process.poll() is not None
    if not ended_before:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    text = log.read_text()
    if ended_before or "Traceback" in text:
        what = "ended before it was stopped" if ended_before else "logged a traceback"
        raise InvalidRun(f"the {name} {what}:\n{text[-4_000:]}")
