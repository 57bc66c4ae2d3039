"""How long an event takes when a server is not at its limit: events at a rate, whatever has become of those before."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path

from bench.closed_loop import Audience, attempt, latency_figures
from bench.cpu import Span
from bench.failure import Broken
from bench.gateway import DEADLINE
from bench.loader import Catch, Latency, Loader
from bench.peers.contestant import Transport
from bench.peers.roster import GATEWAY, GO, NATS, NCHAN, start
from bench.report import Delivery, Figure, Limit, Report, Row, progress
from bench.scale import Scale

SHARE = 0.5
"""Of the rate at which a server is saturated."""

_WINDOW = 64
"""Events outstanding while that rate is measured."""

_TICK = 0.001
"""Seconds between two looks at what is due: what is due by then is sent together."""

_SHORT_OF = 3.0
"""Seconds that a server has for the last events, before those that are missing count as lost."""

OWN, COMMON = "half its own limit", "the same rate for all"
_SLOWEST_OF = (GATEWAY, NATS, GO, NCHAN)


@dataclass(slots=True)
class Pace:
    """The rounds of one server at one rate.

    Attributes:
        rates: events a second that were sent.
        losses: percents of the messages that did not come.
    """

    rates: list[float] = field(default_factory=list)
    latencies: list[Latency] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """The row of a table."""
        shares = [Figure(f"{name} %", [100 * span.share(name) for span in self.spans]) for name in self.spans[0].cpu]
        lost = Figure("% lost", self.losses, 2)
        return Row(label, [Figure("events/s", self.rates, 1), *latency_figures(self.latencies), lost, *shares])

    @property
    def p99(self) -> list[float]:
        """In seconds."""
        return [one.p99 for one in self.latencies]


class Metronome:
    """A server that is sent events at a rate."""

    def __init__(self, audience: Audience) -> None:
        self.audience = audience
        self.name = audience.contestant.name
        self.paces: dict[str, Pace] = {}
        self.limit = 0.0

    def saturate(self, scale: Scale) -> Delivery:
        """Find out how many events a second it does at most."""
        delivery = self.audience.measure(_WINDOW, scale.fan_out[_WINDOW], scale.fan_out_seconds)
        self.limit = self.audience.tracks[_WINDOW].course.rates[-1] / self.audience.clients
        return delivery

    def run(self, label: str, rate: float, seconds: float) -> Delivery | None:
        """Send ``rate`` events a second, and at least one; return what came if all of it did."""
        audience, contestant = self.audience, self.audience.contestant
        events = list(islice(audience.events, max(1, int(rate * seconds))))
        audience.crowd.forget()
        watch = audience.watch()
        began = time.monotonic()
        sent = 0
        while sent < len(events):
            due = min(len(events), int((time.monotonic() - began) * rate) + 1)
            if due > sent:
                contestant.publish(events[sent:due])
                sent = due
            contestant.take()
            time.sleep(_TICK)
        taken = time.monotonic() - began
        catch = self._await(contestant.settle())
        pace = self.paces.setdefault(label, Pace())
        pace.spans.append(watch.stop())
        pace.rates.append(len(events) / taken)
        pace.latencies.append(audience.crowd.latency())
        messages = len(events) * audience.clients
        pace.losses.append(100 * (1 - catch.events.total / messages))
        if catch.events.total != messages and contestant.name != GATEWAY.name:
            return None
        return audience.check(catch, f"{self.name}, {label}", messages)

    def _await(self, seq: int) -> Catch:
        """Wait until everybody has got the last event, or has waited for it long enough."""
        own = self.name == GATEWAY.name
        end = time.monotonic() + (DEADLINE if own else _SHORT_OF)
        while (catch := self.audience.crowd.catch()).low_seq < seq and time.monotonic() < end:
            if catch.lost:
                raise Broken(f"{self.name}: clients were disconnected: {catch}")
            time.sleep(_TICK)
        return catch


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("latency", f"events at a steady rate to {scale.clients:,} subscribers each")
    with (
        closing(Loader(folder)) as loader,
        start(folder / "latency", loader, Transport.PLAIN, report) as contestants,
    ):
        audiences = [Audience(one, loader, scale.clients) for one in contestants]
        everybody = [Metronome(audience) for audience in audiences]
        for number in range(scale.rounds):
            progress(f"latency: round {number + 1} of {scale.rounds}")
            _round(everybody, audiences, scale, report)
        _tell([one for one in everybody if one.audience in audiences], report)
    slowest = ", ".join(kind.name for kind in _SLOWEST_OF)
    report.notes += [
        f"the limit is what {_WINDOW} events outstanding come to, measured in each round right before",
        "half the limit of a peer: the gateway is sent as many events as that peer at half of what it does at most",
        f"the same rate for all: half the limit of the slowest of {slowest}",
        "what is due within a millisecond is sent together; p50 and p99 from the sender's write on",
    ]
    return report


def _round(everybody: Sequence[Metronome], audiences: list[Audience], scale: Scale, report: Report) -> None:
    """Those who fail are taken out of the audiences."""
    seconds = scale.open_loop_seconds
    gateway = everybody[0]
    for one in everybody:
        if one.audience not in audiences or not attempt(audiences, one.audience, report, partial(one.saturate, scale)):
            continue
        rate = SHARE * one.limit
        if attempt(audiences, one.audience, report, partial(one.run, OWN, rate, seconds)) and one is not gateway:
            attempt(audiences, gateway.audience, report, partial(gateway.run, _as_much_as(one.name), rate, seconds))
    names = {kind.name for kind in _SLOWEST_OF}
    left = [one for one in everybody if one.audience in audiences]
    common = SHARE * min(one.limit for one in left if one.name in names)
    for one in left:
        attempt(audiences, one.audience, report, partial(one.run, COMMON, common, seconds))


def _as_much_as(peer: str) -> str:
    return f"half the limit of {peer}"


def _tell(metronomes: Sequence[Metronome], report: Report) -> None:
    gateway, *peers = metronomes
    for one in metronomes:
        report.rows.append(one.paces[OWN].row(f"{one.name} | {OWN}"))
    for peer in peers:
        label = _as_much_as(peer.name)
        report.rows.append(gateway.paces[label].row(f"{gateway.name} | {label}"))
        report.ratios.append(_ratio(gateway, label, peer, OWN, most=1.0))
    for one in metronomes:
        report.rows.append(one.paces[COMMON].row(f"{one.name} | {COMMON}"))
    for peer in peers:
        report.ratios.append(_ratio(gateway, COMMON, peer, COMMON))


def _ratio(gateway: Metronome, label: str, peer: Metronome, its_label: str, most: float | None = None) -> Limit:
    pairs = zip(gateway.paces[label].p99, peer.paces[its_label].p99, strict=True)
    return Limit(f"{gateway.name} / {peer.name} | {label}", "p99", [above / below for above, below in pairs], most)
