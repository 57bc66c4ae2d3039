"""Commands in the store's file: what is written when, and what becomes of failed writes."""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A, B
from command_store_contract import closed, closing_event, command, following_event, key_of, now_of
from sqlite_bench import SqliteBench
from twisted.internet.defer import Deferred

from callcenter_ws.broker.sqlite import group_commit, maintenance
from callcenter_ws.broker.sqlite.backup import back_up
from callcenter_ws.broker.sqlite.check import check
from callcenter_ws.broker.sqlite.command_rows import NOT_KNOWN
from callcenter_ws.broker.sqlite.file import StoreFile
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandRecord, CommandState, OutcomeCode


@pytest_twisted.async_yield_fixture
async def bench(tmp_path: Path) -> AsyncIterator[SqliteBench]:
    bench = SqliteBench(tmp_path / "events.sqlite")
    await bench.open()
    yield bench
    await bench.close()


def failing(monkeypatch: pytest.MonkeyPatch, *, is_committed: bool) -> Callable[[], None]:
    """Make writes fail, before or after they are committed, until the returned function is called."""
    real = group_commit.write

    def write(*arguments: Any) -> None:
        if is_committed:
            real(*arguments)
        raise sqlite3.OperationalError("it broke")

    monkeypatch.setattr(group_commit, "write", write)
    return lambda: monkeypatch.setattr(group_commit, "write", real)


async def until_writable(bench: SqliteBench) -> None:
    bench.clock.advance(group_commit.RETRY_SECONDS)
    await bench.until(lambda: bench.broker.not_ready() is None)


async def refusal_of(call: Any) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await call
    return refused.value


async def stored(bench: SqliteBench, number: int = 1) -> CommandRecord | None:
    return await bench.broker.commands.command(key_of(number))


@pytest.mark.logs_errors
@pytest.mark.parametrize("is_committed", [False, True])
class TestFailedWrites:
    """Nothing is answered that is not in the file, and nothing is lost or done twice that may be there."""

    @pytest_twisted.ensureDeferred
    async def test_an_acceptance(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch, is_committed: bool) -> None:
        heard: list[tuple[str, str, str]] = []
        bench.broker.commands.listen(lambda *source: heard.append(source))
        repaired = failing(monkeypatch, is_committed=is_committed)
        calls = [Deferred.fromCoroutine(bench.broker.commands.accept(command(bench))) for _ in range(2)]
        for call in calls:
            assert (await refusal_of(call)).code is ErrorCode.UNAVAILABLE
        assert await stored(bench) is None
        repaired()
        await until_writable(bench)
        for _ in range(2):
            assert await stored(bench) is None
            assert heard == []
            await bench.open()
        assert await bench.broker.commands.accept(command(bench)) is None
        assert await stored(bench) == command(bench)

    @pytest_twisted.ensureDeferred
    async def test_a_dispatch(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch, is_committed: bool) -> None:
        commands = bench.broker.commands
        await commands.accept(command(bench))
        repaired = failing(monkeypatch, is_committed=is_committed)
        assert (await refusal_of(commands.dispatch(key_of(), now_of(bench)))).code is ErrorCode.UNAVAILABLE
        assert await stored(bench) == command(bench)
        repaired()
        await until_writable(bench)
        dispatched = await commands.dispatch(key_of(), now_of(bench))
        assert dispatched is not None
        await bench.open()
        assert await stored(bench) == dispatched

    @pytest_twisted.ensureDeferred
    async def test_a_closing(self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch, is_committed: bool) -> None:
        """Whatever happened, the command has one event in the end."""
        await bench.broker.commands.accept(command(bench))
        repaired = failing(monkeypatch, is_committed=is_committed)
        event = closing_event(bench, source="pbx1", number=1)
        assert await closed(bench, event, following_event(bench)) == ["unavailable"] * 2
        repaired()
        await until_writable(bench)
        await bench.broker.position(A)
        state = CommandState.DONE if is_committed else CommandState.ACCEPTED
        found = await stored(bench)
        assert found is not None and found.state is state
        again = closing_event(bench, source="pbx1", number=1)
        assert await closed(bench, again) == ["known" if is_committed else "new"]
        for _ in range(2):
            found = await stored(bench)
            assert found is not None and found.state is CommandState.DONE
            log = await bench.broker.read(A, 0, 10)
            assert [one.event.type.name for one in log.publications].count("command.done") == 1
            await bench.open()

    @pytest_twisted.ensureDeferred
    async def test_a_dispatch_waits_until_it_is_known_whether_the_command_is_closed(
        self, bench: SqliteBench, monkeypatch: pytest.MonkeyPatch, is_committed: bool
    ) -> None:
        commands = bench.broker.commands
        await commands.accept(command(bench))
        repaired = failing(monkeypatch, is_committed=is_committed)
        call = bench.broker.publish([closing_event(bench)])
        dispatching: list[Deferred[CommandRecord | None]] = []

        def dispatch(outcomes: Any) -> None:
            repaired()
            bench.clock.advance(group_commit.RETRY_SECONDS)
            dispatching.append(Deferred.fromCoroutine(commands.dispatch(key_of(), now_of(bench))))

        call.addCallback(dispatch)  # type: ignore[attr-defined]
        await call
        if is_committed:
            assert await dispatching[0] is None
            return
        try:
            found = await dispatching[0]
        except Refusal:
            # The stream was read before it was known that the file is writable.
            await until_writable(bench)
            found = await commands.dispatch(key_of(), now_of(bench))
        assert found is not None


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_what_is_refused_while_the_disk_is_full_leaves_nothing_to_write(
    bench: SqliteBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = bench.broker.commands
    await commands.accept(command(bench))
    failing(monkeypatch, is_committed=False)
    for number in range(2, 100):
        assert (await refusal_of(commands.accept(command(bench, key_of(number))))).code is ErrorCode.UNAVAILABLE
    # Of the first one it is not known whether it was written.
    opened = bench.store._open
    assert opened is not None and list(opened.group_commit.pending_writes.commands) == [key_of(2)]
    assert await commands.accept(command(bench)) == command(bench)


@pytest.mark.logs_errors
@pytest.mark.parametrize("seed", [1, 2])
@pytest_twisted.ensureDeferred
async def test_a_disk_that_is_full_again_and_again(bench: SqliteBench, seed: int) -> None:
    """What was answered is there afterwards, and each closed command has one event of each kind."""
    rng, states = random.Random(seed), dict[int, str]()
    for number in range(1, 241):
        if number % 60 == 1:
            await limit_pages(bench, rng.randrange(12))
        await take_a_step(bench, rng, states, number)
        if number % 60 == 0:
            await limit_pages(bench, 2**20)
            while bench.broker.not_ready() is not None:
                await until_writable(bench)
            if rng.random() < 0.5:
                await bench.open()
            for one, state in states.items():
                assert state_of(await stored(bench, one)) == state
    page = await bench.broker.read(A, 0, 1_000)
    types = Counter(publication.event.type.name for publication in page.publications)
    assert {*states.values()} == {"accepted", "closed", "dispatched", "none"}
    assert {*types.values()} == {Counter(states.values())["closed"]}


async def limit_pages(bench: SqliteBench, more: int) -> None:
    """Let the file grow by so many pages."""
    opened = bench.store._open
    assert opened is not None

    def limit(file: StoreFile) -> None:
        (count,) = file.writer.execute("PRAGMA page_count").fetchone()
        file.writer.execute(f"PRAGMA max_page_count = {count + more}")

    await opened.threads.write(limit, opened.file)


async def take_a_step(bench: SqliteBench, rng: random.Random, states: dict[int, str], number: int) -> None:
    """Accept a command; dispatch or close any."""
    commands = bench.broker.commands
    payload = b'{"call_id":"%b"}' % (b"x" * rng.randrange(3_000))
    states[number] = "none"
    with suppress(Refusal):
        await commands.accept(command(bench, key_of(number), payload=payload, seconds=1e6))
        states[number] = "accepted"
    other = rng.choice(list(states))
    if rng.random() < 0.5:
        with suppress(Refusal):
            if await commands.dispatch(key_of(other), now_of(bench)) is not None:
                assert states[other] == "accepted"
                states[other] = "dispatched"
        return
    outcomes = await closed(bench, closing_event(bench, key_of(other)), following_event(bench))
    if outcomes == ["new", "new"]:
        assert states[other] in ("accepted", "dispatched")
        states[other] = "closed"
    else:
        assert outcomes[0] == "unavailable" or states[other] in ("closed", "none")


def state_of(record: CommandRecord | None) -> str:
    if record is None:
        return "none"
    return record.state.value if record.state.is_open else "closed"


@pytest_twisted.ensureDeferred
async def test_an_id_that_was_forgotten_is_used_again(bench: SqliteBench) -> None:
    commands = bench.broker.commands
    await commands.accept(command(bench))
    await closed(bench, closing_event(bench))
    bench.clock.advance(LIFETIME_SECONDS)
    again = command(bench, payload=b"[]")
    assert await commands.accept(again) is None
    await bench.open()
    assert await stored(bench) == again


@pytest_twisted.ensureDeferred
async def test_what_has_expired_is_removed_from_the_file(bench: SqliteBench) -> None:
    commands = bench.broker.commands
    for number in (1, 2):
        await commands.accept(command(bench, key_of(number)))
        await closed(bench, closing_event(bench, key_of(number)))
        bench.clock.advance(LIFETIME_SECONDS / 2)
    await commands.accept(command(bench, key_of(3, "7", B)))
    assert check(bench.path).commands == 2
    bench.clock.advance(maintenance.INTERVAL_SECONDS)
    await bench.until(lambda: check(bench.path).commands == 2)
    bench.clock.advance(LIFETIME_SECONDS)
    await bench.open()
    assert check(bench.path).commands == 1
    assert await commands_left(bench) == [CommandState.ACCEPTED]


async def commands_left(bench: SqliteBench) -> list[CommandState]:
    return [one.state for one in await bench.broker.commands.overdue(now_of(bench) + 10_000, 10)]


@pytest_twisted.ensureDeferred
async def test_open_commands_are_closed_in_a_backup(bench: SqliteBench, tmp_path: Path) -> None:
    """Nothing is carried out or announced when it is restored, and no id is forgotten."""
    commands = bench.broker.commands
    for number in (1, 2, 3):
        await commands.accept(command(bench, key_of(number)))
    await commands.dispatch(key_of(2), now_of(bench))
    await closed(bench, closing_event(bench, key_of(3)))
    copy = tmp_path / "copy.sqlite"
    back_up(bench.path, copy, lambda: "restored")
    assert await commands_left(bench) == [CommandState.ACCEPTED, CommandState.DISPATCHED]
    restored = SqliteBench(copy)
    await restored.open()
    assert await commands_left(restored) == []
    for number in (1, 2):
        found = await stored(restored, number)
        assert found is not None
        assert (found.state, found.code, found.message) == (
            CommandState.FAILED,
            OutcomeCode.OUTCOME_UNKNOWN,
            NOT_KNOWN,
        )
    found = await stored(restored, 3)
    assert found is not None and found.state is CommandState.DONE
    await restored.close()


@pytest_twisted.ensureDeferred
async def test_a_closed_store_answers_nothing(bench: SqliteBench) -> None:
    commands = bench.broker.commands
    await bench.broker.stop()
    for call in (
        commands.accept(command(bench)),
        commands.dispatch(key_of(), 0),
        commands.command(key_of()),
        commands.waiting("*", "pbx1", [A]),
        commands.overdue(0, 1),
    ):
        assert (await refusal_of(call)).code is ErrorCode.UNAVAILABLE
