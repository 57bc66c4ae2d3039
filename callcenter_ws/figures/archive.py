"""The archive: writes a tenant's stream into files before the store trims it.

The publications that are folded are gathered, and appended to a file by a thread: each minute, or when there are 4 MiB
of them. The place in the stream and the size of the file are recorded only when the events are on disk, with the rows
of the fold; the store keeps its log above the recorded place. So whenever the process ends, the next one truncates the
file to the recorded size and reads from the store what follows. A disk that fails or hangs delays nothing but this:
more than a bound of publications is not gathered, and read from the store when the disk works again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.errors import Refusal
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.archive_files import TenantFolder, day_number, day_text
from callcenter_ws.figures.archive_thread import ArchiveThread, close_file, write_events
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, Rows
from callcenter_ws.statistics.counters import ArchiveCounters
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureStore

APPEND_SECONDS = 60.0
"""How long events wait to be appended."""

APPEND_BYTES = 4_194_304
"""Bytes of payloads that are appended at once, without waiting."""

MAX_GATHERED_BYTES = 16_777_216
MAX_GATHERED = 20_000
"""What is gathered while an append takes long. More is left to the log of the store, and read from there."""

MAX_GATHERED_BYTES_OF_ALL = 268_435_456
"""Bytes that are gathered for all tenants together. Beyond that, those of a tenant are read from the store too."""

PAGE_EVENTS = 200
CATCH_UP_PAGES = 50
"""Events of one page that is read from the log, and pages that are appended at once."""

DAY_END_MS = 600_000
"""How long after its end a day is closed, if no event of the next comes: other nodes' clocks may be behind."""

MAX_PROCESSES = 64
"""Processes whose last file is recorded; it is forgotten of the one that has not written for the longest time."""

STOP_SECONDS = 5.0
"""How long a process that ends waits for an append."""

_LINE_BYTES = 300
"""Bytes of a line beside its payload."""

_log = Logger("callcenter_ws.archive")


class _Place(msgspec.Struct, array_like=True):
    """What is recorded.

    Attributes:
        epoch, seq: everything up to there is in the archive.
        day: the UTC day of the file that is written; events that are received late are in it too.
        files: by process: its last file, and the size of it.
    """

    epoch: str = ""
    seq: int = 0
    day: int = 0
    files: dict[str, tuple[str, int]] = {}


_KEY = RowKey("archive", "", NO_DAY)
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Place).decode


class TenantArchive:
    """Archives one tenant; a ``FoldedPart``.

    Args:
        process: the name of this process among those that share the store.
        days: returns for how many days files are kept.
        threads: has the thread of the archive.
    """

    kinds = frozenset(("archive",))
    types: frozenset[str] | None = None

    def __init__(
        self,
        tenant_id: str,
        figures: FigureStore,
        folder: Path,
        process: str,
        days: Callable[[], int],
        clock: Clock,
        spawn: Spawn,
        threads: ArchiveThread,
        counters: ArchiveCounters,
    ) -> None:
        self._tenant_id = tenant_id
        self._figures = figures
        self._folder = TenantFolder(folder, tenant_id, process)
        self._process = process
        self._days = days
        self._clock = clock
        self._threads = threads
        self._spawn = spawn
        self._counters = counters
        self._place = _Place()
        self._is_changed = False
        self._is_started = False
        self._gathered: list[Publication] = []
        self._gathered_bytes = 0
        self._timer: Timer | None = None
        self._failing = False
        # What was loaded while an append was under way is not overwritten by its outcome.
        self._loaded = 0
        self._appending = self._new_flight()

    def _new_flight(self) -> SingleFlight:
        backoff = Backoff(1, 60)
        return SingleFlight(self._append_all, self._clock, self._spawn, backoff=backoff, transient=(OSError, Refusal))

    # FoldedPart

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Begin with the recorded place; without one, with the oldest event that the store has."""
        row = rows.get(_KEY)
        self._place = _Place() if row is None else _decode(row)
        self._is_changed = False
        self._loaded += 1
        self._forget_gathered()

    def apply(self, publication: Publication) -> None:
        """Gather a publication."""
        if self._gathered and publication.seq != self._gathered[-1].seq + 1:
            self._forget_gathered()
        self._gathered.append(publication)
        size = len(publication.event.payload) + _LINE_BYTES
        self._gathered_bytes += size
        self._counters.gathered += size
        if self._counters.gathered > MAX_GATHERED_BYTES_OF_ALL:
            self._forget_gathered()
            return
        if self._gathered_bytes < APPEND_BYTES and len(self._gathered) < MAX_GATHERED:
            return
        if self._gathered_bytes > MAX_GATHERED_BYTES or len(self._gathered) >= MAX_GATHERED:
            self._forget_gathered()
        if self._is_started:
            self._appending.request()

    def second(self, state: State, second_ms: int) -> None:
        """Do nothing: appends have a timer of their own."""

    def take_changes(self) -> Rows:
        """Return the place, if it changed."""
        if not self._is_changed:
            return {}
        self._is_changed = False
        return {_KEY: _encode(self._place)}

    def hold(self) -> int:
        """Return the place: what follows is not in the archive."""
        return self._place.seq

    def start(self, fence: int) -> None:
        """Append from now on."""
        self._is_started = True
        self._appending = self._new_flight()
        self._append_soon(0.0)

    async def stop(self) -> None:
        """Stop; an append under way is waited for, but not for long. What is left is in the log of the store."""
        self._is_started = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._forget_gathered()
        ended: Deferred[None] = Deferred()
        timer = self._clock.call_later(STOP_SECONDS, partial(_end, ended))
        Deferred.fromCoroutine(self._appending.stopped()).addCallback(lambda _: _end(ended))
        await ended
        timer.cancel()

    # Appending

    def _forget_gathered(self) -> None:
        self._gathered.clear()
        self._counters.gathered -= self._gathered_bytes
        self._gathered_bytes = 0

    def _append_soon(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, self._timer_ended)

    def _timer_ended(self) -> None:
        self._timer = None
        self._appending.request()
        self._append_soon(APPEND_SECONDS)

    async def _append_all(self) -> None:
        """Append what is not archived yet.

        Raises:
            OSError: the disk does not work.
            Refusal: the store cannot be read now.
        """
        try:
            while self._is_started and await self._append_some():
                pass
            await self._end_day()
        except OSError as error:
            self._counters.failures += 1
            if not self._failing:
                self._failing = True
                _log.warn(
                    "cannot write the archive of {tenant_id}: {reason}; it is tried again, the store keeps the events",
                    tenant_id=Name(self._tenant_id),
                    reason=error.strerror or str(error),
                )
            raise
        if self._failing:
            self._failing = False
            _log.info("the archive of {tenant_id} is written again", tenant_id=Name(self._tenant_id))

    async def _append_some(self) -> bool:
        """Append the next events; return whether there may be more."""
        loaded, seq = self._loaded, self._place.seq
        page = await self._figures.read_log(self._tenant_id, seq, 1)
        if loaded != self._loaded or not self._is_started:
            return False
        if page.epoch != self._place.epoch or not page.reachable:
            await self._begin_epoch(page, loaded)
            return loaded == self._loaded
        publications = self._take_gathered(seq)
        if not publications:
            publications = await self._read(seq)
        if not publications or loaded != self._loaded:
            return False
        await self._append(publications, loaded)
        return loaded == self._loaded and bool(page.publications)

    async def _begin_epoch(self, page: HistoryPage, loaded: int) -> None:
        """Go to the oldest event of the log: there is no place in it yet, or what followed the place is gone."""
        oldest = await self._figures.oldest_in_log(self._tenant_id)
        if loaded != self._loaded:
            return
        place, files = self._place, self._place.files
        if page.epoch == place.epoch:
            lost = max(0, oldest - place.seq)
            self._counters.lost += lost
            _log.error(
                "{lost} events of {tenant_id} are not in the archive: the store had to trim them",
                lost=lost,
                tenant_id=Name(self._tenant_id),
            )
        elif place.epoch:
            # A backup was restored, or the store has lost something: what a file has behind its recorded size may be
            # nowhere else, so no file of before is written again.
            await self._close_day(place.day)
            if loaded != self._loaded:
                return
            files = {}
        self._place = _Place(page.epoch, oldest, place.day, files)
        self._is_changed = True

    def _take_gathered(self, seq: int) -> list[Publication]:
        """Return what is gathered behind a position, if nothing is missing before it, and forget it."""
        found = [publication for publication in self._gathered if publication.seq > seq]
        if found and found[0].seq != seq + 1:
            return []
        # If none follow, what is gathered was read from the store meanwhile.
        self._forget_gathered()
        return found

    async def _read(self, seq: int) -> list[Publication]:
        publications: list[Publication] = []
        for _ in range(CATCH_UP_PAGES):
            page = await self._figures.read_log(self._tenant_id, seq + len(publications), PAGE_EVENTS)
            if page.epoch != self._place.epoch or not page.reachable or not page.publications:
                break
            publications += page.publications
            if sum(len(each.event.payload) for each in publications) > APPEND_BYTES:
                break
        return publications

    async def _append(self, publications: Sequence[Publication], loaded: int) -> None:
        """Append events to the files of their days, and record each when it is on disk."""
        days: dict[int, list[Publication]] = {}
        day = self._place.day
        for publication in publications:
            day = max(day, day_number(publication.event.received_ms))
            days.setdefault(day, []).append(publication)
        for day, events in days.items():
            if day > self._place.day:
                await self._close_day(day)
            if loaded != self._loaded or not self._is_started:
                return
            place = self._place
            name, size = self._file_of(day)
            write = partial(write_events, self._folder, name, size, day, place.epoch, events)
            name, new_size = await self._threads.call(write)
            if loaded != self._loaded or not self._is_started:
                return
            files = {process: file for process, file in place.files.items() if process != self._process}
            while len(files) >= MAX_PROCESSES:
                del files[next(iter(files))]
            files[self._process] = (name, new_size)
            self._place = _Place(place.epoch, events[-1].seq, day, files)
            self._is_changed = True
            self._counters.events += len(events)
            self._counters.bytes += max(0, new_size - size)

    def _file_of(self, day: int) -> tuple[str, int]:
        """Return this process's file of a day, and its recorded size; an empty name if there is none."""
        name, size = self._place.files.get(self._process, ("", 0))
        return (name, size) if name.startswith(day_text(day)) else ("", 0)

    async def _end_day(self) -> None:
        """Close the file of a day that has ended, if no event of the next day did."""
        today = day_number(round(self._clock.time() * 1000) - DAY_END_MS)
        if self._is_started and 0 < self._place.day < today:
            loaded = self._loaded
            await self._close_day(today)
            if loaded == self._loaded:
                place = self._place
                self._place = _Place(place.epoch, place.seq, today, place.files)
                self._is_changed = True

    async def _close_day(self, day: int) -> None:
        """Close this process's file of the day before, and remove files that are older than they are kept."""
        name, _ = self._file_of(self._place.day)
        await self._threads.call(partial(close_file, self._folder, name, day - self._days()))


def _end(waiting: Deferred[None]) -> None:
    if not waiting.called:
        waiting.callback(None)
