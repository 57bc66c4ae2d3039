"""Exported streams: lines of several files, in the order of the stream, each once."""

from __future__ import annotations

import heapq
import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, NamedTuple

from callcenter_ws.cli.target import CommandFailed
from callcenter_ws.figures.archive_files import MAX_LINE_BYTES, day_of_file, read_lines
from callcenter_ws.statistics.export_line import ExportedEvent, NotALine, read_line

Warn = Callable[[str], None]
"""Informs the operator of something that is left out."""


MAX_PROBLEMS = 10
"""Lines of a file of which it is said what is wrong."""


MAX_KNOWN = 1_000_000
"""Events, at least, of which it is known which they were: more than a store holds when it begins a new epoch."""


class Line(NamedTuple):
    """A line, and what it says."""

    text: bytes
    event: ExportedEvent


class _Known:
    """The newest events of a stream, as hashes by position."""

    def __init__(self) -> None:
        self.epoch: str | None = None
        self._first = 1
        self._hashes = array("q")

    @property
    def last(self) -> int:
        """The position of the last event."""
        return self._first + len(self._hashes) - 1

    def holds(self, event: ExportedEvent) -> bool:
        """Return whether the event of this position is this one."""
        index = event.seq - self._first
        return 0 <= index < len(self._hashes) and self._hashes[index] == _hash(event)

    def add(self, event: ExportedEvent, *, goes_on: bool) -> None:
        """Add the next event; with ``goes_on``, behind those before its position, whatever their epoch."""
        if not goes_on or not 0 <= event.seq - self._first <= len(self._hashes) + MAX_KNOWN:
            self._first, self._hashes = event.seq, array("q")
        del self._hashes[event.seq - self._first :]
        self._hashes.extend(array("q", bytes(8 * (event.seq - 1 - self.last))))
        self._hashes.append(_hash(event))
        self.epoch = event.epoch
        if len(self._hashes) > 2 * MAX_KNOWN:
            del self._hashes[:MAX_KNOWN]
            self._first += MAX_KNOWN


def _hash(event: ExportedEvent) -> int:
    return hash((event.id, event.received_ms))


class Merge:
    """Merges lines of one stream: orders them by epoch and position, and leaves repetitions out.

    An epoch is later than those that were met before it. After a backup was restored, or a power loss, a store goes on
    in a new epoch with the events that it has, and these come again, at the same positions. They are left out, except
    the last one: that it comes again in the new epoch shows that nothing is between the two.
    """

    def __init__(self) -> None:
        self._ranks: dict[str, int] = {}
        self._last: dict[str, int] = {}
        self._known = _Known()
        self._going_on: str | None = None

    def last(self, epoch: str) -> int:
        """Return the position of the last line of an epoch."""
        return self._last.get(epoch, 0)

    def is_new(self, line: Line) -> bool:
        """Return whether a line follows those before; it is then the last."""
        event = line.event
        if event.seq <= self.last(event.epoch):
            return False
        self._last[event.epoch] = event.seq
        if event.epoch != self._known.epoch and self._known.holds(event):
            self._going_on = event.epoch
            return event.seq == self._known.last
        self._known.add(event, goes_on=event.epoch in (self._known.epoch, self._going_on))
        return True

    def lines(self, sources: Iterable[Iterator[Line]]) -> Iterator[Line]:
        """Yield the new lines of sources, each of which is in order."""
        heads: list[tuple[Line, Iterator[Line]]] = []
        for source in sources:
            first = next(source, None)
            if first is not None:
                heads.append((first, source))
        # An epoch that begins with the events of another has begun later; their names are in the order of time.
        heads.sort(key=lambda head: (head[0].event.received_ms, head[0].event.epoch))
        for head, _ in heads:
            self._rank(head)
        for line in heapq.merge(*[_with_head(*head) for head in heads], key=self._rank):
            if self.is_new(line):
                yield line

    def _rank(self, line: Line) -> tuple[int, int]:
        return self._ranks.setdefault(line.event.epoch, len(self._ranks)), line.event.seq


def _with_head(head: Line, rest: Iterator[Line]) -> Iterator[Line]:
    yield head
    yield from rest


def archived_lines(files: Iterable[Path], merge: Merge, warn: Warn) -> Iterator[Line]:
    """Yield the lines of the files of an archive that are new, day by day.

    Args:
        files: ordered by day.
    """
    for _, of_day in groupby(files, day_of_file):
        yield from merge.lines([_lines_of(file, warn) for file in of_day])


def lines_of_file(path: Path, warn: Warn) -> Iterator[Line]:
    """Yield the lines of a file, which is open only from its second line on: of many, only those that overlap are.

    Args:
        path: ``-`` is the standard input.

    Raises:
        CommandFailed: it cannot be read.
    """
    if path == Path("-"):
        yield from _read(sys.stdin.buffer, "standard input", warn)
        return
    look = _lines_of(path, _ignore, must_exist=True)
    first = next(look, None)
    if first is not None:
        look.close()
        yield first
    rest = _lines_of(path, warn, must_exist=True)
    next(rest, None)
    yield from rest


def _ignore(_text: str) -> None:
    """Leave the warnings to those who read the whole file."""


def _lines_of(path: Path, warn: Warn, *, must_exist: bool = False) -> Generator[Line, None, None]:
    try:
        with path.open("rb") as file:
            yield from _read(file, str(path), warn)
    except FileNotFoundError as error:
        # An archive removes files that are older than they are kept.
        if must_exist:
            raise CommandFailed(f"{path}: {error.strerror}") from None
    except OSError as error:
        raise CommandFailed(f"{path}: {error.strerror}") from None


def _read(file: BinaryIO, name: str, warn: Warn) -> Iterator[Line]:
    """Yield the lines of a file; say what is left out, of each file the first few, and how many more there are."""
    torn = f"{name}: the end cannot be read: it is being written, was cut off or is damaged"
    epoch, seq, problems = "", 0, 0
    for number, text in enumerate(read_lines(file, partial(warn, torn)), 1):
        if not text.strip():
            continue
        try:
            line = _line(text)
        except NotALine as error:
            problems += 1
            if problems <= MAX_PROBLEMS:
                warn(f"{name}, line {number} is left out: {error}")
            continue
        if line.event.epoch == epoch and line.event.seq < seq:
            problems += 1
            if problems <= MAX_PROBLEMS:
                warn(
                    f"{name}, line {number}: event {line.event.seq:,} comes after {seq:,}, and may be left out for that"
                )
        epoch, seq = line.event.epoch, max(seq, line.event.seq) if line.event.epoch == epoch else line.event.seq
        yield line
    if problems > MAX_PROBLEMS:
        warn(f"{name}: the same is true of {problems - MAX_PROBLEMS:,} more lines")


def _line(text: bytes) -> Line:
    """Return a line with what it says.

    Raises:
        NotALine: it is not a line of an exported stream.
    """
    if len(text) > MAX_LINE_BYTES:
        raise NotALine(f"it is longer than {MAX_LINE_BYTES:,} bytes")
    return Line(text, read_line(text))
