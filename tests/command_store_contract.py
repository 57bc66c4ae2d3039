"""The tests that every implementation of ``interfaces.CommandStore`` passes.

The test module of a store provides a fixture ``bench``, a started Bench (``broker_contract``), and derives from
``CommandContract``, and from ``DurableCommandContract`` if its commands survive the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B, Bench

from callcenter_ws.broker import command_table
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import (
    LIFETIME_SECONDS,
    CommandClosing,
    CommandKey,
    CommandOutcome,
    CommandRecord,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.events.event import Event, Origin, StoreCondition
from callcenter_ws.events.principal import Role
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.interfaces import CommandStore, PublishResult

STRANGE = ["7", "Ünal", "a b", "a:b", "ä\"'%*?[{}\\", "😀", "x" * 255, "01", "null"]
"""Identifiers that may be mistaken for something else in a store."""

DONE = CommandOutcome(state=CommandState.DONE, data=b'{"a":"\xc3\xa4"}')
FAILED = CommandOutcome(state=CommandState.FAILED, code=OutcomeCode.TIMEOUT, message="the source did not answer")


def key_of(number: int | str = 1, user_id: str = "7", tenant_id: str = A) -> CommandKey:
    return CommandKey(tenant_id, user_id, str(number))


def now_of(bench: Bench) -> int:
    return round(bench.clock.time() * 1_000)


def command(bench: Bench, key: CommandKey | None = None, seconds: float = 5, **changes: Any) -> CommandRecord:
    """Return a command that is accepted now."""
    given = {
        "role": Role.SUPERVISOR,
        "name": "call.transfer",
        "payload": b'{"call_id":"c-\xc3\xa4","destination":"*100#"}',
        "source": "pbx1",
        "source_scope": "*",
        "queues": ("sales", "ä"),
        "queue_name": "sales",
        "accepted_ms": now_of(bench),
        "deadline_ms": now_of(bench) + round(seconds * 1_000),
    }
    return CommandRecord(key=key or key_of(), **{**given, **changes})


def closing_event(
    bench: Bench,
    key: CommandKey | None = None,
    outcome: CommandOutcome = DONE,
    *,
    source: str | None = None,
    state: CommandState | None = None,
    tenant_id: str = A,
    number: int = 0,
    event_id: str = "closed",
) -> Event:
    """Return the event that closes a command; with a number, it is one of its source."""
    key = key or key_of()
    payload: dict[str, Any] = {"command_id": key.command_id, "name": "call.transfer"}
    if outcome.code is not None:
        payload["code"] = outcome.code
    event = bench.event(
        f"command.{outcome.state}",
        payload,
        tenant_id=tenant_id,
        user_id=key.user_id,
        event_id=event_id,
        origin=Origin.GATEWAY,
        persist=True,
    )
    closing = CommandClosing(key, outcome, now_of(bench), source, state)
    event.condition = StoreCondition(closes=closing)
    if number:
        event.source, event.source_rule = source, SourceNumber(1, number, 0, 1)
    return event


def following_event(bench: Bench, **fields: Any) -> Event:
    """Return an event that is refused unless the event before it is appended."""
    event = bench.event("alert", **fields)
    event.condition = StoreCondition(follows=True)
    return event


async def closed(bench: Bench, *events: Event) -> list[str]:
    """Publish events; return what became of each: ``new``, ``known``, or the code of the refusal."""
    outcomes = await bench.broker.publish(events)
    return [_word(outcome) for outcome in outcomes]


def _word(outcome: PublishResult | Refusal) -> str:
    if isinstance(outcome, Refusal):
        return str(outcome.code)
    return "known" if outcome.duplicate else "new"


def ids(records: Sequence[CommandRecord]) -> list[str]:
    return [record.key.command_id for record in records]


class CommandContract:
    """What every store does."""

    @pytest.fixture
    def commands(self, bench: Bench) -> CommandStore:
        return bench.broker.commands

    @pytest_twisted.ensureDeferred
    async def test_a_command_is_accepted_once(self, bench: Bench, commands: CommandStore) -> None:
        assert await commands.command(key_of()) is None
        assert await commands.accept(command(bench)) is None
        other = command(bench, name="call.hangup", payload=b"{}", source="", queues=None, queue_name=None)
        assert await commands.accept(other) == command(bench)
        assert await commands.command(key_of()) == command(bench)
        for tenant_id, user_id in ((A, "8"), (B, "7")):
            assert await commands.accept(command(bench, key_of(1, user_id, tenant_id))) is None
            assert await commands.command(key_of(1, user_id, tenant_id)) is not None

    @pytest_twisted.ensureDeferred
    async def test_every_identifier_is_one(self, bench: Bench, commands: CommandStore) -> None:
        keys = [key_of(one, other) for one in STRANGE for other in STRANGE]
        for key in keys:
            assert await commands.accept(command(bench, key, queues=(key.user_id,), source=key.command_id)) is None
        for key in keys:
            found = await commands.command(key)
            assert found == command(bench, key, queues=(key.user_id,), source=key.command_id)
            assert key in [one.key for one in await commands.waiting("*", key.command_id, [A])]
            assert await commands.dispatch(key, now_of(bench)) is not None
            assert await closed(bench, closing_event(bench, key, source=key.command_id)) == ["new"]

    @pytest_twisted.ensureDeferred
    async def test_a_command_is_dispatched_once_before_its_deadline(self, bench: Bench, commands: CommandStore) -> None:
        now = now_of(bench)
        for number in (1, 2):
            await commands.accept(command(bench, key_of(number)))
        assert await commands.dispatch(key_of(3), now) is None
        found = await commands.dispatch(key_of(1), now + 4_999)
        assert found == command(bench, state=CommandState.DISPATCHED) == await commands.command(key_of(1))
        assert await commands.dispatch(key_of(1), now) is None
        assert await commands.dispatch(key_of(2), now + 5_000) is None
        assert await commands.command(key_of(2)) == command(bench, key_of(2))
        await closed(bench, closing_event(bench, key_of(2)))
        assert await commands.dispatch(key_of(2), now) is None

    @pytest_twisted.ensureDeferred
    async def test_accepted_commands_wait_for_their_source(self, bench: Bench, commands: CommandStore) -> None:
        for number in range(12):
            bench.clock.advance(0.001)
            tenant_id = B if number % 3 == 2 else A
            await commands.accept(command(bench, key_of(f"{11 - number}", f"u{number % 2}", tenant_id)))
        await commands.accept(command(bench, key_of("other"), source="pbx2"))
        await commands.accept(command(bench, key_of("scope"), source_scope=A))
        in_turn = ["11", "9", "10", "6", "8", "3", "7", "0", "5", "4", "2", "1"]
        assert ids(await commands.waiting("*", "pbx1", [B, "none", A])) == in_turn
        assert ids(await commands.waiting("*", "pbx1", [B])) == ["9", "6", "3", "0"]
        assert ids(await commands.waiting(A, "pbx1", [A])) == ["scope"]
        assert await commands.waiting("*", "pbx3", [A, B]) == []
        assert await commands.waiting("*", "pbx1", []) == []
        await commands.dispatch(key_of("9", "u0", B), now_of(bench))
        await closed(bench, closing_event(bench, key_of("3", "u0", B), tenant_id=B))
        assert ids(await commands.waiting("*", "pbx1", [B])) == ["6", "0"]

    @pytest_twisted.ensureDeferred
    async def test_commands_are_announced_when_they_are_accepted(self, bench: Bench, commands: CommandStore) -> None:
        heard: list[tuple[str, str, str]] = []
        commands.listen(lambda *source: heard.append(source))
        await commands.accept(command(bench, source="pbx ä:1", source_scope=A))
        await commands.accept(command(bench, source="pbx ä:1", source_scope=A))
        await commands.accept(command(bench, key_of(1, "7", B), source="", source_scope=""))
        await bench.until(lambda: len(heard) >= 2)
        assert heard == [(A, A, "pbx ä:1"), (B, "", "")]

    @pytest_twisted.ensureDeferred
    async def test_open_commands_are_overdue_after_their_deadline(self, bench: Bench, commands: CommandStore) -> None:
        now = now_of(bench)
        for number, tenant_id in enumerate((A, B, A, B, A)):
            await commands.accept(command(bench, key_of(number, "7", tenant_id), seconds=number + 1))
        await commands.dispatch(key_of(0), now)
        assert await commands.overdue(now + 1_000, 10) == []
        assert [one.state for one in await commands.overdue(now + 1_001, 10)] == [CommandState.DISPATCHED]
        assert sorted(ids(await commands.overdue(now + 4_001, 10))) == ["0", "1", "2", "3"]
        assert len(await commands.overdue(now + 4_001, 2)) == 2
        await closed(bench, closing_event(bench, key_of(1, "7", B), tenant_id=B), closing_event(bench, key_of(0)))
        assert sorted(ids(await commands.overdue(now + 9_000, 10))) == ["2", "3", "4"]

    # Closing

    @pytest_twisted.ensureDeferred
    async def test_the_event_closes_the_command(self, bench: Bench, commands: CommandStore) -> None:
        await commands.accept(command(bench))
        bench.clock.advance(1)
        assert await closed(bench, closing_event(bench), following_event(bench)) == ["new", "new"]
        found = await commands.command(key_of())
        assert found is not None
        assert (found.state, found.closed_ms, found.data) == (CommandState.DONE, now_of(bench), DONE.data)
        assert (found.code, found.message, found.queues) == (None, None, ("sales", "ä"))
        assert await commands.accept(command(bench)) == found
        await bench.until(lambda: len(bench.delivered) >= 2)
        assert [one.event.type.name for one in bench.delivered] == ["command.done", "alert"]
        page = await bench.broker.read_mailbox(A, "7", 0, 10)
        assert [item.publication.seq for item in page.items] == [1]

    @pytest_twisted.ensureDeferred
    async def test_the_first_outcome_counts(self, bench: Bench, commands: CommandStore) -> None:
        await commands.accept(command(bench))
        await commands.dispatch(key_of(), now_of(bench))
        events = [closing_event(bench, outcome=outcome, event_id="same") for outcome in (FAILED, DONE)]
        expected = ["new", "unknown_command", "unknown_command"]
        assert await closed(bench, *events, following_event(bench)) == expected
        assert await closed(bench, closing_event(bench), following_event(bench)) == ["unknown_command"] * 2
        found = await commands.command(key_of())
        assert found is not None
        assert (found.state, found.code, found.message) == (CommandState.FAILED, FAILED.code, FAILED.message)
        assert (await bench.broker.position(A)).seq == 1

    @pytest_twisted.ensureDeferred
    async def test_an_outcome_is_refused_unless_its_condition_is_met(
        self, bench: Bench, commands: CommandStore
    ) -> None:
        await commands.accept(command(bench))
        wrong = (
            closing_event(bench, key_of(2)),
            closing_event(bench, key_of(1, "8")),
            closing_event(bench, key_of(1, "7", B)),
            closing_event(bench, source="pbx2"),
            closing_event(bench, source=""),
            closing_event(bench, state=CommandState.DISPATCHED),
        )
        assert await closed(bench, *wrong) == ["unknown_command"] * len(wrong)
        other = closing_event(bench, tenant_id=B)
        assert await closed(bench, other) == ["unknown_command"]
        right = closing_event(bench, source="pbx1", state=CommandState.ACCEPTED, event_id="right")
        assert await closed(bench, right) == ["new"]
        assert (await bench.broker.position(B)).seq == 0

    @pytest_twisted.ensureDeferred
    async def test_ids_that_were_used_before_leave_no_command_open(self, bench: Bench, commands: CommandStore) -> None:
        await commands.accept(command(bench))
        await bench.publish(bench.event(event_id="a"), bench.event(event_id="b"))
        pairs = [(closing_event(bench, event_id="a"), following_event(bench, event_id="b")) for _ in range(2)]
        assert await closed(bench, *pairs[0], *pairs[1]) == ["new", "new", "unknown_command", "unknown_command"]

    @pytest_twisted.ensureDeferred
    async def test_an_event_follows_one_that_is_appended_now(self, bench: Bench, commands: CommandStore) -> None:
        assert await closed(bench, following_event(bench)) == ["unknown_command"]
        assert await closed(bench, bench.event(event_id="once"), following_event(bench)) == ["new", "new"]
        assert await closed(bench, bench.event(event_id="once"), following_event(bench)) == ["known", "unknown_command"]
        assert await closed(bench, bench.event(), bench.event(), following_event(bench)) == ["new"] * 3

    @pytest.mark.parametrize("before", [198, 199, 200, 254, 255, 256])
    @pytest_twisted.ensureDeferred
    async def test_an_event_follows_one_of_an_earlier_transaction(
        self, bench: Bench, commands: CommandStore, before: int
    ) -> None:
        """Redis takes 200 events of a tenant at once, SQLite 256."""
        await commands.accept(command(bench))
        others = [bench.event() for _ in range(before)]
        pair = [closing_event(bench), following_event(bench)]
        assert await closed(bench, *others, *pair, bench.event()) == ["new"] * (before + 3)
        late = [closing_event(bench), following_event(bench)]
        others = [bench.event() for _ in range(before)]
        expected = [*["new"] * before, *["unknown_command"] * 2, "new"]
        assert await closed(bench, *others, *late, bench.event()) == expected

    @pytest_twisted.ensureDeferred
    async def test_a_refused_outcome_of_a_source_raises_its_mark(self, bench: Bench, commands: CommandStore) -> None:
        await commands.accept(command(bench))
        late = closing_event(bench, key_of(2), source="pbx1", number=4)
        assert await closed(bench, late, bench.numbered(4), bench.numbered(5)) == ["unknown_command", "known", "new"]
        first = closing_event(bench, source="pbx1", number=6)
        assert await closed(bench, first, closing_event(bench, source="pbx1", number=6)) == ["new", "known"]
        assert await closed(bench, closing_event(bench, source="pbx1", number=7)) == ["unknown_command"]
        assert await closed(bench, bench.numbered(7), bench.numbered(8, after=7)) == ["known", "new"]
        assert (await bench.broker.position(A)).seq == 3

    @pytest_twisted.ensureDeferred
    async def test_an_outcome_before_which_an_event_is_missing_closes_nothing(
        self, bench: Bench, commands: CommandStore
    ) -> None:
        await commands.accept(command(bench))
        event = closing_event(bench, source="pbx1", number=3)
        event.source_rule = SourceNumber(1, 3, 2, 1)
        assert await closed(bench, event, following_event(bench)) == ["unavailable", "unknown_command"]
        assert await commands.command(key_of()) == command(bench)

    # Bounds

    @pytest_twisted.ensureDeferred
    async def test_too_many_open_commands_are_refused(
        self, bench: Bench, commands: CommandStore, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(command_table, "MAX_OPEN", 2)
        for number in (1, 2):
            assert await commands.accept(command(bench, key_of(number))) is None
        with pytest.raises(Refusal) as refused:
            await commands.accept(command(bench, key_of(3)))
        assert refused.value.code is ErrorCode.OVERLOADED
        assert await commands.command(key_of(3)) is None
        assert await commands.accept(command(bench, key_of(2))) is not None
        assert await commands.accept(command(bench, key_of(3, "7", B))) is None
        await closed(bench, closing_event(bench, key_of(1)))
        assert await commands.accept(command(bench, key_of(3))) is None

    @pytest_twisted.ensureDeferred
    async def test_the_first_closed_is_forgotten_first(
        self, bench: Bench, commands: CommandStore, monkeypatch: Any
    ) -> None:
        monkeypatch.setattr(command_table, "MAX_COMMANDS", 3)
        for number in (1, 2, 3):
            await commands.accept(command(bench, key_of(number)))
        for number in (2, 1):
            bench.clock.advance(0.001)
            await closed(bench, closing_event(bench, key_of(number)))
        await commands.accept(command(bench, key_of(4)))
        found = [await commands.command(key_of(number)) is not None for number in (1, 2, 3, 4)]
        assert found == [True, False, True, True]
        await commands.accept(command(bench, key_of(5)))
        with pytest.raises(Refusal) as refused:
            await commands.accept(command(bench, key_of(6)))
        assert refused.value.code is ErrorCode.OVERLOADED
        assert [await commands.command(key_of(number)) is not None for number in (1, 3, 4, 5)] == [False, *[True] * 3]

    @pytest_twisted.ensureDeferred
    async def test_closed_commands_are_forgotten_after_a_day(self, bench: Bench, commands: CommandStore) -> None:
        await commands.accept(command(bench, key_of(1)))
        await commands.accept(command(bench, key_of(2)))
        await closed(bench, closing_event(bench, key_of(1)))
        bench.clock.advance(LIFETIME_SECONDS - 60)
        assert await commands.accept(command(bench, key_of(1))) is not None
        bench.clock.advance(120)
        assert await commands.accept(command(bench, key_of(1))) is None
        assert await commands.command(key_of(1)) == command(bench, key_of(1))
        known = await commands.accept(command(bench, key_of(2)))
        assert known is not None
        assert known.state is CommandState.ACCEPTED

    # The state

    @pytest_twisted.ensureDeferred
    async def test_one_entity_is_found(self, bench: Bench) -> None:
        assert await bench.broker.entity(A, ("agent", "7")) is None
        payload = {"user_id": "7", "username": "seven", "state": "busy"}
        event = bench.event("agent.state.changed", payload)
        event.source = "pbx1"
        [result] = await bench.publish(event)
        entity = await bench.broker.entity(A, ("agent", "7"))
        assert entity is not None
        assert (entity.owner, [one.seq for one in entity.publications()]) == ("pbx1", [result.seq])
        assert await bench.broker.entity(A, ("agent", "8")) is None
        assert await bench.broker.entity(B, ("agent", "7")) is None


class DurableCommandContract:
    """What survives the process."""

    @pytest_twisted.ensureDeferred
    async def test_commands_survive_a_restart(self, bench: Bench) -> None:
        commands = bench.broker.commands
        for number in (4, 3, 2, 1):
            bench.clock.advance(0.001)
            await commands.accept(command(bench, key_of(number), queues=None))
        for number in (1, 3):
            await commands.dispatch(key_of(number), now_of(bench))
        await closed(bench, closing_event(bench, key_of(3), FAILED))
        before = [await commands.command(key_of(number)) for number in (1, 2, 3, 4)]
        await bench.open()
        commands = bench.broker.commands
        assert [await commands.command(key_of(number)) for number in (1, 2, 3, 4)] == before
        assert ids(await commands.waiting("*", "pbx1", [A])) == ["4", "2"]
        assert sorted(ids(await commands.overdue(now_of(bench) + 9_000, 10))) == ["1", "2", "4"]
        assert await commands.dispatch(key_of(1), now_of(bench)) is None
        again = [closing_event(bench, key_of(number), event_id=f"of {number}") for number in (1, 3)]
        assert await closed(bench, *again) == ["new", "unknown_command"]
        assert await commands.accept(command(bench, key_of(3))) == before[2]

    @pytest_twisted.ensureDeferred
    async def test_the_first_closed_is_forgotten_first_after_a_restart(self, bench: Bench, monkeypatch: Any) -> None:
        monkeypatch.setattr(command_table, "MAX_COMMANDS", 3)
        for number in (1, 2, 3):
            await bench.broker.commands.accept(command(bench, key_of(number)))
        for number in (2, 3):
            bench.clock.advance(0.001)
            await closed(bench, closing_event(bench, key_of(number), event_id=f"of {number}"))
        for opening in range(2):
            await bench.open()
            commands = bench.broker.commands
            if not opening:
                await commands.accept(command(bench, key_of(4)))
            found = [await commands.command(key_of(number)) is not None for number in (1, 2, 3, 4)]
            assert found == [True, False, True, True]
