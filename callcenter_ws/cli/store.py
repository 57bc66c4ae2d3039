"""The commands of an operator for the file of a ``sqlite:`` store."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.config.settings import Settings
from callcenter_ws.events.ulid import UlidFactory


def check_store(path: Path) -> int:
    """Print what a store contains and its problems; return the exit status, 1 if there are problems."""
    try:
        report = check(path)
    except StoreUnusable as error:
        raise CommandFailed(str(error)) from None
    print(f"{'damaged' if report.problems else 'OK'}: {path}")
    print(f"  size     {report.file_bytes:,} bytes")
    print(f"  schema   version {report.version}{'' if report.has_current_version else ', older than this release'}")
    print(f"  epoch    {report.epoch}")
    print(f"  tenants  {report.tenants:,}")
    print(f"  events   {report.events:,} in the histories, {report.state:,} more kept for the states")
    print(f"  mail     {report.mail:,} messages in the mailboxes of users")
    for problem in report.problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if report.problems else 0


def back_up_store(path: Path, copy: Path) -> int:
    """Copy a store, in use or not, into a new file; return the exit status."""
    try:
        back_up(path, copy, UlidFactory(time.time))
    except StoreUnusable as error:
        raise CommandFailed(str(error)) from None
    print(f"{copy} is a copy of {path}.")
    print(f"To restore it: stop the gateway, remove {path}-wal and {path}-shm, and replace {path} with it.")
    return 0


def store_file(arguments: argparse.Namespace, settings: Settings | None, demo_file: Path | None) -> Path:
    """Return the store's file: the argument ``--file``, or that of the settings, or that of the demo."""
    named: Path | None = arguments.file
    if named is not None:
        return named
    if settings is None:
        if demo_file is None:
            raise CommandFailed("no store given: use --file PATH or --config FILE")
        return demo_file
    if settings.store_file is None:
        hint = "; save a Redis as its manual says (BGSAVE)" if settings.redis_is_used else ""
        raise CommandFailed(f"the store is not a file: {settings.store_name}{hint}")
    return settings.store_file
