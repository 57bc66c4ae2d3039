"""Baselines that are measured in the same run: a bare ``sqlite3`` loop, and a bare AMP round trip."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import count, islice
from pathlib import Path

from bench.cpu import Span, Stopwatch
from bench.event import Event, call_center
from bench.failure import InvalidRun
from bench.gateway import DEADLINE
from bench.request import batch_text, make_request
from bench.sender import Sender

_BARE_AMP = Path(__file__).with_name("bare_amp.py")

_TABLE = """
    CREATE TABLE event (
        seq INTEGER PRIMARY KEY, event_id TEXT NOT NULL, type TEXT NOT NULL, timestamp TEXT NOT NULL, user_id TEXT,
        persist INTEGER NOT NULL, origin TEXT NOT NULL, received_at REAL NOT NULL, queue_name TEXT, agents TEXT,
        payload BLOB NOT NULL
    )
"""
_INSERT = "INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class BareSqlite:
    """Inserts into a table like the store's, in WAL mode with ``synchronous = NORMAL``."""

    def __init__(self, file: Path) -> None:
        self._seqs = count(1)
        self._db = sqlite3.connect(file, isolation_level=None)
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = NORMAL")
        self._db.execute(_TABLE)

    def run(self, events: int, group: int) -> Span:
        """Insert events, ``group`` in each transaction; return the time and CPU that this took."""
        rows = [self._row(event) for event in islice(call_center(), events)]
        watch = Stopwatch(server=os.getpid())
        for start in range(0, events, group):
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(_INSERT, rows[start : start + group])
            self._db.execute("COMMIT")
        return watch.stop()

    def _row(self, event: Event) -> tuple[object, ...]:
        timestamp = "2026-11-22T19:40:00.123Z"
        envelope = (next(self._seqs), event.event_id, event.type, timestamp, None, False, "producer", 1.0, None, None)
        return (*envelope, event.payload)

    def close(self) -> None:
        """Check that the table holds every event, and close the file.

        Raises:
            InvalidRun: if it does not.
        """
        ((held,),) = self._db.execute("SELECT count(*) FROM event")
        self._db.close()
        if held != next(self._seqs) - 1:
            raise InvalidRun("the bare SQLite table does not hold all events that were inserted")


class BareAmp:
    """Sends to ``bare_amp.py``, which runs in its own process."""

    def __init__(self, folder: Path) -> None:
        path = folder / "bare.sock"
        self._process = subprocess.Popen(  # noqa: S603 - a program of this package
            [sys.executable, str(_BARE_AMP), str(path)]
        )
        try:
            self._sender = _connect(path)
        except BaseException:
            self.close()
            raise

    def run(self, batches: Sequence[Sequence[Event]], window: int, seconds: float) -> tuple[Span, int]:
        """Send each batch as one text; return the time and CPU, and the number of batches sent within ``seconds``."""
        texts = [batch_text(batch) for batch in batches]
        requests = [make_request(b"Measure", {b"text": text}) for text in texts]
        watch = Stopwatch(server=self._process.pid, sender=os.getpid())
        sent = self._sender.run(requests, window, seconds)
        span = watch.stop()
        if [answer[b"size"] for answer in self._sender.answers] != [b"%d" % len(text) for text in texts[:sent]]:
            raise InvalidRun("the bare AMP server's answers are wrong")
        self._sender.clear()
        return span, sent

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait(DEADLINE)


def _connect(path: Path) -> Sender:
    end = time.monotonic() + DEADLINE
    while True:
        try:
            return Sender(path)
        except OSError:
            if time.monotonic() > end:
                raise InvalidRun("the bare AMP server did not start") from None
            time.sleep(0.01)
