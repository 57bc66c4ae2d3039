"""Figures: what is shown of sums. The names are those of the manual; a ratio whose denominator is 0 is null."""

from __future__ import annotations

from callcenter_ws.statistics.service_level import METHODS, flow_out, percent, quotient, service_level
from callcenter_ws.statistics.settings import Settings
from callcenter_ws.statistics.sums import (
    ABANDONED,
    ABANDONED_IN,
    ABANDONED_SHORT,
    ABANDONED_WAIT,
    AGENT_ALERTS,
    AGENT_ANSWERED,
    AGENT_HANDLED,
    AGENT_HOLD,
    AGENT_LOST_LEGS,
    AGENT_MISSED,
    AGENT_TALK,
    AGENT_TRANSFERRED_OUT,
    AGENT_WRAP_UP,
    ANSWERED,
    ANSWERED_IN,
    ANSWERED_WAIT,
    FLOW_OUT,
    HANDLED,
    HOLD,
    LOST,
    LOST_LEGS,
    MISSED,
    OFFERED,
    STATE_FIELD,
    TALK,
    TENANT_FIELDS,
    TRANSFERRED_OUT,
    WRAP_UP,
    Bucket,
)

Figures = dict[str, object]

BUSY_STATES = ("busy", "talking", "hold", "wrap_up")
"""The states in which an agent is occupied; ringing and breaks count neither way."""


def queue_figures(bucket: Bucket, settings: Settings) -> Figures:
    """Return the figures of a queue in a window."""
    values = bucket.values
    return {
        "offered": values[OFFERED],
        "answered": values[ANSWERED],
        "abandoned": values[ABANDONED],
        "abandoned_short": values[ABANDONED_SHORT],
        "flow_out": flow_out(values),
        "flow_out_reasons": {reason: values[field] for reason, field in FLOW_OUT.items() if values[field]},
        "lost": values[LOST],
        "answered_in_service_level": values[ANSWERED_IN],
        "abandoned_in_service_level": values[ABANDONED_IN],
        **_service_levels(bucket, settings),
        **_rates(values),
        "max_wait": None if bucket.max_wait < 0 else seconds(bucket.max_wait),
        **_handling(values[HANDLED], values[TALK], values[HOLD], values[WRAP_UP]),
        "missed": values[MISSED],
        "agent_answer_rate": percent(values[ANSWERED], values[ANSWERED] + values[MISSED]),
        "transferred_out": values[TRANSFERRED_OUT],
        "lost_legs": values[LOST_LEGS],
        "dispositions": bucket.dispositions or {},
    }


def _service_levels(bucket: Bucket, settings: Settings) -> Figures:
    """Return the service level with what it depends on; ``mixed_thresholds`` if stays were judged by several."""
    pairs = bucket.thresholds or ((settings.service_level_ms, settings.short_abandon_ms),)
    mixed = len(pairs) > 1
    limit, short = (settings.service_level_ms, settings.short_abandon_ms) if mixed else pairs[0]
    levels = {method: service_level(method, bucket.values) for method in METHODS}
    return {
        "service_level": levels[settings.service_level_method],
        "service_levels": levels,
        "service_level_method": settings.service_level_method,
        "service_level_seconds": seconds(limit),
        "service_level_target": _plain(settings.service_level_target),
        "short_abandon_seconds": seconds(short),
        "mixed_thresholds": mixed,
    }


def _rates(values: list[int]) -> Figures:
    abandoned = values[ABANDONED] - values[ABANDONED_SHORT]
    served = values[ANSWERED] + abandoned + flow_out(values)
    return {
        "abandon_rate": percent(abandoned, served),
        "answer_rate": percent(values[ANSWERED], served),
        "average_wait_time": _average(values[ANSWERED_WAIT], values[ANSWERED]),
        "average_abandon_time": _average(values[ABANDONED_WAIT], values[ABANDONED]),
    }


def _handling(handled: int, talk: int, hold: int, wrap_up: int) -> Figures:
    return {
        "handled": handled,
        "average_handle_time": _average(talk + hold + wrap_up, handled),
        "talk_seconds": seconds(talk),
        "hold_seconds": seconds(hold),
        "wrap_up_seconds": seconds(wrap_up),
    }


def agent_figures(bucket: Bucket) -> Figures:
    """Return the figures of an agent in a window."""
    values = bucket.values
    states = {state: values[field] for state, field in STATE_FIELD.items()}
    busy = sum(states[state] for state in BUSY_STATES)
    return {
        "state_seconds": {state: seconds(duration) for state, duration in states.items() if duration},
        "logged_in_seconds": seconds(sum(states.values())),
        "occupancy": percent(busy, busy + states["available"]),
        "alerts": values[AGENT_ALERTS],
        "answered": values[AGENT_ANSWERED],
        "missed": values[AGENT_MISSED],
        "agent_answer_rate": percent(values[AGENT_ANSWERED], values[AGENT_ANSWERED] + values[AGENT_MISSED]),
        **_handling(values[AGENT_HANDLED], values[AGENT_TALK], values[AGENT_HOLD], values[AGENT_WRAP_UP]),
        "transferred_out": values[AGENT_TRANSFERRED_OUT],
        "lost_legs": values[AGENT_LOST_LEGS],
    }


def tenant_figures(bucket: Bucket) -> Figures:
    """Return the figures of a tenant in a window: calls, each counted once, and stays in queues."""
    return dict(zip(TENANT_FIELDS, bucket.values, strict=True))


def seconds(duration: int) -> float | int:
    """Return milliseconds as seconds, without a fraction where there is none."""
    return duration / 1000 if duration % 1000 else duration // 1000


def _plain(number: float) -> float | int:
    """Return a number without a fraction where there is none: also the same before and after it was stored."""
    return int(number) if number == int(number) else number


def _average(duration: int, count: int) -> float | None:
    return quotient(duration, count * 1000)
