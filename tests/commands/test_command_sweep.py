"""The sweep: what closes overdue commands of several tenants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from command_world import CommandWorld

from callcenter_ws.commands import sweep
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import GRACE_SECONDS, CommandKey, CommandRecord
from callcenter_ws.events.event import Event
from callcenter_ws.events.principal import Role

UNAVAILABLE = Refusal(ErrorCode.UNAVAILABLE, "the file cannot be read")

STUCK = ("stuck", "stuck as well")
"""Tenants for which the store refuses all events."""


@pytest.fixture
def commands() -> CommandWorld:
    world = CommandWorld()
    publish = world.broker.publish

    async def publish_of_others(events: Sequence[Event]) -> list[Any]:
        outcomes = iter(await publish([event for event in events if not event.tenant_id.startswith("stuck")]))
        return [UNAVAILABLE if event.tenant_id.startswith("stuck") else next(outcomes) for event in events]

    world.broker.publish = publish_of_others  # type: ignore[method-assign] # a store that fails
    return world


def accept(commands: CommandWorld, tenant_id: str, count: int) -> None:
    now_ms = round(commands.clock.time() * 1_000)
    for number in range(count):
        record = CommandRecord(
            key=CommandKey(tenant_id, "alice", f"{number}"),
            role=Role.AGENT,
            name="call.originate",
            payload=b'{"destination":"100"}',
            source="pbx1",
            accepted_ms=now_ms,
            deadline_ms=now_ms + 1_000,
        )
        assert commands.broker.commands.table.accept(record) is None
    commands.clock.advance(1)


def overdue(commands: CommandWorld) -> None:
    commands.clock.advance(GRACE_SECONDS + sweep.SWEEP_SECONDS + 1)
    # Each batch is closed in a turn of its own.
    for _ in range(100):
        commands.clock.advance(0)


def test_tenants_whose_commands_cannot_be_closed_hold_up_no_other(commands: CommandWorld) -> None:
    for tenant_id in STUCK:
        accept(commands, tenant_id, 3 * sweep.CLOSED_AT_ONCE + 7)
    accept(commands, "acme", 2 * sweep.CLOSED_AT_ONCE + 7)
    overdue(commands)
    count = 2 * sweep.CLOSED_AT_ONCE + 7
    assert commands.outcomes() == {f"{number}": "timeout" for number in range(count)}
    assert commands.service.counters.closed == {("failed", "timeout"): count}


def test_what_was_closed_together_with_what_was_refused_is_counted(commands: CommandWorld) -> None:
    accept(commands, "stuck", 1)
    accept(commands, "acme", 1)
    overdue(commands)
    assert commands.service.counters.closed == {("failed", "timeout"): 1}


def test_a_store_that_fails_for_all_is_not_asked_again_and_again(commands: CommandWorld) -> None:
    for number in range(3 * sweep.MAX_REFUSED_TENANTS):
        accept(commands, f"stuck {number}", sweep.CLOSED_AT_ONCE)
    asked: list[int] = []
    find = commands.broker.commands.overdue

    async def counted(before_ms: int, limit: int) -> Sequence[CommandRecord]:
        asked.append(limit)
        return await find(before_ms, limit)

    commands.broker.commands.overdue = counted  # type: ignore[method-assign] # to count the calls
    commands.clock.advance(GRACE_SECONDS + 1)
    asked.clear()
    overdue(commands)
    assert 0 < len(asked) <= 4 * sweep.MAX_REFUSED_TENANTS
