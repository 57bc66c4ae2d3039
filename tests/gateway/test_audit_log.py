"""The audit log: what is in the file, when the disk fails, and at the bounds of its queue."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from callcenter_ws.events.audit import NO_AUDIT, AuditAction
from callcenter_ws.gateway import audit
from callcenter_ws.gateway.audit import AuditLog, audit_file
from callcenter_ws.gateway.audit_file import AuditFile
from callcenter_ws.testing import FakeClock, run


class Disk:
    """Runs the calls of an audit log when the test says so; may fail."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[[], None], Deferred[None]]] = []
        self.is_slow = False
        self.error: OSError | None = None

    async def run(self, call: Callable[[], None]) -> None:
        if self.is_slow:
            waiting: Deferred[None] = Deferred()
            self.calls.append((call, waiting))
            await waiting
        if self.error is not None:
            raise self.error
        call()

    def complete(self) -> None:
        calls, self.calls = self.calls, []
        for _, waiting in calls:
            waiting.callback(None)


class Kept:
    """An audit log with its file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        self.clock, self.disk = FakeClock(), Disk()
        self.log = AuditLog(audit_file(self.path), "node-1/2", self.clock, self.disk.run)

    def add(self, name: str, **fields: Any) -> None:
        self.log.record(AuditAction.USER_ADDED, name=name, **fields)

    def lines(self, path: Path | None = None) -> list[Any]:
        return [json.loads(line) for line in (path or self.path).read_bytes().splitlines()]

    def names(self, path: Path | None = None) -> list[Any]:
        return [line.get("name", line["action"]) for line in self.lines(path)]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_a_line_has_time_process_and_action_and_the_given_fields(kept: Kept) -> None:
    assert kept.path.stat().st_mode & 0o777 == 0o600
    kept.add("anna", queues=("sales", "support"), closed=2, role=None)
    (line,) = kept.lines()
    assert line.pop("time").endswith("Z")
    assert line == {
        "process": "node-1/2",
        "action": "user.added",
        "name": "anna",
        "queues": ["sales", "support"],
        "closed": 2,
    }
    assert (kept.log.counters.written, kept.log.counters.lost, kept.log.waiting) == (1, 0, 0)


def test_no_text_can_end_a_line_or_fill_the_file(kept: Kept) -> None:
    kept.add('a\r\n{"action": "user.removed"}\u2028')
    kept.add("x" * 100_000, queues=["y" * 1_000] * 1_000)
    kept.add("\ud800")
    assert len(kept.path.read_bytes().splitlines()) == len(kept.lines()) == 3
    assert kept.lines()[0]["name"] == 'a\r\n{"action": "user.removed"}\u2028'
    assert max(map(len, kept.path.read_bytes().splitlines())) < 20_000


def test_without_a_file_nothing_waits(tmp_path: Path) -> None:
    disk = Disk()
    log = AuditLog(None, "node", FakeClock(), disk.run)
    log.record(AuditAction.SIGNED_IN, name="anna")
    NO_AUDIT.record(AuditAction.SIGNED_IN, name="anna")
    run(log.close())
    assert (log.waiting, log.counters.lost, disk.calls) == (0, 0, [])


def test_lines_that_wait_are_written_together_and_in_their_order(kept: Kept) -> None:
    kept.disk.is_slow = True
    for name in "abcde":
        kept.add(name)
    assert (kept.log.waiting, len(kept.disk.calls)) == (5, 1)
    kept.disk.complete()
    kept.clock.advance(0)
    assert len(kept.disk.calls) == 1
    kept.disk.complete()
    assert kept.names() == list("abcde")


def test_a_file_that_is_renamed_is_replaced_by_a_new_one(kept: Kept) -> None:
    kept.add("a")
    kept.path.rename(kept.path.with_suffix(".1"))
    kept.add("b")
    kept.path.unlink()
    kept.add("c")
    assert (kept.names(), kept.names(kept.path.with_suffix(".1"))) == (["c"], ["a"])


def test_another_file_of_a_reload_has_the_later_lines(kept: Kept, tmp_path: Path) -> None:
    kept.disk.is_slow = True
    kept.add("a")
    kept.add("b")
    other = tmp_path / "other.jsonl"
    kept.log.use(AuditFile(other))
    kept.add("c")
    kept.log.use(None)
    kept.add("d")
    kept.disk.is_slow = False
    kept.disk.complete()
    kept.clock.advance(0)
    assert (kept.names(), kept.names(other)) == (["a", "b"], ["c"])


def test_what_a_killed_process_has_left_of_a_line_does_not_spoil_the_next(kept: Kept) -> None:
    kept.add("a")
    with kept.path.open("ab") as file:
        file.write(b'{"time":"20')
    kept.add("b")
    lines = kept.path.read_bytes().split(b"\n")
    assert lines[1] == b'{"time":"20'
    assert json.loads(lines[2])["name"] == "b"
    assert lines[3:] == [b""]


@pytest.mark.logs_errors
def test_lines_wait_while_the_disk_fails_and_are_written_once(kept: Kept, error_log: Any) -> None:
    kept.disk.error = OSError(28, "No space left on device")
    kept.add("a")
    kept.clock.advance(1)
    kept.add("b")
    kept.clock.advance(60)
    assert kept.names() == []
    assert kept.log.waiting == 2
    kept.disk.error = None
    kept.clock.advance(60)
    assert kept.names() == ["a", "b"]
    assert [event["log_format"] for event in error_log.events] == [
        "the audit log {file} cannot be written: {reason}",
    ]


@pytest.mark.logs_errors
def test_a_full_queue_loses_the_new_lines_and_says_so_in_the_file(
    kept: Kept, error_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_WAITING_LINES", 3)
    kept.disk.is_slow = True
    for name in "abcde":
        kept.add(name)
    assert (kept.log.waiting, kept.log.counters.lost) == (3, 2)
    kept.disk.is_slow = False
    kept.disk.complete()
    kept.clock.advance(0)
    kept.add("f")
    assert kept.names() == ["a", "b", "c", "audit.lost", "f"]
    assert next(line["count"] for line in kept.lines() if line["action"] == "audit.lost") == 2
    assert [event["log_format"].partition(":")[0] for event in error_log.events] == [
        "the audit log is full",
        "the audit log has lost {count} lines",
    ]


@pytest.mark.logs_errors
def test_the_end_waits_for_the_disk_but_not_long(kept: Kept) -> None:
    kept.disk.is_slow = True
    kept.add("a")
    kept.add("b")
    closing = Deferred.fromCoroutine(kept.log.close())
    kept.clock.advance(1)
    assert not closing.called
    kept.clock.advance(10)
    assert closing.called
    assert kept.log.counters.lost == 2
    kept.disk.complete()
    assert (kept.log.waiting, kept.log.counters.written) == (0, 0)


def test_the_end_writes_what_waits(kept: Kept) -> None:
    kept.disk.is_slow = True
    kept.add("a")
    kept.add("b")
    closing = Deferred.fromCoroutine(kept.log.close())
    kept.disk.is_slow = False
    kept.disk.complete()
    kept.clock.advance(0)
    assert closing.called
    assert kept.names() == ["a", "b"]
    kept.add("late")
    assert kept.names() == ["a", "b"]


def test_a_file_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Is a directory"):
        AuditFile(tmp_path).check()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        AuditFile(tmp_path / "pipe").check()
    with pytest.raises(FileNotFoundError):
        AuditLog(AuditFile(tmp_path / "none" / "a"), "node", FakeClock(), Disk().run)


APPEND = """
import json, sys
from pathlib import Path
from callcenter_ws.gateway.audit_file import AuditFile
for number in range(50):
    line = json.dumps({"name": f"{sys.argv[2]}{number}", "text": "x" * 5_000}).encode()
    AuditFile(Path(sys.argv[1])).append([line])
"""


def test_processes_share_a_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    processes = [subprocess.Popen([sys.executable, "-c", APPEND, str(path), name]) for name in "ab"]
    assert [process.wait(60) for process in processes] == [0, 0]
    names = [json.loads(line)["name"] for line in path.read_bytes().splitlines()]
    assert sorted(names) == sorted(f"{name}{number}" for name in "ab" for number in range(50))


SMALL = """
import resource, sys
from pathlib import Path
from callcenter_ws.gateway.audit_file import AuditFile
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
file = AuditFile(Path(sys.argv[1]))
file.append([b"x" * 599])
try:
    file.append([b"y" * 599])
except OSError as error:
    print(error.strerror)
file.append([b"z" * 99])
"""


def test_of_lines_that_find_no_room_no_part_is_left(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    done = subprocess.run([sys.executable, "-c", SMALL, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout == "File too large\n"
    assert [(line[:1], len(line)) for line in path.read_bytes().splitlines()] == [(b"x", 599), (b"z", 99)]
