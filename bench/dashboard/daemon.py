"""A daemon of the run, which is a source: it publishes events until it ends.

``python -m bench.dashboard.daemon ENDPOINT TENANT SOURCE SPOOL RATE SIZE``

It sends calls, the figures of queues, and messages for single users. Some of these users never connect.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on Failure.trap.

from __future__ import annotations

import random
import sys

from twisted.internet import reactor, task
from twisted.python.failure import Failure

from callcenter_ws.errors import Refusal
from callcenter_ws.remote import EventBroadcaster
from callcenter_ws.runtime.json import JsonObject

USERS = 80
"""Agents that are online; messages go to these and to as many others."""

_PER_TICK_SECONDS = 0.1
_QUEUES = 8


class Daemon:
    """Publishes a mixture of events.

    Args:
        rate: events per second.
        size: bytes that are added to each event.
    """

    def __init__(self, broadcaster: EventBroadcaster, tenant: str, source: str, rate: float, size: int) -> None:
        self._broadcaster = broadcaster
        self._tenant = tenant
        self._source = source
        self._rate = rate
        self._filler = "x" * size
        self._number = 0

    def tick(self) -> None:
        """Publish the events of a tenth of a second."""
        for _ in range(int(self._rate * _PER_TICK_SECONDS)):
            self._number += 1
            self._publish(self._number)

    def _publish(self, number: int) -> None:
        queue = f"queue-{number % _QUEUES}"
        match number % 10:
            case 0 | 1 | 2 | 3:
                stats = {"calls_waiting": number % 7, "available_agents": 3, "logged_in_agents": 5}
                self._send("queue.stats", {"queue_name": queue, **stats, "filler": self._filler})
            case 9:
                user = f"agent-{random.randrange(2 * USERS)}"  # noqa: S311 - no secret
                note: JsonObject = {"type": "reminder", "title": "Call back", "message": "Mr. Sousa at 15:00"}
                self._send("notification", note, user, persist=True)
            case _:
                call = {"unique_id": f"{self._source}-{number // 10}", "caller_id": "+4930123456", "destination": "100"}
                self._send("call.incoming", {**call, "queue_name": queue, "filler": self._filler})

    def _send(self, type_: str, payload: JsonObject, user: str | None = None, *, persist: bool = False) -> None:
        published = self._broadcaster.publish(self._tenant, type_, payload, user_id=user, persist=persist)
        # A full buffer refuses events while the gateway is away.
        published.addErrback(_refused)


def _refused(failure: Failure) -> None:
    failure.trap(Refusal)


def main(endpoint: str, tenant: str, source: str, spool: str, rate: str, size: str) -> None:
    """Publish until the process is ended."""
    broadcaster = EventBroadcaster(
        endpoint, reactor, source=source, spool=spool, tenants=[tenant], kind="simulated", buffer=50_000
    )
    broadcaster.startService()
    daemon = Daemon(broadcaster, tenant, source, float(rate), int(size))
    task.LoopingCall(daemon.tick).start(_PER_TICK_SECONDS)
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
