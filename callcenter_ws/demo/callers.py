"""The people who call: most of them once, some of them again on the same day."""

from __future__ import annotations

from collections import deque
from random import Random

from callcenter_ws.demo.sample_data import CALLERS

_AREAS = ("202", "303", "312", "404", "415", "503", "617", "713")
_FIRST_NUMBER, _NUMBERS = 140, 60
"""Of an area: numbers that are reserved for fiction; the lower ones are the demo's own."""

_RETURNING = 0.3
_REMEMBERED = 60
_FAMILY_NAMES = tuple(name.partition(" ")[2] for name in CALLERS)
_GIVEN_NAMES = tuple(name.partition(" ")[0] for name in CALLERS)


class Callers:
    """Draws the callers. One number is always that of the same name."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._recent: deque[int] = deque(maxlen=_REMEMBERED)

    def draw(self) -> tuple[str, str]:
        """Return the number and the name of the next caller; some of them have called a while ago."""
        if self._recent and self._random.random() < _RETURNING:
            caller = self._random.choice(self._recent)
        else:
            caller = self._random.randrange(len(_AREAS) * _NUMBERS)
            self._recent.append(caller)
        area, number = divmod(caller, _NUMBERS)
        given, family = _GIVEN_NAMES[caller % len(_GIVEN_NAMES)], _FAMILY_NAMES[caller // 7 % len(_FAMILY_NAMES)]
        return f"+1{_AREAS[area]}5550{_FIRST_NUMBER + number}", f"{given} {family}"
