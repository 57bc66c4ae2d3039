"""ULIDs: identifiers that sort by the time at which they were made (https://github.com/ulid/spec)."""

from __future__ import annotations

import os
from collections.abc import Callable

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM_BITS = 80
_PAIRS = [a + b for a in _CROCKFORD for b in _CROCKFORD]


class UlidFactory:
    """Makes ULIDs: 48 bits of milliseconds, then 80 random bits, 26 characters of Crockford's base 32.

    Within one millisecond the random part is incremented, so that the identifiers of one factory sort strictly.

    Args:
        time: returns Unix time in seconds.
        entropy: returns that many random bytes.
    """

    def __init__(self, time: Callable[[], float], entropy: Callable[[int], bytes] = os.urandom) -> None:
        self._time = time
        self._entropy = entropy
        self._millisecond = -1
        self._random = 0

    def __call__(self) -> str:
        """Return a new identifier."""
        now = int(self._time() * 1000)
        if now > self._millisecond:
            self._millisecond = now
            # The top bit is clear, so that increments within a millisecond cannot overflow.
            self._random = int.from_bytes(self._entropy(_RANDOM_BITS // 8), "big") >> 1
        else:
            self._random += 1
        return _crockford(self._millisecond << _RANDOM_BITS | self._random)


def last_identifier(time: float) -> str:
    """Return the greatest identifier of the millisecond at that Unix time."""
    return _crockford(((max(0, int(time * 1000)) + 1) << _RANDOM_BITS) - 1)


def _crockford(value: int) -> str:
    return "".join([_PAIRS[value >> shift & 1023] for shift in range(120, -1, -10)])
