"""How often a password of a name may be tried, and how many screens of a network may wait to be paired."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from callcenter_ws.errors import ErrorCode, Refusal

MAX_NAMES = 10_000
"""Names that are remembered. Beyond, the one that was tried least recently is forgotten."""

NAME_SECONDS = 900.0
"""The time in which ``limits.failed_sign_ins_per_name`` passwords may be refused."""

MAX_OPEN_CODES = 20
"""Screens of one network that may wait at the same time."""


class SignInTries:
    """Counts refused passwords by name, whether or not there is such a user.

    A try counts from its beginning, so that many at the same time are not more; one that succeeds is given back.

    Args:
        monotonic: returns seconds.
        most: returns how many of a name may be refused in ``NAME_SECONDS``.
    """

    def __init__(self, monotonic: Callable[[], float], most: Callable[[], int]) -> None:
        self._monotonic = monotonic
        self._most = most
        # How many tries count, and when that was so; they become fewer steadily.
        self._used: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str) -> None:
        """Count a try.

        Raises:
            Refusal: ``rate_limited``.
        """
        used, most = self._used_now(name), self._most()
        if used > most - 1:
            seconds = (used - most + 1) * NAME_SECONDS / most
            text = "too many wrong passwords for this name; wait, or ask an administrator"
            raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=seconds)
        self._set(name, used + 1)

    def give_back(self, name: str) -> None:
        """Do not count a try: it has succeeded, or was not carried out."""
        self._set(name, max(0.0, self._used_now(name) - 1))

    def _used_now(self, name: str) -> float:
        used, at = self._used.get(name, (0.0, 0.0))
        return max(0.0, used - (self._monotonic() - at) * self._most() / NAME_SECONDS) if used else 0.0

    def _set(self, name: str, used: float) -> None:
        self._used.pop(name, None)
        if used:
            self._used[name] = used, self._monotonic()
        if len(self._used) > MAX_NAMES:
            self._used.popitem(last=False)


class OpenCodes:
    """Counts the pairing codes of each network that have not expired.

    Args:
        monotonic: returns seconds.
        lifetime: seconds for which a code can be used.
    """

    def __init__(self, monotonic: Callable[[], float], lifetime: float) -> None:
        self._monotonic = monotonic
        self._lifetime = lifetime
        self._ends: OrderedDict[str, list[float]] = OrderedDict()

    def add(self, network: str) -> None:
        """Count a code.

        Raises:
            Refusal: ``rate_limited``.
        """
        now = self._monotonic()
        ends = [end for end in self._ends.pop(network, ()) if end > now]
        if len(ends) < MAX_OPEN_CODES:
            self._ends[network] = [*ends, now + self._lifetime]
            if len(self._ends) > MAX_NAMES:
                self._ends.popitem(last=False)
            return
        self._ends[network] = ends
        text = f"{MAX_OPEN_CODES} screens of this network wait to be paired"
        raise Refusal(ErrorCode.RATE_LIMITED, text, retry_after=ends[0] - now)
