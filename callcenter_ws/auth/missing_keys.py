"""MissingKeys: decides when keys are fetched again because a token's key is not known, and how long that is bounded.

The name of a missing key comes from an unverified token: any peer can send names without end. They cause no more
fetches than ``FetchBudget`` allows, for all tokens together. They do not have a real key refused: it is found by the
first fetch that starts after the issuer has published it, and until then the refusal is ``try_later``. Only a key that
was asked for in the ``FORGET_SECONDS`` before it was published may be refused for the rest of that time.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

FETCHES_AT_ONCE = 2
"""Fetches for missing keys that may follow each other at once, after a time without any."""

FETCH_INTERVAL_SECONDS = 10.0
"""Seconds between two fetches for missing keys, in the long run."""

MAX_MISSING = 1_000
"""Names that are remembered. If there are more, the oldest is forgotten; presented again, it counts as new."""

FORGET_SECONDS = 15.0
"""Seconds after which a missing name counts as new: an issuer may publish a key after it was asked for."""


class FetchBudget:
    """Bounds the fetches for missing keys."""

    def __init__(self) -> None:
        # The time until which the fetches so far have used up the rate.
        self._used_at = float("-inf")

    def wait(self, now: float) -> float:
        """Return the seconds until the next fetch is allowed."""
        return max(0.0, self._used_at - (FETCHES_AT_ONCE - 1) * FETCH_INTERVAL_SECONDS - now)

    def spend(self, now: float) -> None:
        """Count a fetch, also one that the interval of fetches or a retry allowed earlier."""
        used_at = max(self._used_at, now) + FETCH_INTERVAL_SECONDS
        self._used_at = min(used_at, now + FETCHES_AT_ONCE * FETCH_INTERVAL_SECONDS)


@dataclass(slots=True)
class _MissingKey:
    """A name, when it was presented first (monotonic), and the number of the last fetch that had started by then."""

    since: float
    after_fetch: int


class MissingKeys:
    """The names of keys that tokens were presented with and that were not known.

    Attributes:
        answered: the number of the last fetch that succeeded; fetches are numbered from 1 when they start.
        started: the number of the last fetch that was started.
        is_fetch_wanted: whether a key was asked for that no fetch under way can find.
    """

    def __init__(self) -> None:
        self._names: OrderedDict[bytes, _MissingKey] = OrderedDict()
        self.answered = 0
        self.started = 0
        self.is_fetch_wanted = False

    def start_fetch(self) -> None:
        """Number a fetch that starts now."""
        self.is_fetch_wanted = False
        self.started += 1

    def is_final(self, name: bytes, now: float, *, is_fetching: bool) -> bool:
        """Return whether a fetch has shown that a key does not exist; remember its name and want a fetch otherwise.

        Args:
            is_fetching: whether the last fetch is under way.
        """
        known = self._names.get(name)
        if known is None or now - known.since >= FORGET_SECONDS:
            self._names.pop(name, None)
            known = self._names[name] = _MissingKey(now, self.started)
            if len(self._names) > MAX_MISSING:
                self._names.popitem(last=False)
        if self.answered > known.after_fetch:
            return True
        if not is_fetching or known.after_fetch == self.started:
            self.is_fetch_wanted = True
        return False
