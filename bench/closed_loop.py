"""Live fan-out, the same for every server: so many events outstanding, and no more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from bench.course import Course
from bench.cpu import Span, Stopwatch
from bench.event import Event, call_center
from bench.failure import Broken
from bench.loader import Catch, Crowd, Latency, Loader
from bench.peers.contestant import Contestant
from bench.peers.roster import GATEWAY
from bench.report import Delivery, Figure, Report, Row, delivery_of


@dataclass(slots=True)
class Track:
    """The rounds of one server with one number of events outstanding.

    Attributes:
        wires: bytes of frames for each delivery.
    """

    course: Course = field(default_factory=lambda: Course("message"))
    latencies: list[Latency] = field(default_factory=list)
    wires: list[float] = field(default_factory=list)

    def row(self, label: str) -> Row:
        """The row of a table."""
        rate, cost, *shares = self.course.row(label).figures
        return Row(label, [rate, cost, *latency_figures(self.latencies), Figure("bytes/message", self.wires), *shares])


def latency_figures(latencies: Sequence[Latency]) -> list[Figure]:
    """From the sender to the clients, in ms."""
    return [
        Figure("p50 ms", [1e3 * one.p50 for one in latencies], 2),
        Figure("p99 ms", [1e3 * one.p99 for one in latencies], 2),
    ]


class Audience:
    """The clients of one server, who have been let in and get everything.

    Args:
        clients: how many.
        crowd: they, if they are not simply those that the server offers.
    """

    def __init__(self, contestant: Contestant, loader: Loader, clients: int, crowd: Crowd | None = None) -> None:
        self.contestant = contestant
        self.clients = clients
        self.crowd = contestant.crowd(clients) if crowd is None else crowd
        self.tracks: dict[int, Track] = {}
        self.events: Iterator[Event] = call_center(conflatable=False)
        self._loader = loader
        self.crowd.open()
        contestant.await_open(self.crowd)
        contestant.subscribe(self.crowd)
        self._run(list(islice(self.events, 1)), 1, 0)

    def watch(self) -> Stopwatch:
        """A stopwatch over everybody who takes part."""
        return Stopwatch(server=self.contestant.pids, clients=self._loader.pid, sender=os.getpid())

    def measure(self, window: int, count: int, seconds: float) -> Delivery:
        """Publish up to ``count`` events with ``window`` outstanding, and not longer than that; check them all.

        Raises:
            Broken: an event does not come, or not in its place.
        """
        events = list(islice(self.events, count))
        self._run(list(islice(self.events, 1)), 1, 0)
        published, span = self._run(events, window, seconds)
        messages = published * self.clients
        track = self.tracks.setdefault(window, Track())
        catch = self.crowd.catch()
        track.course.add(span, messages)
        track.latencies.append(self.crowd.latency())
        track.wires.append(catch.wire / messages)
        return self.check(catch, f"{self.contestant.name}, {window} outstanding", messages)

    def check(self, catch: Catch, label: str, messages: int) -> Delivery:
        """Check that everybody has got everything."""
        return delivery_of(catch, label, messages, self.contestant.settle())

    def _run(self, events: Sequence[Event], window: int, seconds: float) -> tuple[int, Span]:
        """Publish each event as soon as all clients have got the one ``window`` before it, at least one."""
        self.crowd.forget()
        received = published = 0
        watch = self.watch()
        end = time.monotonic() + seconds
        while True:
            allowed = min(len(events), received + window)
            if allowed > published and (not published or time.monotonic() < end):
                self.contestant.publish(events[published:allowed])
                published = allowed
            if received == published:
                break
            received = self.crowd.wait("event", received + 1)
            self.contestant.take()
        return published, watch.stop()

    def close(self) -> None:
        """Disconnect them."""
        self.crowd.close()


def attempt(audiences: list[Audience], audience: Audience, report: Report, run: Callable[[], Delivery | None]) -> bool:
    """Run something and report what was delivered; return False if a peer has failed, who then is one of them no more.

    Raises:
        Broken: it was the gateway.
    """
    try:
        delivery = run()
    except Broken as trouble:
        if audience.contestant.name == GATEWAY.name:
            raise
        audiences.remove(audience)
        audience.close()
        report.rows.append(Row(audience.contestant.name, unavailable=f"it failed: {trouble}"))
        return False
    if delivery:
        report.deliver(delivery)
    return True
