"""The wallboards of a tenant: what a screen shows, and when a figure is bad (``docs/wallboard.rst``)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from callcenter_ws.runtime.setting_values import shown

MAX_WALLBOARDS = 100
"""Wallboards of a tenant."""

MAX_WALLBOARD_QUEUES = 200
MAX_FIGURES = 6
MAX_TITLE_CHARACTERS = 100

Figure = Literal[
    "waiting",
    "longest_wait",
    "service_level_30m",
    "service_level_today",
    "agents",
    "abandon_rate_30m",
    "abandon_rate_today",
    "average_wait_today",
    "offered_today",
    "answered_today",
    "abandoned_today",
]
"""The figures that a wallboard can show; ``pages/static/wallboard/figures.js`` has the same."""

Points = Annotated[float, Meta(ge=0, le=100)]
Multiple = Annotated[float, Meta(ge=0, le=1_000)]
Calls = Annotated[float, Meta(ge=0, le=1_000_000)]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the TOML file."""


class LevelLimits(Table, frozen=True):
    """Points below the target of the service level."""

    warning: Points = 0
    breach: Points = 10


class WaitLimits(Table, frozen=True):
    """Multiples of the seconds of the service level."""

    warning: Multiple = 1
    breach: Multiple = 3


class WaitingLimits(Table, frozen=True):
    """Calls that wait."""

    warning: Calls = 5
    breach: Calls = 10


class AbandonLimits(Table, frozen=True):
    """Percent of the calls."""

    warning: Points = 5
    breach: Points = 10


Limits = LevelLimits | WaitLimits | WaitingLimits | AbandonLimits


class Thresholds(Table, frozen=True):
    """From which value on a figure is a warning, and from which a breach."""

    service_level: LevelLimits = LevelLimits()
    longest_wait: WaitLimits = WaitLimits()
    waiting: WaitingLimits = WaitingLimits()
    abandon_rate: AbandonLimits = AbandonLimits()


class WallboardSettings(Table, frozen=True):
    """One wallboard.

    Attributes:
        name: what ``/wallboard?board=NAME`` names.
        title: shown at the top left; empty: the page says "Wallboard".
        queues: the queues that are shown; empty: all that the screen may see.
        figures: the columns, in their order.
        rows: queues of a page.
        page_seconds: how long a page is shown.
        theme: the colors; ``auto``: those that the system of the screen prefers.
        chart: with one queue, show the calls of today in quarters of an hour.
    """

    name: str
    title: str = ""
    queues: tuple[str, ...] = ()
    figures: tuple[Figure, ...] = (
        "waiting",
        "longest_wait",
        "service_level_30m",
        "service_level_today",
        "agents",
        "abandon_rate_30m",
    )
    rows: Annotated[int, Meta(ge=1, le=6)] = 6
    page_seconds: Annotated[int, Meta(ge=5, le=120)] = 12
    theme: Literal["dark", "light", "auto"] = "dark"
    chart: bool = True
    thresholds: Thresholds = Thresholds()


def check_wallboard(board: WallboardSettings) -> Iterator[tuple[str, str]]:
    """Yield the problems of a wallboard, each with the field that has it."""
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,64}", board.name) or board.name in (".", ".."):
        yield "name", f"{shown(board.name)} is not a name of 1 to 64 letters, digits and _ . -"
    if len(board.title) > MAX_TITLE_CHARACTERS or not board.title.isprintable():
        yield "title", f"is not a text of at most {MAX_TITLE_CHARACTERS} printable characters"
    if len(board.queues) > MAX_WALLBOARD_QUEUES:
        yield "queues", f"lists {len(board.queues)} queues; at most {MAX_WALLBOARD_QUEUES} are allowed"
    for name in board.queues:
        if not 0 < len(name) <= 255:
            yield "queues", f"{shown(name)} cannot be the name of a queue"
    if not 0 < len(board.figures) <= MAX_FIGURES:
        yield "figures", f"lists {len(board.figures)} figures; write 1 to {MAX_FIGURES}, or leave it out"
    for field in ("queues", "figures"):
        for name, count in Counter(getattr(board, field)).items():
            if count > 1:
                yield field, f"lists {shown(name)} {count} times"


def check_limits(limits: Limits) -> Iterator[tuple[str, str]]:
    """Yield a breach that comes before its warning."""
    if limits.breach < limits.warning:
        yield "breach", f"{limits.breach:g} is below warning = {limits.warning:g}: the warning would never be shown"
