"""The people who call: most of them once, some of them again on the same day."""

from __future__ import annotations

from collections import deque
from collections.abc import Container
from random import Random

from callcenter_ws.demo.sample_data import CALLERS

_AREAS = ("202", "303", "312", "404", "415", "503", "617", "713")
_FIRST_NUMBER, _NUMBERS = 140, 60
"""Of an area: numbers that are reserved for fiction; the lower ones are the demo's own."""

_RETURNING = 0.4
_RETURNS_AFTER_SECONDS = 90.0
"""Before that no caller calls again."""

_REMEMBERED = 60
_FAMILY_NAMES = tuple(name.partition(" ")[2] for name in CALLERS)
_GIVEN_NAMES = tuple(name.partition(" ")[0] for name in CALLERS)


class Callers:
    """Draws the callers. One number is always that of the same name."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._recent: deque[tuple[int, float]] = deque(maxlen=_REMEMBERED)

    def draw(self, now: float, calling: Container[str]) -> tuple[str, str]:
        """Return the number and the name of the next caller; some of them have called a while ago.

        Args:
            now: model seconds.
            calling: the numbers of those who are in a call: no one calls twice at the same time.
        """
        known = {caller for caller, _ in self._recent}
        returning = [caller for caller, at in self._recent if now - at >= _RETURNS_AFTER_SECONDS]
        returning = [caller for caller in returning if _number(caller) not in calling]
        if returning and self._random.random() < _RETURNING:
            caller = self._random.choice(returning)
            self._recent.remove(next(one for one in self._recent if one[0] == caller))
        else:
            caller = self._random.randrange(len(_AREAS) * _NUMBERS)
            while caller in known or _number(caller) in calling:
                caller = self._random.randrange(len(_AREAS) * _NUMBERS)
        self._recent.append((caller, now))
        given, family = _GIVEN_NAMES[caller % len(_GIVEN_NAMES)], _FAMILY_NAMES[caller // 7 % len(_FAMILY_NAMES)]
        return _number(caller), f"{given} {family}"


def _number(caller: int) -> str:
    area, number = divmod(caller, _NUMBERS)
    return f"+1{_AREAS[area]}5550{_FIRST_NUMBER + number}"
