"""The checker of commands finds each kind of mistake, and nothing in a run without one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from command_checker import mistakes
from command_evidence import (
    DONE,
    EFFECT,
    EXECUTED,
    FAILED,
    Answer,
    CommandEvidence,
    Execution,
    Key,
    Request,
    StreamEvent,
    View,
)

KEY = Key("acme", "ada:1")
HANGUP = Request("call.hangup", '{"call_id":"c1"}')
OTHER = Request("call.hangup", '{"call_id":"c2"}')
ACCEPTED = Answer(HANGUP, "accepted", source="pbx", deadline=105.0)
REFUSED = Answer(HANGUP, None, "not_allowed")


def event(seq: int, type_: str, event_id: str = "", **payload: object) -> StreamEvent:
    return StreamEvent("acme", seq, event_id or f"e{seq}", type_, payload)


def outcome(seq: int, code: str | None = None, key: Key = KEY, source: str | None = "pbx") -> list[StreamEvent]:
    """Return the outcome of a command and the report of it."""
    given = {"code": code, "source": source}
    more = {name: value for name, value in given.items() if value is not None}
    state = "done" if code is None else "failed"
    return [
        event(seq, f"command.{state}", command_id=key.command_id, **more),
        event(seq + 1, EXECUTED, command_id=key.command_id, outcome=state, **more),
    ]


def effect(seq: int, key: Key = KEY) -> StreamEvent:
    return event(seq, "alert", title=EFFECT + key.command_id, message="m")


def execution(**changes: object) -> Execution:
    return replace(Execution(KEY, HANGUP, "pbx", 101.0, 105.0), **changes)  # type: ignore[arg-type] - of a test


@pytest.fixture
def run() -> CommandEvidence:
    """A run without a mistake: a command that is done, one that failed, and one that was refused."""
    failed, refused = Key("acme", "ada:2"), Key("acme", "bob:1")
    stored = [effect(1), *outcome(2), *outcome(4, "rejected", failed), event(6, "alert", title="other", message="m")]
    ada, sue = View("acme", "ada"), View("acme", "sue")
    ada.arrived = [(KEY, ACCEPTED), stored[0], stored[1], (failed, ACCEPTED), stored[3], stored[5]]
    sue.arrived = [stored[0], stored[2], stored[4], stored[5]]
    bob = View("acme", "bob", [(refused, REFUSED), stored[0], stored[5]])
    run = CommandEvidence(
        asked={KEY: [HANGUP], failed: [HANGUP], refused: [HANGUP]},
        final={
            KEY: replace(ACCEPTED, state="done"),
            failed: replace(ACCEPTED, state="failed", code="rejected"),
            refused: REFUSED,
        },
        views={"ada": ada, "sue": sue, "bob": bob},
        executions=[execution()],
        stored=stored,
    )
    assert mistakes(run) == []
    return run


def insert(run: CommandEvidence, *events: StreamEvent) -> None:
    """Append events to the store, behind all others."""
    last = run.stored[-1].seq
    run.stored += [
        replace(one, seq=last + number, event_id=f"x{last + number}") for number, one in enumerate(events, 1)
    ]


def two_outcomes(run: CommandEvidence) -> None:
    insert(run, *outcome(1))
    run.views["ada"].arrived += run.stored[-2:-1]


def no_outcome(run: CommandEvidence) -> None:
    del run.stored[1:3]
    for view in run.views.values():
        view.arrived = [one for one in view.arrived if one in run.stored or not isinstance(one, StreamEvent)]


def executed_twice(run: CommandEvidence) -> None:
    run.executions.append(execution(at=102.0))


def executed_late(run: CommandEvidence) -> None:
    run.executions[:] = [execution(at=106.0)]


def done_and_not_executed(run: CommandEvidence) -> None:
    run.executions.clear()


def failed_and_executed(run: CommandEvidence) -> None:
    run.executions.append(execution(key=Key("acme", "ada:2")))


def refused_and_executed(run: CommandEvidence) -> None:
    run.executions.append(execution(key=Key("acme", "bob:1")))


def refused_and_ended(run: CommandEvidence) -> None:
    insert(run, *outcome(1, "rejected", Key("acme", "bob:1")))
    run.views["bob"].arrived += run.stored[-2:-1]


def executed_and_never_asked(run: CommandEvidence) -> None:
    run.executions.append(execution(key=Key("acme", "ada:9")))


def ended_and_never_asked(run: CommandEvidence) -> None:
    insert(run, *outcome(1, "rejected", Key("acme", "zoe:9")))


def executed_otherwise(run: CommandEvidence) -> None:
    run.executions[:] = [execution(request=OTHER)]


def executed_elsewhere(run: CommandEvidence) -> None:
    run.executions[:] = [execution(source="pbx2")]


def executed_with_another_deadline(run: CommandEvidence) -> None:
    run.executions[:] = [execution(deadline=110.0)]


def accepted_with_two_contents(run: CommandEvidence) -> None:
    run.asked[KEY].append(OTHER)
    run.views["ada"].arrived.append((KEY, Answer(OTHER, "done", source="pbx", deadline=105.0)))


def accepted_with_two_deadlines(run: CommandEvidence) -> None:
    run.views["ada"].arrived.append((KEY, replace(ACCEPTED, state="done", deadline=106.0)))


def conflict_of_one_content(run: CommandEvidence) -> None:
    run.views["ada"].arrived.append((KEY, Answer(HANGUP, None, "conflict")))


def another_outcome_answered(run: CommandEvidence) -> None:
    run.final[KEY] = replace(ACCEPTED, state="failed", code="timeout")


def forgotten(run: CommandEvidence) -> None:
    run.final[KEY] = Answer(HANGUP, None, "not_found")


def forbidden_and_accepted(run: CommandEvidence) -> None:
    run.forbidden.add((KEY, HANGUP))


def reported_twice(run: CommandEvidence) -> None:
    insert(run, outcome(1)[1])


def reported_with_another_outcome(run: CommandEvidence) -> None:
    run.stored[2] = replace(run.stored[2], payload={**run.stored[2].payload, "outcome": "failed"})


def reported_before_the_outcome(run: CommandEvidence) -> None:
    early, late = run.stored[1:3]
    run.stored[1:3] = [replace(late, seq=2, event_id="e2"), replace(early, seq=3, event_id="e3")]


def failed_and_done(run: CommandEvidence) -> None:
    insert(run, effect(1, Key("acme", "ada:2")))


def effect_after_the_outcome(run: CommandEvidence) -> None:
    early, late = run.stored[:2]
    run.stored[:2] = [replace(late, seq=1, event_id="e1"), replace(early, seq=2, event_id="e2")]


def another_order_for_a_viewer(run: CommandEvidence) -> None:
    here = run.views["sue"].arrived
    assert isinstance(here[2], StreamEvent) and isinstance(here[3], StreamEvent)
    here[2:] = [replace(here[3], seq=here[2].seq), replace(here[2], seq=here[3].seq)]


def backwards(run: CommandEvidence) -> None:
    run.views["sue"].arrived.reverse()


def read_twice(run: CommandEvidence) -> None:
    run.views["sue"].arrived.append(run.views["sue"].arrived[-1])


def seen_and_not_stored(run: CommandEvidence) -> None:
    run.views["sue"].arrived.append(event(9, "alert", title="t", message="m"))


def outcome_before_its_acceptance(run: CommandEvidence) -> None:
    arrived = run.views["ada"].arrived
    arrived.append(arrived.pop(0))


def outcome_not_received(run: CommandEvidence) -> None:
    run.views["ada"].arrived = [one for one in run.views["ada"].arrived if one != run.stored[1]]


def outcome_of_another_user_received(run: CommandEvidence) -> None:
    run.views["bob"].arrived.insert(2, run.stored[1])


@pytest.mark.parametrize(
    ("plant", "found"),
    [
        (two_outcomes, "has 2 outcomes"),
        (no_outcome, "was accepted and has no outcome"),
        (executed_twice, "was executed 2 times"),
        (executed_late, "was executed 1.000 s after its deadline"),
        (done_and_not_executed, "is done and was not executed"),
        (failed_and_executed, "failed with rejected and was executed"),
        (refused_and_executed, "was refused (not_allowed) and was executed"),
        (refused_and_ended, "was refused (not_allowed) and has an outcome"),
        (executed_and_never_asked, "was not asked for and was executed"),
        (ended_and_never_asked, "was not asked for and has an outcome"),
        (executed_otherwise, "was executed with another content"),
        (executed_elsewhere, "was accepted for pbx and executed by pbx2"),
        (executed_with_another_deadline, "was accepted until 105.000 and executed with the deadline 110.000"),
        (accepted_with_two_contents, "was accepted with different contents"),
        (accepted_with_two_deadlines, "was accepted for different sources or deadlines"),
        (conflict_of_one_content, "answered with conflict"),
        (another_outcome_answered, "ended with command.done None, and was answered [('failed', 'timeout')]"),
        (forgotten, "was accepted, and at the end refused"),
        (forbidden_and_accepted, "which its user may not have done"),
        (reported_twice, "reported as"),
        (reported_with_another_outcome, "reported as"),
        (reported_before_the_outcome, "reported as"),
        (effect_after_the_outcome, "its effects are at [2]"),
        (failed_and_done, "failed with rejected, and its effects are at [7]"),
        (another_order_for_a_viewer, "where others have"),
        (backwards, "read backwards or twice"),
        (read_twice, "read backwards or twice"),
        (seen_and_not_stored, "which the store does not have"),
        (outcome_before_its_acceptance, "is accepted after it had received its outcome"),
        (outcome_not_received, "did not receive the outcome of ada:1"),
        (outcome_of_another_user_received, "which is another user's"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_planted_mistake_is_found(plant: Callable[[CommandEvidence], None], found: str, run: CommandEvidence) -> None:
    plant(run)
    assert any(found in mistake for mistake in mistakes(run)), mistakes(run)


def test_an_unknown_outcome_may_have_been_executed_or_not(run: CommandEvidence) -> None:
    for number, executed in enumerate((True, False)):
        key = Key("acme", f"eve:{number}")
        run.asked[key] = [HANGUP, HANGUP]
        insert(run, *outcome(1, "outcome_unknown", key))
        if executed:
            run.executions.append(execution(key=key))
    assert mistakes(run) == []


def test_what_the_gateway_does_itself_is_not_executed_by_a_source(run: CommandEvidence) -> None:
    key = Key("acme", "eve:1")
    run.asked[key] = [HANGUP]
    run.final[key] = Answer(HANGUP, "done", source="", deadline=105.0)
    insert(run, event(1, "call.disposition", note=key.command_id), *outcome(2, None, key, None))
    assert mistakes(run) == []
    refused = Key("acme", "eve:2")
    run.asked[refused] = [HANGUP]
    insert(run, event(1, "call.disposition", note=refused.command_id), *outcome(2, "outcome_unknown", refused, None))
    assert len(mistakes(run)) == 1 and "failed with outcome_unknown, and its effects are at" in mistakes(run)[0]
    run.executions.append(execution(key=key))
    assert any("carried out by the gateway" in mistake for mistake in mistakes(run))


def test_mail_precedes_the_stream_and_may_repeat_it(run: CommandEvidence) -> None:
    ada = run.views["ada"]
    ada.mail = [one for one in ada.events if one.type in (DONE, FAILED)]
    assert mistakes(run) == []
    ada.arrived = [one for one in ada.arrived if one not in ada.mail]
    assert mistakes(run) == []
