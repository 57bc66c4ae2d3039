"""Measures fan-out in a closed loop: a fixed number of events is outstanding at a time, for every server alike."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bench.cpu import Span, Stopwatch
from bench.event import Event, call_center
from bench.failure import InvalidRun
from bench.loader import ClientGroup, GroupStats, Latency, Loader
from bench.measurement import Measurement
from bench.peers.peer_list import GATEWAY
from bench.peers.server import Server
from bench.report import Delivery, Figure, Report, Row, delivery_of


@dataclass(slots=True)
class WindowResults:
    """The rounds of one server with one number of events outstanding.

    Attributes:
        wire_bytes: bytes of frames per delivery.
    """

    measurement: Measurement = field(default_factory=lambda: Measurement("message"))
    latencies: list[Latency] = field(default_factory=list)
    wire_bytes: list[float] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """Return the row of a table."""
        rate, cost, *shares = self.measurement.row(label).figures
        sizes = Figure("bytes/message", self.wire_bytes)
        return Row(label, [rate, cost, *latency_figures(self.latencies), sizes, *shares])


def latency_figures(latencies: Sequence[Latency]) -> list[Figure]:
    """Return the latencies from the sender to the clients, in ms."""
    return [
        Figure("p50 ms", [1e3 * one.p50 for one in latencies], 2),
        Figure("p99 ms", [1e3 * one.p99 for one in latencies], 2),
    ]


class SubscriberGroup:
    """The subscribers of one server, which are connected and receive every event.

    Args:
        clients: the number of subscribers.
        group: the subscribers, if they need other handshakes than the server's default.
    """

    def __init__(self, server: Server, loader: Loader, clients: int, group: ClientGroup | None = None) -> None:
        self.server = server
        self.clients = clients
        self.group = server.client_group(clients) if group is None else group
        self.results_by_window: dict[int, WindowResults] = {}
        self.events: Iterator[Event] = call_center(conflatable=False)
        self._loader = loader
        self.group.open()
        server.await_open(self.group)
        server.subscribe(self.group)
        self._run(list(islice(self.events, 1)), 1, 0)

    def watch(self) -> Stopwatch:
        """Return a stopwatch for the server, the clients and the sender."""
        return Stopwatch(server=self.server.pids, clients=self._loader.pid, sender=os.getpid())

    def measure(self, window: int, count: int, seconds: float) -> Delivery:
        """Publish up to ``count`` events in at most ``seconds``, with ``window`` outstanding, and check all deliveries.

        Raises:
            InvalidRun: if an event is missing or out of order.
        """
        events = list(islice(self.events, count))
        self._run(list(islice(self.events, 1)), 1, 0)
        published, span = self._run(events, window, seconds)
        messages = published * self.clients
        results = self.results_by_window.setdefault(window, WindowResults())
        stats = self.group.stats()
        results.measurement.add(span, messages)
        results.latencies.append(self.group.latency())
        results.wire_bytes.append(stats.wire / messages)
        return self.check(stats, f"{self.server.name}, {window} outstanding", messages)

    def check(self, stats: GroupStats, label: str, messages: int) -> Delivery:
        """Check that every subscriber has received every event."""
        return delivery_of(stats, label, messages, self.server.await_answers())

    def _run(self, events: Sequence[Event], window: int, seconds: float) -> tuple[int, Span]:
        """Publish each event once all clients have received the event ``window`` before it; publish at least one."""
        self.group.clear()
        received = published = 0
        watch = self.watch()
        end = time.monotonic() + seconds
        while True:
            allowed = min(len(events), received + window)
            if allowed > published and (not published or time.monotonic() < end):
                self.server.publish(events[published:allowed])
                published = allowed
            if received == published:
                break
            received = self.group.wait("event", received + 1)
            self.server.read_answers()
        return published, watch.stop()

    def close(self) -> None:
        """Disconnect the subscribers."""
        self.group.close()


def run_or_exclude(
    subscriber_groups: list[SubscriberGroup],
    subscribers: SubscriberGroup,
    report: Report,
    run: Callable[[], Delivery | None],
) -> bool:
    """Run a measurement and report its delivery; return whether it succeeded.

    A peer that fails is removed from ``subscriber_groups``, and gets a row with the reason.

    Raises:
        InvalidRun: if the gateway failed.
    """
    try:
        delivery = run()
    except InvalidRun as error:
        if subscribers.server.name == GATEWAY.name:
            raise
        subscriber_groups.remove(subscribers)
        subscribers.close()
        report.rows.append(Row(subscribers.server.name, unavailable=f"it failed: {error}"))
        return False
    if delivery:
        report.add_delivery(delivery)
    return True
