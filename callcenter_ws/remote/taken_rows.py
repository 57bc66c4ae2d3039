"""The table of the spool that keeps taken commands."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote.taken_commands import TakenCommand

TAKEN_SCHEMA = """
CREATE TABLE taken (
    number INTEGER PRIMARY KEY,
    tenant_id TEXT NOT NULL,
    user_id TEXT NOT NULL,
    command_id TEXT NOT NULL,
    name TEXT NOT NULL,
    deadline_ms INTEGER NOT NULL,
    is_open INTEGER NOT NULL,
    UNIQUE (tenant_id, user_id, command_id)
) STRICT
"""
_IS_KEY = "WHERE tenant_id = ? AND user_id = ? AND command_id = ?"


def read_taken(db: sqlite3.Connection) -> Sequence[TakenCommand]:
    """Return the taken commands in the order in which they were taken."""
    columns = "tenant_id, user_id, command_id, name, deadline_ms, is_open"
    return [
        TakenCommand(CommandKey(tenant_id, user_id, command_id), name, deadline_ms, bool(is_open))
        for tenant_id, user_id, command_id, name, deadline_ms, is_open in db.execute(
            f"SELECT {columns} FROM taken ORDER BY number"  # noqa: S608 - a constant
        )
    ]


def insert_taken(db: sqlite3.Connection, command: TakenCommand, forgotten: Iterable[CommandKey]) -> None:
    """Add a command, and delete others."""
    db.executemany(f"DELETE FROM taken {_IS_KEY}", map(_values, forgotten))  # noqa: S608 - a constant
    row = (*_values(command.key), command.name, command.deadline_ms, command.is_open)
    db.execute("INSERT INTO taken VALUES (NULL, ?, ?, ?, ?, ?, ?)", row)


def close_taken(db: sqlite3.Connection, keys: Iterable[CommandKey]) -> None:
    """Note that commands have their outcome."""
    db.executemany(f"UPDATE taken SET is_open = 0 {_IS_KEY}", map(_values, keys))  # noqa: S608 - a constant


def _values(key: CommandKey) -> tuple[str, str, str]:
    return key.tenant_id, key.user_id, key.command_id
