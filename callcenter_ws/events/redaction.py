"""Redaction: the view of a payload that a role sees."""

from __future__ import annotations

from enum import IntEnum


class View(IntEnum):
    """A part of a payload that some roles see."""

    FULL = 0
    WALLBOARD = 1
    VISITOR = 2


_MASK = "***"


def redact(payload: dict[str, object], view: View) -> dict[str, object]:
    """Return the part of ``payload`` that ``view`` shows.

    Wallboards are visible to customers who walk by: the caller's number and name are masked (for an outbound call the
    destination too, which is the customer's), and channel variables, which usually repeat them, are removed. E-mail
    addresses are removed for visitors.
    """
    if view is View.WALLBOARD:
        masked = _CALLER | {"destination"} if payload.get("direction") == "outbound" else _CALLER
        shown = {key: value for key, value in payload.items() if key != "variables"}
        return {key: _MASK if key in masked and value else _without_callers(value) for key, value in shown.items()}
    if view is View.VISITOR:
        return {key: _without_emails(value) for key, value in payload.items() if "email" not in key.lower()}
    return payload


def _without_emails(value: object) -> object:
    """Remove e-mail addresses at every level of a payload, which has at most 100."""
    if isinstance(value, dict):
        return redact(value, View.VISITOR)
    return [_without_emails(item) for item in value] if isinstance(value, list) else value


def _without_callers(value: object) -> object:
    """Mask the caller at every level of a payload."""
    if isinstance(value, dict):
        return redact(value, View.WALLBOARD)
    return [_without_callers(item) for item in value] if isinstance(value, list) else value


_CALLER = frozenset({"caller_id", "caller_name"})
