"""Describes the machine and the versions that were measured."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from pathlib import Path

import callcenter_ws
import twisted
from bench.peers.versions import versions


def describe() -> dict[str, str]:
    """Return the properties of the machine and the versions of the software, by name."""
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {
        "cpu": found[1].strip() if found else platform.machine(),
        "cores": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.2f} at the start",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "twisted": twisted.__version__,
        "sqlite": sqlite3.sqlite_version,
        "gateway": callcenter_ws.__version__,
        **versions(),
    }
