"""The rows of commands: written as a part of a transaction, restored, and closed in a backup."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping

from msgspec.structs import replace

from callcenter_ws.broker.command_table import decode_record, encode_record
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandKey, CommandRecord, CommandState, OutcomeCode
from callcenter_ws.runtime.sqlite import insert

_COLUMNS = "command (tenant_id, user_id, command_id, accepted_ms, closed_ms, record)"

# After a failed write it is not known whether it was committed: a command that is closed in the file stays closed. Its
# id may have been forgotten in memory, and used again.
_REPLACE = """
    ON CONFLICT DO UPDATE
    SET accepted_ms = excluded.accepted_ms, closed_ms = excluded.closed_ms, record = excluded.record
    WHERE command.closed_ms = 0 OR excluded.closed_ms > 0 OR excluded.accepted_ms > command.accepted_ms
"""

_DELETE = "DELETE FROM command WHERE tenant_id = ? AND user_id = ? AND command_id = ?"

NOT_KNOWN = "the store was restored from a backup: it is not known whether this was done"


def save_commands(db: sqlite3.Connection, commands: Mapping[CommandKey, CommandRecord | None]) -> None:
    """Save commands; remove those that are None."""
    if not commands:
        return
    gone = [_values(key) for key, record in commands.items() if record is None]
    db.executemany(_DELETE, gone)
    values: list[object] = []
    for key, record in commands.items():
        if record is not None:
            values += [*_values(key), record.accepted_ms, record.closed_ms, encode_record(record)]
    insert(db, _COLUMNS, 6, values, _REPLACE)


def restore_commands(
    db: sqlite3.Connection, now: float
) -> tuple[list[CommandRecord], Iterable[tuple[CommandKey, bytes]]]:
    """Return the open commands by acceptance, and the closed ones by their closing, as ``CommandTable.restore`` needs.

    Removes those that have expired.

    Args:
        now: Unix time in seconds.
    """
    expired = round((now - LIFETIME_SECONDS) * 1_000)
    db.execute("DELETE FROM command WHERE closed_ms > 0 AND accepted_ms <= ?", (expired,))
    opened = db.execute("SELECT record FROM command WHERE closed_ms = 0 ORDER BY accepted_ms")
    closed = db.execute(
        "SELECT tenant_id, user_id, command_id, record FROM command WHERE closed_ms > 0 ORDER BY closed_ms, accepted_ms"
    )
    return [decode_record(record) for (record,) in opened], ((CommandKey(*key), record) for *key, record in closed)


def close_open_commands(db: sqlite3.Connection) -> None:
    """Close the open commands in a copy of the file: when it is restored they have ended, and no client waits for them.

    No event says so. Their ids stay remembered, so that a repetition is not carried out again.
    """
    found = [decode_record(record) for (record,) in db.execute("SELECT record FROM command WHERE closed_ms = 0")]
    closed = {
        record.key: replace(
            record,
            state=CommandState.FAILED,
            closed_ms=record.deadline_ms,
            code=OutcomeCode.OUTCOME_UNKNOWN,
            message=NOT_KNOWN,
        )
        for record in found
    }
    save_commands(db, closed)


def _values(key: CommandKey) -> tuple[str, str, str]:
    return key.tenant_id, key.user_id, key.command_id
