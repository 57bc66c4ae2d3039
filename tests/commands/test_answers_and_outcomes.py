"""The answer to a request and the outcome of its command reach the asker in their order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest_twisted
from twisted.internet.defer import Deferred

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.commands.audit import NoAudit
from callcenter_ws.commands.closing import Closing, CommandCloser
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.service import Accepted, CommandService
from callcenter_ws.events.commands import CommandKey, CommandOutcome, CommandState
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import CommandSource
from callcenter_ws.runtime.background import spawn
from callcenter_ws.testing import FakeClock

ADA = Principal("acme", "ada", Role.AGENT)
REQUEST = {"name": "call.originate", "destination": "100", "command_id": "1"}
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
        for name in ("command", "accept"):
            setattr(self.broker.commands, name, self._late(name, getattr(self.broker.commands, name)))
        self.service = CommandService(
            self.broker, OneSource(), self.clock, spawn, CommandPolicy(enabled=True), charge=lambda _: 0, new_id=str
        )
        spawn(self.broker.start(self.service.delivered))
        self.broker.attach("acme")

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

    def issue(self) -> Deferred[Accepted]:
        return Deferred.fromCoroutine(self.service.issue(ADA, REQUEST))

    async def close(self) -> None:
        """Close the command, as its source does."""
        record = self.broker.commands.table.get(KEY)
        assert record is not None
        closer = CommandCloser(self.broker, self.clock, CommandCounters(), NoAudit())
        assert await closer.close(Closing(record=record, outcome=CommandOutcome(state=CommandState.DONE)))


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
        answer = Deferred.fromCoroutine(bench.service.issue(ADA, {**REQUEST, "command_id": "2"}))
        await bench.close()
    assert (await answer).payload()["state"] == "accepted"
