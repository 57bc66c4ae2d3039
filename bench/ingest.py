"""Events over AMP into each store: by single calls and in batches, one after the other and many in flight."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.course import Course
from bench.cpu import Stopwatch
from bench.event import EVENT_BYTES, Event, call_center
from bench.failure import Broken, Unavailable
from bench.gateway import Gateway
from bench.question import Question, publish_batch, publish_one
from bench.report import Delivery, Ratio, Report, Row, progress
from bench.scale import Scale
from bench.sender import Sender
from bench.store import Store
from bench.yardstick import BareAmp, BareSqlite

BATCH = 100
SQLITE_PROTOTYPE = {16: 76_000, 256: 139_000}
"""Events a second that a prototype committed through ``sqlite3``, by events in a transaction."""


@dataclass(frozen=True, slots=True)
class Way:
    """How events are sent: ``batch`` in a call, ``window`` calls in flight."""

    batch: int
    window: int

    def __str__(self) -> str:
        what = "single calls" if self.batch == 1 else f"batches of {self.batch}"
        return f"{what}, one at a time" if self.window == 1 else f"{what}, {self.window:,} in flight"


SINGLE, SINGLE_MANY = Way(1, 1), Way(1, 1_000)
BATCHED, BATCHED_MANY = Way(BATCH, 1), Way(BATCH, 8)
AMP_PROTOTYPE = {SINGLE: 1e6 / 175, BATCHED: 1e6 / 6}
"""Events a second over bare AMP, as it was measured with a Twisted client: 175 µs a call, 6 µs an event in batches."""

WAYS = (SINGLE, SINGLE_MANY, BATCHED, BATCHED_MANY)


@dataclass(frozen=True, slots=True)
class Yardsticks:
    """What the parts alone do: ``sqlite3`` by events in a transaction, AMP by the way of sending."""

    groups: Mapping[int, Course]
    calls: Mapping[Way, Course]


class Target:
    """A gateway with one of the stores, and the sender that is connected to it."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._gateway = Gateway(folder, store.settings(folder))
        self._sender = Sender(self._gateway.amp_path)
        self.store = store
        self.head = 0
        self.courses = {way: Course() for way in WAYS}

    def run(self, questions: Sequence[Question], way: Way, seconds: float, **beside: int) -> None:
        """Send what ``questions`` publish, and check that all of it has its place.

        Args:
            beside: other processes to watch, by a name.
        """
        watch = Stopwatch(server=self._gateway.pid, sender=os.getpid(), **beside)
        self._sender.run(questions, way.window, seconds)
        span = watch.stop()
        self.courses[way].add(span, self._settle())

    def fill(self, questions: Sequence[Question], seconds: float) -> None:
        """Send without measuring."""
        self._sender.run(questions, BATCHED_MANY.window, seconds)
        self._settle()

    def _settle(self) -> int:
        seqs = self._sender.settle()
        if seqs[0] != self.head + 1:
            raise Broken(f"{self.store}: an event got position {seqs[0]}, the one before had {self.head}")
        self.head = seqs[-1]
        return len(seqs)

    def close(self) -> None:
        """Hang up, and end the gateway."""
        self._sender.close()
        self._gateway.stop()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("ingest", f"events of {EVENT_BYTES} bytes of JSON over AMP, a unix socket")
    targets: list[Target] = []
    with ExitStack() as stack:
        sqlite = stack.enter_context(closing(BareSqlite(folder / "bare.sqlite")))
        amp = stack.enter_context(closing(BareAmp(folder)))
        for store in Store:
            try:
                targets.append(Target(store, folder / f"ingest-{store.name.lower()}"))
            except Unavailable as reason:
                report.rows.append(Row(store, unavailable=str(reason)))
            else:
                stack.callback(targets[-1].close)
        yardsticks = _run(scale, targets, sqlite, amp)
    _tell(report, targets, yardsticks)
    return report


def _run(scale: Scale, targets: Sequence[Target], sqlite: BareSqlite, amp: BareAmp) -> Yardsticks:
    groups, calls = {group: Course() for group in SQLITE_PROTOTYPE}, {way: Course() for way in AMP_PROTOTYPE}
    events = call_center()
    filling = [publish_batch(batch) for batch in _batches(events, BATCH, scale.filling)]
    for target in targets:
        target.fill(filling, 10 * scale.seconds)
    for number in range(scale.rounds):
        progress(f"ingest: round {number + 1} of {scale.rounds}")
        for group, course in groups.items():
            course.add(sqlite.run(scale.yardstick_events, group), scale.yardstick_events)
        for way in WAYS:
            batches = list(_batches(events, way.batch, scale.singles if way.batch == 1 else scale.batches))
            if way in calls:
                span, sent = amp.run(batches, way.window, scale.seconds)
                calls[way].add(span, sent * way.batch)
            questions = [publish_one(batch[0]) if way.batch == 1 else publish_batch(batch) for batch in batches]
            for target in targets:
                target.run(questions, way, scale.seconds)
    return Yardsticks(groups, calls)


def _batches(events: Iterator[Event], size: int, count: int) -> Iterator[list[Event]]:
    for _ in range(count):
        yield list(islice(events, size))


def _tell(report: Report, targets: Sequence[Target], yardsticks: Yardsticks) -> None:
    for target in targets:
        report.rows += [course.row(f"{target.store} | {way}") for way, course in target.courses.items()]
        sent = sum(sum(course.counts) for course in target.courses.values())
        report.deliver(Delivery(f"answered by {target.store}", sent, sent))
    report.rows += [course.row(f"bare sqlite3 | groups of {group}") for group, course in yardsticks.groups.items()]
    report.rows += [course.row(f"bare AMP | {way}") for way, course in yardsticks.calls.items()]
    by_store = {target.store: target.courses for target in targets}
    for store, courses in by_store.items():
        for many, one in ((BATCHED, SINGLE), (BATCHED_MANY, SINGLE_MANY)):
            report.ratios.append(courses[many].over(courses[one], f"{store} | {many} / {one}", 10))
    for store, goal in ((Store.NORMAL, 0.6), (Store.FULL, None)):
        if store in by_store and Store.MEMORY in by_store:
            memory = by_store[Store.MEMORY]
            report.ratios += [
                course.over(memory[way], f"{store} / {Store.MEMORY} | {way}", goal)
                for way, course in by_store[store].items()
            ]
    for store, courses in by_store.items():
        report.ratios += _against(yardsticks, store, courses)
    report.notes += [
        "every event has a position of its own: in the order of sending, without a hole",
        "default settings; the stores' files lie where --folder says, or else where the system has temporary files",
    ]


def _against(yardsticks: Yardsticks, store: Store, courses: Mapping[Way, Course]) -> Iterator[Ratio]:
    if store is not Store.MEMORY:
        best = courses[BATCHED_MANY]
        for group, rate in SQLITE_PROTOTYPE.items():
            label = f"{store} | {BATCHED_MANY} / bare sqlite3, groups of {group}"
            yield best.over(yardsticks.groups[group], label)
            yield best.over_rate(rate, f"{label}, prototype")
    for way, known in AMP_PROTOTYPE.items():
        yield courses[way].over(yardsticks.calls[way], f"{store} / bare AMP | {way}")
        yield courses[way].over_rate(known, f"{store} / bare AMP, prototype | {way}")
