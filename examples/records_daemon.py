"""Publish numbered alerts, each time two of them in one unit with a record of their number.

    python records_daemon.py unix:/run/callcenter-ws/amp.sock /var/lib/alerts/alerts.spool --token-file amp.token

However often the process is killed and started again, no number is published twice, and none is left out.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, react

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster, UnitEvent

TENANT = "acme"


# Begin of the example in the manual
class Alerts:
    """Publishes alerts whose numbers continue those of the process before."""

    def __init__(self, gateway: EventBroadcaster) -> None:
        self._gateway = gateway
        gateway.startService()
        self._number = int(gateway.records.get("number", b"0"))

    def publish(self) -> None:
        """Publish two alerts, and keep the number of the second."""
        first, last = self._number + 1, self._number + 2
        events = [
            UnitEvent(TENANT, "alert", {"title": f"alert {number}", "message": "a test"}, event_id=f"alerts/{number}")
            for number in (first, last)
        ]
        try:
            self._gateway.publish_unit(events, {"number": b"%d" % last, f"pair/{last % 10}": b"%d %d" % (first, last)})
        except Refusal as refusal:
            if refusal.code is not ErrorCode.OVERLOADED:
                raise
            return  # The buffer is full. Nothing was published, and the same two are tried again.
        self._number = last


# End of the example in the manual


def main(reactor: Any, *arguments: str) -> Deferred[None]:
    """Publish until the process is ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("endpoint")
    parser.add_argument("spool", type=Path)
    parser.add_argument("--token-file", type=Path)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between two units")
    options = parser.parse_args(arguments)
    token = options.token_file and options.token_file.read_text().strip()
    gateway = EventBroadcaster(
        options.endpoint, reactor, token=token, source="alerts", tenants=[TENANT], spool=options.spool
    )
    stopped: Deferred[None] = LoopingCall(Alerts(gateway).publish).start(options.interval).addCallback(lambda _: None)
    return stopped


if __name__ == "__main__":
    react(main, sys.argv[1:])
