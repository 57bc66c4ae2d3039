"""The command line of workers: their number, which settings they need, and the command that starts one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from callcenter_ws.config.settings import Settings

# In a process group of its own: signals of a terminal reach only the supervisor, which signals the workers.
_RUN = "import os; os.setpgrp(); from twisted.scripts.twistd import run; run()"


class WorkersRefused(Exception):
    """The command line or the settings do not allow workers; the text gives the reason."""


def worker_count(text: str) -> int:
    """Return the number of workers for the value of ``--workers``.

    Raises:
        WorkersRefused: the text is neither a number from 1 on nor ``auto``.
    """
    if text == "auto":
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise WorkersRefused(f"--workers: {text[:80]!r} is not a number from 1 on, nor auto")
    return int(text)


def check_settings(settings: Settings, demo: bool) -> None:
    """Check that several processes can run with these settings.

    Raises:
        WorkersRefused: they cannot.
    """
    if demo:
        raise WorkersRefused("--workers: the demo is one process; leave out either --workers or --demo")
    if not settings.redis_is_used:
        kind = settings.store.url.partition(":")[0]
        raise WorkersRefused(
            f"--workers: the workers are processes that share a store, and {kind}: belongs to one process. "
            'Set store.url to a Redis, as "redis://127.0.0.1:6379/0", or leave out --workers'
        )


def worker_command(config: str | None, overrides: Sequence[str]) -> list[str]:
    """Return the command that starts a worker: with the same Python and the same settings as this process."""
    settings = [] if config is None else ["--config", config]
    settings += [text for override in overrides for text in ("--set", override)]
    twistd = ["--nodaemon", "--pidfile=", "--logger=callcenter_ws.workers.log.worker_log"]
    return [sys.executable, "-c", _RUN, *twistd, "callcenter-ws", *settings]
