"""Measures a bridge to an Asterisk: its events per second, their cost, the time until a client has them, and memory."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

from bench.bridge_client import CallClient
from bench.bridge_parsers import (
    MachineReader,
    Read,
    chunks_of,
    panoramisk_name,
    panoramisk_reader,
    read_framing,
    read_plainly,
    timed,
)
from bench.bridge_process import BridgeProcess
from bench.cpu import Stopwatch
from bench.exchange_events import ExchangeEvents, SentEvent
from bench.exchange_server import ExchangeServer
from bench.failure import InvalidRun, Unavailable
from bench.gateway import Gateway
from bench.measurement import Measurement
from bench.process_stats import resident_memory
from bench.report import Delivery, Figure, Limit, Report, Row, print_progress
from bench.scale import Scale

AGENTS, CALLS_PER_SECOND = 500, 50
GOAL_RATE = 5_000
"""Events of the exchange per second that a bridge should translate on one core."""

_PLAIN, _FRAMING, _MACHINE = "a plain parser", "our framing alone", "framing and state machine"
_MEMORY_SHARE = 0.2
"""The share of the calls after which memory is compared: by then every table has its size."""

_MAX_GROWTH_MIB = 5
_PARSED_EVENTS = 50_000
_SLICE_BYTES = 65_536
_TICK_SECONDS = 0.002


def measure(folder: Path, scale: Scale) -> Report:
    """Measure a bridge alone, and together with a gateway and a client; return the report.

    Raises:
        InvalidRun: an event of a call was lost or repeated.
    """
    title = f"an Asterisk with {AGENTS} agents and {CALLS_PER_SECOND} calls a second, 31 events of 450 bytes a call"
    report = Report("bridge", title)
    _measure_alone(report, scale)
    _measure_memory(report, scale)
    with ExitStack() as stack:
        gateway = Gateway(folder / "bridge-gateway", {})
        stack.callback(gateway.stop)
        exchange = ExchangeEvents(AGENTS, CALLS_PER_SECOND)
        server = stack.enter_context(closing(ExchangeServer(exchange.lists)))
        bridge = BridgeProcess(folder / "bridge", server.port, gateway.amp_path)
        stack.callback(bridge.stop)
        server.await_bridge()
        client = stack.enter_context(closing(CallClient(gateway)))
        through = Through(exchange, server, bridge, gateway, client)
        through.measure_latency(report, scale)
        through.measure_rate(report, scale)
    report.notes += [
        "the bridge alone runs in the process of the benchmark, without a socket and without its spool",
        "through to a client: bridge, gateway and client are processes of this machine; the bridge's CPU has its spool",
        "latency is that of QueueCallerJoin: from the exchange's write to the event queue.joined at a client",
    ]
    return report


def _measure_alone(report: Report, scale: Scale) -> None:
    exchange = ExchangeEvents(AGENTS, CALLS_PER_SECOND)
    readers: dict[str, Read] = {_PLAIN: read_plainly, _FRAMING: read_framing, _MACHINE: MachineReader(exchange.lists)}
    try:
        readers[panoramisk_name()] = panoramisk_reader()
    except Unavailable as reason:
        report.rows.append(Row("panoramisk", unavailable=str(reason)))
    measurements = {name: Measurement() for name in readers}
    for number in range(scale.rounds):
        print_progress(f"bridge: round {number + 1} of {scale.rounds} of the bridge alone")
        chunks = chunks_of([event.data for event in islice(exchange.calls(scale.bridge_calls), _PARSED_EVENTS)])
        for name, read in readers.items():
            measurements[name].add(*timed(read, chunks))
    report.rows += [one.row(f"alone | {name}") for name, one in measurements.items()]
    framing, machine = measurements[_FRAMING], measurements[_MACHINE]
    report.ratios.append(framing.over(measurements[_PLAIN], f"{_FRAMING} / {_PLAIN}"))
    for name, one in measurements.items():
        if name.startswith("panoramisk"):
            # Both make a message of each event; what the state machine does beyond that has no counterpart there.
            report.ratios.append(framing.over(one, f"{_FRAMING} / {name}", goal=1))
            report.ratios.append(machine.over(one, f"{_MACHINE} / {name}"))
    report.ratios.append(Limit(_MACHINE, "CPU µs/event", machine.costs, 1e6 / GOAL_RATE))


def _measure_memory(report: Report, scale: Scale) -> None:
    print_progress("bridge: memory")
    exchange = ExchangeEvents(AGENTS, CALLS_PER_SECOND)
    reader = MachineReader(exchange.lists)
    early = int(scale.bridge_memory_calls * _MEMORY_SHARE)
    count = reader(_data_of(exchange, early))
    before = resident_memory(os.getpid())
    count += reader(_data_of(exchange, scale.bridge_memory_calls - early))
    grown = (resident_memory(os.getpid()) - before) / 2**20
    figures = [Figure("events", [count]), Figure("MiB grown", [grown], 1)]
    report.rows.append(Row(f"alone | memory after the first {_MEMORY_SHARE:.0%} of the events", figures))
    report.ratios.append(Limit(f"memory over {count:,} events", "grown by", [grown], _MAX_GROWTH_MIB, " MiB"))


def _data_of(exchange: ExchangeEvents, calls: int) -> Iterator[bytes]:
    for event in exchange.calls(calls):
        yield event.data


class Through:
    """An exchange, a bridge, a gateway and a client."""

    def __init__(
        self,
        exchange: ExchangeEvents,
        server: ExchangeServer,
        bridge: BridgeProcess,
        gateway: Gateway,
        client: CallClient,
    ) -> None:
        self._exchange = exchange
        self._server = server
        self._pids: Mapping[str, int] = {"server": bridge.pid, "gateway": gateway.pid, "client": os.getpid()}
        self._bridge = bridge
        self._client = client
        self._calls = 0

    def measure_rate(self, report: Report, scale: Scale) -> None:
        """Measure how fast the bridge translates what the exchange sends at once."""
        measurement = Measurement()
        memory: list[float] = []
        for number in range(scale.rounds):
            print_progress(f"bridge: round {number + 1} of {scale.rounds} through to a client")
            data = [event.data for event in self._exchange.calls(scale.bridge_calls)]
            self._calls += scale.bridge_calls
            watch = Stopwatch(**self._pids)
            for at in range(0, len(data), 100):
                self._server.send(b"".join(data[at : at + 100]))
            self._client.await_ended(self._calls)
            measurement.add(watch.stop(), len(data))
            memory.append(resident_memory(self._bridge.pid) / 2**20)
        report.rows.append(measurement.row("through to a client | as fast as possible"))
        report.rows.append(Row("through to a client | memory of the bridge", [Figure("MiB", memory, 1)]))
        report.ratios.append(measurement.over_rate(GOAL_RATE, f"through to a client / {GOAL_RATE:,} events/s"))
        report.ratios.append(Limit("through to a client", "CPU µs/event", measurement.costs, 1e6 / GOAL_RATE))
        self._check(report)

    def measure_latency(self, report: Report, scale: Scale) -> None:
        """Measure the time until a client has the events of calls that come at their rate."""
        p50: list[float] = []
        p99: list[float] = []
        measurement = Measurement()
        calls = int(scale.bridge_seconds * CALLS_PER_SECOND)
        for number in range(scale.rounds):
            print_progress(f"bridge: round {number + 1} of {scale.rounds} at {CALLS_PER_SECOND} calls a second")
            events = list(self._exchange.calls(calls))
            self._calls += calls
            watch = Stopwatch(**self._pids)
            sent = self._send_in_time(events)
            self._client.await_ended(self._calls)
            measurement.add(watch.stop(), len(events))
            delays = sorted(self._client.joined[unique_id] - at for unique_id, at in sent.items())
            p50.append(1e3 * delays[len(delays) // 2])
            p99.append(1e3 * delays[int(len(delays) * 0.99)])
        label = f"through to a client | {CALLS_PER_SECOND} calls a second"
        # Without the rate: the measurement lasts until the last call has ended.
        report.rows.append(Row(label, measurement.row(label).figures[1:]))
        report.rows.append(Row(label, [Figure("p50 ms", p50, 2), Figure("p99 ms", p99, 2)]))
        self._check(report)

    def _send_in_time(self, events: Sequence[SentEvent]) -> dict[str, float]:
        """Send events with the distances of their times; return when calls joined a queue, by ``Uniqueid``."""
        began, first = time.monotonic(), events[0].time
        sent: dict[str, float] = {}
        at = 0
        while at < len(events):
            now = time.monotonic()
            due = []
            while at < len(events) and events[at].time - first <= now - began:
                due.append(events[at].data)
                at += 1
            if due:
                # Taken before the write: the client may be faster than the return from it.
                sent |= {_unique_id(data): time.monotonic() for data in due if b"QueueCallerJoin" in data[:30]}
                self._server.send(b"".join(due))
            time.sleep(_TICK_SECONDS)
        return sent

    def _check(self, report: Report) -> None:
        """Check that every call began, waited and ended once."""
        for kind in ("call.incoming", "queue.joined", "queue.left", "call.ended"):
            received = self._client.counts[kind]
            if received != self._calls:
                raise InvalidRun(f"{received} events {kind} for {self._calls} calls: {dict(self._client.counts)}")
        total = 4 * self._calls
        report.deliveries = [Delivery("call.incoming, queue.joined, queue.left and call.ended", total, total)]


def _unique_id(data: bytes) -> str:
    return data.partition(b"\r\nUniqueid: ")[2].partition(b"\r\n")[0].decode()
