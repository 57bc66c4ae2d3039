"""The versions of the peers that are installed."""

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
    """Return them by name; what is not installed, or does not tell, is not there."""
    found = {}
    for name, command in _COMMANDS.items():
        told = _ask(command)
        if told:
            found[name] = told
    with suppress(PackageNotFoundError):
        found["websockets"] = version("websockets")
    return found


def _ask(command: Sequence[str]) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    asked = subprocess.run(  # noqa: S603 - programs that are installed
        command, capture_output=True, text=True, check=False, env={**os.environ, **node_environment()}
    )
    number = _NUMBER.search(asked.stdout + asked.stderr) if not asked.returncode else None
    return number[0] if number else None
