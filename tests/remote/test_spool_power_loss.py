"""Model-based test of SpoolFile under power losses: no number is given twice, generation and taken commands are kept.

What was synced to disk survives. Of what was written since, any part may be on the disk, and its end may be torn.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from callcenter_ws.events.commands import CommandKey
from callcenter_ws.remote import spool_file
from callcenter_ws.remote.spool_file import Row, SpoolFile
from callcenter_ws.remote.taken_commands import TakenCommand

BLOCK = 8


class PowerLossMachine(RuleBasedStateMachine):
    """A spool whose disk keeps what was synced, and an arbitrary part of the rest.

    Attributes:
        sent: the highest number that may have been sent; every number up to it may have been given.
        written: the rows that were ever written, by key; ``deleted``: keys of those that were deleted.
        synced_rows: keys of the rows that were on the disk at the last sync.
        taken: the ids of the commands that were taken; each may have been begun.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.block, spool_file.BLOCK_NUMBERS = spool_file.BLOCK_NUMBERS, BLOCK
        self.number = self.key = self.sent = self.losses = 0
        self.generation: int | None = None
        self.taken: list[str] = []
        self.written: dict[int, Row] = {}
        self.deleted: set[int] = set()
        self.synced_rows: set[int] = set()
        self.synced_bytes = 0

    @initialize()
    def begin(self) -> None:
        self.open(Path(self.folder.name) / "0.spool")

    def open(self, path: Path) -> None:
        self.path = path
        self.wal = path.with_name(path.name + "-wal")
        self.file = SpoolFile(path)
        source = self.file.open_source("dialer", "instance")
        assert source.reserved >= self.sent, "a number would be given twice"
        assert source.generation == self.generation
        assert source.instance == "instance"
        assert [command.key.command_id for command in self.file.taken()] == self.taken, "one would be begun twice"
        rows = self.file.rows()
        assert {row[0] for row in rows} >= self.synced_rows - self.deleted, "what was synced is lost"
        assert all(self.written[row[0]] == row for row in rows)
        self.number = source.reserved
        self.key = max([self.key, *(row[0] for row in rows)])
        # From here on, everything is on the disk.
        self.file._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self.note_sync()
        self.is_synced = self.was_synced = False
        self.file._db.set_trace_callback(self.note_statement)

    def note_statement(self, text: str) -> None:
        """Note with which commits SQLite syncs its log."""
        if text.startswith("PRAGMA synchronous"):
            self.is_synced = text.endswith("FULL")
        elif text == "COMMIT":
            self.was_synced |= self.is_synced

    def after_commit(self) -> None:
        if self.was_synced:
            self.note_sync()
        self.was_synced = False

    def note_sync(self) -> None:
        self.synced_bytes = self.wal.stat().st_size
        self.synced_rows = {row[0] for row in self.file.rows()}

    @rule(count=st.integers(1, 2 * BLOCK), data=st.data())
    def write(self, count: int, data: st.DataObject) -> None:
        kept = sorted(self.written.keys() - self.deleted)
        deleted = data.draw(st.lists(st.sampled_from(kept), unique=True)) if kept else []
        rows = []
        for _ in range(count):
            self.number += 1
            self.key += 1
            payload = b"{}" + b" " * data.draw(st.sampled_from([0, 100, 5_000]))
            row = (self.key, "acme", "alert", f"id-{self.key}", "at", None, 0, payload, self.number)
            self.written[self.key] = row
            rows.append(row)
        self.file.write(rows, deleted)
        self.deleted |= set(deleted)
        # As soon as they are written, they may be sent.
        self.sent = self.number
        self.after_commit()

    @rule()
    def next_generation(self) -> None:
        self.generation = (self.generation or 0) + 1
        self.file.keep_generation(self.generation)
        self.after_commit()

    @rule()
    def take(self) -> None:
        self.taken.append(f"c{len(self.taken)}")
        self.file.take(TakenCommand(CommandKey("acme", "7", self.taken[-1]), "call.hangup", 0), [])
        self.after_commit()

    @rule(part=st.floats(0, 1), garbage=st.binary(max_size=64))
    def lose_power(self, part: float, garbage: bytes) -> None:
        """Keep what was synced, and a part of what was written since, whose end is torn."""
        log = self.wal.read_bytes()
        kept = self.synced_bytes + int(part * (len(log) - self.synced_bytes))
        self.losses += 1
        path = Path(self.folder.name) / f"{self.losses}.spool"
        path.write_bytes(self.path.read_bytes())
        path.with_name(path.name + "-wal").write_bytes(log[:kept] + garbage)
        self.file.close()
        # Deletions since the last sync may be done or undone.
        self.synced_rows -= self.deleted
        self.open(path)
        self.deleted = set(self.written) - self.synced_rows

    @rule()
    def kill(self) -> None:
        """End the process: everything that was committed survives."""
        committed = {row[0] for row in self.file.rows()}
        self.losses += 1
        path = Path(self.folder.name) / f"{self.losses}.spool"
        path.write_bytes(self.path.read_bytes())
        path.with_name(path.name + "-wal").write_bytes(self.wal.read_bytes())
        self.file.close()
        self.open(path)
        assert {row[0] for row in self.file.rows()} == committed

    @invariant()
    def numbers_and_keys_have_one_order(self) -> None:
        if hasattr(self, "file"):
            numbers = [row[-1] for row in self.file.rows()]
            assert numbers == sorted(set(numbers))

    def teardown(self) -> None:
        spool_file.BLOCK_NUMBERS = self.block
        if hasattr(self, "file"):
            self.file.close()
        self.folder.cleanup()


class TestPowerLoss(PowerLossMachine.TestCase):  # type: ignore[name-defined, misc]
    settings = settings(max_examples=30, stateful_step_count=20)
