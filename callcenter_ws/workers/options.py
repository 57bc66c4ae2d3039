"""The command line: how many workers there are, whether there may be any, and what starts one."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from callcenter_ws.config.settings import Settings

# A group of its own: what a terminal sends goes to the supervisor alone, which tells the workers.
_RUN = "import os; os.setpgrp(); from twisted.scripts.twistd import run; run()"


class WorkersRefused(Exception):
    """There cannot be workers like that; the text says why, for the person at the terminal."""


def count(text: str) -> int:
    """Return how many workers ``--workers`` asks for.

    Raises:
        WorkersRefused: it does not say.
    """
    if text == "auto":
        return len(os.sched_getaffinity(0))
    if not (text.isascii() and text.isdecimal() and int(text) >= 1):
        raise WorkersRefused(f"--workers: {text[:80]!r} is not a number from 1 on, nor auto")
    return int(text)


def check(settings: Settings, demo: bool) -> None:
    """Refuse settings that workers cannot have.

    Raises:
        WorkersRefused: with the reason.
    """
    if demo:
        raise WorkersRefused("--workers: the demo is one process; leave out either --workers or --demo")
    if not settings.redis_is_used:
        kind = settings.store.url.partition(":")[0]
        raise WorkersRefused(
            f"--workers: the workers are processes that share a store, and {kind}: belongs to one process alone. "
            'Set store.url to a Redis, as "redis://127.0.0.1:6379/0", or leave out --workers'
        )


def command(config: str | None, overrides: Sequence[str]) -> list[str]:
    """Return what starts a worker: this very Python, the same settings."""
    settings = [] if config is None else ["--config", config]
    settings += [text for override in overrides for text in ("--set", override)]
    twistd = ["--nodaemon", "--pidfile=", "--logger=callcenter_ws.workers.log.worker_log"]
    return [sys.executable, "-c", _RUN, *twistd, "callcenter-ws", *settings]
