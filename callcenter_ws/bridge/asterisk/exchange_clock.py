"""The time of each event: the exchange's own, whose clock may be set while calls go on."""

from __future__ import annotations

_JUMP_SECONDS = 30.0
"""The exchange's clock was set forward if it gains more than this on the time of arrival."""

_BACK_SECONDS = 2.0
"""It was set back if an event is older than the one before by more than this; a little may be disorder."""

_MAX_TIME = 4e9
"""Times above this, and those before 1970, are no times."""


class ExchangeClock:
    """Reads the ``Timestamp`` of events, and notices when the exchange's clock was set.

    Delays on the way only make the time of arrival later. So a clock that was set forward shows as an event that is
    younger than all delays allow, and one that was set back as an event that is older than the one before.
    """

    def __init__(self) -> None:
        self._stamp = self._arrived = 0.0
        self._delay: float | None = None
        self.jump = 0.0

    def read(self, stamp: str, arrived: float) -> float:
        """Return the time of an event; ``jump`` says by how much the clock was set before it.

        Args:
            stamp: its ``Timestamp``; empty, or no number: it has none.
        """
        self.jump = 0.0
        time = _number(stamp)
        if time is None:
            return arrived
        passed = arrived - self._arrived
        delay = arrived - time
        if self._delay is None or passed < 0:
            self._delay = delay
        elif time < self._stamp - _BACK_SECONDS:
            self.jump = time - self._stamp - passed
            self._delay = delay
        elif passed > 0 and delay < self._delay:
            if delay < self._delay - _JUMP_SECONDS and time - self._stamp - passed > _JUMP_SECONDS:
                self.jump = time - self._stamp - passed
            self._delay = delay
        self._stamp, self._arrived = time, arrived
        return time

    def now(self, arrived: float) -> float:
        """Return the time of the exchange, as far as the events so far show it.

        Args:
            arrived: the present time of this machine.
        """
        return arrived if self._delay is None else max(self._stamp, arrived - self._delay)


def _number(text: str) -> float | None:
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < _MAX_TIME else None
