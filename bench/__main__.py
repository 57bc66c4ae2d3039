"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import (
    broadcast,
    cluster,
    compression,
    connect,
    ingest,
    latency,
    machine,
    memory,
    resume,
    snapshot,
    tenants,
)
from bench.failure import Broken, Unavailable
from bench.plot import check_plotting, draw
from bench.report import Report, heading, progress, say
from bench.scale import FULL, QUICK, Scale

CASES: Mapping[str, Callable[[Path, Scale], Report]] = {
    "fan-out": broadcast.measure,
    "latency": latency.measure,
    "connect": connect.measure,
    "memory": memory.measure,
    "compression": compression.measure,
    "tenants": tenants.measure,
    "ingest": ingest.measure,
    "resume": resume.measure,
    "snapshot": snapshot.measure,
    "cluster": cluster.measure,
}

_DESCRIPTION = """\
Measures the gateway, and its peers beside it in the same run: each a real server in a process and a folder of its own,
on this machine alone. Where nothing else is said, 1,000 clients, events of 333 bytes, and three rounds, in which the
servers take turns.

cases with peers:
  fan-out      every event to everybody, with 1, 8 and 64 events outstanding; plain, then with TLS
  latency      events at a rate: half of what each server can do, and the same rate for all
  connect      clients that come in: plain, with a whole TLS handshake, and with a TLS session from before
  memory       what a connection that waits takes, of 2,000; plain and with TLS

cases of the gateway alone:
  compression  fan-out with permessage-deflate and without
  tenants      200 tenants with 50 clients of all roles, against one tenant where all are alike; and events for one
               user among 10,000 connections, against 100
  ingest       events over AMP into each store, single and in batches; beside it, what bare sqlite3 and bare AMP do
  resume       live fan-out, then the same clients coming back for 500 missed events each
  cluster      gateways that share a Redis, beside one with a file: fan-out, time on the way, ingest, 1 to 4 workers
  snapshot     the state of 5,000 agents, 500 calls and 100 queues: time to the first and last byte, and size

peers:
  nats-server        its WebSocket listener; clients speak its protocol
  Go hub             gorilla/websocket, a hub with two goroutines for each client; it joins what has piled up for a
                     client in one frame, a line each; "Go hub, frames" is the same with a frame for each message
  nginx nchan        its WebSocket subscriber and publisher
  Node ws, Python websockets   a broadcaster around each of these libraries
bench/setup installs them. One that is not installed is left out, and a line says so.
"""

_EPILOG = """\
Figures are medians over the rounds, with the lowest and the highest behind them. CPU is user and system time of all
processes of the server, by the operating system's accounting; on a machine that others use, too, it is the figure to
trust. Ratios are of the same rounds, the gateway over the peer; behind them is what they were asked to be. All events
are counted and their order is checked, at each client: if one is lost, repeated or out of order, the status is 1 and
there are no figures; where a peer may lose events without that being a mistake of its own, it is told how many. What
the gateway refuses, or this machine cannot do, is a row that says so.

The clients are a program in C, which the system's compiler makes on the spot; for TLS it needs OpenSSL's headers, for
compression zlib's. Everything takes about half an hour.
"""


def main() -> int:
    """Run the cases; return the exit status."""
    options = _parser().parse_args()
    # So that whoever ends it does not leave servers behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scale = QUICK if options.quick else FULL
    described = machine.describe()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        try:
            if options.plot:
                check_plotting(options.case)
            say(heading(described))
            for case in options.case:
                reports.append(CASES[case](Path(folder), scale))
                say(str(reports[-1]))
            _write(options, described, reports)
        except (Broken, Unavailable) as failure:
            progress(f"bench: {type(failure).__name__.lower()}: {failure}")
            return 1
    return 0


def _write(options: argparse.Namespace, described: Mapping[str, str], reports: list[Report]) -> None:
    if options.json:
        document = {"machine": described, "quick": options.quick, "cases": [report.as_json() for report in reports]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.plot:
        draw(reports, options.plot)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="a little of everything, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw fan-out, connect and memory there")
    parser.add_argument(
        "--folder", type=Path, help="where stores keep their files (default: the system's temporary one)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
