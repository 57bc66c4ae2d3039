"""Rules of alerts, as the settings declare them (``docs/statistics.rst``, "Alerts")."""

from __future__ import annotations

from typing import Literal

import msgspec

Window = Literal["now", "last_30m", "interval", "today"]
Severity = Literal["info", "warning", "critical"]


class Raise(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When an alert is raised: the figure is above, or below, a limit for so many seconds."""

    above: float | None = None
    below: float | None = None
    for_: int = msgspec.field(name="for", default=0)


class Clear(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When it is cleared; without a limit: as soon as the figure is not beyond that of ``Raise``."""

    at_most: float | None = None
    at_least: float | None = None
    for_: int = msgspec.field(name="for", default=0)


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a rule is evaluated, in the tenant's zone; a ``to`` before ``from`` lies on the next day.

    Attributes:
        days: as ``mon-fri`` or ``mon,wed,sat``.
        from_: as ``08:00``.
    """

    days: str = "mon-sun"
    from_: str = msgspec.field(name="from", default="00:00")
    to: str = "24:00"


class AlertRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule; each queue that it covers is an instance with a state of its own.

    Attributes:
        queues: names of queues; ``*``: all.
        source: raised while this source is down, in place of ``queues`` and ``metric``.
        min_offered: calls that must have been offered in the window before a ratio counts.
        no_data: what a figure without a value does: nothing, clear, or raise.
        repeat: seconds after which a raised alert that was not acknowledged is published again; 0: never.
    """

    name: str
    queues: tuple[str, ...] = ()
    source: str | None = None
    metric: str | None = None
    window: Window = "now"
    raise_: Raise = msgspec.field(name="raise", default_factory=Raise)
    clear: Clear = msgspec.field(default_factory=Clear)
    min_offered: int = 0
    no_data: Literal["keep", "clear", "raise"] = "keep"
    severity: Severity = "warning"
    schedule: Schedule | None = None
    repeat: int = 0


NOW_METRICS = frozenset(
    {
        *("calls_waiting", "longest_wait_time", "interacting_calls"),
        *("logged_in_agents", "staffed_agents", "available_agents"),
        *("paused_agents", "non_productive_agents", "talking_agents"),
    }
)
"""Figures of a queue that have a value of this moment: the window is ``now``."""

RATIO_METRICS = frozenset(
    {
        *("service_level", "abandon_rate", "answer_rate", "agent_answer_rate"),
        *("average_wait_time", "average_abandon_time", "average_handle_time"),
    }
)
"""Figures of a window that are null without calls, and say little about a few."""

WINDOW_METRICS = RATIO_METRICS | {
    *("offered", "answered", "abandoned", "abandoned_short", "flow_out", "lost"),
    *("answered_in_service_level", "abandoned_in_service_level", "max_wait"),
    *("handled", "talk_seconds", "hold_seconds", "wrap_up_seconds"),
    *("missed", "transferred_out", "lost_legs"),
}
"""Figures of a queue in a window of time."""
