"""Clients that were away: live fan-out first, then the same clients come back for what they missed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from bench.course import Course
from bench.cpu import Span
from bench.event import call_center
from bench.failure import Broken, Unavailable
from bench.fan_out import fan_out
from bench.gateway import DEADLINE
from bench.loader import Catch, Crowd, Loader
from bench.question import publish_one
from bench.report import Ratio, Report, Row, delivery_of, progress
from bench.scale import Scale
from bench.stage import RAISED, Stage
from bench.store import Store

LIVE_RATE = 5
"""Events a second that are published while clients come back. Each goes to everybody by itself, as the dearest kind of
live fan-out: many of them would be all that is measured."""

MAX_LIVE = 50
"""Of them at most: with those that were missed they have to fit into what the gateway keeps in memory."""

SPREAD = 0.1
"""By how much the number of missed events differs between clients, up and down, where it does."""

_LEAST = 1e-9


class Reunion:
    """A gateway, its clients, who go and come back, and one that stays.

    Args:
        label: of the store.
        fans_out: live fan-out is measured, too, and besides the same positions for all also different ones.
    """

    def __init__(self, label: str, stage: Stage, scale: Scale, report: Report, *, fans_out: bool) -> None:
        self.label = label
        self._stage = stage
        self._scale = scale
        self._report = report
        self._fans_out = fans_out
        self._events = call_center(conflatable=False)
        self._users = [f"agent-{number}" for number in range(scale.clients)]
        self.fan_outs = {window: Course("message") for window in scale.fan_out} if fans_out else {}
        self.connects = Course("client")
        self.replays: dict[str, tuple[Course, Course]] = {}
        self._stayer = stage.crowd([stage.dial("agent-live")])
        self._stayer.open()
        self._stayer.wait("welcome", 1)
        # Everybody is announced the first time. Later the stream holds nothing but what is published here.
        self._leave(self._arrive())
        stage.publish(list(islice(self._events, 1)))

    def run(self) -> None:
        """One round."""
        if self._fans_out:
            self._run_fan_outs()
        connecting = self._connect()
        missed, spread = self._scale.missed, int(self._scale.missed * SPREAD)
        self._replay(f"{missed} missed by each", connecting, lambda place: missed)
        if self._fans_out:
            last = self._scale.clients - 1
            label = f"{missed - spread} to {missed + spread} missed"
            self._replay(label, connecting, lambda place: missed - spread + 2 * spread * place // last)

    def finish(self) -> None:
        """Check that the one who stayed has got everything."""
        stage = self._stage
        catch = self._stayer.reach(stage.head)
        label = f"{self.label}, the live subscriber beside them"
        self._report.deliver(delivery_of(catch, label, stage.sent, stage.head))

    def _arrive(self) -> Crowd:
        crowd = self._stage.crowd([self._stage.dial(user) for user in self._users])
        crowd.open()
        crowd.wait("welcome", 1)
        return crowd

    def _leave(self, crowd: Crowd) -> None:
        crowd.close()
        self._stage.gateway.await_connections(1)

    def _run_fan_outs(self) -> None:
        crowd, stage = self._arrive(), self._stage
        for window, count in self._scale.fan_out.items():
            questions = [publish_one(event) for event in islice(self._events, count)]
            crowd.forget()
            watch = stage.watch()
            fan_out(crowd, stage.sender, questions, window)
            span = watch.stop()
            messages = count * len(self._users)
            self.fan_outs[window].add(span, messages)
            stage.settle()
            label = f"{self.label}, live, {window} outstanding"
            self._report.deliver(delivery_of(crowd.catch(), label, messages, stage.head))
        self._leave(crowd)

    def _connect(self) -> Span:
        """What it takes when nobody has missed anything."""
        crowd = self._stage.crowd([self._stage.resuming(user, self._stage.head) for user in self._users])
        catch, span = self._come_back(crowd, lambda: False)
        if catch.lost or catch.mismatches or catch.events.total:
            raise Broken(f"nothing was missed, but: {catch}")
        self.connects.add(span, len(self._users))
        self._leave(crowd)
        return span

    def _replay(self, label: str, connecting: Span, missed_by: Callable[[int], int]) -> None:
        stage, clients = self._stage, len(self._users)
        missed = [missed_by(place) for place in range(clients)]
        stage.publish(list(islice(self._events, max(missed))))
        positions = [stage.head - amount for amount in missed]
        crowd = stage.crowd(map(stage.resuming, self._users, positions))
        catch, span = self._come_back(crowd, partial(self._publish_live, iter(range(MAX_LIVE))))
        whole, beyond = self.replays.setdefault(label, (Course("message"), Course("message")))
        whole.add(span, catch.replayed)
        cpu = {name: span.cpu[name] - connecting.cpu[name] for name in span.cpu}
        beyond.add(Span(max(_LEAST, span.seconds - connecting.seconds), cpu), catch.events.total)
        self._publish_live(iter([0]))
        stage.settle()
        expected = sum(stage.head - position for position in positions)
        self._report.deliver(delivery_of(crowd.reach(stage.head), f"{self.label}, {label}", expected, stage.head))
        self._leave(crowd)

    def _publish_live(self, allowed: Iterator[int]) -> bool:
        """Publish one event more if that is allowed, without waiting for anything."""
        if next(allowed, None) is None:
            return False
        self._stage.sender.post([publish_one(next(self._events))])
        self._stage.sender.take()
        return True

    def _come_back(self, crowd: Crowd, publish: Callable[[], bool]) -> tuple[Catch, Span]:
        """Connect, and publish now and then, until all have got what they missed.

        Returns:
            What they have got by then, and what it took; its seconds from the first connect to the last ``resumed``.
        """
        watch = self._stage.watch()
        crowd.open()
        crowd.expect("resumed", 1)
        begun = time.monotonic()
        publish()
        while crowd.told(1 / LIVE_RATE) is None:
            publish()
            if time.monotonic() > begun + DEADLINE:
                raise Broken(f"not every client has got what it missed within {DEADLINE:g} s: {crowd.catch()}")
        span = watch.stop()
        catch = crowd.catch()
        return catch, Span(catch.kinds["resumed"].at - catch.began, span.cpu)


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("resume", f"{scale.clients:,} clients that come back for {scale.missed} missed events each")
    few = {"store.memory_events": scale.few_in_memory}
    from_disk = f"{Store.NORMAL}, memory_events = {scale.few_in_memory}"
    plans: list[tuple[str, Store, Mapping[str, Any], bool]] = [
        (Store.MEMORY, Store.MEMORY, {}, True),
        (Store.NORMAL, Store.NORMAL, {}, True),
        (from_disk, Store.NORMAL, few, False),
    ]
    reunions: list[Reunion] = []
    with ExitStack() as stack:
        loader = stack.enter_context(closing(Loader(folder)))
        for place, (label, store, settings, fans_out) in enumerate(plans):
            try:
                stage = stack.enter_context(closing(Stage(store, folder / f"resume-{place}", loader, settings)))
            except Unavailable as reason:
                report.rows.append(Row(label, unavailable=str(reason)))
            else:
                reunions.append(Reunion(label, stage, scale, report, fans_out=fans_out))
        for number in range(scale.rounds):
            progress(f"resume: round {number + 1} of {scale.rounds}")
            for reunion in reunions:
                reunion.run()
        for reunion in reunions:
            reunion.finish()
    _tell(report, reunions)
    return report


def _tell(report: Report, reunions: Sequence[Reunion]) -> None:
    fan_outs: Mapping[int, Course] = {}
    for reunion in reunions:
        fan_outs = reunion.fan_outs or fan_outs
        for window, course in reunion.fan_outs.items():
            report.rows.append(course.row(f"{reunion.label} | live, {window} outstanding"))
        report.rows.append(reunion.connects.row(f"{reunion.label} | connect, nothing missed"))
        for label, (whole, beyond) in reunion.replays.items():
            report.rows.append(whole.row(f"{reunion.label} | {label}"))
            report.rows.append(beyond.row(f"{reunion.label} | {label}, beyond the connects"))
            report.ratios += _ratios(f"{reunion.label} | {label}", whole, beyond, fan_outs)
    report.notes += [
        "a replay's rate counts the replayed messages alone, from the first connect to the last resumed",
        "beyond the connects: less what it takes to connect when nothing was missed; live messages of that time count",
        f"{LIVE_RATE} live events a second are published meanwhile, {MAX_LIVE} at most, and go to everybody",
        "raised limits: " + ", ".join(f"{key} = {value}" for key, value in RAISED.items()),
        "each client is a user of its own, of the role agent, and was connected before",
    ]


def _ratios(label: str, whole: Course, beyond: Course, fan_outs: Mapping[int, Course]) -> Iterator[Ratio]:
    for window, live in fan_outs.items():
        yield whole.over(live, f"{label} / live, {window} outstanding", 1)
        yield beyond.over(live, f"{label}, beyond the connects / live, {window} outstanding")
