"""RetryLog: logs why attempts fail, each reason once, and then at most every few minutes."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.logger import Logger, LogLevel

from callcenter_ws.runtime.clock import Clock

_REPEAT_SECONDS = 300.0
_MAX_REASONS = 32

_log = Logger()


@dataclass(slots=True)
class _Reason:
    """When a reason was logged last, and how often it has occurred since."""

    logged_at: float
    unlogged: int = 0


class RetryLog:
    """Logs the failures of a connection that is made again and again.

    A reason is logged when it occurs first, then at most once in 5 minutes, with the number of occurrences in between.
    At most 32 reasons are remembered; beyond that the oldest one is forgotten, and logged again if it recurs.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._reasons: dict[str, _Reason] = {}
        self._reports_success = True

    def failed(self, reason: str, retry_seconds: float | None, *, level: LogLevel = LogLevel.warn) -> None:
        """Log ``reason``, a sentence without its full stop, and when the next attempt is; None: there is none."""
        now = self._clock.monotonic()
        known = self._reasons.get(reason)
        if known is not None and now - known.logged_at < _REPEAT_SECONDS:
            known.unlogged += 1
            return
        if known is None and len(self._reasons) >= _MAX_REASONS:
            del self._reasons[next(iter(self._reasons))]
        times = f" (and {known.unlogged} times since the last such line)" if known and known.unlogged else ""
        then = "" if retry_seconds is None else f"; retrying in {max(retry_seconds, 0.1):.1f} s"
        self._reasons[reason] = _Reason(now)
        self._reports_success = True
        _log.emit(level, "{reason}{times}{then}", reason=reason, times=times, then=then)

    def succeeded(self, text: str) -> None:
        """Log a success, if nothing was logged before or a failure was logged since the last success."""
        if self._reports_success:
            self._reports_success = False
            _log.info("{text}", text=text)
