"""Measures the cost of connects: the gateway, which checks a token, and its peers, which do not."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.cpu import Stopwatch
from bench.failure import InvalidRun
from bench.loader import ClientGroup, Loader
from bench.measurement import Measurement
from bench.peers.peer_list import ALL_SERVERS, GATEWAY, GO, GO_FRAMES, start
from bench.peers.server import Server, Transport
from bench.process_stats import await_idle, open_files
from bench.report import Figure, Limit, Report, Row, print_progress
from bench.scale import Scale

GO_GOAL = 1.3
"""Maximum of the gateway's CPU per connect over that of the Go hub."""

FULL, RESUMED = "TLS, full handshake", "TLS, resumed"


class ConnectRun:
    """Connects clients to one server, round after round.

    Attributes:
        measurements: results by mode: plain, full TLS handshake, resumed TLS session.
        resumed: percentages of clients that resumed a TLS session, by mode.
    """

    def __init__(self, server: Server, loader: Loader, clients: int) -> None:
        self.server = server
        self.measurements: dict[str, Measurement] = {}
        self.resumed: dict[str, list[float]] = {}
        self._loader = loader
        self._clients = clients
        # The first connect of each user may cost more: its presence is announced.
        group = server.client_group(clients)
        self._connect(group)
        group.close()
        await_idle(server.pids)
        self._files = open_files(server.pids)

    def run(self, modes: Sequence[str]) -> None:
        """Run one round: the same clients connect in each mode, one mode after the other."""
        group = self.server.client_group(self._clients)
        for mode in modes:
            group.disconnect()
            await_idle(self.server.pids, self._files)
            watch = Stopwatch(server=self.server.pids, clients=self._loader.pid, sender=os.getpid())
            self._connect(group)
            self.measurements.setdefault(mode, Measurement("client")).add(watch.stop(), self._clients)
            self.resumed.setdefault(mode, []).append(100 * group.stats().tls_resumed / self._clients)
        group.close()
        await_idle(self.server.pids, self._files)

    def _connect(self, group: ClientGroup) -> None:
        group.open()
        self.server.await_open(group)
        stats = group.stats()
        if stats.lost or stats.kinds["open"].total != self._clients:
            raise InvalidRun(f"{self.server.name}: not every client has connected: {stats}")

    def row(self, mode: str) -> Row:
        """Return the row of a table."""
        figures = list(self.measurements[mode].row("").figures)
        if mode != Transport.PLAIN:
            figures.append(Figure("% resumed", self.resumed[mode]))
        return Row(f"{self.server.name} | {mode}", figures)


def measure(folder: Path, scale: Scale) -> Report:
    """Measure how fast clients connect to each server, and its CPU per connect; return the report.

    Modes: plain, and TLS with full and with resumed handshakes.
    """
    report = Report("connect", f"{scale.clients:,} clients connect")
    kinds = [kind for kind in ALL_SERVERS if kind is not GO_FRAMES]
    with closing(Loader(folder)) as loader:
        for transport, modes in ((Transport.PLAIN, [str(Transport.PLAIN)]), (Transport.TLS, [FULL, RESUMED])):
            with start(folder / f"connect-{transport}", loader, transport, report, kinds) as servers:
                runs = [ConnectRun(server, loader, scale.clients) for server in servers]
                for number in range(scale.rounds):
                    print_progress(f"connect, {transport}: round {number + 1} of {scale.rounds}")
                    for run in runs:
                        run.run(modes)
                _add_results(runs, modes, report)
    report.notes += [
        "from the TCP connect to the answer to the handshake; the gateway: to the welcome, its token checked",
        "nats-server: until the subscription is in force",
        "TLS 1.3, ECDSA on P-256; resumed: with the session that the server issued to the same client before",
    ]
    return report


def _add_results(runs: Sequence[ConnectRun], modes: Sequence[str], report: Report) -> None:
    for mode in modes:
        report.rows += [run.row(mode) for run in runs]
        peers = {run.server.name: run.measurements[mode] for run in runs}
        gateway = peers.pop(GATEWAY.name, None)
        if gateway is None:
            continue
        for name, peer in peers.items():
            maximum = GO_GOAL if (name, mode) == (GO.name, Transport.PLAIN) else None
            values = [above / below for above, below in zip(gateway.costs, peer.costs, strict=True)]
            report.ratios.append(Limit(f"{GATEWAY.name} / {name} | {mode}", "CPU", values, maximum))
