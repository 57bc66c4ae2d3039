"""Rate limits of a peer: a token bucket, and a count of mistakes per minute."""

from __future__ import annotations

from collections import deque

MINUTE_SECONDS = 60.0


class TokenBucket:
    """Allows ``rate`` requests a second on average and ``burst`` at once.

    Args:
        now: seconds on a monotonic clock, as for ``wait_for``.
    """

    __slots__ = ("_burst", "_last", "_rate", "_tokens")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._last = now

    def wait_for(self, now: float) -> float:
        """Take a token and return 0, or return the seconds until there is one."""
        self._tokens = min(self._burst, self._tokens + (now - self._last) * self._rate)
        self._last = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) / self._rate


class MistakeCount:
    """Counts mistakes over the last minute.

    Args:
        allowed: mistakes that are allowed within a minute.
    """

    __slots__ = ("_allowed", "_times")

    def __init__(self, allowed: int) -> None:
        self._allowed = allowed
        self._times: deque[float] = deque(maxlen=allowed + 1)

    def too_many(self, now: float) -> bool:
        """Count one more mistake; return whether there are more than allowed."""
        while self._times and self._times[0] <= now - MINUTE_SECONDS:
            self._times.popleft()
        self._times.append(now)
        return len(self._times) > self._allowed
