"""Every event to each of 1,000 subscribers: the gateway and its peers, in turns, plain and with TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from bench.closed_loop import Audience, attempt
from bench.loader import Loader
from bench.peers.contestant import Transport
from bench.peers.roster import GATEWAY, NATS, start
from bench.report import Delivery, Ratio, Report, progress
from bench.scale import Scale

NATS_GOALS: Mapping[Transport, Mapping[int, float]] = {
    Transport.PLAIN: {1: 0.75, 8: 0.50, 64: 0.40},
    Transport.TLS: {1: 1.0, 8: 0.70, 64: 0.60},
}
"""What the gateway's CPU for a delivery may be at most, over that of nats-server."""

OTHER_GOALS: Mapping[Transport, Mapping[int, float]] = {Transport.PLAIN: {1: 1.0, 8: 0.50, 64: 0.40}, Transport.TLS: {}}
"""The same, over the best of the others."""


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("fan-out", f"every event to each of {scale.clients:,} subscribers")
    with closing(Loader(folder)) as loader:
        for transport in Transport:
            with start(folder / f"fan-out-{transport}", loader, transport, report) as contestants:
                audiences = [Audience(one, loader, scale.clients) for one in contestants]
                for number in range(scale.rounds):
                    progress(f"fan-out, {transport}: round {number + 1} of {scale.rounds}")
                    _run(audiences, scale, report, transport)
                _tell(audiences, report, transport)
                report.notes += _dropped(audiences, transport)
                for audience in audiences:
                    audience.close()
    report.notes += [
        "p50 and p99 are from the sender's write to the moment when a client has read the event",
        "all are sent the same JSON, which a 333-byte event becomes with its position; bytes are those of the frames",
        "the gateway: tokens, a user and a subscription for each client, sqlite store, metrics",
        "the gateway is fed by a single call where one event is due, by a batch where several are",
        "the others have no tokens and no store; nats-server is fed by many PUB in one write",
        "nchan is fed by its WebSocket publisher, the hubs by lines over a unix socket",
        "the Go hub joins what has piled up for a client, a line each, in one frame; with frames it does not",
    ]
    return report


def _run(audiences: list[Audience], scale: Scale, report: Report, transport: Transport) -> None:
    for window, count in scale.fan_out.items():
        for audience in list(audiences):
            measuring = partial(_measure, audience, f"{transport}: ", window, count, scale.fan_out_seconds)
            attempt(audiences, audience, report, measuring)


def _measure(audience: Audience, before: str, window: int, count: int, seconds: float) -> Delivery:
    delivery = audience.measure(window, count, seconds)
    return delivery.renamed(before + delivery.label)


def _tell(audiences: list[Audience], report: Report, transport: Transport) -> None:
    for window in audiences[0].tracks if audiences else ():
        for audience in audiences:
            label = f"{audience.contestant.name} | {transport}, {window} outstanding"
            report.rows.append(audience.tracks[window].row(label))
        report.ratios += _ratios(audiences, transport, window)


def _ratios(audiences: list[Audience], transport: Transport, window: int) -> Iterator[Ratio]:
    own = next(one.tracks[window].course for one in audiences if one.contestant.name == GATEWAY.name)
    peers = {one.contestant.name: one.tracks[window].course for one in audiences if one.contestant.name != GATEWAY.name}
    where = f"{transport}, {window} outstanding"
    for name, course in peers.items():
        most = NATS_GOALS[transport].get(window) if name == NATS.name else None
        yield own.over(course, f"{GATEWAY.name} / {name} | {where}", most=most)
    others = {name: course for name, course in peers.items() if name != NATS.name}
    if others:
        best = min(others, key=lambda name: others[name].cost)
        label = f"{GATEWAY.name} / the best but for {NATS.name}, {best} | {where}"
        yield own.over(others[best], label, most=OTHER_GOALS[transport].get(window))


def _dropped(audiences: list[Audience], transport: Transport) -> Iterator[str]:
    for audience in audiences:
        dropped = audience.contestant.dropped()
        if dropped:
            yield f"{audience.contestant.name}, {transport}: {dropped} messages were dropped"
