"""Selection of the rows of folds; shared by the stores that keep them in this process."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sized
from typing import TypeVar

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey
from callcenter_ws.statistics.store import LiveFigure

LOCAL_FENCE = 0
"""The fence of every claim in these stores: one process has the store, so no other can take a tenant."""

S = TypeVar("S", bound=Sized)
V = TypeVar("V", bound=bytes | None)


def since(day: int) -> Callable[[RowKey], bool]:
    """Return the selection of ``FigureStore.load``: rows without a day, and those of days from one on."""
    return lambda key: key.day == NO_DAY or key.day >= day


def of_kinds(kinds: Collection[str]) -> Callable[[RowKey], bool]:
    """Return the selection of ``FigureStore.head``: rows without a day of some kinds."""
    return lambda key: key.day == NO_DAY and key.kind in kinds


def of_days(kind: str, names: Collection[str] | None, first: int, last: int) -> Callable[[RowKey], bool]:
    """Return the selection of ``FigureStore.days``: rows of sums, both days included; names None: of all."""
    return lambda key: (
        key.kind == kind and key.day != NO_DAY and first <= key.day <= last and (names is None or key.name in names)
    )


def selected(rows: Mapping[RowKey, V], is_wanted: Callable[[RowKey], bool]) -> dict[RowKey, V]:
    """Return the rows whose keys are wanted."""
    return {key: value for key, value in rows.items() if is_wanted(key)}


def limited(rows: S, limit: int) -> S:
    """Return the rows.

    Raises:
        Refusal: ``too_large``: there are more than ``limit``.
    """
    if len(rows) > limit:
        raise Refusal(ErrorCode.TOO_LARGE, f"more than {limit:,} rows of statistics; ask for fewer days or names")
    return rows


def update_live(current: dict[str, LiveFigure], changed: Iterable[LiveFigure]) -> None:
    """Replace live figures by newer ones; one without a message removes that of its key."""
    for figure in changed:
        if figure.message:
            current[figure.key] = figure
        else:
            current.pop(figure.key, None)
