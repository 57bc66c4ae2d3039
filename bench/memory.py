"""What a connection that waits takes of a server's memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from bench.failure import Broken
from bench.loader import Crowd, Loader
from bench.peers.contestant import Contestant, Transport
from bench.peers.roster import EVERYBODY, GATEWAY, GO_FRAMES, start
from bench.process import await_calm, own_memory
from bench.report import Figure, Limit, Report, Row, progress
from bench.scale import Scale

GOALS: Mapping[Transport, float] = {Transport.PLAIN: 10, Transport.TLS: 36}
"""KiB that a connection may take of the gateway at most."""


def measure(folder: Path, scale: Scale) -> Report:
    """Measure it."""
    report = Report("memory", f"{scale.idle:,} connections that wait")
    with closing(Loader(folder)) as loader:
        for transport in Transport:
            for kind in EVERYBODY:
                # The Go hub holds its clients the same way, however it writes to them.
                if kind is GO_FRAMES:
                    continue
                progress(f"memory, {transport}: {kind.name}")
                own = folder / f"memory-{transport}-{EVERYBODY.index(kind)}"
                with start(own, loader, transport, report, [kind]) as contestants:
                    for contestant in contestants:
                        _measure(contestant, scale, report, transport)
    report.notes += [
        f"{scale.idle // 10:,} clients are there before, and stay: what the first ones set up is left out",
        "Pss_Anon and Pss_Shmem of /proc/PID/smaps_rollup, of all processes of the server, without the kernel's share",
    ]
    return report


def _measure(contestant: Contestant, scale: Scale, report: Report, transport: Transport) -> None:
    first = _let_in(contestant, contestant.crowd(scale.idle // 10), scale)
    before = own_memory(contestant.pids)
    rest = _let_in(contestant, contestant.crowd(scale.idle), scale)
    after = own_memory(contestant.pids)
    catch = rest.catch()
    if catch.lost or first.catch().lost:
        raise Broken(f"{contestant.name}: not everybody has stayed: {catch}")
    each = [(after - before) / scale.idle / 1024]
    figures = [Figure("KiB/connection", each, 1), Figure("MiB before", [before / 1024**2], 1)]
    report.rows.append(Row(f"{contestant.name} | {transport}", figures))
    if contestant.name == GATEWAY.name:
        report.ratios.append(Limit(f"{GATEWAY.name} | {transport}", "a connection", each, GOALS[transport], " KiB"))
    first.close()
    rest.close()


def _let_in(contestant: Contestant, crowd: Crowd, scale: Scale) -> Crowd:
    crowd.open()
    contestant.await_open(crowd)
    contestant.subscribe(crowd)
    await_calm(contestant.pids)
    # Runtimes give back later what they needed to let clients in.
    time.sleep(scale.settling)
    return crowd
