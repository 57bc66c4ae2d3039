"""Measures what deriving figures costs: CPU per event, memory and turns with statistics on, against off."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path
from typing import Any

from bench import turn_recorder
from bench.busy_center import busy_center, logins
from bench.cpu import Stopwatch, cpu_seconds
from bench.event import EVENT_BYTES, Event
from bench.failure import InvalidRun
from bench.gateway import DEADLINE, TENANT, Gateway
from bench.measurement import Measurement
from bench.old_days import add_old_days, rows_of_days
from bench.process_stats import await_idle, private_memory
from bench.report import Delivery, Figure, Limit, Report, Row, print_progress
from bench.request import Request, publish_batch
from bench.scale import Scale
from bench.sender import Sender
from bench.store import Store
from callcenter_ws.figures.service import TICK_SECONDS
from callcenter_ws.figures.tenant_fold import MAX_REST_SECONDS
from callcenter_ws.statistics.checkpoint import load

GOAL = 1.15
"""Maximum of the CPU per event with statistics, over that without."""

TURN_GOAL_MS = 20.0
"""Maximum of the CPU of a turn of the reactor while figures are derived."""

BATCH, WINDOW = 100, 8
DAYS = 30
_PAUSE_SECONDS = 0.5


class StatisticsRun:
    """A gateway with or without statistics, and what is measured of it."""

    def __init__(self, store: Store, folder: Path, *, on: bool) -> None:
        self.label = f"{store} | statistics {'on' if on else 'off'}"
        self.on = on
        self.measurement = Measurement()
        self.turns: list[float] = []
        self._turns_file = folder / "turns.json"
        settings: dict[str, Any] = {**store.settings(folder), "statistics.enabled": on}
        launcher = (sys.executable, turn_recorder.__file__, str(self._turns_file))
        self.gateway = Gateway(folder, settings, launcher=launcher)
        self._sender = Sender(self.gateway.amp_path)
        self.sent = 0

    def publish(self, requests: Sequence[Request], *, is_measured: bool) -> None:
        """Publish batches, and wait until their figures have been written and announced.

        Raises:
            InvalidRun: an event was refused, or is not counted in time.
        """
        watch = Stopwatch(server=self.gateway.pid, sender=os.getpid())
        self._sender.run(requests, WINDOW, DEADLINE)
        seqs = self._sender.positions()
        if self.on:
            self._await_figures(seqs[-1])
        span = watch.stop()
        turns = longest_turns(self.gateway, self._turns_file)
        self.sent += len(seqs)
        if is_measured:
            self.measurement.add(span, len(seqs))
            self.turns.append(1e3 * max((cpu for _, cpu in turns), default=0))

    def _await_figures(self, seq: int) -> None:
        """Wait until the events are folded, and what changed has been written and announced."""
        end = time.monotonic() + DEADLINE
        while folded(self.gateway) < seq:
            if time.monotonic() > end:
                raise InvalidRun(f"the figures do not reach position {seq}")
            time.sleep(_PAUSE_SECONDS)
        time.sleep(TICK_SECONDS + MAX_REST_SECONDS)

    def memory(self) -> float:
        """Return the private memory of the idle gateway in MiB."""
        await_idle([self.gateway.pid])
        return private_memory([self.gateway.pid]) / 1024**2

    def close(self) -> None:
        """Close the sender, and stop the gateway."""
        self._sender.close()
        self.gateway.stop()


def folded(gateway: Gateway) -> int:
    """Return the position up to which events are folded."""
    site = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=DEADLINE)
    try:
        site.request("GET", "/ws/stats", headers={"Authorization": f"Bearer {gateway.token('bench', 'supervisor')}"})
        seq: int = json.load(site.getresponse())["statistics"]["seq"] or 0
        return seq
    finally:
        site.close()


def longest_turns(gateway: Gateway, file: Path) -> list[tuple[float, float]]:
    """Return the longest turns since the last call, each with its CPU, in seconds."""
    file.unlink(missing_ok=True)
    os.kill(gateway.pid, signal.SIGUSR2)
    end = time.monotonic() + DEADLINE
    while not file.exists():
        if time.monotonic() > end:
            raise InvalidRun("the gateway does not write its longest turns")
        time.sleep(0.01)
    return [(seconds, cpu) for seconds, cpu in json.loads(file.read_text())]


def measure(folder: Path, scale: Scale) -> Report:
    """Measure ingest with statistics on and off, and figures of many days in the file; return the report.

    Raises:
        InvalidRun: an event was refused, or not counted.
    """
    title = f"{scale.statistics_queues} queues and {scale.statistics_agents:,} agents, events of {EVENT_BYTES} bytes"
    report = Report("statistics", title)
    for store in (Store.MEMORY, Store.NORMAL):
        _measure_ingest(folder, store, scale, report)
    _measure_days(folder, scale, report)
    report.notes += [
        f"batches of {BATCH} events over AMP, {WINDOW} in flight; with statistics until all is written and announced",
        "longest turn: in CPU time, without what other processes take",
        f"{DAYS} days: each queue and agent has sums in all 96 quarters of each day, which is more than in any center",
    ]
    return report


def _measure_ingest(folder: Path, store: Store, scale: Scale, report: Report) -> None:
    with ExitStack() as stack:
        runs = [StatisticsRun(store, folder / f"statistics-{store.name}-{on}", on=on) for on in (False, True)]
        for run in runs:
            stack.enter_context(closing(run))
        events = busy_center(scale.statistics_agents, scale.statistics_queues)
        first = list(logins(scale.statistics_agents, scale.statistics_queues))
        first += islice(events, BATCH * scale.warm_up_batches)
        for number in range(scale.rounds + 1):
            print_progress(f"statistics, {store}: round {number} of {scale.rounds}")
            batches = first if number == 0 else list(islice(events, BATCH * scale.batches))
            requests = list(_requests(batches))
            for run in runs:
                run.publish(requests, is_measured=number > 0)
        off, on = runs
        for run in runs:
            figures = [*run.measurement.row("").figures, Figure("longest turn ms", run.turns, 1)]
            report.rows.append(Row(run.label, [*figures, Figure("MiB", [run.memory()], 1)]))
            report.add_delivery(Delivery(run.label, run.sent, run.sent))
        report.ratios.append(on.measurement.over(off.measurement, f"{store} | on / off", maximum=GOAL))
        report.ratios.append(Limit(f"{store} | on", "longest turn", on.turns, TURN_GOAL_MS, " ms"))


def _requests(events: Sequence[Event]) -> Iterator[Request]:
    for begin in range(0, len(events), BATCH):
        yield publish_batch(events[begin : begin + BATCH])


def _measure_days(folder: Path, scale: Scale, report: Report) -> None:
    """Measure a start with many days in the file: memory, the time until figures are there, and the longest turn."""
    print_progress(f"statistics: {DAYS} days in the file")
    queues, agents = scale.statistics_queues, scale.statistics_agents
    days = folder / "statistics-days"
    first = list(_requests(list(logins(agents, queues))))
    with closing(StatisticsRun(Store.NORMAL, days, on=True)) as run:
        run.publish(first, is_measured=False)
    add_old_days(days / "events.sqlite", TENANT, queues, agents, DAYS)
    for on in (False, True):
        again = folder / f"statistics-days-{on}"
        settings = {"store.url": f"sqlite:{days / 'events.sqlite'}", "statistics.enabled": on}
        file = again / "turns.json"
        launcher = (sys.executable, turn_recorder.__file__, str(file))
        with ExitStack() as stack:
            gateway = Gateway(again, settings, launcher=launcher)
            stack.callback(gateway.stop)
            await_idle([gateway.pid])
            time.sleep(scale.settling_seconds)
            await_idle([gateway.pid])
            spent = cpu_seconds(gateway.pid)
            memory = private_memory([gateway.pid]) / 1024**2
            turn = 1e3 * max((cpu for _, cpu in longest_turns(gateway, file)), default=0)
        figures = [Figure("CPU s to start", [spent], 2), Figure("MiB", [memory], 1)]
        figures.append(Figure("longest turn ms", [turn], 1))
        report.rows.append(Row(f"{DAYS} days in the file | statistics {'on' if on else 'off'}", figures))
    rows = list(rows_of_days(queues, agents, 3))
    began = time.process_time()
    load(rows)
    seconds = time.process_time() - began
    report.rows.append(
        Row("the rows of 3 days alone", [Figure("rows", [len(rows)]), Figure("ms to load", [1e3 * seconds], 1)])
    )
