"""The tenant of a call, a queue, a queue member or a device: the first rule that matches, else the source's default."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from callcenter_ws.bridge.patterns import compile_pattern, matches_beginning, matches_whole
from callcenter_ws.bridge.settings import TenantRule

_MAX_CACHED = 20_000
"""Queues and members whose tenant is cached. When it is full, it is emptied: only time is lost."""

Report = Callable[[str, str], None]
"""Called for what has no tenant, with its kind (``call``, ``queue``, ``member`` or ``agent``) and its name."""


@dataclass(slots=True)
class CallOrigin:
    """What is known of a call by which rules choose its tenant. Empty: not known yet.

    Attributes:
        variables: variables of the caller's channel, of those that ``TenantRules.variables`` names.
        device: that of the caller's channel.
    """

    context: str = ""
    account_code: str = ""
    device: str = ""
    queue: str = ""
    variables: dict[str, str] = field(default_factory=dict)


class TenantRules:
    """Chooses tenants. What has no tenant is dropped by the caller, reported and counted here.

    Args:
        rules: the first that matches wins.
        default: the tenant of what no rule matches; empty: it has none.

    Attributes:
        variables: the names of the channel variables that rules use.
        version: changes with the rules.
        unmatched: what had no tenant, counted by kind.

    Raises:
        ValueError: a pattern cannot be used.
    """

    def __init__(self, rules: Sequence[TenantRule], default: str, report: Report | None = None) -> None:
        self.unmatched: dict[str, int] = {}
        self._report = report
        self.version = 0
        self._load(rules, default)

    def replace(self, rules: Sequence[TenantRule], default: str) -> None:
        """Take over other rules. Calls keep the tenants that they have.

        Raises:
            ValueError: a pattern cannot be used. Nothing has changed.
        """
        self._load(rules, default)

    def _load(self, rules: Sequence[TenantRule], default: str) -> None:
        compiled = tuple(_Rule(rule) for rule in rules)
        self._default = default
        self._rules = compiled
        self._queue_rules = tuple(rule for rule in self._rules if rule.is_of_queue)
        self._device_rules = tuple(rule for rule in self._rules if rule.is_of_device)
        self.variables = frozenset(rule.variable for rule in self._rules if rule.variable)
        self._cache: dict[tuple[str, str], str] = {}
        self.version += 1

    def decide(self, origin: CallOrigin) -> str | None:
        """Return the tenant of a call; None while it depends on what is not known of the call yet.

        As long as it is None, nothing of the call may be told: it might be another tenant's.
        """
        for rule in self._rules:
            verdict = rule.judge(origin)
            if verdict is None:
                return None
            if verdict:
                return rule.tenant
        return self._default or None

    def conclude(self, origin: CallOrigin, name: str) -> str:
        """Return the tenant of a call of which no more will be known; empty: it has none.

        Args:
            name: of the call, for the report.
        """
        for rule in self._rules:
            if rule.judge(origin):
                return rule.tenant
        return self._default or self._none("call", name)

    @property
    def default(self) -> str:
        """The tenant of what no rule matches; empty: it has none."""
        return self._default

    def of_queue(self, queue: str) -> str:
        """Return the tenant of a queue; empty: it has none."""
        return self._cached("", queue) or self._default or self._none("queue", queue)

    def of_member(self, queue: str, device: str) -> str:
        """Return the tenant of a queue member: that of its queue, else that of its device; empty: it has none."""
        return self._cached(device, queue) or self.of_device(device) or self._default or self._none("member", queue)

    def of_device(self, device: str) -> str:
        """Return the tenant that a rule gives a device itself; empty: none, the default does not count."""
        return self._cached(device, "")

    def of_agent(self, device: str) -> str:
        """Return the tenant of an agent who is in no queue; empty: it has none."""
        return self.of_device(device) or self._default or self._none("agent", device)

    def _cached(self, device: str, queue: str) -> str:
        """Return the tenant of a device in a queue; without a queue that of the device, both without the default."""
        key = (device, queue)
        try:
            return self._cache[key]
        except KeyError:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            tenant = self._cache[key] = self._first(device, queue)
            return tenant

    def _first(self, device: str, queue: str) -> str:
        origin = CallOrigin(device=device, queue=queue)
        rules = self._queue_rules if queue else self._device_rules
        return next((rule.tenant for rule in rules if rule.judge(origin)), "")

    def _none(self, kind: str, name: str) -> str:
        self.unmatched[kind] = self.unmatched.get(kind, 0) + 1
        if self._report is not None:
            self._report(kind, name)
        return ""


class _Rule:
    """One rule with its patterns compiled.

    Raises:
        ValueError: a pattern cannot be used, or there is none.
    """

    __slots__ = ("_account_code", "_context", "_device", "_domain", "_queue", "_value", "tenant", "variable")

    def __init__(self, rule: TenantRule) -> None:
        self.tenant = rule.tenant
        self.variable, equals, value = rule.variable.partition("=")
        if rule.variable and not (self.variable and equals):
            raise ValueError(f"variable = {rule.variable!r} is not NAME=PATTERN")
        self._value = compile_pattern(value) if self.variable else None
        self._account_code = _compiled(rule.account_code)
        self._context = _compiled(rule.context)
        self._device = _compiled(rule.device)
        self._queue = _compiled(rule.queue)
        self._domain = _compiled(rule.domain)
        if not (self._is_of_caller or self._is_of_place):
            raise ValueError(f"the rule for tenant {rule.tenant!r} has no pattern")

    @property
    def is_of_queue(self) -> bool:
        """Whether the rule can match by a queue, and needs to know nothing of a call."""
        return (self._queue is not None or self._domain is not None) and not self._is_of_caller

    @property
    def is_of_device(self) -> bool:
        """Whether the rule can match by a device alone."""
        return self._device is not None and self._queue is self._domain is None and not self._is_of_caller

    @property
    def _is_of_caller(self) -> bool:
        return bool(self.variable) or self._account_code is not None or self._context is not None

    @property
    def _is_of_place(self) -> bool:
        return self._device is not None or self._queue is not None or self._domain is not None

    def judge(self, origin: CallOrigin) -> bool | None:
        """Return whether the rule matches; None: it may still do so when more is known."""
        is_open = False
        for pattern, value in (
            (self._value, origin.variables.get(self.variable, "")),
            (self._account_code, origin.account_code),
            (self._context, origin.context),
            (self._device, origin.device),
        ):
            if pattern is None:
                continue
            if not value:
                is_open = True
            elif not matches_whole(pattern, value):
                return False
        return self._judge_queue(origin.queue, is_open)

    def _judge_queue(self, queue: str, is_open: bool) -> bool | None:
        if self._queue is None and self._domain is None:
            return None if is_open else True
        if not queue:
            return None
        if self._queue is not None and not matches_beginning(self._queue, queue):
            return False
        if self._domain is not None and not matches_whole(self._domain, queue.partition("@")[2]):
            return False
        return None if is_open else True


def _compiled(text: str) -> re.Pattern[str] | None:
    return compile_pattern(text) if text else None


def named_values(texts: Sequence[str], names: frozenset[str]) -> Mapping[str, str]:
    """Return the values of texts like ``NAME=value`` whose names are wanted."""
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if equals and name in names:
            found[name] = value
    return found
