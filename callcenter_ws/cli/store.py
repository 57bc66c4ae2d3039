"""``callcenter-ws check-store`` and ``backup-store``: work with the file of a ``sqlite:`` store."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.cli.arguments import Commands, add_command, add_settings
from callcenter_ws.cli.target import CommandFailed, settings_of
from callcenter_ws.demo.state import DemoState
from callcenter_ws.events.ulid import UlidFactory


def add(commands: Commands) -> None:
    """Add the commands."""
    example = "callcenter-ws check-store --config /etc/callcenter-ws/callcenter-ws.toml"
    text = "print what the store on disk contains and whether it is damaged; it may be in use"
    checking = add_command(commands, "check-store", check_store, text, example)
    example = "callcenter-ws backup-store --config gw.toml /var/backups/events-monday.sqlite"
    text = "copy the store on disk into a new file while it is in use"
    copying = add_command(commands, "backup-store", back_up_store, text, example)
    copying.add_argument("copy", metavar="COPY", type=Path, help="the new file")
    for command in (checking, copying):
        add_settings(command)
        command.add_argument("--file", metavar="PATH", type=Path, help="the store (default: that of the configuration)")


def check_store(arguments: argparse.Namespace) -> int:
    """Print what a store contains and its problems; return the exit status, 1 if there are problems."""
    path = _store_file(arguments)
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
    if report.figures:
        print(f"  figures  {report.figures:,} rows of statistics")
    if report.users or report.sessions:
        print(f"  users    {report.users:,} who sign in at the pages, {report.sessions:,} sessions")
    if report.commands:
        print(f"  commands {report.commands:,} whose ids are remembered")
    for problem in report.problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if report.problems else 0


def back_up_store(arguments: argparse.Namespace) -> int:
    """Copy a store, in use or not, into a new file; return the exit status."""
    path, copy = _store_file(arguments), arguments.copy
    try:
        back_up(path, copy, UlidFactory(time.time))
    except StoreUnusable as error:
        raise CommandFailed(str(error)) from None
    print(f"{copy} is a copy of {path}.")
    print(f"To restore it: stop the gateway, remove {path}-wal and {path}-shm, and replace {path} with it.")
    return 0


def _store_file(arguments: argparse.Namespace) -> Path:
    """Return the store's file: the argument ``--file``, or that of the configuration, or that of the demo."""
    named: Path | None = arguments.file
    if named is not None:
        return named
    if arguments.config is None and not arguments.set:
        demo_file = DemoState.find().store_file
        if demo_file is None:
            raise CommandFailed("no store given: use --file PATH or --config FILE")
        return demo_file
    settings = settings_of(arguments)
    if settings.store_file is None:
        hint = "; save a Redis as its manual says (BGSAVE)" if settings.redis_is_used else ""
        raise CommandFailed(f"the store is not a file: {settings.store_name}{hint}")
    return settings.store_file
