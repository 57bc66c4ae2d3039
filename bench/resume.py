"""Measures replays: live fan-out first, then the same clients reconnect and resume from an old position."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bench.cpu import Span
from bench.event import call_center
from bench.failure import InvalidRun, Unavailable
from bench.gateway import DEADLINE
from bench.gateway_setup import RAISED_LIMITS, GatewaySetup
from bench.loader import ClientGroup, GroupStats, Loader
from bench.measurement import Measurement
from bench.report import Ratio, Report, Row, delivery_of, print_progress
from bench.request import Request, publish_one
from bench.scale import Scale
from bench.sender import Sender
from bench.store import Store

LIVE_RATE = 5
"""Events per second that are published while clients reconnect. Each is delivered to all clients by itself, the most
expensive kind of fan-out; a higher rate would dominate the measurement."""

MAX_LIVE = 50
"""The maximum number of live events: with the missed events they have to fit into the gateway's memory."""

SPREAD = 0.1
"""Where clients missed different numbers of events: the deviation from the mean, up and down."""

_MIN_SECONDS = 1e-9


class ResumeRun:
    """One gateway and its clients, which disconnect and resume, and one client that stays connected.

    Args:
        label: the label of the store.
        fans_out: whether to measure live fan-out, and replays from different positions, too.
    """

    def __init__(self, label: str, setup: GatewaySetup, scale: Scale, report: Report, *, fans_out: bool) -> None:
        self.label = label
        self._setup = setup
        self._scale = scale
        self._report = report
        self._fans_out = fans_out
        self._events = call_center(conflatable=False)
        self._users = [f"agent-{number}" for number in range(scale.clients)]
        self.fan_outs = {window: Measurement("message") for window in scale.fan_out} if fans_out else {}
        self.connects = Measurement("client")
        self.replays: dict[str, tuple[Measurement, Measurement]] = {}
        self._live_client = setup.client_group([setup.handshake("agent-live")])
        self._live_client.open()
        self._live_client.wait("welcome", 1)
        # The first connect of each user is announced. After it the stream holds only events of this benchmark.
        self._close(self._connect_all())
        setup.publish(list(islice(self._events, 1)))

    def run(self) -> None:
        """Run one round."""
        if self._fans_out:
            self._measure_fan_out()
        connecting = self._measure_connect()
        missed, spread = self._scale.missed, int(self._scale.missed * SPREAD)
        self._measure_replay(f"{missed} missed by each", connecting, lambda index: missed)
        if self._fans_out:
            last = self._scale.clients - 1
            label = f"{missed - spread} to {missed + spread} missed"
            self._measure_replay(label, connecting, lambda index: missed - spread + 2 * spread * index // last)

    def finish(self) -> None:
        """Check that the client that stayed connected has received every event."""
        setup = self._setup
        stats = self._live_client.wait_for_seq(setup.head)
        label = f"{self.label}, the live subscriber beside them"
        self._report.add_delivery(delivery_of(stats, label, setup.sent, setup.head))

    def _connect_all(self) -> ClientGroup:
        group = self._setup.client_group([self._setup.handshake(user) for user in self._users])
        group.open()
        group.wait("welcome", 1)
        return group

    def _close(self, group: ClientGroup) -> None:
        group.close()
        self._setup.gateway.await_connections(1)

    def _measure_fan_out(self) -> None:
        group, setup = self._connect_all(), self._setup
        for window, count in self._scale.fan_out.items():
            requests = [publish_one(event) for event in islice(self._events, count)]
            group.clear()
            watch = setup.watch()
            _fan_out(group, setup.sender, requests, window)
            span = watch.stop()
            messages = count * len(self._users)
            self.fan_outs[window].add(span, messages)
            setup.await_answers()
            label = f"{self.label}, live, {window} outstanding"
            self._report.add_delivery(delivery_of(group.stats(), label, messages, setup.head))
        self._close(group)

    def _measure_connect(self) -> Span:
        """Measure how long it takes to resume when no event was missed."""
        setup = self._setup
        group = setup.client_group([setup.resume_handshake(user, setup.head) for user in self._users])
        stats, span = self._resume(group, lambda: False)
        if stats.lost or stats.mismatches or stats.events.total:
            raise InvalidRun(f"no event was missed, but the clients received: {stats}")
        self.connects.add(span, len(self._users))
        self._close(group)
        return span

    def _measure_replay(self, label: str, connecting: Span, missed_by: Callable[[int], int]) -> None:
        setup, clients = self._setup, len(self._users)
        missed = [missed_by(index) for index in range(clients)]
        setup.publish(list(islice(self._events, max(missed))))
        positions = [setup.head - amount for amount in missed]
        group = setup.client_group(map(setup.resume_handshake, self._users, positions))
        stats, span = self._resume(group, partial(self._publish_live, iter(range(MAX_LIVE))))
        whole, beyond = self.replays.setdefault(label, (Measurement("message"), Measurement("message")))
        whole.add(span, stats.replayed)
        cpu = {name: span.cpu[name] - connecting.cpu[name] for name in span.cpu}
        beyond.add(Span(max(_MIN_SECONDS, span.seconds - connecting.seconds), cpu), stats.events.total)
        self._publish_live(iter([0]))
        setup.await_answers()
        expected = sum(setup.head - position for position in positions)
        stats = group.wait_for_seq(setup.head)
        self._report.add_delivery(delivery_of(stats, f"{self.label}, {label}", expected, setup.head))
        self._close(group)

    def _publish_live(self, remaining: Iterator[int]) -> bool:
        """Publish one event without waiting, unless ``remaining`` is exhausted."""
        if next(remaining, None) is None:
            return False
        self._setup.sender.send([publish_one(next(self._events))])
        self._setup.sender.read_answers()
        return True

    def _resume(self, group: ClientGroup, publish: Callable[[], bool]) -> tuple[GroupStats, Span]:
        """Connect, and call ``publish`` at ``LIVE_RATE``, until all clients have received ``resumed``.

        Returns:
            What the clients have received, and the time and CPU; the time is from the first connect to the last
            ``resumed``.
        """
        watch = self._setup.watch()
        group.open()
        group.start_await("resumed", 1)
        begun = time.monotonic()
        publish()
        while group.finish_await(1 / LIVE_RATE) is None:
            publish()
            if time.monotonic() > begun + DEADLINE:
                raise InvalidRun(f"not every client has resumed within {DEADLINE:g} s: {group.stats()}")
        span = watch.stop()
        stats = group.stats()
        return stats, Span(stats.kinds["resumed"].at - stats.began, span.cpu)


def _fan_out(group: ClientGroup, sender: Sender, requests: Sequence[Request], window: int) -> None:
    """Send each request once all clients have received the event of the request ``window`` before it.

    Raises:
        InvalidRun: if an event does not arrive.
    """
    count = len(requests)
    received = published = 0
    while received < count:
        allowed = min(count, received + window)
        if allowed > published:
            sender.send(requests[published:allowed])
            published = allowed
        received = group.wait("event", received + 1)
        sender.read_answers()


def measure(folder: Path, scale: Scale) -> Report:
    """Measure clients that reconnect and resume, with each store; return the report.

    Figures: rate and CPU of live delivery, of connects without missed events, and of replays from memory and disk.

    Raises:
        InvalidRun: an event was lost, repeated or out of order, or a client was disconnected.
    """
    report = Report("resume", f"{scale.clients:,} clients that resume with {scale.missed} missed events each")
    small_memory = {"store.memory_events": scale.small_memory_events}
    from_disk = f"{Store.NORMAL}, memory_events = {scale.small_memory_events}"
    plans: list[tuple[str, Store, Mapping[str, Any], bool]] = [
        (Store.MEMORY, Store.MEMORY, {}, True),
        (Store.NORMAL, Store.NORMAL, {}, True),
        (from_disk, Store.NORMAL, small_memory, False),
    ]
    runs: list[ResumeRun] = []
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        for index, (label, store, settings, fans_out) in enumerate(plans):
            try:
                setup = stack.enter_context(closing(GatewaySetup(store, folder / f"resume-{index}", loader, settings)))
            except Unavailable as reason:
                report.rows.append(Row(label, unavailable=str(reason)))
            else:
                runs.append(ResumeRun(label, setup, scale, report, fans_out=fans_out))
        for number in range(scale.rounds):
            print_progress(f"resume: round {number + 1} of {scale.rounds}")
            for run in runs:
                run.run()
        for run in runs:
            run.finish()
    _add_results(report, runs)
    return report


def _add_results(report: Report, runs: Sequence[ResumeRun]) -> None:
    fan_outs: Mapping[int, Measurement] = {}
    for run in runs:
        fan_outs = run.fan_outs or fan_outs
        for window, measurement in run.fan_outs.items():
            report.rows.append(measurement.row(f"{run.label} | live, {window} outstanding"))
        report.rows.append(run.connects.row(f"{run.label} | connect, nothing missed"))
        for label, (whole, beyond) in run.replays.items():
            report.rows.append(whole.row(f"{run.label} | {label}"))
            report.rows.append(beyond.row(f"{run.label} | {label}, beyond the connects"))
            report.ratios += _ratios(f"{run.label} | {label}", whole, beyond, fan_outs)
    report.notes += [
        "a replay's rate counts the replayed messages only, from the first connect to the last resumed",
        "beyond the connects: less the cost of connecting when nothing was missed; live messages of that time count",
        f"{LIVE_RATE} live events per second are published meanwhile, at most {MAX_LIVE}, and go to all clients",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED_LIMITS.items()),
        "each client is a different user with the role agent, and was connected before",
    ]


def _ratios(
    label: str, whole: Measurement, beyond: Measurement, fan_outs: Mapping[int, Measurement]
) -> Iterator[Ratio]:
    for window, live in fan_outs.items():
        yield whole.over(live, f"{label} / live, {window} outstanding", 1)
        yield beyond.over(live, f"{label}, beyond the connects / live, {window} outstanding")
