"""Adds the figures of days that have passed to the file of a gateway that was stopped."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec

from bench.busy_center import agent_id, queue_name
from callcenter_ws.broker.sqlite.figure_rows import FigureChanges, save_figures, stored_folds
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.sums import AGENT_FIELDS, DAY_MS, QUARTERS_OF_DAY, QUEUE_FIELDS, Bucket


def rows_of_days(queues: int, agents: int, days: int) -> Iterator[tuple[RowKey, bytes]]:
    """Yield the sums of queues and agents in all quarters of some days, the last of them yesterday."""
    today = int(time.time() * 1000) // DAY_MS
    for day in range(today - days, today):
        for kind, fields, names in (
            ("queue-day", QUEUE_FIELDS, [queue_name(number) for number in range(queues)]),
            ("agent-day", AGENT_FIELDS, [agent_id(number) for number in range(agents)]),
        ):
            first = day * QUARTERS_OF_DAY
            quarters = {first + index: _bucket(len(fields), index) for index in range(QUARTERS_OF_DAY)}
            data = msgspec.msgpack.encode(quarters)
            for name in names:
                yield RowKey(kind, name, day), data


def _bucket(width: int, number: int) -> Bucket:
    # Counts are small, sums of milliseconds are not.
    return Bucket([field if field % 3 else 10_000 * field + number for field in range(width)], 30_000)


def add_old_days(file: Path, tenant: str, queues: int, agents: int, days: int) -> None:
    """Add rows of days to the fold of a tenant."""
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        (fold,) = [one for one in stored_folds(db) if one.tenant_id == tenant]
        rows = dict(rows_of_days(queues, agents, days))
        db.execute("BEGIN IMMEDIATE")
        save_figures(db, [FigureChanges(fold.number, tenant, fold.seq, fold.hold, fold.version, dict(rows))])
        db.execute("COMMIT")
