"""Measures fan-out: every event to each of 1,000 subscribers of the gateway and its peers, plain and with TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.closed_loop import SubscriberGroup, run_or_exclude
from bench.loader import Loader
from bench.peers.peer_list import GATEWAY, NATS, start
from bench.peers.server import Transport
from bench.report import Delivery, Ratio, Report, print_progress
from bench.scale import Scale

NATS_GOALS: Mapping[Transport, Mapping[int, float]] = {
    Transport.PLAIN: {1: 0.75, 8: 0.50, 64: 0.40},
    Transport.TLS: {1: 1.0, 8: 0.70, 64: 0.60},
}
"""Maximum of the gateway's CPU per delivery over that of nats-server, by the number of events outstanding."""

OTHER_GOALS: Mapping[Transport, Mapping[int, float]] = {Transport.PLAIN: {1: 1.0, 8: 0.50, 64: 0.40}, Transport.TLS: {}}
"""The same over the best of the other peers."""


def measure(folder: Path, scale: Scale) -> Report:
    """Measure deliveries of every event to all subscribers of each server, plain and with TLS; return the report.

    Figures: rate, CPU per message and latency, for each number of outstanding events; ratios to the peers.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("fan-out", f"every event to each of {scale.clients:,} subscribers")
    with closing(Loader(folder)) as loader:
        for transport in Transport:
            with start(folder / f"fan-out-{transport}", loader, transport, report) as servers:
                subscriber_groups = [SubscriberGroup(server, loader, scale.clients) for server in servers]
                for number in range(scale.rounds):
                    print_progress(f"fan-out, {transport}: round {number + 1} of {scale.rounds}")
                    _run_round(subscriber_groups, scale, report, transport)
                _add_results(subscriber_groups, report, transport)
                report.notes += _dropped(subscriber_groups, transport)
                for subscribers in subscriber_groups:
                    subscribers.close()
    report.notes += [
        "p50 and p99 are from the sender's write until a client has read the event",
        "all servers send the same JSON, a 333-byte event with its position; bytes are those of the frames",
        "the gateway: tokens, a user and a subscription for each client, sqlite store, metrics",
        "the gateway receives a single call where one event is due, a batch where several are",
        "the peers have no tokens and no store; nats-server receives many PUB in one write",
        "nchan receives events by its WebSocket publisher, the hubs by lines over a unix socket",
        "the Go hub joins the messages that are queued for a client in one frame, one a line; with frames it does not",
    ]
    return report


def _run_round(subscriber_groups: list[SubscriberGroup], scale: Scale, report: Report, transport: Transport) -> None:
    for window, count in scale.fan_out.items():
        for subscribers in list(subscriber_groups):
            run = partial(_measure, subscribers, f"{transport}: ", window, count, scale.fan_out_seconds)
            run_or_exclude(subscriber_groups, subscribers, report, run)


def _measure(subscribers: SubscriberGroup, prefix: str, window: int, count: int, seconds: float) -> Delivery:
    delivery = subscribers.measure(window, count, seconds)
    return delivery.renamed(prefix + delivery.label)


def _add_results(subscriber_groups: list[SubscriberGroup], report: Report, transport: Transport) -> None:
    for window in subscriber_groups[0].results_by_window if subscriber_groups else ():
        for subscribers in subscriber_groups:
            label = f"{subscribers.server.name} | {transport}, {window} outstanding"
            report.rows.append(subscribers.results_by_window[window].row(label))
        report.ratios += _ratios(subscriber_groups, transport, window)


def _ratios(subscriber_groups: list[SubscriberGroup], transport: Transport, window: int) -> Iterator[Ratio]:
    peers = {one.server.name: one.results_by_window[window].measurement for one in subscriber_groups}
    gateway = peers.pop(GATEWAY.name)
    suffix = f"{transport}, {window} outstanding"
    for name, measurement in peers.items():
        maximum = NATS_GOALS[transport].get(window) if name == NATS.name else None
        yield gateway.over(measurement, f"{GATEWAY.name} / {name} | {suffix}", maximum=maximum)
    others = {name: measurement for name, measurement in peers.items() if name != NATS.name}
    if others:
        best = min(others, key=lambda name: others[name].cost)
        label = f"{GATEWAY.name} / the best but for {NATS.name}, {best} | {suffix}"
        yield gateway.over(others[best], label, maximum=OTHER_GOALS[transport].get(window))


def _dropped(subscriber_groups: list[SubscriberGroup], transport: Transport) -> Iterator[str]:
    for subscribers in subscriber_groups:
        dropped = subscribers.server.dropped()
        if dropped:
            yield f"{subscribers.server.name}, {transport}: {dropped} messages were dropped"
