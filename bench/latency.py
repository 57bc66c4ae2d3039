"""Measures latency in an open loop: events are published at a fixed rate, whether or not earlier ones have arrived."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from bench.closed_loop import SubscriberGroup, latency_figures, run_or_exclude
from bench.cpu import Span
from bench.failure import InvalidRun
from bench.gateway import DEADLINE
from bench.loader import GroupStats, Latency, Loader
from bench.peers.peer_list import GATEWAY, GO, NATS, NCHAN, start
from bench.peers.server import Transport
from bench.report import Delivery, Figure, Limit, Report, Row, print_progress
from bench.scale import Scale

SHARE = 0.5
"""The rate, as a share of the rate at which a server is saturated."""

_WINDOW = 64
"""Events outstanding while the saturation rate is measured."""

_TICK_SECONDS = 0.001
"""The interval of publishing: events that are due by then are sent together."""

_PEER_TIMEOUT_SECONDS = 3.0
"""The time that a peer has to deliver the last events, before missing ones count as lost."""

OWN, COMMON = "half its own limit", "the same rate for all"
_SLOWEST_OF = (GATEWAY, NATS, GO, NCHAN)


@dataclass(slots=True)
class RateResults:
    """The rounds of one server at one rate.

    Attributes:
        rates: events per second that were sent.
        losses: percentages of messages that did not arrive.
    """

    rates: list[float] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """Return the row of a table."""
        shares = [Figure(f"{name} %", [100 * span.share(name) for span in self.spans]) for name in self.spans[0].cpu]
        lost = Figure("% lost", self.losses, 2)
        return Row(label, [Figure("events/s", self.rates, 1), *latency_figures(self.latencies), lost, *shares])

    @property
    def p99(self) -> list[float]:
        """The 99th percentiles in seconds."""
        return [one.p99 for one in self.latencies]


class OpenLoop:
    """Publishes to one server at fixed rates.

    Attributes:
        results_by_rate: results by the label of the rate.
        limit: the last measured saturation rate, in events per second.
    """

    def __init__(self, subscribers: SubscriberGroup) -> None:
        self.subscribers = subscribers
        self.name = subscribers.server.name
        self.results_by_rate: dict[str, RateResults] = {}
        self.limit = 0.0

    def saturate(self, scale: Scale) -> Delivery:
        """Measure the maximum number of events per second that the server delivers."""
        delivery = self.subscribers.measure(_WINDOW, scale.fan_out[_WINDOW], scale.fan_out_seconds)
        measurement = self.subscribers.results_by_window[_WINDOW].measurement
        self.limit = measurement.rates[-1] / self.subscribers.clients
        return delivery

    def run(self, label: str, rate: float, seconds: float) -> Delivery | None:
        """Publish ``rate`` events per second, at least one in all; return the delivery, or None if a peer lost some."""
        subscribers, server = self.subscribers, self.subscribers.server
        events = list(islice(subscribers.events, max(1, int(rate * seconds))))
        subscribers.group.clear()
        watch = subscribers.watch()
        began = time.monotonic()
        sent = 0
        while sent < len(events):
            due = min(len(events), int((time.monotonic() - began) * rate) + 1)
            if due > sent:
                server.publish(events[sent:due])
                sent = due
            server.read_answers()
            time.sleep(_TICK_SECONDS)
        elapsed = time.monotonic() - began
        stats = self._await_seq(server.await_answers())
        results = self.results_by_rate.setdefault(label, RateResults())
        results.spans.append(watch.stop())
        results.rates.append(len(events) / elapsed)
        results.latencies.append(subscribers.group.latency())
        messages = len(events) * subscribers.clients
        results.losses.append(100 * (1 - stats.events.total / messages))
        if stats.events.total != messages and server.name != GATEWAY.name:
            return None
        return subscribers.check(stats, f"{self.name}, {label}", messages)

    def _await_seq(self, seq: int) -> GroupStats:
        """Wait until each client has received the last event, or the time is over."""
        end = time.monotonic() + (DEADLINE if self.name == GATEWAY.name else _PEER_TIMEOUT_SECONDS)
        while (stats := self.subscribers.group.stats()).low_seq < seq and time.monotonic() < end:
            if stats.lost:
                raise InvalidRun(f"{self.name}: clients were disconnected: {stats}")
            time.sleep(_TICK_SECONDS)
        return stats


def measure(folder: Path, scale: Scale) -> Report:
    """Measure p50 and p99 latency of each server at fixed rates; return the report.

    Rates: half of the server's own limit, half of that of each peer, and one rate for all.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("latency", f"events at a steady rate to {scale.clients:,} subscribers each")
    with (
        closing(Loader(folder)) as loader,
        start(folder / "latency", loader, Transport.PLAIN, report) as servers,
    ):
        subscriber_groups = [SubscriberGroup(server, loader, scale.clients) for server in servers]
        open_loops = [OpenLoop(subscribers) for subscribers in subscriber_groups]
        for number in range(scale.rounds):
            print_progress(f"latency: round {number + 1} of {scale.rounds}")
            _run_round(open_loops, subscriber_groups, scale, report)
        _add_results([one for one in open_loops if one.subscribers in subscriber_groups], report)
    slowest = ", ".join(kind.name for kind in _SLOWEST_OF)
    report.notes += [
        f"the limit is the rate with {_WINDOW} events outstanding, measured in each round just before",
        "half the limit of a peer: the gateway receives as many events as that peer at half of its limit",
        f"the same rate for all: half the limit of the slowest of {slowest}",
        "events that are due within a millisecond are sent together; p50 and p99 from the sender's write",
    ]
    return report


def _run_round(
    open_loops: Sequence[OpenLoop], subscriber_groups: list[SubscriberGroup], scale: Scale, report: Report
) -> None:
    """Run one round; peers that fail are removed from ``subscriber_groups``."""
    seconds = scale.open_loop_seconds
    gateway = open_loops[0]

    def succeeds(one: OpenLoop, label: str, rate: float) -> bool:
        return run_or_exclude(subscriber_groups, one.subscribers, report, partial(one.run, label, rate, seconds))

    for one in open_loops:
        if one.subscribers not in subscriber_groups:
            continue
        if not run_or_exclude(subscriber_groups, one.subscribers, report, partial(one.saturate, scale)):
            continue
        rate = SHARE * one.limit
        if succeeds(one, OWN, rate) and one is not gateway:
            succeeds(gateway, _half_limit_of(one.name), rate)
    names = {kind.name for kind in _SLOWEST_OF}
    remaining = [one for one in open_loops if one.subscribers in subscriber_groups]
    common = SHARE * min(one.limit for one in remaining if one.name in names)
    for one in remaining:
        succeeds(one, COMMON, common)


def _half_limit_of(peer: str) -> str:
    return f"half the limit of {peer}"


def _add_results(open_loops: Sequence[OpenLoop], report: Report) -> None:
    gateway, *peers = open_loops
    for one in open_loops:
        report.rows.append(one.results_by_rate[OWN].row(f"{one.name} | {OWN}"))
    for peer in peers:
        label = _half_limit_of(peer.name)
        report.rows.append(gateway.results_by_rate[label].row(f"{gateway.name} | {label}"))
        report.ratios.append(_ratio(gateway, label, peer, OWN, maximum=1.0))
    for one in open_loops:
        report.rows.append(one.results_by_rate[COMMON].row(f"{one.name} | {COMMON}"))
    for peer in peers:
        report.ratios.append(_ratio(gateway, COMMON, peer, COMMON))


def _ratio(gateway: OpenLoop, label: str, peer: OpenLoop, peer_label: str, maximum: float | None = None) -> Limit:
    pairs = zip(gateway.results_by_rate[label].p99, peer.results_by_rate[peer_label].p99, strict=True)
    return Limit(f"{gateway.name} / {peer.name} | {label}", "p99", [above / below for above, below in pairs], maximum)
