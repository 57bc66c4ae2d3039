"""Checks of the rules of alerts (``docs/statistics.rst``, "Alerts")."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from difflib import get_close_matches

from callcenter_ws.runtime.setting_values import shown
from callcenter_ws.statistics.rules import NOW_METRICS, RATIO_METRICS, WINDOW_METRICS, AlertRule, Raise, Schedule

MAX_SECONDS = 86_400
MAX_QUEUE_NAMES = 1_000
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_Problems = Iterator[tuple[str, str]]


def check_alert(rule: AlertRule) -> _Problems:
    """Yield the problems of a rule, each with the field that has it."""
    if not 0 < len(rule.name) <= 100 or not rule.name.isprintable():
        yield "name", f"{shown(rule.name)} is not a name of 1 to 100 printable characters"
    for name, seconds in (("raise.for", rule.raise_.for_), ("clear.for", rule.clear.for_), ("repeat", rule.repeat)):
        if not 0 <= seconds <= MAX_SECONDS:
            yield name, f"{seconds} is out of range: 0 to {MAX_SECONDS}"
    if 0 < rule.repeat < 10:
        yield "repeat", f"{rule.repeat} is too short; write at least 10, or 0 for no repetitions"
    if not 0 <= rule.min_offered <= 1_000_000:
        yield "min_offered", f"{rule.min_offered} is out of range: 0 to 1000000"
    if rule.schedule is not None:
        yield from _check_schedule(rule.schedule)
    if rule.source is None:
        yield from _check_queues(rule)
        yield from _check_metric(rule)
        yield from _check_limits(rule)
    else:
        yield from _check_source(rule)


def _check_source(rule: AlertRule) -> _Problems:
    if not 0 < len(rule.source or "") <= 255:
        yield "source", "is not a name of 1 to 255 characters"
    reason = "does not apply to a rule with source, which is raised while the source is down"
    given = {
        "queues": rule.queues,
        "metric": rule.metric,
        "window": rule.window if rule.window != "now" else None,
        "raise.above": rule.raise_.above is not None,
        "raise.below": rule.raise_.below is not None,
        "clear.at_most": rule.clear.at_most is not None,
        "clear.at_least": rule.clear.at_least is not None,
        "min_offered": rule.min_offered,
        "no_data": rule.no_data != "keep",
    }
    yield from ((name, reason) for name, value in given.items() if value)


def _check_queues(rule: AlertRule) -> _Problems:
    if not rule.queues:
        yield "queues", 'lists no queue; write ["*"] for one alert for each queue'
    if len(rule.queues) > MAX_QUEUE_NAMES:
        yield "queues", f"lists more than {MAX_QUEUE_NAMES} queues"
    if "*" in rule.queues and len(rule.queues) > 1:
        yield "queues", '"*" stands for all queues; list nothing beside it'
    for name in rule.queues:
        if not 0 < len(name) <= 255:
            yield "queues", f"{shown(name)} cannot be the name of a queue"


def _check_metric(rule: AlertRule) -> _Problems:
    metric = rule.metric
    if metric is None:
        yield "metric", "is missing; name a figure, or a source"
    elif metric not in NOW_METRICS | WINDOW_METRICS:
        close = get_close_matches(metric[:80], sorted(NOW_METRICS | WINDOW_METRICS), 1)
        yield "metric", f"{shown(metric)} is no figure of a queue" + (f"; did you mean {close[0]}?" if close else "")
    elif rule.window == "now" and metric not in NOW_METRICS:
        yield "window", f'{metric} needs a window: "last_30m", "interval" or "today"'
    elif rule.window != "now" and metric not in WINDOW_METRICS:
        yield "window", f'{metric} has a value of this moment only; leave window out, or write "now"'
    elif rule.min_offered and metric not in RATIO_METRICS:
        yield "min_offered", f"is for ratios and averages, and {metric} is neither"


def _check_limits(rule: AlertRule) -> _Problems:
    above, below = rule.raise_.above, rule.raise_.below
    at_most, at_least = rule.clear.at_most, rule.clear.at_least
    limits = {"raise.above": above, "raise.below": below, "clear.at_most": at_most, "clear.at_least": at_least}
    wrong = [name for name, limit in limits.items() if limit is not None and not math.isfinite(limit)]
    yield from ((name, "is no number") for name in wrong)
    if (above is None) == (below is None):
        yield "raise", "needs either above or below" + ("" if above is None else ", not both")
    elif not wrong:
        yield from _check_sides(rule.raise_, at_most, at_least)


def _check_sides(raised: Raise, at_most: float | None, at_least: float | None) -> _Problems:
    """Yield a limit of ``clear`` that is not on the good side of that of ``raise``."""
    if raised.above is not None:
        if at_least is not None:
            yield "clear.at_least", "does not fit raise.above; write at_most"
        if at_most is not None and at_most > raised.above:
            yield (
                "clear.at_most",
                f"{at_most:g} is above raise.above = {raised.above:g}: raised, it would clear at once",
            )
    elif raised.below is not None:
        if at_most is not None:
            yield "clear.at_most", "does not fit raise.below; write at_least"
        if at_least is not None and at_least < raised.below:
            yield (
                "clear.at_least",
                f"{at_least:g} is below raise.below = {raised.below:g}: raised, it would clear at once",
            )


def _check_schedule(schedule: Schedule) -> _Problems:
    for part in schedule.days.split(","):
        ends = [day.strip() for day in part.split("-")]
        if len(ends) > 2 or any(day not in DAYS for day in ends):
            yield "schedule.days", f'{shown(schedule.days)} is not written as "mon-fri" or "mon,wed,sat"'
            break
    for name, text in (("from", schedule.from_), ("to", schedule.to)):
        if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) and not (name == "to" and text == "24:00"):
            yield f"schedule.{name}", f'{shown(text)} is not a time of day, as "08:00"'
    if schedule.from_ == schedule.to:
        yield "schedule.to", "is the same time as from"
