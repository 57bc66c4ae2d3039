"""The live figures: which messages are sent when."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fold_samples import make_occurrence

from callcenter_ws.statistics import live
from callcenter_ws.statistics.checkpoint import take_changes
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.live import LiveFigures
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.sums import DAY_MS, MINUTE_MS, QUARTER_MS

START = 1_800_000_000_000 // DAY_MS * DAY_MS + 10 * QUARTER_MS
JOINED = {"unique_id": "c1", "queue_name": "sales"}


class Folding:
    """A fold with its live figures, as the process that runs them has it."""

    def __init__(self, **settings: Any) -> None:
        self.state = State()
        self.live = LiveFigures("acme", **settings)
        self.now = START
        self.epoch = "e1"

    def event(self, type_: str, payload: dict[str, Any]) -> None:
        seq = self.state.seq + 1
        apply(self.state, make_occurrence(type_, payload, timestamp=self.now, received=self.now, seq=seq))

    def tick(self, after: int = 1000, incomplete_since: int | None = None) -> dict[str, Any]:
        self.now += after
        found = self.live.changes(self.state, self.now, epoch=self.epoch, incomplete_since=incomplete_since)
        take_changes(self.state)
        assert len({figure.key for figure in found}) == len(found)
        return {figure.key: json.loads(figure.message) if figure.message else None for figure in found}


def test_a_figure_is_sent_when_it_changes() -> None:
    folding = Folding()
    assert set(folding.tick()) == {"tenant.stats:"}
    folding.event("queue.joined", JOINED)
    found = folding.tick()
    assert set(found) == {"tenant.stats:", "queue.stats:sales"}
    message = found["queue.stats:sales"]
    payload = message.pop("payload")
    assert message == {"type": "queue.stats", "tenant_id": "acme", "timestamp": payload["generated_at"]}
    assert payload["epoch"] == "e1"
    assert payload["as_of_seq"] == 1
    assert payload["calls_waiting"] == 1
    assert payload["incomplete_since"] is None
    assert folding.tick() == {}  # the growing wait is no change


def test_a_repeated_event_is_no_change() -> None:
    folding = Folding()
    folding.event("queue.joined", JOINED)
    folding.tick()
    folding.event("queue.joined", JOINED)
    assert folding.tick() == {}


def test_an_agent_is_sent_at_most_every_five_seconds() -> None:
    folding = Folding()
    folding.event("agent.login", {"user_id": 7, "username": "ada", "queues": ["sales"]})
    first = folding.tick()["agent.stats:7"]["payload"]
    assert (first["user_id"], first["state"], first["queues"]) == ("7", "available", ["sales"])
    folding.event("agent.state.changed", {"user_id": 7, "state": "break"})
    found = folding.tick()
    assert "agent.stats:7" not in found
    assert found["queue.stats:sales"]["payload"]["agents"] == {"break": 1}
    assert folding.tick(3999) == {}
    assert folding.tick(1)["agent.stats:7"]["payload"]["state"] == "break"
    assert folding.tick(60_000) == {}  # growing seconds are no change


def test_a_call_leaves_the_rolling_window_and_the_interval() -> None:
    folding = Folding()
    folding.event("queue.joined", JOINED)
    folding.event("queue.left", {**JOINED, "reason": "timeout", "wait_seconds": 0})
    assert folding.tick()["queue.stats:sales"]["payload"]["interval"]["offered"] == 1
    found = folding.tick(QUARTER_MS)["queue.stats:sales"]["payload"]
    assert (found["interval"]["offered"], found["last_30m"]["offered"], found["today"]["offered"]) == (0, 1, 1)
    found = folding.tick(QUARTER_MS + MINUTE_MS)["queue.stats:sales"]["payload"]
    assert (found["last_30m"]["offered"], found["today"]["offered"]) == (0, 1)
    assert "queue.stats:sales" not in folding.tick(MINUTE_MS)


def test_a_day_begins() -> None:
    folding = Folding()
    folding.event("agent.login", {"user_id": "7", "queues": ["sales"]})
    folding.tick()
    found = folding.tick(DAY_MS)
    assert set(found) == {"tenant.stats:", "queue.stats:sales", "agent.stats:7"}
    assert len({message["payload"]["day"] for message in found.values()}) == 1
    assert folding.tick() == {}


def test_settings_epoch_and_gaps_change_all() -> None:
    folding = Folding(interval_minutes=60)
    folding.event("queue.joined", JOINED)
    folding.event("agent.login", {"user_id": "7"})
    everything = set(folding.tick())
    folding.event(SETTINGS_CHANGED, {"service_level_seconds": 30})
    found = folding.tick()["queue.stats:sales"]["payload"]
    assert (found["service_level_seconds"], found["interval"]["minutes"]) == (30, 60)
    folding.epoch = "e2"
    assert {message["payload"]["epoch"] for message in folding.tick(5000).values()} == {"e2"}
    found = folding.tick(5000, incomplete_since=START)
    assert set(found) == everything
    assert {message["payload"]["incomplete_since"] for message in found.values()} == {"2027-01-15T02:30:00.000Z"}


def test_figures_of_what_is_gone_or_not_shown_are_removed() -> None:
    shown = {"sales", "help"}
    folding = Folding(shows=shown.__contains__, keys=("queue.stats:old", "agent.stats:8"))
    folding.event("queue.joined", JOINED)
    folding.event("queue.joined", {"unique_id": "c1", "queue_name": "other"})
    found = folding.tick()
    assert set(found) == {"tenant.stats:", "queue.stats:sales", "queue.stats:old", "agent.stats:8"}
    assert found["queue.stats:old"] is None
    assert found["agent.stats:8"] is None
    shown.remove("sales")
    assert folding.tick(MINUTE_MS) == {"queue.stats:sales": None}


def test_nothing_is_computed_for_a_tenant_without_events(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def reading(state: State, now: int) -> Reading:
        made.append(now)
        return Reading(state, now)

    monkeypatch.setattr(live, "Reading", reading)
    folding = Folding()
    folding.event("queue.joined", JOINED)
    folding.tick()
    assert [folding.tick() for _ in range(3)] == [{}, {}, {}]
    assert len(made) == 1
    folding.tick(MINUTE_MS)
    folding.event("queue.left", {**JOINED, "reason": "abandoned"})
    assert "queue.stats:sales" in folding.tick()
    assert len(made) == 3


def test_changes_between_two_calls_are_sent_though_rows_were_taken() -> None:
    folding = Folding()
    folding.tick()
    folding.event("queue.joined", JOINED)
    folding.live.note(folding.state)
    take_changes(folding.state)
    assert "queue.stats:sales" in folding.tick()


def test_slices_are_small_and_hold_all_figures() -> None:
    folding = Folding()
    for number in range(100):
        folding.event("queue.joined", {"unique_id": number, "queue_name": f"q{number}"})
        folding.event("agent.login", {"user_id": number})
    slices = list(folding.live.slices(folding.state, folding.now))
    assert max(map(len, slices)) <= 16
    assert sum(map(len, slices)) == 201


def test_a_call_without_events_is_lost_in_the_rows_without_a_further_event() -> None:
    folding = Folding()
    folding.event("queue.joined", JOINED)
    assert folding.tick()["queue.stats:sales"]["payload"]["calls_waiting"] == 1
    assert folding.tick(DAY_MS)["queue.stats:sales"]["payload"]["calls_waiting"] == 0
    assert folding.state.calls
    folding.tick(MINUTE_MS)
    assert not folding.state.calls
