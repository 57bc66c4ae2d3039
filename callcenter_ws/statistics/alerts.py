"""The states of alerts: pending, raised and recovering, second by second. Pure; the stream says what is raised."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from callcenter_ws.statistics.rules import AlertRule, Schedule

Phase = Literal["normal", "pending", "raised", "recovering"]
Wish = Literal["raised", "cleared"]

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Instance(msgspec.Struct, array_like=True):
    """A rule for one queue or source.

    Attributes:
        began: the second at which the phase began, in Unix milliseconds.
        since: the second from which the rule was broken; it identifies the alert.
        published: the second of the last ``queue.alert.raised``.
        repeats: how often that was repeated.
        digest: of the rule by which it began (``rule_digest``); empty: not known.
        metric, window, severity, threshold: as they were raised; of a rule that may be gone when it is cleared.
    """

    rule: str
    target: str
    is_source: bool = False
    phase: Phase = "normal"
    began: int = 0
    since: int = 0
    published: int = 0
    repeats: int = 0
    acknowledged: bool = False
    digest: str = ""
    metric: str | None = None
    window: str | None = None
    severity: str | None = None
    threshold: float | None = None

    @property
    def is_up(self) -> bool:
        """Whether ``queue.alert.raised`` is in the stream, and ``queue.alert.cleared`` is not."""
        return self.phase in ("raised", "recovering")

    @property
    def alert_id(self) -> str:
        """The identifier of the alert, the same in every process."""
        return "alert-" + _digest(self.rule, self.target, str(self.is_source), str(self.since))

    def event_id(self, wish: Wish, repeat: int = 0) -> str:
        """Return the identifier of an event of the alert: the same in every process, so that it exists once."""
        return f"alert-{_digest(self.alert_id, wish, str(repeat))}"

    def enter(self, phase: Phase, second: int) -> None:
        """Begin a phase."""
        self.phase, self.began = phase, second

    def was_raised(self, since: int, published: int, repeats: int) -> None:
        """Take over what the stream says: the alert is raised, or raised again."""
        if not self.is_up or since != self.since:
            self.enter("raised", published)
            self.acknowledged = False
        self.since, self.published, self.repeats = since, published, repeats

    def was_cleared(self, second: int) -> None:
        """Take over what the stream says: the alert is cleared."""
        self.enter("normal", second)
        self.published = self.repeats = 0
        self.acknowledged = False


def _digest(*parts: str) -> str:
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def rule_digest(rule: AlertRule) -> str:
    """Return what changes with a rule, if an alert that it raised does not hold under the changed one."""
    limits = (rule.raise_, rule.clear, rule.min_offered, rule.no_data)
    return _digest(msgspec.json.encode((rule.source, rule.metric, rule.window, limits)).decode())[:16]


def breaches(rule: AlertRule, value: float | None) -> bool:
    """Return whether a figure is beyond the limit; one without a value is only with ``no_data = "raise"``."""
    if value is None:
        return rule.no_data == "raise" and rule.metric != "longest_wait_time"
    if rule.source is not None:
        return value > 0
    if rule.raise_.above is not None:
        return value > rule.raise_.above
    return rule.raise_.below is not None and value < rule.raise_.below


def recovers(rule: AlertRule, value: float | None) -> bool:
    """Return whether a figure is on the good side of the limit of ``clear``."""
    if value is None:
        # Where no call waits, the longest wait has no value, and none is too long.
        no_call_waits = rule.metric == "longest_wait_time" and rule.raise_.above is not None
        return no_call_waits or rule.no_data == "clear"
    if rule.source is not None:
        return value <= 0
    if rule.raise_.above is not None:
        return value <= (rule.raise_.above if rule.clear.at_most is None else rule.clear.at_most)
    limit = rule.raise_.below if rule.clear.at_least is None else rule.clear.at_least
    return limit is not None and value >= limit


def step(instance: Instance, rule: AlertRule, second: int, value: float | None) -> Wish | None:
    """Evaluate a rule at a second; return the event that should be published, again at each second until it is.

    Args:
        second: Unix milliseconds.
    """
    if not instance.is_up:
        if not breaches(rule, value):
            if instance.phase == "pending":
                instance.enter("normal", second)
            return None
        if instance.phase == "normal":
            instance.enter("pending", second)
            instance.since = second
        return "raised" if second - instance.began >= rule.raise_.for_ * 1000 else None
    if not recovers(rule, value):
        if instance.phase == "recovering":
            instance.enter("raised", second)
        return None
    if instance.phase == "raised":
        instance.enter("recovering", second)
    return "cleared" if second - instance.began >= rule.clear.for_ * 1000 else None


def step_out(instance: Instance, second: int) -> Wish | None:
    """End a pending or raised alert whose rule is not evaluated any more; return the event that should be published."""
    if instance.is_up:
        return "cleared"
    if instance.phase == "pending":
        instance.enter("normal", second)
    return None


def is_due_again(instance: Instance, rule: AlertRule, second: int) -> bool:
    """Return whether a raised alert that was not acknowledged is to be published again."""
    waited = second - instance.published
    return instance.is_up and not instance.acknowledged and 0 < rule.repeat * 1000 <= waited


def is_active(schedule: Schedule | None, local: datetime) -> bool:
    """Return whether a schedule covers a local time; one over midnight belongs to the day on which it begins."""
    if schedule is None:
        return True
    time = local.strftime("%H:%M")
    days = _days(schedule.days)
    if schedule.from_ < schedule.to:
        return local.weekday() in days and schedule.from_ <= time < schedule.to
    yesterday = (local.replace(tzinfo=None) - timedelta(days=1)).weekday()
    return (local.weekday() in days and time >= schedule.from_) or (yesterday in days and time < schedule.to)


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.strip().partition("-")
        start = _DAYS.index(first.strip())
        length = (_DAYS.index(last.strip()) - start) % 7 if last else 0
        days.update((start + day) % 7 for day in range(length + 1))
    return frozenset(days)
