"""A process with commands in a file is killed at random: what it acknowledged is there, and each command ends once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import command_writer

from callcenter_ws.broker.command_table import decode_record
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.command_rows import restore_commands
from callcenter_ws.events.commands import CommandState
from callcenter_ws.runtime.json import decode_json

KILLS = int(os.environ.get("CALLCENTER_WS_KILLS", "3"))


def acknowledged_until_killed(path: Path, rng: random.Random) -> dict[str, set[str]]:
    """Run the process until it is killed; return the ids of which it said something, by what it said."""
    said: dict[str, set[str]] = defaultdict(set)
    command = [sys.executable, command_writer.__file__, str(path), str(rng.getrandbits(32))]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(rng.choice((1, 30, rng.randint(1, 1_000))))]
        assert all(lines), "the process has ended by itself"
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.readlines()
    for line in lines:
        if line.endswith("\n"):
            what, command_id = line.split()
            said[what].add(command_id)
    return said


def test_a_kill_at_any_moment(tmp_path: Path) -> None:
    path, rng = tmp_path / "events.sqlite", random.Random(17)
    accepted, closed = set[str](), set[str]()
    for _ in range(KILLS):
        said = acknowledged_until_killed(path, rng)
        accepted |= said["accepted"]
        closed |= said["closed"]
        check_file(path, accepted, closed, said["dispatched"])


def check_file(path: Path, accepted: set[str], closed: set[str], dispatched: set[str]) -> None:
    """Check what is left: every acknowledged step, and for each closed command one event of each kind."""
    assert check(path).problems == []
    with sqlite3.connect(path) as db:
        opened, encoded = restore_commands(db, 0.0)
        found = {one.key.command_id: one for one in [*opened, *[decode_record(one) for _, one in encoded]]}
        rows = db.execute("SELECT type, payload FROM event").fetchall()
    payloads = [(type_, decode_json(payload)) for type_, payload in rows]
    ends = Counter(payload["command_id"] for type_, payload in payloads if type_ != "alert")
    outcomes = {payload["command_id"]: type_ for type_, payload in payloads if type_ != "alert"}
    followers = Counter(payload["title"] for type_, payload in payloads if type_ == "alert")
    assert accepted <= found.keys()
    assert closed <= ends.keys()
    assert all(found[one].state is not CommandState.ACCEPTED for one in dispatched)
    assert set(ends.values()) <= {1}
    assert followers == ends
    assert {one: f"command.{record.state}" for one, record in found.items() if not record.state.is_open} == outcomes
