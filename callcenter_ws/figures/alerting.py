"""Evaluates the rules of alerts of one tenant, and publishes what is raised and cleared. Implements ``FoldedPart``."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from heapq import heappop, heappush
from itertools import islice

from twisted.logger import Logger

from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.alert_events import alert_payload
from callcenter_ws.figures.alert_rows import KIND, AlertFacts, AlertRows, decode_alert
from callcenter_ws.figures.plan import TenantPlan
from callcenter_ws.figures.publishing import PublishEvent, Publishing
from callcenter_ws.runtime.background import Spawn, spawn
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.statistics.alert_values import AlertValues
from callcenter_ws.statistics.alerts import Instance, Wish, breaches, is_due_again, step, step_out
from callcenter_ws.statistics.checkpoint import RowKey, Rows
from callcenter_ws.statistics.rule_table import RuleTable
from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.sums import MINUTE_MS

MAX_ALERTS = 20_000
"""Alerts of a tenant that are pending, raised or recovering; no further one begins."""

UNITS_PER_SECOND = 1_500
"""Work of one second, in the units of ``statistics.alert_values``: about 5 ms. The rest waits for the next second."""

EVENT_UNITS = 20
"""What it costs to make an event."""

_ALERT = "queue.alert."
_SOURCE_TYPES = ("source.up", "source.down")
_TYPES = frozenset((*_SOURCE_TYPES, *[name for name in CATALOGUE if name.startswith(_ALERT)]))

_Key = tuple[str, str]

_log = Logger("callcenter_ws")


class Alerting:
    """The alerts of one tenant.

    A second evaluates what may have changed: the rules of queues that were touched, those whose figure grows while
    calls wait, alerts that are pending or recovering, and everything when a minute turns, as windows move on then. What
    is more than ``UNITS_PER_SECOND`` waits in turn: many rules of many queues are evaluated some seconds late.

    ``take_changes`` also takes note of the marks of the state, so call it before those are taken.
    """

    kinds = frozenset((KIND,))
    types: frozenset[str] | None = _TYPES

    def __init__(
        self,
        tenant_id: str,
        plan: TenantPlan,
        publish: PublishEvent,
        *,
        spawn: Spawn = spawn,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tenant_id = tenant_id
        self._publishing = Publishing(tenant_id, "alerts", publish, spawn=spawn, monotonic=monotonic)
        self._rows = AlertRows(tenant_id)
        self._logged_full = False
        self._clear()
        self.change(plan)

    def _clear(self) -> None:
        self._alerts: dict[_Key, Instance] = {}
        self._state: State | None = None
        self._minute = -1
        # The position of the fold at the last evaluation; -1: none since the marks were taken.
        self._seq = -1
        # Queues whose rules are evaluated, those of which only figures that grow are, and alerts: each in turn.
        self._queues: dict[str, None] = {}
        self._growing: dict[str, None] = {}
        self._timed: dict[_Key, None] = {}
        self._noted: set[str] = set()
        self._repeats: list[tuple[int, _Key]] = []
        self._repeating: set[_Key] = set()

    def change(self, plan: TenantPlan) -> None:
        """Use the rules of another plan from now on; alerts whose rule is gone or changed are cleared."""
        self._rules = RuleTable(plan.alerts)
        self._interval_minutes = plan.interval_minutes
        self._minute = -1
        self._timed.update(dict.fromkeys(self._alerts))

    # The stream

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Begin with the rows of a checkpoint; those that cannot be read are left out, and logged."""
        self._clear()
        for instance in self._rows.load(rows):
            self._alerts[instance.rule, instance.target] = instance
        self._timed.update(dict.fromkeys(self._alerts))

    def apply(self, publication: Publication) -> None:
        """Take over alerts and sources from the stream."""
        name = publication.event.type.name
        if name in _SOURCE_TYPES:
            self._rows.source(publication, is_down=name == "source.down")
        elif name.startswith(_ALERT):
            facts = decode_alert(publication, self._rows)
            if facts is not None:
                self._take(name, facts)

    def _take(self, name: str, facts: AlertFacts) -> None:
        key = (facts.rule, facts.target)
        instance = self._alerts.get(key)
        if name == "queue.alert.raised":
            if instance is None:
                instance = self._alerts[key] = Instance(*key, facts.is_source)
            instance.was_raised(facts.since_ms, facts.at_ms, facts.repeat or 0)
            instance.metric, instance.window = facts.metric, facts.window
            instance.severity, instance.threshold = facts.severity, facts.threshold
            self._timed[key] = None
        elif instance is None or facts.alert_id != instance.alert_id:
            return
        elif name == "queue.alert.cleared":
            instance.was_cleared(facts.at_ms)
        else:
            instance.acknowledged = True
        self._settle(key, instance)

    def _settle(self, key: _Key, instance: Instance) -> None:
        """Store an alert that changed; forget one that is over."""
        if instance.phase == "normal":
            self._alerts.pop(key, None)
            self._timed.pop(key, None)
        self._rows.store(instance)

    # The second

    def second(self, state: State, second_ms: int) -> None:
        """Evaluate the rules whose figures may have changed; publish if this part is started."""
        self._state = state
        if self._seq != state.seq:
            self._note(state, frozenset())
            self._seq = state.seq
        else:
            self._noted.clear()
        values = AlertValues(state, second_ms, self._interval_minutes, self._rows.is_down)
        if second_ms // MINUTE_MS != self._minute:
            self._turn_minute(state, second_ms, values)
        while self._repeats and self._repeats[0][0] <= second_ms:
            key = heappop(self._repeats)[1]
            self._repeating.discard(key)
            if key in self._alerts:
                self._timed[key] = None
        for rule in self._rules.of_sources:
            self._evaluate(rule, rule.source or "", values)
        self._evaluate_timed(values)
        self._evaluate_queues(state, values)

    def _note(self, state: State, without: Iterable[str]) -> None:
        """Take note of the queues that changed since the last write of rows, by the marks of the state."""
        names = state.dirty["queue"] | state.dirty["members"]
        for agent_id in state.dirty["agent"]:
            agent = state.agents.get(agent_id)
            if agent is not None:
                names |= agent.queues
        names.difference_update(without)
        self._noted = names
        for name in names:
            if self._rules.covers(name):
                self._queues[name] = None

    def _turn_minute(self, state: State, second_ms: int, values: AlertValues) -> None:
        """Evaluate everything: windows move on, and schedules begin and end."""
        self._minute = second_ms // MINUTE_MS
        self._rules.use_time(values.reading.zone.local(second_ms))
        self._timed.update(dict.fromkeys(self._alerts))
        self._queues.update(dict.fromkeys(self._rules.queues(state.queues)))

    def _evaluate_timed(self, values: AlertValues) -> None:
        """Evaluate alerts that are pending or recovering, or whose event is due, at most half of the work."""
        for key in list(islice(self._timed, UNITS_PER_SECOND // 2)):
            if values.cost >= UNITS_PER_SECOND // 2:
                return
            # It comes to the end of the row if it has to be evaluated at the next second.
            del self._timed[key]
            instance = self._alerts[key]
            rule = self._rules.rule_of(instance)
            self._step(key, instance, rule, values)

    def _evaluate_queues(self, state: State, values: AlertValues) -> None:
        for name in list(islice(self._growing, UNITS_PER_SECOND)):
            if values.cost >= UNITS_PER_SECOND * 3 // 4:
                break
            del self._growing[name]
            if state.queues[name].waiting:
                for rule in self._rules.growing_of(name):
                    self._evaluate(rule, name, values)
                self._growing[name] = None
        while self._queues and values.cost < UNITS_PER_SECOND:
            name = next(iter(self._queues))
            del self._queues[name]
            queue = state.queues.get(name)
            for rule in self._rules.of_queue(name, is_known=queue is not None):
                self._evaluate(rule, name, values)
            if queue is not None and queue.waiting and self._rules.growing_of(name):
                self._growing[name] = None

    def _evaluate(self, rule: AlertRule, target: str, values: AlertValues) -> None:
        """Evaluate a rule for a queue or source."""
        key = (rule.name, target)
        instance = self._alerts.get(key)
        if instance is not None:
            if key not in self._timed:
                self._step(key, instance, self._rules.rule_of(instance), values)
            return
        if not self._rules.is_active(rule) or not breaches(rule, values.of(rule, target)):
            return
        if len(self._alerts) >= MAX_ALERTS:
            self._log_full()
            return
        instance = Instance(*key, rule.source is not None, digest=self._rules.digest(rule))
        self._alerts[key] = instance
        self._step(key, instance, rule, values)

    def _step(self, key: _Key, instance: Instance, rule: AlertRule | None, values: AlertValues) -> None:
        """Evaluate an alert; publish what is due, again at each second until it is in the stream."""
        second = values.reading.now
        before = (instance.phase, instance.began, instance.since, instance.digest)
        value, reason = None, None
        if rule is not None and self._rules.is_active(rule):
            instance.digest = self._rules.digest(rule)
            value = values.of(rule, instance.target)
            wish = step(instance, rule, second, value)
        else:
            reason = "rule_removed" if rule is None else "schedule"
            values.cost += 1
            wish = step_out(instance, second)
        is_repeated = wish is None and rule is not None and is_due_again(instance, rule, second)
        if wish is not None or is_repeated:
            self._send(instance, rule, wish, value, reason, values)
        if (instance.phase, instance.began, instance.since, instance.digest) != before:
            self._settle(key, instance)
        if wish is not None or is_repeated or instance.phase in ("pending", "recovering"):
            self._timed[key] = None
        elif rule is not None and rule.repeat and instance.is_up and not instance.acknowledged:
            self._repeat_later(key, instance.published + rule.repeat * 1000)

    def _repeat_later(self, key: _Key, at: int) -> None:
        if key not in self._repeating:
            self._repeating.add(key)
            heappush(self._repeats, (at, key))

    def _send(
        self,
        instance: Instance,
        rule: AlertRule | None,
        wish: Wish | None,
        value: float | None,
        reason: str | None,
        values: AlertValues,
    ) -> None:
        kind: Wish = wish or "raised"
        repeat = instance.repeats + 1 if wish is None else 0
        event_id = instance.event_id(kind, repeat)
        values.cost += 2
        if self._publishing.takes(event_id):
            values.cost += EVENT_UNITS
            payload = alert_payload(instance, rule, kind, value, repeat, reason)
            self._publishing.send(f"queue.alert.{kind}", payload, event_id, values.reading.now)

    def _log_full(self) -> None:
        if not self._logged_full:
            self._logged_full = True
            _log.error(
                "tenant {tenant} has {limit} alerts at once; no further one begins until some are cleared",
                tenant=Name(self._tenant_id),
                limit=MAX_ALERTS,
            )

    # The checkpoint, and life

    def take_changes(self) -> Rows:
        """Return the rows that changed since the last call."""
        if self._state is not None:
            # The marks are taken next. What this second has evaluated is left out, unless events came after it.
            self._note(self._state, self._noted if self._seq == self._state.seq else frozenset())
            self._noted = set()
        return self._rows.take()

    def hold(self) -> int | None:
        """Return None: alerts need no log of events."""
        return None

    def start(self, fence: int) -> None:
        """Publish from now on."""
        self._publishing.start(fence)

    def stop(self) -> Awaitable[None]:
        """Publish no more, and wait for what is in flight."""
        return self._publishing.stop()
