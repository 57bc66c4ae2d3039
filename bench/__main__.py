"""The command line: ``python -m bench``."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import ingest, machine, resume, snapshot
from bench.failure import Broken, Unavailable
from bench.report import Report, heading, progress, say
from bench.scale import FULL, QUICK, Scale

CASES: Mapping[str, Callable[[Path, Scale], Report]] = {
    "ingest": ingest.measure,
    "resume": resume.measure,
    "snapshot": snapshot.measure,
}

_DESCRIPTION = """\
Measures the gateway: each time a real one, twistd in a process of its own, on this machine alone.

cases:
  ingest    events over AMP into each store, single and in batches; beside it, what bare sqlite3 and bare AMP do
  resume    live fan-out to 1,000 clients, then the same clients coming back for 500 missed events each
  snapshot  the state of 5,000 agents, 500 calls and 100 queues: time to the first and last byte, and size
"""

_EPILOG = """\
Figures are medians over the rounds, with the lowest and the highest behind them. CPU is user and system time of the
whole gateway process; on a machine that others use, too, it is the figure to trust. All events are counted and their
order is checked: if one is lost, repeated or out of order, the status is 1 and there are no figures. A store that the
gateway refuses is a row that says so.
"""


def main() -> int:
    """Run the cases; return the exit status."""
    options = _parser().parse_args()
    scale = QUICK if options.quick else FULL
    described = machine.describe()
    say(heading(described))
    reports = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as folder:
        try:
            for case in options.case:
                reports.append(CASES[case](Path(folder), scale))
                say(str(reports[-1]))
        except (Broken, Unavailable) as failure:
            progress(f"bench: {type(failure).__name__.lower()}: {failure}")
            return 1
    if options.json:
        document = {"machine": described, "quick": options.quick, "cases": [report.as_json() for report in reports]}
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


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
    parser.add_argument(
        "--folder", type=Path, help="where stores keep their files (default: the system's temporary one)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
