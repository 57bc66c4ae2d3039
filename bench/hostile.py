"""Measures what another client notices of each attack: round trips, memory, and the longest reactor turns."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import secrets
import signal
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from multiprocessing.synchronize import Event as Flag
from pathlib import Path
from typing import Any

from bench import turn_recorder
from bench.attacks import ATTACKS, Attack, Target
from bench.event import Event, call_event
from bench.failure import InvalidRun
from bench.gateway import DEADLINE, Gateway
from bench.probe import Probe
from bench.process_stats import resident_memory
from bench.report import Figure, Limit, Report, Row, print_progress
from bench.request import publish_batch
from bench.scale import Scale
from bench.sender import Sender

GOAL_MS = 20.0
"""The p99 of a round trip may be this much above the idle one."""

MAX_MS = 50.0
"""The p99 of a round trip, never more."""

_PROBES = 8
_LATE_SECONDS = 3.0
_BATCH_EVENTS = 500
_VISITORS = "/ws/public?tenant_id=visited"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured in one interval.

    Attributes:
        roundtrips: seconds.
        memory: the largest resident memory, in bytes.
        turns: the longest reactor turns, longest first: seconds, and seconds of CPU.
    """

    roundtrips: Sequence[float]
    memory: int
    turns: Sequence[tuple[float, float]]

    @property
    def p99(self) -> float:
        """The 99th percentile of the round trips in ms."""
        return 1e3 * sorted(self.roundtrips)[int(0.99 * (len(self.roundtrips) - 1))]

    def row(self, label: str, idle_memory: int) -> Row:
        """Return the row of a table."""
        longest = self.turns[0] if self.turns else (0.0, 0.0)
        figures = [
            Figure("p50 ms", [1e3 * statistics.median(self.roundtrips)], 1),
            Figure("p99 ms", [self.p99], 1),
            Figure("max ms", [1e3 * max(self.roundtrips)], 1),
            Figure("MiB over idle", [(self.memory - idle_memory) / 1024**2], 1),
            Figure("longest turn ms", [1e3 * longest[0]], 1),
            Figure("its CPU ms", [1e3 * longest[1]], 1),
        ]
        return Row(label, figures)


class HostileRun:
    """One gateway with a large state, the clients that behave, and what is measured of it."""

    def __init__(self, folder: Path, scale: Scale) -> None:
        self._turns = folder / "turns.json"
        secret = secrets.token_hex(32)
        secret_file = folder.with_name(f"{folder.name}.token")
        secret_file.touch(0o600)
        secret_file.write_text(secret)
        settings = _settings(folder, secret_file)
        self._gateway = Gateway(folder, settings, launcher=(sys.executable, turn_recorder.__file__, str(self._turns)))
        with closing(Sender(self._gateway.amp_path)) as sender:
            for events in _batches(_state(scale.hostile_calls)):
                sender.send([publish_batch(events)])
            sender.positions()
        self._probe = Probe(self._gateway.port, [self._gateway.token(f"probe-{one}") for one in range(_PROBES)])
        self._seconds = scale.hostile_seconds
        self._start_seconds = scale.hostile_start_seconds
        tokens = tuple(self._gateway.token(f"attacker-{number}") for number in range(scale.hostile_clients))
        seconds = self._start_seconds + self._seconds
        self._target = Target(self._gateway.port, self._gateway.amp_port(), tokens, secret, _VISITORS, seconds)

    def measure(self, attack: Attack | None) -> tuple[int, Outcome]:
        """Measure under an attack, or without one; return the memory before it in bytes, and the outcome.

        Raises:
            OSError: a client that behaves was disconnected, or was not answered.
            InvalidRun: the attack itself failed.
        """
        before = self._observe(self._start_seconds).memory
        if attack is None:
            return before, self._observe(self._seconds)
        context = multiprocessing.get_context("spawn")
        started = context.Event()
        attacker = context.Process(target=_run, args=(attack, self._target, started), daemon=True)
        attacker.start()
        if not started.wait(DEADLINE):
            raise InvalidRun("the attacker does not start")
        try:
            self._probe.run(self._start_seconds)
            outcome = self._observe(self._seconds)
            attacker.join(_LATE_SECONDS)
        finally:
            # A gateway that answers late holds its attackers, too.
            late = attacker.is_alive()
            attacker.kill()
            attacker.join()
        if attacker.exitcode and not late:
            raise InvalidRun(f"the attacker ended with {attacker.exitcode}")
        # The gateway must still serve.
        self._probe.run(self._start_seconds)
        return before, outcome

    def _observe(self, seconds: float) -> Outcome:
        self._longest_turns()
        memory = [resident_memory(self._gateway.pid)]
        roundtrips = self._probe.run(seconds, lambda: memory.append(resident_memory(self._gateway.pid)))
        return Outcome(roundtrips, max(memory), self._longest_turns())

    def _longest_turns(self) -> list[tuple[float, float]]:
        """Return the longest turns since the last call."""
        self._turns.unlink(missing_ok=True)
        os.kill(self._gateway.pid, signal.SIGUSR2)
        end = time.monotonic() + DEADLINE
        while not self._turns.exists():
            if time.monotonic() > end:
                raise InvalidRun("the gateway does not write its longest turns")
            time.sleep(0.01)
        return [(seconds, cpu) for seconds, cpu in json.loads(self._turns.read_text())]

    def close(self) -> None:
        """Disconnect, and stop the gateway."""
        self._probe.close()
        self._gateway.stop()


def _run(attack: Attack, target: Target, started: Flag) -> None:
    """Attack, in a process of its own whose imports have taken their time."""
    started.set()
    attack(target)


def _settings(folder: Path, secret_file: Path) -> Mapping[str, Any]:
    return {
        "store.url": f"sqlite:{folder / 'events.sqlite'}",
        "amp.listen": [f"unix:{folder / 'amp.sock'}:mode=600", "tcp:0:interface=127.0.0.1"],
        "amp.token_file": str(secret_file),
        "public.tenants.visited.anonymous": True,
        # The messages of the attacks are for a session that was never opened.
        "public.open_sessions": True,
        "public.tenants.visited.origins": ["http://visitors.example"],
    }


def _state(calls: int) -> Iterator[Event]:
    for number in range(calls):
        yield call_event("call.incoming", number)


def _batches(events: Iterator[Event]) -> Iterator[list[Event]]:
    while batch := list(islice(events, _BATCH_EVENTS)):
        yield batch


def measure(folder: Path, scale: Scale) -> Report:
    """Measure the round trips of other clients under each attack; return the report.

    Raises:
        InvalidRun: an attack itself failed, or the gateway has ended.
    """
    title = f"the round trip of other clients under attacks; the state has {scale.hostile_calls:,} calls"
    report = Report("hostile", title)
    longest: list[tuple[float, float, str]] = []
    idle_p99 = 0.0
    for number, (label, attack) in enumerate({"idle": None, **ATTACKS}.items()):
        print_progress(f"hostile: {label}")
        with closing(HostileRun(folder / f"hostile-{number}", scale)) as run:
            try:
                before, outcome = run.measure(attack)
            except OSError as error:
                report.rows.append(Row(label, unavailable=f"clients that behave were disconnected: {error}"))
                report.ratios.append(Limit(label, "p99 over idle", [math.inf], GOAL_MS, " ms"))
                continue
        report.rows.append(outcome.row(label, before))
        if attack is None:
            idle_p99 = outcome.p99
            continue
        report.ratios.append(Limit(label, "p99 over idle", [outcome.p99 - idle_p99], GOAL_MS, " ms"))
        longest += [(*turn, label) for turn in outcome.turns]
    longest.sort(reverse=True)
    report.notes += [
        f"turn of {1e3 * wall:.1f} ms, CPU {1e3 * cpu:.1f} ms: {label}" for wall, cpu, label in longest[:10]
    ]
    report.notes += [
        f"{_PROBES} agents send a ping in turn; the attacker is one process on the same machine",
        "memory: the largest of the gateway during the attack, above the largest just before",
        f"the p99 must never exceed {MAX_MS:g} ms",
    ]
    return report
