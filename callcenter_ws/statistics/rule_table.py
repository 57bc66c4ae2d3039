"""The rules of a tenant by name, by queue and by source, and which of them are evaluated at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from callcenter_ws.statistics.alert_values import LONGEST_WAIT
from callcenter_ws.statistics.alerts import Instance, is_active, rule_digest
from callcenter_ws.statistics.rules import AlertRule

EVERY_QUEUE = "*"


class RuleTable:
    """Finds the rules that a queue or an instance has.

    Attributes:
        of_sources: the rules about sources.
    """

    def __init__(self, rules: Iterable[AlertRule]) -> None:
        self._by_name = {rule.name: rule for rule in rules}
        self._digests = {name: rule_digest(rule) for name, rule in self._by_name.items()}
        self._of_every_queue: list[AlertRule] = []
        self._named: dict[str, list[AlertRule]] = {}
        self.of_sources: list[AlertRule] = []
        for rule in self._by_name.values():
            if rule.source is not None:
                self.of_sources.append(rule)
            elif EVERY_QUEUE in rule.queues:
                self._of_every_queue.append(rule)
            else:
                for name in dict.fromkeys(rule.queues):
                    self._named.setdefault(name, []).append(rule)
        self._active = frozenset(self._by_name)

    def use_time(self, local: datetime) -> None:
        """Evaluate the rules whose schedules cover a local time, from now on."""
        self._active = frozenset(name for name, rule in self._by_name.items() if is_active(rule.schedule, local))

    def is_active(self, rule: AlertRule) -> bool:
        """Return whether a rule is evaluated now."""
        return rule.name in self._active

    def digest(self, rule: AlertRule) -> str:
        """Return the digest of a rule."""
        return self._digests[rule.name]

    def of_queue(self, name: str, *, is_known: bool) -> Iterator[AlertRule]:
        """Yield the rules that cover a queue; those of all queues only if it is known."""
        yield from self._named.get(name, ())
        if is_known:
            yield from self._of_every_queue

    def growing_of(self, name: str) -> list[AlertRule]:
        """Return the rules of a known queue whose figure grows without an event."""
        return [rule for rule in self.of_queue(name, is_known=True) if rule.metric == LONGEST_WAIT]

    def queues(self, known: Iterable[str]) -> Iterator[str]:
        """Yield the queues that have rules."""
        yield from self._named
        if self._of_every_queue:
            yield from (name for name in known if name not in self._named)

    def covers(self, name: str) -> bool:
        """Return whether a known queue has a rule."""
        return bool(self._of_every_queue) or name in self._named

    def rule_of(self, instance: Instance) -> AlertRule | None:
        """Return the rule of an instance; None if it was removed or changed, or covers the queue no more."""
        rule = self._by_name.get(instance.rule)
        if rule is None or instance.digest not in ("", self._digests[rule.name]):
            return None
        if rule.source is not None:
            return rule if instance.is_source and instance.target == rule.source else None
        covers = EVERY_QUEUE in rule.queues or instance.target in rule.queues
        return rule if covers and not instance.is_source else None
