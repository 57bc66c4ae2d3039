"""Sending commands to a source, and taking its outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from command_world import CommandWorld, Source, person, result_of
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionLost

from callcenter_ws.broker import command_table
from callcenter_ws.commands import dispatching
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandKey
from callcenter_ws.events.principal import Role

UNAVAILABLE = Refusal(ErrorCode.UNAVAILABLE, "the store does not answer")


@pytest.fixture
def commands() -> CommandWorld:
    return CommandWorld()


def test_commands_are_sent_in_the_order_of_acceptance_and_no_more_than_are_answered(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    ids = [f"{number:03}" for number in range(100)]
    commands.dial(*ids)
    commands.clock.turn(5)
    assert source.sent == ids[: dispatching.MAX_IN_FLIGHT]
    assert commands.service.counters.in_flight == dispatching.MAX_IN_FLIGHT
    source.take(10)
    commands.clock.turn(5)
    assert source.sent == ids[: dispatching.MAX_IN_FLIGHT + 10]
    source.take()
    commands.clock.turn(5)
    assert source.sent == ids
    assert commands.followed == ["acme"]


def test_a_connection_that_is_full_is_sent_nothing(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    source.writable = False
    commands.dial("1")
    assert source.sent == []
    source.writable = True
    commands.service.dispatcher.writable_again(source.link)
    assert source.sent == ["1"]


def test_a_command_that_was_not_announced_is_found(commands: CommandWorld) -> None:
    commands.broker.commands._listeners.clear()
    source = Source(commands).subscribe()
    commands.dial("1")
    assert source.sent == []
    commands.clock.advance(dispatching.POLL_SECONDS)
    assert source.sent == ["1"]


def test_the_store_is_asked_for_few_sources_at_once(commands: CommandWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 3 * dispatching.POLLED_AT_ONCE
    for number in range(count):
        Source(commands, f"pbx{number}").subscribe()
    asked: list[str] = []
    turns: list[int] = []
    next_turn = dispatching.next_turn

    async def waiting(scope: str, source: str, tenants: Any) -> list[Any]:
        asked.append(source)
        return []

    def counted(clock: Any) -> Any:
        turns.append(len(asked))
        return next_turn(clock)

    monkeypatch.setattr(commands.broker.commands, "waiting", waiting)
    monkeypatch.setattr(dispatching, "next_turn", counted)
    commands.clock.advance(dispatching.POLL_SECONDS)
    assert turns == [dispatching.POLLED_AT_ONCE, 2 * dispatching.POLLED_AT_ONCE]
    assert len(set(asked)) == len(asked) == count


def test_nothing_is_sent_after_its_deadline(commands: CommandWorld) -> None:
    commands.dial("1")
    commands.issue("agent.state.set", state="away", command_id="2")
    commands.clock.advance(5)
    source = Source(commands).subscribe()
    assert source.sent == ["1"]
    commands.clock.advance(10)
    assert commands.outcomes() == {"2": "timeout"}


def test_a_command_is_sent_over_one_connection_only(commands: CommandWorld) -> None:
    old = Source(commands).subscribe()
    commands.dial("1")
    new = Source(commands, generation=2).subscribe()
    commands.dial("2")
    commands.service.dispatcher.detach(old.link)
    commands.dial("3")
    assert (old.sent, new.sent) == (["1"], ["2", "3"])
    old.calls[0][1].callback(None)
    assert commands.service.counters.in_flight == 2
    assert commands.followed == ["acme"]
    # The outcome may come over the new one.
    assert new.tell("1")
    commands.service.dispatcher.detach(new.link)
    assert commands.followed == []
    assert commands.service.counters.in_flight == 0


def test_a_source_that_does_not_answer_is_disconnected(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    commands.dial("1")
    commands.clock.advance(dispatching.ANSWER_TIMEOUT_SECONDS)
    assert source.reasons == ["it left a Command unanswered for 30 s"]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (Refusal(ErrorCode.OVERLOADED), "busy"),
        (Refusal(ErrorCode.UNAVAILABLE), "busy"),
        (Refusal(ErrorCode.UNSUPPORTED), "unsupported"),
        (Refusal(ErrorCode.INVALID_EVENT, "line\nbreak"), "rejected"),
        # Not known whether it was taken.
        (ConnectionLost(), "outcome_unknown"),
        (RuntimeError("of an unknown code"), "outcome_unknown"),
    ],
)
def test_an_error_in_place_of_an_answer(commands: CommandWorld, error: Exception, outcome: str) -> None:
    source = Source(commands).subscribe()
    commands.dial("1")
    source.calls[0][1].errback(error)
    commands.clock.advance(65)
    assert commands.outcomes() == {"1": outcome}
    assert source.sent == ["1"]


def test_a_connection_that_is_lost_before_the_command_is_sent(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    dispatch = commands.broker.commands.dispatch

    async def dispatch_and_lose(*arguments: Any) -> Any:
        record = await dispatch(*arguments)
        source.is_ended = True
        return record

    commands.broker.commands.dispatch = dispatch_and_lose
    commands.dial("1")
    assert source.sent == []
    assert commands.outcomes() == {"1": "source_down"}


def test_a_store_that_fails_loses_no_command(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    dispatch, failures = commands.broker.commands.dispatch, ["1", "2"]

    async def fail_once(key: CommandKey, now_ms: int) -> Any:
        if key.command_id in failures:
            failures.remove(key.command_id)
            raise UNAVAILABLE.copy()
        return await dispatch(key, now_ms)

    commands.broker.commands.dispatch = fail_once
    commands.dial("1", "2", "3")
    for _ in range(3):
        commands.clock.advance(dispatching.POLL_SECONDS)
    assert sorted(source.sent) == ["1", "2", "3"]


def test_rights_are_checked_again_before_a_command_is_sent(commands: CommandWorld) -> None:
    source = Source(commands)
    for call_id in ("kept", "moved", "ended"):
        commands.call(call_id)
        commands.issue("call.hangup", call_id=call_id, command_id=call_id)
    moved = {"unique_id": "moved", "destination": "102", "from_agent_id": "alice", "to_agent_id": "bob"}
    commands.publish("call.transferred", **moved)
    commands.publish("call.ended", unique_id="ended", duration=1)
    source.subscribe()
    commands.clock.advance(dispatching.RECHECK_SECONDS)
    assert source.sent == ["kept"]
    assert commands.outcomes() == {"moved": "not_allowed", "ended": "not_found"}


def test_commands_whose_rights_are_checked_once_more_delay_no_others(commands: CommandWorld) -> None:
    source = Source(commands)
    commands.call("c1")
    doubted = [f"h{number}" for number in range(3 * dispatching.PREPARED_AT_ONCE)]
    for command_id in doubted:
        commands.issue("call.hangup", call_id="c1", command_id=command_id)
    commands.dial("last")
    commands.publish("call.ended", unique_id="c1", duration=1)
    source.subscribe()
    assert source.sent == ["last"]
    assert commands.outcomes() == {}
    commands.clock.advance(dispatching.RECHECK_SECONDS)
    assert commands.outcomes() == dict.fromkeys(doubted, "not_found")


def test_many_commands_whose_deadline_has_passed_do_not_hide_others(commands: CommandWorld) -> None:
    late = [f"late{number}" for number in range(command_table.MAX_WAITING)]
    for command_id in late:
        commands.issue("agent.state.set", state="away", command_id=command_id)
    commands.clock.advance(5)
    commands.dial("1")
    source = Source(commands).subscribe()
    for _ in range(len(late) // dispatching.LATE_AT_ONCE):
        commands.clock.turn()
    assert source.sent == ["1"]
    assert set(commands.outcomes().values()) == {"timeout"}


def test_a_node_that_was_delivered_less_than_that_of_the_asker_waits_a_moment(commands: CommandWorld) -> None:
    commands.call("c1")
    commands.issue("call.hangup", call_id="c1", command_id="1")
    entity = commands.broker.entity

    async def nothing(tenant_id: str, key: Any) -> None:
        return None

    commands.broker.entity = nothing
    source = Source(commands).subscribe()
    commands.broker.entity = entity
    assert source.sent == []
    commands.clock.advance(dispatching.RECHECK_SECONDS)
    assert source.sent == ["1"]


def test_commands_that_others_have_sent_are_not_asked_for_without_end(commands: CommandWorld) -> None:
    asked = 0
    waiting = commands.broker.commands.waiting

    async def as_before(*arguments: Any) -> Any:
        nonlocal asked
        asked += 1
        return found or await waiting(*arguments)

    commands.broker.commands.waiting = as_before
    found: list[Any] = []
    # More than are prepared at once: with fewer, the store is not asked again anyway.
    commands.dial(*map(str, range(dispatching.PREPARED_AT_ONCE + 1)))
    found += result_of(waiting("*", "pbx1", ["acme"]))
    for record in found:
        result_of(commands.broker.commands.dispatch(record.key, record.accepted_ms))
    source = Source(commands).subscribe()
    assert (source.sent, asked) == ([], 1)
    found.clear()
    commands.dial("last")
    assert (source.sent, asked) == (["last"], 2)


def test_a_node_that_stops_sends_nothing(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    source.writable = False
    commands.dial("1")
    commands.service.drain()
    source.writable = True
    commands.service.dispatcher.writable_again(source.link)
    commands.clock.advance(10)
    assert source.sent == []


# Outcomes


def test_the_outcome_of_a_source_is_in_the_order_of_its_events(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    commands.dial("1", "2")
    first, second = source.told("1"), source.told("2", "failed", code="rejected", data=b'{"a": 1}')
    assert result_of(source.give(first))
    assert result_of(source.give(second))
    # Sent again, each is answered, and nothing is published.
    assert not result_of(source.give(first))
    assert not result_of(source.give(second))
    assert commands.outcomes() == {"1": "done", "2": "rejected"}
    assert commands.service.counters.late_outcomes == 2
    types = [one.event.type.name for one in commands.delivered]
    assert types == ["command.done", "command.executed", "command.failed", "command.executed"]


def test_an_outcome_that_the_store_refuses_for_now_must_come_again_before_later_ones(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    commands.dial("1", "2")
    first, second, publish = source.told("1"), source.told("2"), commands.broker.publish
    commands.broker.publish = lambda events: fail(UNAVAILABLE.copy())
    with pytest.raises(Refusal, match="does not answer"):
        result_of(source.give(first))
    commands.broker.publish = publish
    with pytest.raises(Refusal, match="lower source_seq"):
        result_of(source.give(second))
    assert result_of(source.give(first))
    assert result_of(source.give(second))
    assert commands.outcomes() == {"1": "done", "2": "done"}


def test_a_command_that_cannot_be_read_holds_up_what_follows(commands: CommandWorld) -> None:
    source = Source(commands)
    unknown, after, command = source.told("1"), source.told("2"), commands.broker.commands.command
    commands.broker.commands.command = lambda key: fail(UNAVAILABLE.copy())
    with pytest.raises(Refusal, match="does not answer"):
        result_of(source.give(unknown))
    commands.broker.commands.command = command
    with pytest.raises(Refusal, match="lower source_seq"):
        result_of(source.give(after))
    assert not result_of(source.give(unknown))
    assert not result_of(source.give(after))


def test_data_are_bounded_as_they_are_stored(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    commands.dial("1")
    # Four bytes are eighteen when they are encoded again.
    with pytest.raises(Refusal, match="the limit is 4096") as refused:
        source.tell("1", data=b"[" + b",".join([b"1e15"] * 800) + b"]")
    assert refused.value.code is ErrorCode.TOO_LARGE
    assert source.tell("1", data=b"[1e15]")


def test_what_is_persistent_and_who_is_told(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    service = person("crm", Role.SERVICE)
    commands.dial("1")
    commands.dial("2", asker=service)
    source.tell("1")
    source.tell("2", user="crm")
    told = [one.event for one in commands.delivered if one.event.type.name == "command.done"]
    assert [(event.user_id, event.is_mail) for event in told] == [("alice", True), ("crm", False)]


def test_who_waits_for_an_outcome_learns_it(commands: CommandWorld) -> None:
    source = Source(commands).subscribe()
    commands.dial("1")
    key = CommandKey("acme", "alice", "1")
    waiting = Deferred.fromCoroutine(commands.service.outcome(key, 60))
    assert not waiting.called
    source.tell("1")
    commands.clock.turn()
    assert waiting.result.state == "done"
    assert result_of(commands.service.outcome(key, 60)).state == "done"
    commands.dial("2")
    late = Deferred.fromCoroutine(commands.service.outcome(CommandKey("acme", "alice", "2"), 1))
    commands.clock.advance(1)
    assert late.result.state == "dispatched"
    waiting = Deferred.fromCoroutine(commands.service.outcome(CommandKey("acme", "alice", "2"), 60))
    commands.service.drain()
    commands.clock.turn()
    assert waiting.result.state == "dispatched"
    with pytest.raises(Refusal, match="no open command"):
        result_of(commands.service.outcome(CommandKey("acme", "alice", "3"), 1))
