"""What the alerts of a tenant publish."""

from __future__ import annotations

import json

from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.figures.alerting import Alerting
from callcenter_ws.statistics.rules import AlertRule
from callcenter_ws.statistics.state import State

DOWN = AlertRule(name="pbx", source="pbx1")


def make(rules: list[AlertRule]) -> tuple[Alerting, list[Event]]:
    published: list[Event] = []
    return Alerting("acme", lambda: tuple(rules), published.extend, lambda: 0.0), published


def source(type_: str) -> Publication:
    from sample_events import event

    return Publication(event(type_, {"source": "pbx1"}), 1)


def test_a_handover_before_and_after_the_event_publishes_the_same_id_once_and_a_removed_rule_clears() -> None:
    rules = [DOWN]
    first, published = make(rules)
    first.start(1)
    first.apply(source("source.down"))
    first.second(State(), 1_000)
    rows = {key: data for key, data in first.take_changes().items() if data is not None}
    second, again = make(rules)
    second.load(rows)
    second.start(2)
    second.second(State(), 2_000)
    assert [event.event_id for event in published] == [event.event_id for event in again]
    second.apply(Publication(again[0], 2))
    second.second(State(), 3_000)
    assert len(again) == 1
    rules.clear()
    second.second(State(), 4_000)
    assert again[1].type.name == "queue.alert.cleared"
    assert json.loads(again[1].payload)["reason"] == "rule_removed"
