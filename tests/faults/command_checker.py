"""Checks that each command had one outcome, was carried out once and in time, and that all clients saw one order.

Nothing here asks a gateway: ``mistakes`` compares what clients sent and received, what the sources wrote down before
they answered, and what the store has at the end. The rules are those of ``docs/agent-commands.rst``, written a second
time and without the gateway's code.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from command_evidence import (
    DISPOSITION,
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

LATE_SECONDS = 0.5
"""Time that may pass on a busy machine between the last look at the clock and the line that is written."""


@dataclass
class Command:
    """All that is known of one command."""

    key: Key
    asked: list[Request] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    final: Answer | None = None
    executions: list[Execution] = field(default_factory=list)
    outcomes: list[StreamEvent] = field(default_factory=list)
    reports: list[StreamEvent] = field(default_factory=list)
    effects: list[StreamEvent] = field(default_factory=list)

    @property
    def accepted(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.state is not None]

    @property
    def is_refused(self) -> bool:
        """Whether the store does not have it: a repeated request for a stored command is always answered."""
        return self.final is not None and self.final.state is None


def commands_of(evidence: CommandEvidence) -> dict[Key, Command]:
    """Return what is known of each command."""
    found: dict[Key, Command] = {}

    def of(key: Key) -> Command:
        return found.setdefault(key, Command(key))

    for key, requests in evidence.asked.items():
        of(key).asked += requests
    for key, answers in evidence.answers.items():
        of(key).answers += answers
    for key, final in evidence.final.items():
        of(key).answers.append(final)
        of(key).final = final
    for execution in evidence.executions:
        of(execution.key).executions.append(execution)
    for event in evidence.stored:
        _add_event(event, of)
    return found


def _add_event(event: StreamEvent, of: Callable[[Key], Command]) -> None:
    """Add an event to what is known of its command, if it is about one."""
    if event.type in (DONE, FAILED):
        of(event.key).outcomes.append(event)
    elif event.type == EXECUTED:
        of(event.key).reports.append(event)
    elif event.type == DISPOSITION:
        of(Key(event.tenant, event.payload["note"])).effects.append(event)
    elif event.type == "alert" and str(event.payload["title"]).startswith(EFFECT):
        of(Key(event.tenant, event.payload["title"].removeprefix(EFFECT))).effects.append(event)


def mistakes(evidence: CommandEvidence) -> list[str]:
    """Return what is wrong; an empty list if nothing is."""
    found = list(order_mistakes(evidence))
    for key, command in commands_of(evidence).items():
        found += [f"{key.tenant} {key.command_id}: {mistake}" for mistake in command_mistakes(command)]
        if any((key, answer.request) in evidence.forbidden for answer in command.accepted):
            found.append(f"{key.tenant} {key.command_id}: was accepted, which its user may not have done")
    return found + list(delivery_mistakes(evidence))


# One command


def command_mistakes(command: Command) -> Iterator[str]:
    """Compare what the asker was told with the outcome, and both with what the source did."""
    yield from _outcome_mistakes(command)
    yield from _answer_mistakes(command)
    yield from _execution_mistakes(command)
    if len(command.outcomes) == 1:
        yield from _truth_mistakes(command, command.outcomes[0])
        yield from _report_mistakes(command, command.outcomes[0])


def _outcome_mistakes(command: Command) -> Iterator[str]:
    told = [(event.seq, event.type, event.payload.get("code")) for event in command.outcomes]
    if len(told) > 1:
        yield f"has {len(told)} outcomes: {told}"
    if command.accepted and not told:
        yield "was accepted and has no outcome"
    if command.accepted and command.is_refused:
        yield f"was accepted, and at the end refused: {_codes(command)}"
    if told and not command.asked:
        yield f"was not asked for and has an outcome: {told}"
    elif told and command.is_refused:
        yield f"was refused ({_codes(command)}) and has an outcome: {told}"
    if command.reports and not told:
        yield f"is reported as executed at {command.reports[0].seq} and has no outcome"


def _answer_mistakes(command: Command) -> Iterator[str]:
    accepted = command.accepted
    if len({answer.request for answer in accepted}) > 1:
        yield f"was accepted with different contents: {sorted({answer.request for answer in accepted})}"
    if len({(answer.source or None, answer.deadline) for answer in accepted}) > 1:
        yield f"was accepted for different sources or deadlines: {[(a.source, a.deadline) for a in accepted]}"
    for outcome in command.outcomes:
        wrong = [
            (answer.state, answer.code)
            for answer in accepted
            if answer.state in ("done", "failed")
            and (answer.state, answer.code) != (outcome.type.removeprefix("command."), outcome.payload.get("code"))
        ]
        if wrong:
            yield f"ended with {outcome.type} {outcome.payload.get('code')}, and was answered {wrong}"
    for answer in command.answers:
        if answer.code == "conflict" and answer.state is None and len(set(command.asked)) == 1:
            yield "was always asked for with the same content and answered with conflict"


def _execution_mistakes(command: Command) -> Iterator[str]:
    executions = command.executions
    if len(executions) > 1:
        yield f"was executed {len(executions)} times: {[(one.source, one.at) for one in executions]}"
    traces = len(executions) + len(command.effects)
    if traces and not command.asked:
        yield "was not asked for and was executed"
    elif traces and command.is_refused:
        yield f"was refused ({_codes(command)}) and was executed"
    for one in executions:
        if one.at > one.deadline + LATE_SECONDS:
            yield f"was executed {one.at - one.deadline:.3f} s after its deadline"
        if command.asked and one.request not in command.asked:
            yield f"was executed with another content: {one.request}, not {command.asked[0]}"
        for answer in command.accepted:
            yield from _differences(answer, one)


def _differences(answer: Answer, execution: Execution) -> Iterator[str]:
    """Compare an acceptance with what was executed."""
    if answer.request != execution.request:
        yield f"was accepted as {answer.request} and executed as {execution.request}"
    if (answer.source or None) != execution.source:
        yield f"was accepted for {answer.source} and executed by {execution.source}"
    if abs(answer.deadline - execution.deadline) > 0.001:
        yield f"was accepted until {answer.deadline:.3f} and executed with the deadline {execution.deadline:.3f}"


def _truth_mistakes(command: Command, outcome: StreamEvent) -> Iterator[str]:
    """Compare the outcome with what the source wrote down."""
    source, code = outcome.payload.get("source"), outcome.payload.get("code")
    executed = len(command.executions)
    if outcome.type == DONE and source is not None and not executed:
        yield f"is done and was not executed by {source}"
    if outcome.type == DONE and source is None and executed:
        yield "was carried out by the gateway, and was executed by a source"
    if outcome.type == FAILED and code != "outcome_unknown" and executed:
        yield f"failed with {code} and was executed"
    for one in command.executions:
        if source is not None and source != one.source:
            yield f"has an outcome of {source} and was executed by {one.source}"
    yield from _effect_mistakes(command, outcome)


def _effect_mistakes(command: Command, outcome: StreamEvent) -> Iterator[str]:
    """Check that what was done was told before the outcome; what the gateway does itself is never uncertain."""
    is_certain = outcome.payload.get("source") is None or outcome.payload.get("code") != "outcome_unknown"
    seqs = [event.seq for event in command.effects]
    if outcome.type == DONE and not (len(seqs) == 1 and seqs[0] < outcome.seq):
        yield f"is done at {outcome.seq}, and its effects are at {seqs}"
    if outcome.type == FAILED and is_certain and seqs:
        yield f"failed with {outcome.payload.get('code')}, and its effects are at {seqs}"


def _report_mistakes(command: Command, outcome: StreamEvent) -> Iterator[str]:
    """Check that supervisors are told of the outcome once, after it."""
    told = [
        (event.seq > outcome.seq, f"command.{event.payload['outcome']}", event.payload.get("code"))
        for event in command.reports
    ]
    expected = [(True, outcome.type, outcome.payload.get("code"))]
    if told != expected:
        yield f"is {outcome.type} at {outcome.seq} and reported as {[(e.seq, e.payload) for e in command.reports]}"


def _codes(command: Command) -> str:
    return ", ".join(sorted({str(answer.code) for answer in command.answers}))


# What clients have seen


def order_mistakes(evidence: CommandEvidence) -> Iterator[str]:
    """Check that there is one order: the same event at the same position for everyone, read forwards and once."""
    places: dict[tuple[str, int], str] = {}
    seqs: dict[tuple[str, str], int] = {}
    stored = [("the store", event) for event in evidence.stored]
    seen = [(name, event) for name, view in evidence.views.items() for event in (*view.events, *view.mail)]
    for name, event in stored + seen:
        here = places.setdefault((event.tenant, event.seq), event.event_id)
        if here != event.event_id:
            yield f"{name} has {event.event_id} at {event.seq} of {event.tenant}, where others have {here}"
        first = seqs.setdefault((event.tenant, event.event_id), event.seq)
        if first != event.seq:
            yield f"{name} has {event.event_id} of {event.tenant} at {event.seq}, others have it at {first}"
    in_store = {(event.tenant, event.seq) for event in evidence.stored}
    for name, event in seen:
        if (event.tenant, event.seq) not in in_store:
            yield f"{name} received {event.event_id} at {event.seq} of {event.tenant}, which the store does not have"
    for name, view in evidence.views.items():
        read = [event.seq for event in view.events]
        backwards = [pair for pair in itertools.pairwise(read) if pair[0] >= pair[1]]
        if backwards:
            yield f"{name} read backwards or twice: {backwards[:5]}"


def delivery_mistakes(evidence: CommandEvidence) -> Iterator[str]:
    """Check that each person saw its own outcomes, no others, and each after its acceptance."""
    seen: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, view in evidence.views.items():
        yield from _late_answers(name, view)
        if view.user is None:
            continue
        for event in (*view.events, *view.mail):
            if event.type in (DONE, FAILED):
                seen[view.tenant, view.user].add(event.event_id)
                if event.key.user != view.user:
                    yield f"{name} received the outcome of {event.key.command_id}, which is another user's"
    people = {(view.tenant, view.user) for view in evidence.views.values() if view.user is not None}
    for event in evidence.stored:
        if event.type not in (DONE, FAILED) or (event.tenant, event.key.user) not in people:
            continue
        if event.event_id not in seen[event.tenant, event.key.user]:
            yield f"{event.key.user} did not receive the outcome of {event.key.command_id} at {event.seq}"


def _late_answers(name: str, view: View) -> Iterator[str]:
    ended: set[Key] = set()
    for one in view.arrived:
        if isinstance(one, StreamEvent):
            if one.type in (DONE, FAILED):
                ended.add(one.key)
        elif one[0] in ended and one[1].state in ("accepted", "dispatched"):
            yield f"{name} was told that {one[0].command_id} is {one[1].state} after it had received its outcome"
