"""``callcenter-ws version``: prints the versions, for bug reports."""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import version as version_of

from callcenter_ws import __version__
from callcenter_ws.cli.arguments import Commands, add_command


def add(commands: Commands) -> None:
    """Add the command."""
    add_command(commands, "version", print_version, "print the versions", "callcenter-ws version")


def print_version(arguments: argparse.Namespace) -> int:
    """Print the versions."""
    print(versions())
    return 0


def versions() -> str:
    """Return the versions of this package, of Python and of the libraries."""
    parts = ", ".join(f"{name} {version_of(name)}" for name in ("Twisted", "autobahn", "msgspec"))
    return f"callcenter-ws {__version__} (Python {platform.python_version()}, {parts})"
