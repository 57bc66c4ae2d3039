"""The sequences of ``sequences.json`` and ``more_sequences.json``, and how their checks are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

from fold_samples import make_occurrence

from callcenter_ws.statistics.checkpoint import RowKey, load, take_changes
from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.occurrence import SETTINGS_CHANGED, Occurrence, milliseconds
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.state import State

Json = Any  # what a sequence holds depends on the scenario

_FILES: Json = [
    json.loads((Path(__file__).parent / name).read_text()) for name in ("sequences.json", "more_sequences.json")
]
DEFAULTS: Json = _FILES[0]["defaults"]
_SETTINGS = (
    "time_zone",
    "service_level_seconds",
    "service_level_target",
    "short_abandon_seconds",
    "service_level_method",
)


class Scenario(NamedTuple):
    name: str
    start: int
    config: Json
    events: Json
    checks: Json

    def __str__(self) -> str:
        return self.name.replace(" ", "_")

    @property
    def settings(self) -> Occurrence:
        merged = {**DEFAULTS, **self.config}
        payload = {name: merged[name] for name in _SETTINGS if name in merged}
        payload["queues"] = self.config.get("queues", {})
        return make_occurrence(SETTINGS_CHANGED, payload, timestamp=self.start, received=self.start, seq=0)

    def occurrence(self, index: int, received: int | None = None) -> Occurrence:
        offset, type_, payload, *more = self.events[index]
        timestamp = self.start + round(offset * 1000)
        if received is None:
            received = self.start + round((more[0]["received"] if more else offset) * 1000)
        return make_occurrence(type_, payload, timestamp=timestamp, received=received, seq=index + 1)

    def at(self, check: Json) -> int:
        return self.start + round(check["at"] * 1000)

    def state(self) -> State:
        state = State()
        apply(state, self.settings)
        return state


SCENARIOS = [
    Scenario(one["name"], milliseconds(datetime.fromisoformat(one["t0"])), one["config"], one["events"], one["checks"])
    for content in _FILES
    for one in content["scenarios"]
]


def run(scenario: Scenario, step: Callable[[State, int], State]) -> Iterator[tuple[Json, State]]:
    """Fold a scenario, and yield each check with the state at its place; ``step`` applies the event of an index."""
    state, applied = scenario.state(), 0
    for check in scenario.checks:
        until = check.get("after", len(scenario.events))
        while applied < until:
            state = step(state, applied)
            applied += 1
        yield check, state


def plain_step(scenario: Scenario) -> Callable[[State, int], State]:
    def step(state: State, index: int) -> State:
        apply(state, scenario.occurrence(index))
        return state

    return step


class Store:
    """Rows as a store keeps them."""

    def __init__(self) -> None:
        self.rows: dict[RowKey, bytes] = {}

    def write(self, state: State) -> None:
        for key, row in take_changes(state).items():
            if row is None:
                self.rows.pop(key, None)
            else:
                self.rows[key] = row

    def read(self) -> State:
        return load(reversed(list(self.rows.items())))


def differences(check: Json, reading: Reading) -> list[str]:
    """Return the figures that differ from those that a check expects."""
    return [
        f"{place}: {name}: {_look_up(found, name)!r} in place of {wanted!r}"
        for place, found, expected in _expectations(check, reading)
        for name, wanted in expected.items()
        if not _is_equal(_look_up(found, name), wanted, whole=name == "dispositions")
    ]


def _is_equal(found: object, wanted: object, *, whole: bool) -> bool:
    if isinstance(wanted, dict) and isinstance(found, dict) and not whole:
        return all(found.get(name) == value for name, value in wanted.items())
    return found == wanted


def _look_up(figures: Json, name: str) -> object:
    for part in name.split("."):
        figures = figures.get(part, 0 if name.startswith("state_seconds.") else KeyError)
    return figures


def _expectations(check: Json, reading: Reading) -> Iterator[tuple[str, Json, Json]]:
    for name, expected in check.get("now", {}).items():
        yield f"now {name}", reading.queue_now(name), expected
    for day, names in check.get("day", {}).items():
        for name, expected in names.items():
            yield f"{day} {name}", reading.queue_between(name, *reading.day(date.fromisoformat(day))), expected
    for day, names in check.get("agents", {}).items():
        for name, expected in names.items():
            yield f"{day} {name}", reading.agent_between(name, *reading.day(date.fromisoformat(day))), expected
    for day, expected in check.get("tenant", {}).items():
        yield day, reading.tenant_between(*reading.day(date.fromisoformat(day))), expected
    for name, expected in check.get("last_30m", {}).items():
        yield f"last 30 minutes {name}", reading.queue_last_30m(name), expected
    for name, expected in check.get("agent_now", {}).items():
        yield f"now {name}", reading.agent_now(name), expected
    yield from _intervals(check.get("interval", {}), reading, reading.queue_between)
    yield from _intervals(check.get("agent_interval", {}), reading, reading.agent_between)
    yield "diagnostics", reading.diagnostics(), check.get("diagnostics", {})


def _intervals(expectations: Json, reading: Reading, between: Any) -> Iterator[tuple[str, Json, Json]]:
    for minutes, starts in expectations.items():
        for start, names in starts.items():
            window = reading.interval(datetime.fromisoformat(start), int(minutes))
            assert reading.zone.label(window[0]) == start
            for name, expected in names.items():
                yield f"{start} {name}", between(name, *window), expected
