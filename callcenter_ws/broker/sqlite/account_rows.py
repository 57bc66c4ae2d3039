"""The rows of users, sessions and waiting screens: written as a part of a transaction, restored, and removed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from callcenter_ws.broker.account_table import Kind, Record
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.interfaces import PairingRecord, SessionRecord, UserRecord
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.sqlite import insert

AccountKey = tuple[Kind, str]

BATCH_ROWS = 500
"""Rows that are removed at once."""

_USERS = ("account (name, record)", "DELETE FROM account WHERE name = ?")
_OTHERS: Mapping[Kind, tuple[str, str]] = {
    "session": ("account_session (id, ends_at, record)", "DELETE FROM account_session WHERE id = ?"),
    "pairing": ("pairing (code, ends_at, record)", "DELETE FROM pairing WHERE code = ?"),
}


def save_accounts(db: sqlite3.Connection, accounts: Mapping[AccountKey, Record | None]) -> None:
    """Save records; remove those that are None."""
    users: list[object] = []
    others: dict[Kind, list[object]] = {kind: [] for kind in _OTHERS}
    for (kind, key), record in accounts.items():
        if record is None:
            db.execute(_OTHERS.get(kind, _USERS)[1], (key,))
        elif isinstance(record, UserRecord):
            users += [key, encode_json(record).decode()]
        else:
            others[kind] += [key, record.expires_at, encode_json(record).decode()]
    replace = "ON CONFLICT DO UPDATE SET record = excluded.record"
    insert(db, _USERS[0], 2, users, replace)
    for kind, values in others.items():
        insert(db, _OTHERS[kind][0], 3, values, f"{replace}, ends_at = excluded.ends_at")


def restore_accounts(db: sqlite3.Connection, now: float) -> list[Record]:
    """Return the users, and the sessions and waiting screens that have not ended."""
    records: list[Record] = [_decode_user(text) for (text,) in db.execute("SELECT record FROM account")]
    sessions = db.execute("SELECT record FROM account_session WHERE ends_at > ?", (now,))
    pairings = db.execute("SELECT record FROM pairing WHERE ends_at > ?", (now,))
    records += [_decode_session(text) for (text,) in sessions]
    records += [_decode_pairing(text) for (text,) in pairings]
    return records


def remove_ended_accounts(file: StoreFile, now: float) -> None:
    """Remove sessions and waiting screens that have ended, at most ``BATCH_ROWS`` of each."""
    for table, key in (("account_session", "id"), ("pairing", "code")):
        ended = f"SELECT {key} FROM {table} WHERE ends_at <= ? LIMIT {BATCH_ROWS}"  # noqa: S608 - names from our code
        file.writer.execute(f"DELETE FROM {table} WHERE {key} IN ({ended})", (now,))  # noqa: S608 - names from our code


def remove_people(db: sqlite3.Connection) -> None:
    """Remove the sessions of people, and screens that wait, from a copy of the file.

    Those that have ended since it was made must not come back with it. Screens stay signed in: they have no keyboard.
    """
    sessions = db.execute("SELECT id, record FROM account_session").fetchall()
    people = [(key,) for key, text in sessions if _decode_session(text).kind != "screen"]
    db.executemany("DELETE FROM account_session WHERE id = ?", people)
    db.execute("DELETE FROM pairing")


_decode_user = msgspec.json.Decoder(UserRecord).decode
_decode_session = msgspec.json.Decoder(SessionRecord).decode
_decode_pairing = msgspec.json.Decoder(PairingRecord).decode
