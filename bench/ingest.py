"""Measures ingest over AMP into each store: single calls and batches, one at a time and many in flight."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.baseline import BareAmp, BareSqlite
from bench.cpu import Stopwatch
from bench.event import EVENT_BYTES, Event, call_center
from bench.failure import InvalidRun, Unavailable
from bench.gateway import Gateway
from bench.measurement import Measurement
from bench.report import Delivery, Ratio, Report, Row, print_progress
from bench.request import Request, publish_batch, publish_one
from bench.scale import Scale
from bench.sender import Sender
from bench.store import Store

BATCH = 100
SQLITE_PROTOTYPE = {16: 76_000, 256: 139_000}
"""Events per second that a prototype committed with ``sqlite3``, by the number of events in a transaction."""


@dataclass(frozen=True, slots=True)
class SendMode:
    """How events are sent: ``batch`` events in a call, ``window`` calls in flight."""

    batch: int
    window: int

    def __str__(self) -> str:
        what = "single calls" if self.batch == 1 else f"batches of {self.batch}"
        return f"{what}, one at a time" if self.window == 1 else f"{what}, {self.window:,} in flight"


SINGLE, SINGLE_MANY = SendMode(1, 1), SendMode(1, 1_000)
BATCHED, BATCHED_MANY = SendMode(BATCH, 1), SendMode(BATCH, 8)
AMP_PROTOTYPE = {SINGLE: 1e6 / 175, BATCHED: 1e6 / 6}
"""Events per second over bare AMP with a Twisted client, measured before: 175 µs a call, 6 µs an event in batches."""

SEND_MODES = (SINGLE, SINGLE_MANY, BATCHED, BATCHED_MANY)


@dataclass(frozen=True, slots=True)
class Baselines:
    """Results of the baselines: ``sqlite3`` by the number of events in a transaction, AMP by send mode."""

    groups: Mapping[int, Measurement]
    calls: Mapping[SendMode, Measurement]


class IngestRun:
    """Sends events to a gateway with one store, round after round."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._gateway = Gateway(folder, store.settings(folder))
        self._sender = Sender(self._gateway.amp_path)
        self.store = store
        self.head = 0
        self.measurements = {mode: Measurement() for mode in SEND_MODES}

    def run(self, requests: Sequence[Request], mode: SendMode, seconds: float, **others: int) -> None:
        """Send requests for at most ``seconds``, and check the positions of their events.

        Args:
            others: other processes to measure, by name.
        """
        watch = Stopwatch(server=self._gateway.pid, sender=os.getpid(), **others)
        self._sender.run(requests, mode.window, seconds)
        span = watch.stop()
        self.measurements[mode].add(span, self._check_positions())

    def warm_up(self, requests: Sequence[Request], seconds: float) -> None:
        """Send requests without measuring."""
        self._sender.run(requests, BATCHED_MANY.window, seconds)
        self._check_positions()

    def _check_positions(self) -> int:
        seqs = self._sender.contiguous_positions()
        if seqs[0] != self.head + 1:
            raise InvalidRun(f"{self.store}: an event got position {seqs[0]}, the event before has {self.head}")
        self.head = seqs[-1]
        return len(seqs)

    def close(self) -> None:
        """Close the sender, and stop the gateway."""
        self._sender.close()
        self._gateway.stop()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure events per second and CPU per event that each store accepts over AMP; return the report.

    Modes: single calls and batches, one at a time and many in flight; ratios to bare SQLite and bare AMP.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("ingest", f"events of {EVENT_BYTES} bytes of JSON over AMP, a unix socket")
    runs: list[IngestRun] = []
    with ExitStack() as stack:
        sqlite = stack.enter_context(closing(BareSqlite(folder / "bare.sqlite")))
        amp = stack.enter_context(closing(BareAmp(folder)))
        for store in Store:
            try:
                runs.append(IngestRun(store, folder / f"ingest-{store.name.lower()}"))
            except Unavailable as reason:
                report.rows.append(Row(store, unavailable=str(reason)))
            else:
                stack.callback(runs[-1].close)
        baselines = _run_rounds(scale, runs, sqlite, amp)
    _add_results(report, runs, baselines)
    return report


def _run_rounds(scale: Scale, runs: Sequence[IngestRun], sqlite: BareSqlite, amp: BareAmp) -> Baselines:
    groups = {group: Measurement() for group in SQLITE_PROTOTYPE}
    calls = {mode: Measurement() for mode in AMP_PROTOTYPE}
    events = call_center()
    warm_up = [publish_batch(batch) for batch in _batches(events, BATCH, scale.warm_up_batches)]
    for run in runs:
        run.warm_up(warm_up, 10 * scale.seconds)
    for number in range(scale.rounds):
        print_progress(f"ingest: round {number + 1} of {scale.rounds}")
        for group, measurement in groups.items():
            measurement.add(sqlite.run(scale.baseline_events, group), scale.baseline_events)
        for mode in SEND_MODES:
            batches = list(_batches(events, mode.batch, scale.singles if mode.batch == 1 else scale.batches))
            if mode in calls:
                span, sent = amp.run(batches, mode.window, scale.seconds)
                calls[mode].add(span, sent * mode.batch)
            requests = [publish_one(batch[0]) if mode.batch == 1 else publish_batch(batch) for batch in batches]
            for run in runs:
                run.run(requests, mode, scale.seconds)
    return Baselines(groups, calls)


def _batches(events: Iterator[Event], size: int, count: int) -> Iterator[list[Event]]:
    for _ in range(count):
        yield list(islice(events, size))


def _add_results(report: Report, runs: Sequence[IngestRun], baselines: Baselines) -> None:
    for run in runs:
        report.rows += [measurement.row(f"{run.store} | {mode}") for mode, measurement in run.measurements.items()]
        sent = sum(sum(measurement.counts) for measurement in run.measurements.values())
        report.add_delivery(Delivery(f"answered by {run.store}", sent, sent))
    report.rows += [one.row(f"bare sqlite3 | groups of {group}") for group, one in baselines.groups.items()]
    report.rows += [one.row(f"bare AMP | {mode}") for mode, one in baselines.calls.items()]
    by_store = {run.store: run.measurements for run in runs}
    for store, measurements in by_store.items():
        for many, one in ((BATCHED, SINGLE), (BATCHED_MANY, SINGLE_MANY)):
            report.ratios.append(measurements[many].over(measurements[one], f"{store} | {many} / {one}", 10))
    for store, goal in ((Store.NORMAL, 0.6), (Store.FULL, None)):
        if store in by_store and Store.MEMORY in by_store:
            memory = by_store[Store.MEMORY]
            report.ratios += [
                measurement.over(memory[mode], f"{store} / {Store.MEMORY} | {mode}", goal)
                for mode, measurement in by_store[store].items()
            ]
    for store, measurements in by_store.items():
        report.ratios += _baseline_ratios(baselines, store, measurements)
    report.notes += [
        "every event has its own position, consecutive in the order of sending",
        "default settings; the stores' files are in --folder, by default the system's temporary folder",
    ]


def _baseline_ratios(
    baselines: Baselines, store: Store, measurements: Mapping[SendMode, Measurement]
) -> Iterator[Ratio]:
    if store is not Store.MEMORY:
        best = measurements[BATCHED_MANY]
        for group, rate in SQLITE_PROTOTYPE.items():
            label = f"{store} | {BATCHED_MANY} / bare sqlite3, groups of {group}"
            yield best.over(baselines.groups[group], label)
            yield best.over_rate(rate, f"{label}, prototype")
    for mode, known in AMP_PROTOTYPE.items():
        yield measurements[mode].over(baselines.calls[mode], f"{store} / bare AMP | {mode}")
        yield measurements[mode].over_rate(known, f"{store} / bare AMP, prototype | {mode}")
