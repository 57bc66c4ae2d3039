"""GatewayClock: the time of the gateway, as its answers tell it."""

from __future__ import annotations

from callcenter_ws.runtime.clock import Clock


class GatewayClock:
    """Estimates the Unix time of the gateway, by which the deadlines of commands are given.

    ``Hello`` and ``Ping`` answer the gateway's time. The seconds since such a request was sent are added, measured by
    the monotonic clock: the estimate is never behind, and ahead by no more than the request took to arrive.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._offset: float | None = None

    def answered(self, server_time_ms: int, sent_at: float) -> None:
        """Note the gateway's time in the answer to a request.

        Args:
            sent_at: when the request was sent, in seconds of the monotonic clock.
        """
        self._offset = server_time_ms / 1_000 - sent_at

    def time(self) -> float | None:
        """Return the Unix time of the gateway in seconds; None: it has not told it yet."""
        return None if self._offset is None else self._clock.monotonic() + self._offset
