"""What it costs a server to let a client in: the gateway with its check of a token, the peers without any."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.course import Course
from bench.cpu import Stopwatch
from bench.failure import Broken
from bench.loader import Crowd, Loader
from bench.peers.contestant import Contestant, Transport
from bench.peers.roster import EVERYBODY, GATEWAY, GO, GO_FRAMES, start
from bench.process import await_calm, open_files
from bench.report import Figure, Limit, Report, Row, progress
from bench.scale import Scale

GO_GOAL = 1.3
"""What the gateway may take at most, over the Go hub."""

FULL, RESUMED = "TLS, full handshake", "TLS, resumed"


class Door:
    """A server, and clients who come in and go again.

    Attributes:
        courses: by how they come.
        resumed: percents of the clients whose TLS session was one from before.
    """

    def __init__(self, contestant: Contestant, loader: Loader, clients: int) -> None:
        self.contestant = contestant
        self.courses: dict[str, Course] = {}
        self.resumed: dict[str, list[float]] = {}
        self._loader = loader
        self._clients = clients
        # Those who come for the first time may be news.
        crowd = contestant.crowd(clients)
        self._come(crowd)
        crowd.close()
        await_calm(contestant.pids)
        self._files = open_files(contestant.pids)

    def run(self, ways: Sequence[str]) -> None:
        """One round: the same clients come in each way, one after the other."""
        crowd = self.contestant.crowd(self._clients)
        for way in ways:
            crowd.again()
            await_calm(self.contestant.pids, self._files)
            watch = Stopwatch(server=self.contestant.pids, clients=self._loader.pid, sender=os.getpid())
            self._come(crowd)
            self.courses.setdefault(way, Course("client")).add(watch.stop(), self._clients)
            self.resumed.setdefault(way, []).append(100 * crowd.catch().tls_resumed / self._clients)
        crowd.close()
        await_calm(self.contestant.pids, self._files)

    def _come(self, crowd: Crowd) -> None:
        crowd.open()
        self.contestant.await_open(crowd)
        catch = crowd.catch()
        if catch.lost or catch.kinds["open"].total != self._clients:
            raise Broken(f"{self.contestant.name}: not everybody has come in: {catch}")

    def row(self, way: str) -> Row:
        """The row of a table."""
        figures = list(self.courses[way].row("").figures)
        if way != Transport.PLAIN:
            figures.append(Figure("% resumed", self.resumed[way]))
        return Row(f"{self.contestant.name} | {way}", figures)


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("connect", f"{scale.clients:,} clients come in")
    everybody = [kind for kind in EVERYBODY if kind is not GO_FRAMES]
    with closing(Loader(folder)) as loader:
        for transport, ways in ((Transport.PLAIN, [str(Transport.PLAIN)]), (Transport.TLS, [FULL, RESUMED])):
            with start(folder / f"connect-{transport}", loader, transport, report, everybody) as contestants:
                doors = [Door(one, loader, scale.clients) for one in contestants]
                for number in range(scale.rounds):
                    progress(f"connect, {transport}: round {number + 1} of {scale.rounds}")
                    for door in doors:
                        door.run(ways)
                _tell(doors, ways, report)
    report.notes += [
        "from the TCP connection to the answer to the handshake; the gateway: to the welcome, its token checked",
        "nats-server: to the answer that the subscription is in force",
        "TLS 1.3, ECDSA on P-256; resumed: by the session that the server gave the same client before",
    ]
    return report


def _tell(doors: Sequence[Door], ways: Sequence[str], report: Report) -> None:
    for way in ways:
        report.rows += [door.row(way) for door in doors]
        courses = {door.contestant.name: door.courses[way] for door in doors}
        own = courses.pop(GATEWAY.name, None)
        for name, course in courses.items() if own else ():
            most = GO_GOAL if (name, way) == (GO.name, Transport.PLAIN) else None
            values = [above / below for above, below in zip(own.costs, course.costs, strict=True)] if own else []
            report.ratios.append(Limit(f"{GATEWAY.name} / {name} | {way}", "CPU", values, most))
