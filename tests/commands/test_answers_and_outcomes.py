"""Answers, outcomes and what a command does stand in one order, also when the store answers late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.commands.audit import NoAudit
from callcenter_ws.commands.closing import Closing, CommandCloser
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.commands.policy import CommandChoices, CommandPolicy, Disposition
from callcenter_ws.commands.service import Accepted, CommandService
from callcenter_ws.events.commands import CommandKey, CommandOutcome, CommandState, OutcomeCode
from callcenter_ws.events.event import Event, make_event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import CommandSource
from callcenter_ws.runtime.background import spawn
from callcenter_ws.testing import FakeClock

ADA = Principal("acme", "ada", Role.AGENT)
DISPOSITION = {"name": "call.disposition", "call_id": "c", "code": "resolved", "command_id": "1"}
REQUEST = {"name": "call.originate", "destination": "100", "command_id": "1"}
DONE = CommandOutcome(state=CommandState.DONE)
UNKNOWN = CommandOutcome(state=CommandState.FAILED, code=OutcomeCode.OUTCOME_UNKNOWN)
KEY = CommandKey("acme", "ada", "1")


class OneSource:
    """A registry with one source."""

    async def command_sources(self, tenant_id: str) -> list[CommandSource]:
        return [CommandSource("*", "pbx", ("call.originate",), connected=True)]

    async def chats_are_owned(self, tenant_id: str) -> bool:
        return False


class Bench:
    """A CommandService with a store whose answers can be late, as those of Redis can."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.broker = MemoryBroker(self.clock)
        self.held: dict[str, list[Deferred[None]]] = {}
        self.delivered: list[Event] = []
        for name in ("command", "accept", "dispatch"):
            setattr(self.broker.commands, name, self._late(name, getattr(self.broker.commands, name)))
        policy = CommandPolicy(
            enabled=True, choices=CommandChoices(dispositions=(Disposition("resolved", "Resolved"),))
        )
        self.service = CommandService(
            self.broker, OneSource(), self.clock, spawn, policy, charge=lambda _: 0, new_id=str
        )
        spawn(self.broker.start(self._deliver))
        self.broker.attach("acme")

    def _deliver(self, publications: Sequence[Publication]) -> None:
        self.service.delivered(publications)
        self.delivered += [publication.event for publication in publications]

    def _late(self, name: str, call: Any) -> Any:
        async def answer(*arguments: Any) -> Any:
            result = await call(*arguments)
            if name in self.held:
                self.held[name].append(Deferred())
                await self.held[name][-1]
            return result

        return answer

    @contextmanager
    def holding(self, name: str) -> Iterator[None]:
        """Hold the answers to a call of the store back, and let them go in the end."""
        self.held[name] = []
        yield
        (answer,) = self.held.pop(name)
        answer.callback(None)

    def issue(self, fields: dict[str, Any] = REQUEST) -> Deferred[Accepted]:
        return Deferred.fromCoroutine(self.service.issue(ADA, fields))

    async def close(self, outcome: CommandOutcome = DONE) -> None:
        """Close the command, as its source or the sweep does."""
        record = self.broker.commands.table.get(KEY)
        assert record is not None
        closer = CommandCloser(self.broker, self.clock, CommandCounters(), NoAudit())
        assert await closer.close(Closing(record=record, outcome=outcome))

    async def answer_call(self) -> None:
        """Publish a call that the asker handles."""
        payload = {"unique_id": "c", "call_id": "c", "agent_id": "ada"}
        event = make_event(
            tenant_id="acme",
            type_="call.answered",
            payload=payload,
            event_id="c",
            now=self.clock.time(),
            received_at=self.clock.monotonic(),
        )
        await self.broker.publish([event])
        self.delivered.clear()

    @property
    def names(self) -> list[str]:
        """The names of the delivered events."""
        return [event.type.name for event in self.delivered]


@pytest_twisted.ensureDeferred
async def test_an_answer_that_comes_after_the_outcome_has_it() -> None:
    bench = Bench()
    with bench.holding("accept"):
        answer = bench.issue()
        await bench.close()
    assert (await answer).payload()["state"] == "done"


@pytest_twisted.ensureDeferred
async def test_the_answer_to_a_repeated_request_is_not_older_than_the_outcome_that_was_delivered() -> None:
    bench = Bench()
    assert (await bench.issue()).payload()["state"] == "accepted"
    with bench.holding("command"):
        answer = bench.issue()
        await bench.close()
    repeated = await answer
    assert repeated.is_repeated and repeated.payload()["state"] == "done"


@pytest_twisted.ensureDeferred
async def test_the_outcome_of_another_command_changes_no_answer() -> None:
    bench = Bench()
    await bench.issue()
    with bench.holding("accept"):
        answer = bench.issue({**REQUEST, "command_id": "2"})
        await bench.close()
    assert (await answer).payload()["state"] == "accepted"


# What the gateway does itself


@pytest_twisted.ensureDeferred
async def test_the_gateway_does_something_in_the_step_that_closes_the_command() -> None:
    bench = Bench()
    await bench.answer_call()
    await bench.issue(DISPOSITION)
    bench.clock.advance(0)
    assert bench.names == ["call.disposition", "command.done", "command.executed"]


@pytest_twisted.ensureDeferred
async def test_the_gateway_does_nothing_after_another_outcome() -> None:
    bench = Bench()
    await bench.answer_call()
    await bench.issue(DISPOSITION)
    with bench.holding("dispatch"):
        bench.clock.advance(0)
        await bench.close(UNKNOWN)
    assert bench.names == ["command.failed", "command.executed"]


@pytest_twisted.ensureDeferred
async def test_the_gateway_does_nothing_after_the_deadline() -> None:
    bench = Bench()
    await bench.answer_call()
    await bench.issue(DISPOSITION)
    with bench.holding("dispatch"):
        bench.clock.advance(0)
        bench.clock.advance(5)
    assert bench.names == ["command.failed", "command.executed"]
    record = bench.broker.commands.table.get(KEY)
    assert record is not None and record.code is OutcomeCode.TIMEOUT
