"""A process that publishes events into a store and folds them, until it is killed; for ``test_sqlite_figures``.

Usage: ``figure_writer.py FILE``. Prints the position of each batch that was acknowledged.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.internet import defer, reactor, task

from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.events.event import make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import FigurePosition, FigureWrite

TENANT = "acme"
FOLD = RowKey("fold", "", NO_DAY)
CALLS, QUEUES, KEPT_BACK = 50, 3, 1_500
BATCH = 100


def row_at(key: RowKey, seq: int) -> bytes | None:
    """Return what a row is at a position: a pure function of the stream, whose events differ by their position only."""
    if key == FOLD:
        return b"%d" % seq
    if key.kind == "call":
        # Present while an odd number of events concerned it.
        count = (seq + CALLS - int(key.name)) // CALLS
        return b"%d" % count if count % 2 else None
    count = (seq + QUEUES - int(key.name)) // QUEUES
    return b"%d" % count if count else None


def keys_of(seq: int) -> list[RowKey]:
    """Return the rows that an event changes."""
    return [
        FOLD,
        RowKey("call", str(seq % CALLS or CALLS), NO_DAY),
        RowKey("queue-day", str(seq % QUEUES or QUEUES), 7),
    ]


def rows_at(seq: int) -> dict[RowKey, bytes]:
    """Return all rows at a position."""
    keys = {key for one in range(max(1, seq - CALLS * QUEUES), seq + 1) for key in keys_of(one)}
    found = {key: row_at(key, seq) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


class Folder:
    """Folds what is delivered, from the position in the store on."""

    def __init__(self, broker: SqliteBroker) -> None:
        self._broker = broker
        self._position: FigurePosition | None = None
        self._seq = 0
        self._changed: set[RowKey] = set()

    async def load(self) -> None:
        """Continue where the store is."""
        epoch = (await self._broker.position(TENANT)).epoch
        found = await self._broker.figures.load(TENANT, 0)
        if found is not None:
            assert dict(found.rows) == rows_at(found.position.seq)
            self._position, self._seq = found.position, found.position.seq
        while True:
            page = await self._broker.figures.read_log(TENANT, self._seq, 200)
            assert page.reachable and page.epoch == epoch
            if not page.publications:
                return
            self.delivered(page.publications)

    def delivered(self, publications: Sequence[Publication]) -> None:
        """Fold publications."""
        for publication in publications:
            if publication.seq > self._seq:
                assert publication.seq == self._seq + 1
                self._seq = publication.seq
                self._changed.update(keys_of(publication.seq))

    async def write(self) -> None:
        """Write the rows that changed."""
        rows: Mapping[RowKey, bytes | None] = {key: row_at(key, self._seq) for key in self._changed}
        self._changed = set()
        epoch = (await self._broker.position(TENANT)).epoch
        position = FigurePosition(epoch, self._seq)
        hold = max(0, self._seq - KEPT_BACK)
        write = FigureWrite(0, self._position, position, hold, dict(rows))
        assert await self._broker.figures.write(TENANT, write)
        self._position = position


async def main(path: Path) -> None:
    """Publish until the process is killed."""
    clock = ReactorClock(reactor)
    broker = SqliteBroker(reactor, clock, path, history_events=100)
    folder = Folder(broker)
    await broker.start(folder.delivered)
    await folder.load()
    checkpoints = task.LoopingCall(lambda: defer.ensureDeferred(folder.write()))
    checkpoints.start(0.02)
    while True:
        events = [
            make_event(
                tenant_id=TENANT,
                type_="alert",
                payload={"title": "t", "message": "m" * 200},
                event_id=f"e-{clock.monotonic()}-{number}",
                now=clock.time(),
                received_at=clock.monotonic(),
            )
            for number in range(BATCH)
        ]
        outcomes = await broker.publish(events)
        sys.stdout.write(f"{outcomes[-1].seq}\n")  # type: ignore[union-attr]
        sys.stdout.flush()


if __name__ == "__main__":
    task.react(lambda _: defer.ensureDeferred(main(Path(sys.argv[1]))))
