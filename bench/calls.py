"""Measures the calls of today: the first request, which reads the day from the store, and requests after it."""

from __future__ import annotations

import http.client
import json
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from bench import turn_recorder
from bench.busy_center import busy_center
from bench.cpu import cpu_seconds
from bench.event import Event
from bench.failure import InvalidRun
from bench.gateway import DEADLINE, Gateway
from bench.process_stats import private_memory
from bench.report import Delivery, Figure, Limit, Report, Row, print_progress
from bench.request import publish_batch
from bench.scale import Scale
from bench.sender import Sender
from bench.statistics import longest_turns
from bench.store import Store

TURN_GOAL_MS = 20.0
"""Maximum of the CPU of a turn of the reactor while the calls are read or searched."""

BATCH, WINDOW = 100, 8

QUESTIONS = {
    "the first request": "/ws/calls",
    "the newest 50": "/ws/calls",
    "a search that finds nothing": "/ws/calls?search=no-such-caller",
    "the same with a queue of its own": "/ws/calls?search=no-such-caller",
}
"""What is asked, in this order; the last one by a supervisor with a ``queues`` claim."""


class CallsRun:
    """A gateway with a day of calls in its store."""

    def __init__(self, store: Store, folder: Path, scale: Scale) -> None:
        self.label = str(store)
        self._turns_file = folder / "turns.json"
        settings: dict[str, Any] = {
            **store.settings(folder),
            "store.history_events": 10_000_000,
            "store.history_bytes": 2**40,
        }
        launcher = (sys.executable, turn_recorder.__file__, str(self._turns_file))
        self.gateway = Gateway(folder, settings, launcher=launcher)
        self._sender = Sender(self.gateway.amp_path)
        self._calls = scale.calls_of_today
        self.sent = 0

    def publish(self, scale: Scale) -> None:
        """Publish the events of the calls."""
        events = _events_of(scale)
        while batch := list(islice(events, BATCH * 100)):
            requests = [publish_batch(batch[begin : begin + BATCH]) for begin in range(0, len(batch), BATCH)]
            self._sender.run(requests, WINDOW, DEADLINE)
            self.sent += len(self._sender.positions())

    def ask(self, what: str, path: str) -> Row:
        """Ask once, again while the gateway still reads, and return what it took."""
        claims: dict[str, Any] = {"queues": ["queue-1"]} if "of its own" in what else {}
        token = self.gateway.token("bench", "supervisor", **claims)
        longest_turns(self.gateway, self._turns_file)
        spent, began = cpu_seconds(self.gateway.pid), time.monotonic()
        refused = 0
        while (status := self._status(path, token)) == http.client.SERVICE_UNAVAILABLE:
            refused += 1
        if status != http.client.OK:
            raise InvalidRun(f"{path} is answered with {status}")
        figures = [
            Figure("ms", [1e3 * (time.monotonic() - began)]),
            Figure("CPU ms", [1e3 * (cpu_seconds(self.gateway.pid) - spent)]),
            Figure("longest turn ms", [self._longest_turn()], 1),
            Figure("answers to come back later", [refused]),
            Figure("MiB", [private_memory([self.gateway.pid]) / 1024**2]),
        ]
        return Row(f"{self.label} | {what}", figures)

    def _longest_turn(self) -> float:
        return 1e3 * max((cpu for _, cpu in longest_turns(self.gateway, self._turns_file)), default=0)

    def _status(self, path: str, token: str) -> int:
        site = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=DEADLINE)
        try:
            site.request("GET", path, headers={"Authorization": f"Bearer {token}"})
            response = site.getresponse()
            answer = json.load(response)
            if response.status == http.client.OK and "search" not in path and not answer["calls"]:
                raise InvalidRun(f"{path} has no calls")
            return response.status
        finally:
            site.close()

    def close(self) -> None:
        """Close the sender, and stop the gateway."""
        self._sender.close()
        self.gateway.stop()


def _events_of(scale: Scale) -> Iterator[Event]:
    """Yield the events of the calls of a day, with those of the agents' states between them."""
    return islice(busy_center(scale.statistics_agents, scale.statistics_queues), 10 * scale.calls_of_today)


def measure(folder: Path, scale: Scale) -> Report:
    """Measure the first request for the calls of today and later ones, with a store in a file; return the report.

    Raises:
        InvalidRun: an event or a request was refused.
    """
    report = Report("calls", f"{scale.calls_of_today:,} calls of today with ten events each")
    # In a file: the garbage collector scans a store in memory that has a whole day, whether or not it is read.
    store = Store.NORMAL
    print_progress(f"calls, {store}")
    with closing(CallsRun(store, folder / "calls", scale)) as run:
        run.publish(scale)
        rows = [run.ask(what, path) for what, path in QUESTIONS.items()]
    report.rows += rows
    report.add_delivery(Delivery(run.label, run.sent, run.sent))
    turns = [row.figures[2].median for row in rows]
    report.ratios.append(Limit(str(store), "longest turn", [max(turns)], TURN_GOAL_MS, " ms"))
    report.notes.append("longest turn: in CPU time, without what other processes take")
    return report
