"""PendingReports: counts the connections that nodes report to have closed for a control message."""

from __future__ import annotations

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.cluster.control_message import ControlReport, decode_report
from callcenter_ws.runtime.clock import Clock

REPORT_TIMEOUT_SECONDS = 2.0
"""How long to wait for the reports of the other nodes."""

_log = Logger()


class _ReportCount:
    """The reports about one message.

    Attributes:
        missing: nodes that have not reported.
        done: fires when all have reported, or the timeout has passed.
    """

    def __init__(self, nodes: set[str]) -> None:
        self.missing = nodes
        self.closed = 0
        self.done: Deferred[None] = Deferred()

    def add(self, report: ControlReport) -> None:
        if report.node in self.missing:
            self.missing.discard(report.node)
            self.closed += report.closed
            if not self.missing:
                self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class PendingReports:
    """The reports that this node waits for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, _ReportCount] = {}

    def expect(self, message_id: str, nodes: set[str]) -> None:
        """Count the reports of these nodes from now on, until ``cancel``."""
        self._counts[message_id] = _ReportCount(nodes)

    def cancel(self, message_id: str) -> None:
        """Ignore reports about a message."""
        del self._counts[message_id]

    async def wait(self, message_id: str) -> int:
        """Wait for the reports, at most ``REPORT_TIMEOUT_SECONDS``; return how many connections were closed."""
        count = self._counts[message_id]
        timer = self._clock.call_later(REPORT_TIMEOUT_SECONDS, count.end)
        await count.done
        timer.cancel()
        if count.missing:
            nodes = ", ".join(sorted(count.missing))
            _log.warn("nodes that did not report about a control message in time: {nodes}", nodes=nodes)
        return count.closed

    def received(self, data: bytes) -> None:
        """Process a report; empty: reports may have been missed."""
        if not data:
            return
        try:
            report = decode_report(data)
        except msgspec.DecodeError:
            return  # a node of another version reports about a message of that version
        self.add(report)

    def add(self, report: ControlReport) -> None:
        """Count a report."""
        count = self._counts.get(report.order)
        if count is not None:
            count.add(report)
