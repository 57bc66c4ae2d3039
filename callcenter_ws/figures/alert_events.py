"""The payloads of ``queue.alert.raised`` and ``queue.alert.cleared``."""

from __future__ import annotations

from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.statistics.alerts import Instance, Wish
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.rules import AlertRule


def alert_payload(
    instance: Instance, rule: AlertRule | None, kind: Wish, value: float | None, repeat: int, reason: str | None
) -> JsonObject:
    """Return all fields of an alert, since the snapshot keeps only its last event.

    Args:
        rule: the rule; None: it is gone, and the fields are those with which the alert was raised.
    """
    if rule is None:
        metric, window, severity = instance.metric, instance.window, instance.severity
        threshold = instance.threshold
    else:
        metric, severity = rule.metric, rule.severity
        window = None if rule.source is not None else rule.window
        threshold = _threshold(rule, kind)
    return {
        "alert_id": instance.alert_id,
        "rule": instance.rule,
        "source" if instance.is_source else "queue_name": instance.target,
        "metric": metric,
        "window": window,
        "value": value,
        "threshold": threshold,
        "severity": severity,
        "since": instant_text(instance.since),
        "repeat": repeat,
        "reason": reason,
    }


def _threshold(rule: AlertRule, kind: Wish) -> float | None:
    raised = rule.raise_.below if rule.raise_.above is None else rule.raise_.above
    if kind == "raised":
        return raised
    cleared = rule.clear.at_least if rule.raise_.above is None else rule.clear.at_most
    return raised if cleared is None else cleared
