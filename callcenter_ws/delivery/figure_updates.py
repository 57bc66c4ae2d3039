"""Takes figures that are announced, or read from the store, into the table of a tenant: in their order, in steps.

One queue keeps that order, also between both kinds: what was announced while the store was read is newer than what was
read. In the table, the newest of each key counts, so an announcement of a process that has lost the tenant to another
changes nothing, however late it comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence

from callcenter_ws.delivery.figure_table import Figure, FigureTable
from callcenter_ws.statistics.store import LiveFigure

FIGURES_PER_STEP = 100
"""Figures that are taken in one step: less than a millisecond."""

MAX_CHANGED = 300
"""Figures that are taken, before they are delivered and further ones are taken."""

MAX_WAITING = 100_000
"""Announced figures that wait to be taken; beyond that all are dropped, and the store is read in their place."""


class FigureUpdates:
    """What changes the table of a tenant.

    Args:
        is_shown: returns whether a figure is derived by the settings.
        read_again: has the store be read: ``begin_reading``, then ``replace``.
    """

    def __init__(self, table: FigureTable, is_shown: Callable[[Figure], bool], read_again: Callable[[], None]) -> None:
        self._table = table
        self._is_shown = is_shown
        self._read_again = read_again
        self._waiting: deque[LiveFigure | _Stored] = deque()
        self._waiting_figures = 0
        # The keys that were announced since the store is being read; None: it is not.
        self._announced: set[str] | None = None

    def __bool__(self) -> bool:
        """Return whether anything waits to be taken."""
        return bool(self._waiting)

    def announce(self, changed: Sequence[LiveFigure]) -> None:
        """Queue figures that changed."""
        if self._announced is not None:
            self._announced.update(figure.key for figure in changed)
        self._waiting_figures += len(changed)
        if self._waiting_figures <= MAX_WAITING:
            self._waiting += changed
        else:
            self.clear()
            self._read_again()

    def begin_reading(self) -> None:
        """Note that the store is being read from now on; ``replace`` follows, or another ``begin_reading``."""
        self._announced = set()

    def replace(self, figures: Sequence[LiveFigure]) -> None:
        """Queue all figures as they were read from the store, except those that were announced meanwhile.

        Others are removed. Those that were read count, even if those in the table are newer: the store has lost them.
        """
        announced, self._announced = self._announced or set(), None
        keys = announced.union(figure.key for figure in figures)
        self._waiting.append(_Stored([figure for figure in figures if figure.key not in announced], keys))

    def clear(self) -> None:
        """Drop what waits."""
        self._waiting.clear()
        self._waiting_figures = 0

    def take(self) -> Generator[None, None, list[Figure]]:
        """Take what waits, until some hundred have changed; return these. The table is whole between the steps."""
        changed: dict[str, Figure] = {}
        while self._waiting and len(changed) < MAX_CHANGED:
            version, room = self._table.version + 1, FIGURES_PER_STEP
            while self._waiting and room > 0:
                item = self._waiting.popleft()
                if isinstance(item, _Stored):
                    room -= self._take_stored(item, version, changed)
                else:
                    room -= 1
                    self._waiting_figures -= 1
                    self._take_announced(item, version, changed)
            self._table.version = version
            yield
        return [figure for key, figure in changed.items() if self._table.get(key) is figure]

    def _take_announced(self, live: LiveFigure, version: int, changed: dict[str, Figure]) -> None:
        if not live.message:
            self._table.remove(live.key)
            return
        figure, known = Figure.parse(live.message), self._table.get(live.key)
        if figure is not None and (known is None or figure.order > known.order):
            self._put(live.key, figure, version, changed)

    def _take_stored(self, stored: _Stored, version: int, changed: dict[str, Figure]) -> int:
        """Take a part of what was read, and leave the rest at the front; return how many."""
        if stored.keys is not None:
            for key in self._table.keys:
                if key not in stored.keys:
                    self._table.remove(key)
            stored.keys = None
        some = stored.figures[stored.taken : stored.taken + FIGURES_PER_STEP]
        stored.taken += len(some)
        for live in some:
            known = self._table.get(live.key)
            figure = None if known is not None and known.message == live.message else Figure.parse(live.message)
            if figure is not None:
                self._put(live.key, figure, version, changed)
        if stored.taken < len(stored.figures):
            self._waiting.appendleft(stored)
        return len(some) + 1

    def _put(self, key: str, figure: Figure, version: int, changed: dict[str, Figure]) -> None:
        figure.is_shown = self._is_shown(figure)
        self._table.put(key, figure, version)
        changed[key] = figure


class _Stored:
    """Figures that were read from the store.

    Attributes:
        keys: of all figures that there are; None: others have been removed.
        taken: how many of the figures are in the table.
    """

    __slots__ = ("figures", "keys", "taken")

    def __init__(self, figures: Sequence[LiveFigure], keys: set[str]) -> None:
        self.figures = figures
        self.keys: set[str] | None = keys
        self.taken = 0
