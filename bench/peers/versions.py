"""Finds the versions of the installed peers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from bench.peers.hub import node_environment

_NUMBER = re.compile(r"\d+(?:\.\d+)+")

_COMMANDS: Mapping[str, Sequence[str]] = {
    "nats-server": ("nats-server", "--version"),
    "nginx": ("nginx", "-v"),
    "nchan": ("dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"),
    "go": ("go", "version"),
    "gorilla": ("dpkg-query", "-W", "-f", "${Version}", "golang-github-gorilla-websocket-dev"),
    "node": ("node", "--version"),
    "ws": ("node", "-p", "require('ws/package.json').version"),
    "openssl": ("openssl", "version"),
}


def versions() -> dict[str, str]:
    """Return versions by name, without what is not installed or has no readable version."""
    found = {}
    for name, command in _COMMANDS.items():
        number = _version_of(command)
        if number:
            found[name] = number
    with suppress(PackageNotFoundError):
        found["websockets"] = version("websockets")
    return found


def _version_of(command: Sequence[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = subprocess.run(  # noqa: S603 - programs that are installed
        command, capture_output=True, text=True, check=False, env={**os.environ, **node_environment()}
    )
    number = _NUMBER.search(done.stdout + done.stderr) if not done.returncode else None
    return number[0] if number else None
