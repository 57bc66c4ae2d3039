"""Evaluates the rules of alerts of one tenant, and publishes what is raised and cleared. Implements ``FoldedPart``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

import msgspec
from twisted.internet.defer import succeed

from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics.alerts import Instance, Wish, is_active, is_due_again, step
from callcenter_ws.statistics.checkpoint import NO_DAY, RowKey, Rows
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.state import State

KIND = "alert"
_SOURCES = RowKey(KIND, "sources", NO_DAY)
_decode = msgspec.msgpack.Decoder(Instance).decode


class Alerting:
    """The alerts of one tenant. Its instances are bounded by the rules of the settings and the queues of the fold.

    Args:
        rules: returns the rules that are in force.
        publish: publishes events in the background; those that fail are tried again at the next second.
        monotonic: the monotonic clock.
    """

    kinds = frozenset((KIND,))

    def __init__(
        self,
        tenant_id: str,
        rules: Callable[[], tuple[AlertRule, ...]],
        publish: Callable[[list[Event]], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._tenant_id, self._rules, self._publish, self._monotonic = tenant_id, rules, publish, monotonic
        self._instances: dict[tuple[str, str], Instance] = {}
        self._down: dict[str, bool] = {}
        self._changed: Rows = {}
        self._fence: int | None = None

    def load(self, rows: Mapping[RowKey, bytes]) -> None:
        """Begin with the rows of a checkpoint."""
        self._instances, self._down, self._changed = {}, {}, {}
        for key, data in rows.items():
            if key == _SOURCES:
                self._down = msgspec.msgpack.decode(data, type=dict[str, bool])
            else:
                instance = _decode(data)
                self._instances[instance.rule, instance.target] = instance

    def apply(self, publication: Publication) -> None:
        """Take over alerts and sources from the stream."""
        name = publication.event.type.name
        if name in ("source.up", "source.down"):
            self._down[msgspec.json.decode(publication.event.payload)["source"]] = name == "source.down"
            self._changed[_SOURCES] = msgspec.msgpack.encode(self._down)
        elif name.startswith("queue.alert."):
            self._take(name, msgspec.json.decode(publication.event.payload), publication.event.timestamp)

    def _take(self, name: str, payload: dict[str, str], timestamp: str) -> None:
        target = payload.get("queue_name") or payload.get("source") or ""
        key = payload["rule"], target
        instance = self._instances.get(key)
        if instance is None:
            instance = self._instances[key] = Instance(*key, payload.get("queue_name") is None)
        if name.endswith("raised"):
            instance.was_raised(_ms(payload["since"]), _ms(timestamp), int(payload.get("repeat") or 0))
        elif payload["alert_id"] == instance.alert_id:
            if name.endswith("cleared"):
                instance.was_cleared(_ms(timestamp))
            else:
                instance.acknowledged = True
        self._store(instance)

    def _store(self, instance: Instance) -> None:
        key = RowKey(KIND, msgspec.json.encode([instance.rule, instance.target]).decode(), NO_DAY)
        self._changed[key] = None if instance.phase == "normal" else msgspec.msgpack.encode(instance)

    def second(self, state: State, second_ms: int) -> None:
        """Evaluate all rules; publish if this part is started."""
        rules = {rule.name: rule for rule in self._rules()}
        reading, events = Reading(state, second_ms), []
        for rule in rules.values():
            active = is_active(rule.schedule, reading.zone.local(second_ms))
            for target in (rule.source,) if rule.source else state.queues if "*" in rule.queues else rule.queues:
                instance = self._instances.setdefault(
                    (rule.name, target), Instance(rule.name, target, rule.source is not None)
                )
                before = instance.phase
                value = self._value(reading, rule, target, state)
                wish = step(instance, rule, second_ms, value) if active else None
                if not active and instance.phase == "pending":
                    instance.enter("normal", second_ms)
                reason = None if active else "schedule"
                if not active and instance.is_up:
                    wish = "cleared"
                if wish or is_due_again(instance, rule, second_ms):
                    events.append(self._event(instance, rule, wish, value, second_ms, reason))
                if instance.phase != before:
                    self._store(instance)
        for (name, _), instance in list(self._instances.items()):
            if name not in rules and instance.is_up:
                events.append(self._event(instance, None, "cleared", None, second_ms, "rule_removed"))
        if events and self._fence is not None:
            self._publish(events)

    def _value(self, reading: Reading, rule: AlertRule, target: str, state: State) -> float | None:
        if rule.source is not None or rule.metric is None:
            return 1 if self._down.get(target) else 0
        if rule.window == "now":
            figures = reading.queue_now(target)
        elif rule.window == "last_30m":
            figures = reading.queue_last_30m(target)
        else:
            window = reading.today() if rule.window == "today" else reading.interval(reading.now, 15)
            figures = reading.queue_between(target, *window)
        if rule.min_offered and figures.get("offered", 0) < rule.min_offered:  # type: ignore[operator]
            return None
        return figures.get(rule.metric)  # type: ignore[return-value]

    def _event(
        self,
        instance: Instance,
        rule: AlertRule | None,
        wish: Wish | None,
        value: float | None,
        at: int,
        reason: str | None,
    ) -> Event:
        repeat = instance.repeats + 1 if wish is None else 0
        kind: Wish = wish or "raised"
        payload: dict[str, object] = {
            "alert_id": instance.alert_id, "rule": instance.rule,
            "source" if instance.is_source else "queue_name": instance.target,
            "value": value, "since": instant_text(instance.since), "repeat": repeat, "reason": reason,
        }  # fmt: skip
        if rule is not None:
            limits = (rule.raise_.above, rule.raise_.below)
            payload |= {"metric": rule.metric, "window": rule.window, "severity": rule.severity}
            payload["threshold"] = next((limit for limit in limits if limit is not None), None)
        event = make_event(
            tenant_id=self._tenant_id, type_=f"queue.alert.{kind}", payload=payload,
            event_id=instance.event_id(kind, repeat), now=at / 1000, received_at=self._monotonic(),
            origin=Origin.GATEWAY,
        )  # fmt: skip
        event.condition = StoreCondition(fence=self._fence)
        return event

    def take_changes(self) -> Rows:
        """Return the rows that changed since the last call."""
        changed, self._changed = self._changed, {}
        return changed

    def hold(self) -> int | None:
        """Return None: alerts need no log of events."""
        return None

    def start(self, fence: int) -> None:
        """Publish from now on."""
        self._fence = fence

    def stop(self) -> Awaitable[None]:
        """Publish no more."""
        self._fence = None
        return succeed(None)


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1000)
