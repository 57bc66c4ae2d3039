"""AuditLog: the queue of the lines of ``[audit] file``, and the thread that writes them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from callcenter_ws.events.audit import AuditAction, AuditValue
from callcenter_ws.gateway.audit_file import AuditFile
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json, rfc3339
from callcenter_ws.runtime.reactor import Reactor
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.threads import DedicatedThreadPool

MAX_WAITING_LINES = 10_000
"""Lines that wait for the disk. When there are so many, the new ones are lost, and counted: nothing else waits."""

MAX_LINES_AT_ONCE = 500
"""Lines that are written, and synced, together."""

MAX_TEXT_LENGTH = 255
"""Characters of a field; the rest is cut."""

MAX_LISTED = 50
"""Texts of a list; the rest is left out."""

FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.5, 30.0
STOP_TIMEOUT_SECONDS = 5.0
"""Seconds for which the end of the process waits for the disk."""

_log = Logger("callcenter_ws")

Run = Callable[[Callable[[], None]], Awaitable[None]]
"""Runs a blocking call in the thread of the audit log."""


@dataclass(slots=True)
class AuditCounters:
    """For the metrics: the lines that were written, and those that were not."""

    written: int = 0
    lost: int = 0


@dataclass(frozen=True, slots=True)
class _Line:
    file: AuditFile
    text: bytes


class AuditLog:
    """Implements ``interfaces.Audit``.

    Args:
        file: where lines are written; None: no log is kept.
        process: the name of this process, which every line has.
        run: runs the calls of the file, one after the other.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, file: AuditFile | None, process: str, clock: Clock, run: Run) -> None:
        if file is not None:
            file.check()
        self._file = file
        self._process = process
        self._clock = clock
        self._run = run
        self._waiting: deque[_Line] = deque()
        self._unreported = 0
        self._failed_at: float | None = None
        self.counters = AuditCounters()
        backoff = Backoff(FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS)
        self._writing = SingleFlight(self._write, clock, spawn, backoff=backoff, transient=(OSError,))
        self._emptied: list[Deferred[None]] = []

    @property
    def waiting(self) -> int:
        """How many lines wait for the disk."""
        return len(self._waiting)

    def record(self, action: AuditAction, **fields: AuditValue) -> None:
        """Add a line. Never raises and never waits."""
        file = self._file
        if file is None:
            return
        if len(self._waiting) >= MAX_WAITING_LINES:
            self._lose()
            return
        self._waiting.append(_Line(file, self._text(action, fields)))
        self._writing.request()

    def use(self, file: AuditFile | None) -> None:
        """Write to another file from now on; lines that wait are for the former one. None: keep no log."""
        self._file = file

    async def close(self) -> None:
        """Write what waits, for ``STOP_TIMEOUT_SECONDS`` at most; what is not written then is lost."""
        if self._waiting:
            self._writing.request(skip_backoff=True)
            emptied: Deferred[None] = Deferred()
            self._emptied.append(emptied)
            timer = self._clock.call_later(STOP_TIMEOUT_SECONDS, emptied.callback, None)
            await emptied
            timer.cancel()
        self._file = None
        self._writing.stop()
        if self._waiting:
            self.counters.lost += len(self._waiting)
            _log.error("{count} lines of the audit log were not written", count=len(self._waiting))
            self._waiting.clear()

    def _text(self, action: AuditAction, fields: dict[str, AuditValue]) -> bytes:
        given = {name: _bounded(value) for name, value in fields.items() if value is not None}
        return encode_json(
            {"time": rfc3339(self._clock.time()), "process": self._process, "action": action.value, **given}
        )

    def _lose(self) -> None:
        self.counters.lost += 1
        if not self._unreported:
            _log.error("the audit log is full: {count} lines wait for the disk, new ones are lost", count=self.waiting)
        self._unreported += 1

    async def _write(self) -> None:
        while self._waiting:
            batch = self._next_lines()
            lost, lines = self._unreported, [line.text for line in batch]
            if lost:
                lines.append(self._text(AuditAction.LINES_LOST, {"count": lost}))
            file = batch[0].file
            try:
                await self._run(partial(file.append, lines))
            except OSError as error:
                self._log_failure(file, error)
                raise
            if not self._waiting:
                # The end of the process did not wait for the disk.
                return
            for _ in batch:
                self._waiting.popleft()
            self._unreported -= lost
            self.counters.written += len(batch)
            self._log_success(lost)
        for emptied in self._emptied:
            if not emptied.called:
                emptied.callback(None)
        self._emptied.clear()

    def _next_lines(self) -> Sequence[_Line]:
        """Return the oldest lines, those of one file only."""
        file = self._waiting[0].file
        found = []
        for line in islice(self._waiting, MAX_LINES_AT_ONCE):
            if line.file is not file:
                break
            found.append(line)
        return found

    def _log_failure(self, file: AuditFile, error: OSError) -> None:
        if self._failed_at is None:
            self._failed_at = self._clock.monotonic()
            _log.error("the audit log {file} cannot be written: {reason}", file=str(file.path), reason=error.strerror)

    def _log_success(self, lost: int) -> None:
        if self._failed_at is not None:
            seconds, self._failed_at = self._clock.monotonic() - self._failed_at, None
            _log.info("the audit log is written again after {seconds:.1f} s", seconds=seconds)
        if lost:
            _log.error("the audit log has lost {count} lines", count=lost)


def _bounded(value: AuditValue) -> AuditValue:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Sequence):
        return [_text(one) for one in value[:MAX_LISTED]]
    return value


def _text(value: str) -> str:
    # JSON in UTF-8 has no half of a surrogate pair; a name may.
    return value[:MAX_TEXT_LENGTH].encode("utf-8", "replace").decode()


def audit_file(path: Path | None) -> AuditFile | None:
    """Return the file of the settings."""
    return None if path is None else AuditFile(path)


def audit_log(reactor: Reactor, clock: Clock, path: Path | None, process: str) -> AuditLog:
    """Return the audit log of a gateway, with a thread of its own.

    Raises:
        OSError: the file cannot be written.
    """
    pool = DedicatedThreadPool(1, "callcenter-ws audit")
    # It starts its thread with the first line.
    pool.start()

    async def run(call: Callable[[], None]) -> None:
        await deferToThreadPool(reactor, pool, call)

    return AuditLog(audit_file(path), process, clock, run)
