"""Instants and spans of time for people."""

from __future__ import annotations

from datetime import UTC, datetime


def instant(unix_time: float) -> str:
    """Return a time such as ``2026-11-29 20:51:01 UTC``."""
    try:
        return f"{datetime.fromtimestamp(unix_time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{unix_time:g} s after 1970"


def span(seconds: float) -> str:
    """Return a span such as ``1 h 5 min``; two units at most, both rounded down."""
    whole = max(0, int(seconds))
    minutes, hours, days = whole // 60, whole // 3_600, whole // 86_400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min {whole % 60} s" if minutes else f"{whole} s"
