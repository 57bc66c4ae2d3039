"""What an operator does with the file of a ``sqlite:`` store."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from callcenter_ws.broker.sqlite.check import back_up, check, is_newest
from callcenter_ws.broker.sqlite.file import StoreUnusable
from callcenter_ws.cli.target import Failure
from callcenter_ws.config.settings import Settings
from callcenter_ws.events.ulid import UlidFactory


def check_store(path: Path) -> int:
    """Say what a store holds and whether it is whole; 1 when it is not."""
    try:
        findings = check(path)
    except StoreUnusable as error:
        raise Failure(str(error)) from None
    print(f"{'damaged' if findings.problems else 'OK'}: {path}")
    print(f"  size     {findings.file_bytes:,} bytes")
    print(f"  schema   version {findings.version}{'' if is_newest(findings) else ', older than this release'}")
    print(f"  epoch    {findings.epoch}")
    print(f"  tenants  {findings.tenants:,}")
    print(f"  events   {findings.events:,} in the history, {findings.state:,} kept for the state besides")
    print(f"  mail     {findings.mail:,} messages wait for users who are away")
    for problem in findings.problems:
        print(f"problem: {problem}", file=sys.stderr)
    return 1 if findings.problems else 0


def back_up_store(path: Path, copy: Path) -> int:
    """Copy a store, in use or not, into a new file."""
    try:
        back_up(path, copy, UlidFactory(time.time))
    except StoreUnusable as error:
        raise Failure(str(error)) from None
    print(f"{copy} holds what {path} held.")
    print(f"To restore it: stop the gateway, remove {path}-wal and {path}-shm, and put it in the place of {path}.")
    return 0


def store_file(arguments: argparse.Namespace, settings: Settings | None, demo_file: Path | None) -> Path:
    """The file that is meant: the one named, else that of the settings, else that of the demo."""
    named: Path | None = arguments.file
    if named is not None:
        return named
    if settings is None:
        if demo_file is None:
            raise Failure("which store? Give --file PATH, or --config FILE")
        return demo_file
    if settings.store_file is None:
        raise Failure(f"the store is no file: {settings.store_name}")
    return settings.store_file
