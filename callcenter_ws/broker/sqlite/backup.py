"""Copies a store, which a gateway may be using."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from callcenter_ws.broker.sqlite.account_rows import remove_people
from callcenter_ws.broker.sqlite.command_rows import close_open_commands
from callcenter_ws.broker.sqlite.file import StoreUnusable, require_file
from callcenter_ws.broker.sqlite.schema import APPLICATION_ID, FIRST_WITH_ACCOUNTS, FIRST_WITH_COMMANDS, VERSION
from callcenter_ws.runtime.sqlite import check_identity, connect, sqlite_reason

_BACKUP_PAGES = 1_024
"""Pages that are copied in one step."""


def back_up(path: Path, copy: Path, new_epoch: Callable[[], str]) -> None:
    """Write a consistent copy of a store into a new file.

    The copy has a new epoch: after it is restored, positions that were given since it was made are given to other
    events, and clients must be able to detect that. It has no sessions of people, no screens that wait, and
    no commands without an outcome.

    Raises:
        StoreUnusable: there is no store, or the copy cannot be written.
    """
    require_file(path)
    if os.path.lexists(copy):
        raise StoreUnusable(f"{copy} exists already; a backup replaces no file")
    draft = copy.with_name(copy.name + ".part")
    try:
        draft.unlink(missing_ok=True)
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _copy(path, draft, new_epoch())
        draft.rename(copy)
    except (OSError, sqlite3.Error) as error:
        draft.unlink(missing_ok=True)
        reason = sqlite_reason(error) if isinstance(error, sqlite3.Error) else error.strerror
        raise StoreUnusable(f"cannot copy {path} to {copy}: {reason}") from None
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def _copy(path: Path, draft: Path, epoch: str) -> None:
    with closing(connect(path, mode="ro")) as source, closing(connect(draft)) as target:
        version = check_identity(source, path, APPLICATION_ID, VERSION)
        if version == 0:
            raise StoreUnusable(f"{path} is empty: no gateway has used it yet")
        # Within a read transaction, writes of others do not restart the copy.
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM tenant").fetchone()
        source.backup(target, pages=_BACKUP_PAGES)
        # One file, without a write-ahead log beside it.
        target.execute("PRAGMA journal_mode = DELETE")
        target.execute("PRAGMA synchronous = FULL")
        metadata = [("epoch", epoch), ("open_since_boot", ""), ("is_open", 0)]
        target.executemany("INSERT OR REPLACE INTO store VALUES (?, ?)", metadata)
        if version >= FIRST_WITH_ACCOUNTS:
            remove_people(target)
        if version >= FIRST_WITH_COMMANDS:
            close_open_commands(target)
