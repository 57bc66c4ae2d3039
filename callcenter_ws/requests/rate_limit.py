"""Rate limits of peers: budgets of messages and bytes, shared ones by key, and a count of mistakes per minute."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass

MINUTE_SECONDS = 60.0

MAX_BUDGETS = 100_000
"""Shared budgets that are remembered; above that, the one that was not used for longest is forgotten."""


@dataclass(slots=True)
class Rate:
    """Messages and bytes that are allowed per second, and at once after a pause.

    All budgets with a rate refer to the same object: changing it changes all of them.
    """

    messages: float
    message_burst: float
    bytes: float
    byte_burst: float

    def replace_with(self, other: Rate) -> None:
        """Allow what another rate allows from now on."""
        self.messages, self.message_burst = other.messages, other.message_burst
        self.bytes, self.byte_burst = other.bytes, other.byte_burst


class Budget:
    """Allows messages at a ``Rate``: a token bucket for messages and one for bytes.

    Args:
        now: seconds on a monotonic clock, as for the methods.
    """

    __slots__ = ("_bytes", "_last", "_messages", "_rate")

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._messages = float(rate.message_burst)
        self._bytes = float(rate.byte_burst)
        self._last = now

    def wait_for(self, now: float, size: int) -> float:
        """Return the seconds until a message of ``size`` bytes is allowed, 0 if it is now; takes nothing.

        A message that is larger than the burst is allowed when nothing was used for a while.
        """
        rate, seconds = self._rate, now - self._last
        if seconds > 0:
            self._last = now
            self._messages = min(rate.message_burst, self._messages + seconds * rate.messages)
            self._bytes = min(rate.byte_burst, self._bytes + seconds * rate.bytes)
        wait = 0.0
        if self._messages < 1:
            wait = (1 - self._messages) / rate.messages
        missing = min(size, rate.byte_burst) - self._bytes
        if missing > 0:
            wait = max(wait, missing / rate.bytes)
        return wait

    def wait_until_left(self, part: float) -> float:
        """Return the seconds until ``part`` of the burst is left, 0 if it is; to be called after ``wait_for``."""
        rate = self._rate
        messages = (part * rate.message_burst - self._messages) / rate.messages
        return max(0.0, messages, (part * rate.byte_burst - self._bytes) / rate.bytes)

    def take(self, size: int) -> None:
        """Use the budget for a message of ``size`` bytes."""
        self._messages -= 1
        self._bytes -= size


class SharedBudgets:
    """The budgets that several connections use together, by key."""

    __slots__ = ("_budgets",)

    def __init__(self) -> None:
        self._budgets: OrderedDict[Hashable, Budget] = OrderedDict()

    def __len__(self) -> int:
        return len(self._budgets)

    def get(self, key: Hashable, rate: Rate, now: float) -> Budget:
        """Return the budget of a key; a new one if it is not remembered."""
        budget = self._budgets.get(key)
        if budget is not None:
            self._budgets.move_to_end(key)
            return budget
        budget = self._budgets[key] = Budget(rate, now)
        if len(self._budgets) > MAX_BUDGETS:
            self._budgets.popitem(last=False)
        return budget


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
    """Counts mistakes over the last minute."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: deque[float] = deque()

    def too_many(self, now: float, allowed: int) -> bool:
        """Count one more mistake; return whether there are more than ``allowed``. No more than these are remembered."""
        times = self._times
        while times and (times[0] <= now - MINUTE_SECONDS or len(times) > allowed):
            times.popleft()
        times.append(now)
        return len(times) > allowed
