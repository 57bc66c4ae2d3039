"""The handed sequences, and the laws that hold for each of them."""

from __future__ import annotations

import pytest

from callcenter_ws.statistics.fold import apply
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.state import State
from tests.statistics.sequences import SCENARIOS, Scenario, Store, differences, plain_step, run

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=str)


@every_scenario
def test_figures(scenario: Scenario) -> None:
    for check, state in run(scenario, plain_step(scenario)):
        assert differences(check, Reading(state, scenario.at(check))) == []


@every_scenario
def test_a_checkpoint_after_each_event(scenario: Scenario) -> None:
    store = Store()

    def step(state: State, index: int) -> State:
        apply(state, scenario.occurrence(index))
        store.write(state)
        return store.read()

    for check, state in run(scenario, step):
        assert differences(check, Reading(state, scenario.at(check))) == []


@every_scenario
def test_each_event_twice(scenario: Scenario) -> None:
    for repeated in range(len(scenario.events)):

        def step(state: State, index: int, repeated: int = repeated) -> State:
            apply(state, scenario.occurrence(index))
            if index == repeated:
                apply(state, scenario.occurrence(index))
            return state

        for check, state in run(scenario, step):
            assert differences({**check, "diagnostics": {}}, Reading(state, scenario.at(check))) == []


@every_scenario
def test_all_events_once_more(scenario: Scenario) -> None:
    check, state = list(run(scenario, plain_step(scenario)))[-1]
    at = scenario.at(check)
    for index in range(len(scenario.events)):
        apply(state, scenario.occurrence(index, received=at))
    assert differences({**check, "diagnostics": {}}, Reading(state, at)) == []
