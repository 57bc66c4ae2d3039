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
    bridge,
    calls,
    cluster,
    compression,
    connect,
    fan_out,
    hostile,
    ingest,
    latency,
    machine,
    memory,
    resume,
    snapshot,
    statistics,
    tenants,
)
from bench.failure import InvalidRun, Unavailable
from bench.plot import check_plotting, draw
from bench.report import Report, heading, print_progress, print_result
from bench.scale import FULL, QUICK, Scale

CASES: Mapping[str, Callable[[Path, Scale], Report]] = {
    "fan-out": fan_out.measure,
    "latency": latency.measure,
    "connect": connect.measure,
    "memory": memory.measure,
    "compression": compression.measure,
    "tenants": tenants.measure,
    "ingest": ingest.measure,
    "resume": resume.measure,
    "snapshot": snapshot.measure,
    "cluster": cluster.measure,
    "hostile": hostile.measure,
    "bridge": bridge.measure,
    "statistics": statistics.measure,
    "calls": calls.measure,
}

_DESCRIPTION = """\
Measures the gateway and its peers in the same run. Each server runs in its own process and folder, on this machine.
Unless stated otherwise there are 1,000 clients, events of 333 bytes, and three rounds in which the servers take turns.

cases with peers:
  fan-out      every event to every client, with 1, 8 and 64 events outstanding; plain, then with TLS
  latency      events at a fixed rate: half of each server's maximum, and the same rate for all
  connect      clients that connect: plain, with a full TLS handshake, and with a resumed TLS session
  memory       memory of an idle connection, of 2,000; plain and with TLS

cases of the gateway alone:
  compression  fan-out with and without permessage-deflate
  tenants      200 tenants with 50 clients of all roles, against one tenant with equal clients; and events for one
               user among 10,000 connections, against 100
  ingest       events over AMP into each store, single and in batches; as baselines, bare sqlite3 and bare AMP
  resume       live fan-out, then the same clients reconnect and resume with 500 missed events each
  cluster      gateways that share a Redis, against one with a file: fan-out, latency, ingest, 1 to 4 workers
  hostile      another client's round trip, memory and the longest reactor turns under each of eleven attacks
  bridge       an Asterisk with 500 agents and 50 calls a second: its events per second and their CPU, in the bridge
               alone and through to a client; the client's delay; memory over a million events. Peer: panoramisk
  statistics   ingest with statistics on and off: CPU per event and longest turns; memory and the start with 30 days of
               200 queues and 2,000 agents in the file
  calls        50,000 calls of today: the first request, which reads them, and searches; CPU and longest turns, memory
  snapshot     the state of 5,000 agents, 500 calls and 100 queues: time to the first and last byte, and size

peers:
  nats-server        its WebSocket listener; clients speak the NATS protocol
  Go hub             gorilla/websocket, a hub with two goroutines per client; it joins the messages that are queued
                     for a client in one frame, one a line; "Go hub, frames" sends a frame for each message
  nginx nchan        its WebSocket subscriber and publisher
  Node ws, Python websockets   a hub with each of these libraries
bench/setup installs them. A peer that is not installed is left out, and a line says so.
"""

_EPILOG = """\
Figures are medians over the rounds, followed by the lowest and the highest value. CPU is user and system time of all
processes of the server, as the operating system accounts it; on a machine with other load it is more reliable than
rates. Ratios are of the same rounds, the gateway over the peer, followed by the goal. All events are counted and their
order is checked at each client. If an event is lost, repeated or out of order, the exit status is 1 and no figures are
printed; for a peer that may drop messages by design, their number is shown instead. A measurement that the gateway
refuses or this machine cannot make has a row with the reason.

The clients are a program in C, which the system's compiler builds when it is needed; TLS needs OpenSSL's headers,
compression needs zlib's. The whole run takes about half an hour.
"""

_ERROR_KIND = {InvalidRun: "invalid run", Unavailable: "unavailable"}


def main() -> int:
    """Run the cases; return the exit status."""
    options = _parser().parse_args()
    # SystemExit unwinds the stack, which ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    scale = QUICK if options.quick else FULL
    described = machine.describe()
    reports: list[Report] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        try:
            if options.plot:
                check_plotting(options.case)
            print_result(heading(described))
            for case in options.case:
                reports.append(CASES[case](Path(folder), scale))
                print_result(str(reports[-1]))
            _write(options, described, reports)
        except (InvalidRun, Unavailable) as error:
            print_progress(f"bench: {_ERROR_KIND[type(error)]}: {error}")
            return 1
    return 0


def _write(options: argparse.Namespace, described: Mapping[str, str], reports: list[Report]) -> None:
    if options.json:
        document = {"machine": described, "quick": options.quick, "cases": [report.as_json() for report in reports]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if options.plot:
        draw(reports, options.plot)


def _folder(text: str) -> Path:
    """Return an absolute path: the servers run in folders of their own."""
    return Path(text).absolute()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m bench",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--case", nargs="+", choices=CASES, default=list(CASES), help="run only these (default: all)")
    parser.add_argument("--quick", action="store_true", help="run every case once with small sizes, as a test")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to this file")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw fan-out, connect and memory to this file")
    parser.add_argument(
        "--folder", type=_folder, help="where stores keep their files (default: the system's temporary folder)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
