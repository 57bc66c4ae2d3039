"""Detects that no worker serves, while the open ports still queue connections, and restarts workers sooner then."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from callcenter_ws.workers.slot import WorkerSlot

_log = Logger()

CHECK_INTERVAL_SECONDS = 1.0
"""Seconds between two checks while no worker serves. Each check starts the worker whose restart is due next."""


class NoWorkerMonitor:
    """Logs when no worker serves, and until one does skips the restart delays of workers that keep ending."""

    def __init__(self, reactor: IReactorTime, slots: Sequence[WorkerSlot]) -> None:
        self._reactor = reactor
        self._slots = slots
        self._next_check: IDelayedCall | None = None  # while no worker serves

    def worker_ended(self) -> None:
        """Check whether another worker serves; a worker has ended."""
        if self._next_check is None and self._serving() is None:
            _log.critical("no worker serves: connections wait until one does")
            self._schedule_check()

    def stop(self) -> None:
        """Stop checking."""
        next_check, self._next_check = self._next_check, None
        if next_check is not None:
            next_check.cancel()

    def _check(self) -> None:
        self._next_check = None
        serving = self._serving()
        if serving is not None:
            # At level error: alerts that report errors only must report the end of the outage, too.
            _log.error("a worker serves again: {process}", process=str(serving.current))
            return
        self._schedule_check()
        # Even while another worker is starting: that one may hang.
        min(self._slots, key=lambda slot: slot.restart_at).restart_now()

    def _serving(self) -> WorkerSlot | None:
        return next((slot for slot in self._slots if slot.serves), None)

    def _schedule_check(self) -> None:
        self._next_check = self._reactor.callLater(CHECK_INTERVAL_SECONDS, self._check)
