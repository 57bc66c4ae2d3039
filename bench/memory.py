"""Measures how much of a server's memory an idle connection takes."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from bench.failure import InvalidRun
from bench.loader import ClientGroup, Loader
from bench.peers.peer_list import ALL_SERVERS, GATEWAY, GO_FRAMES, start
from bench.peers.server import Server, Transport
from bench.process_stats import await_idle, private_memory
from bench.report import Figure, Limit, Report, Row, print_progress
from bench.scale import Scale

GOALS: Mapping[Transport, float] = {Transport.PLAIN: 10, Transport.TLS: 36}
"""Maximum of the gateway's memory per connection in KiB."""


def measure(folder: Path, scale: Scale) -> Report:
    """Measure the private memory of each server per idle connection, plain and with TLS; return the report.

    Raises:
        InvalidRun: a client was disconnected.
    """
    report = Report("memory", f"{scale.idle:,} idle connections")
    with closing(Loader(folder)) as loader:
        for transport in Transport:
            for index, kind in enumerate(ALL_SERVERS):
                # With -frames the Go hub differs only in how it writes.
                if kind is GO_FRAMES:
                    continue
                print_progress(f"memory, {transport}: {kind.name}")
                with start(folder / f"memory-{transport}-{index}", loader, transport, report, [kind]) as servers:
                    for server in servers:
                        _measure(server, scale, report, transport)
    report.notes += [
        f"{scale.idle // 10:,} clients connect before and stay, so that one-time costs are not counted",
        "Pss_Anon and Pss_Shmem of /proc/PID/smaps_rollup, of all processes of the server, without kernel memory",
    ]
    return report


def _measure(server: Server, scale: Scale, report: Report, transport: Transport) -> None:
    first = _connect(server, server.client_group(scale.idle // 10), scale)
    before = private_memory(server.pids)
    rest = _connect(server, server.client_group(scale.idle), scale)
    after = private_memory(server.pids)
    stats = rest.stats()
    if stats.lost or first.stats().lost:
        raise InvalidRun(f"{server.name}: not every client has stayed connected: {stats}")
    each = [(after - before) / scale.idle / 1024]
    figures = [Figure("KiB/connection", each, 1), Figure("MiB before", [before / 1024**2], 1)]
    report.rows.append(Row(f"{server.name} | {transport}", figures))
    if server.name == GATEWAY.name:
        report.ratios.append(Limit(f"{GATEWAY.name} | {transport}", "a connection", each, GOALS[transport], " KiB"))
    first.close()
    rest.close()


def _connect(server: Server, group: ClientGroup, scale: Scale) -> ClientGroup:
    group.open()
    server.await_open(group)
    server.subscribe(group)
    await_idle(server.pids)
    # Garbage-collected runtimes return the memory of the handshakes with a delay.
    time.sleep(scale.settling_seconds)
    return group
