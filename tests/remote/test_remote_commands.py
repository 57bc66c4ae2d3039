"""``EventBroadcaster.on_command``: commands are taken once, in time, and each has one outcome in its order.

The gateway is a peer that speaks AMP as the gateway does; ``tests/integration`` has the real one.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import until
from commanding_gateway import CommandingGateway, Entry
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from callcenter_ws.amp import commands
from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster, LinkState
from callcenter_ws.remote import command_runner as command_runner_module
from callcenter_ws.remote import taken_commands as taken_commands_module
from callcenter_ws.remote.spool_file import SpoolFile

Connect = Callable[..., EventBroadcaster]


@pytest_twisted.async_yield_fixture
async def peer() -> AsyncIterator[CommandingGateway]:
    gateway = CommandingGateway()
    port = reactor.listenTCP(0, gateway, interface="127.0.0.1")
    gateway.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"
    yield gateway
    await port.stopListening()
    for connection in list(gateway.peers):
        connection.transport.abortConnection()
    await until(reactor, lambda: not gateway.peers)


@pytest_twisted.async_yield_fixture
async def source(peer: CommandingGateway) -> AsyncIterator[Connect]:
    """Create EventBroadcasters of the source "pbx1" and start them with functions."""
    started: list[EventBroadcaster] = []

    def start(functions: dict[str, Any], **options: Any) -> EventBroadcaster:
        options = {"source": "pbx1", "tenants": ["acme"], "stop_timeout": 0.2, **options}
        remote = EventBroadcaster(peer.endpoint, reactor, **options)
        for name, function in functions.items():
            remote.on_command(name, function)
        remote.startService()
        started.append(remote)
        return remote

    yield start
    for remote in started:
        await remote.stopService()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    return tmp_path / "pbx1.spool"


def rows(spool: Path) -> list[Entry]:
    """Return the ids in the spool, and whether each is open."""
    with closing(sqlite3.connect(spool)) as db:
        return db.execute("SELECT command_id, is_open FROM taken ORDER BY number").fetchall()


async def subscribed(peer: CommandingGateway, count: int = 1) -> None:
    await until(reactor, lambda: sum("command" in kinds for kinds in peer.kinds) >= count)


async def outcome(peer: CommandingGateway, command_id: str) -> Entry:
    """Return the outcome of a command: state, code, message, data."""
    found: list[Entry] = []

    def is_there() -> bool:
        found[:] = [entry[1:] for entry in peer.outcomes if entry[0] == command_id]
        return bool(found)

    await until(reactor, is_there)
    assert len(found) == 1
    return found[0]


@pytest_twisted.ensureDeferred
async def test_the_outcome_follows_the_events_that_the_function_published(
    peer: CommandingGateway, source: Connect, spool: Path
) -> None:
    seen: list[Command] = []

    async def hang_up(command: Command) -> dict[str, Any]:
        seen.append(command)
        assert rows(spool) == [("c1", 1)], "the id must be on the disk before the function is called"
        remote.call_ended("acme", "1.1", 3)
        return {"ended": True}

    remote = source({"call.hangup": hang_up}, spool=spool, capabilities=["chats"])
    await subscribed(peer)
    assert peer.hellos == [["chats", "call.hangup"]]
    await peer.send("c1", extension="207")
    assert await outcome(peer, "c1") == ("done", None, None, b'{"ended":true}')
    (command,) = seen
    assert (command.name, command.payload, command.user_id, command.role) == (
        "call.hangup",
        {"call_id": "1.1"},
        "7",
        "agent",
    )
    assert command.extension == "207"
    assert 0 < command.seconds_left <= 5
    assert peer.taken == [("call.ended", 1), ("c1", 2)]
    await until(reactor, lambda: remote.unacknowledged == 0)
    assert rows(spool) == [("c1", 0)]


async def _async_failure(command: Command) -> None:
    raise CommandFailed("rejected", "the phone is busy\r\nVariable: x")


def _bug(command: Command) -> None:
    raise RuntimeError("a bug with a secret")


def _unknown_code(command: Command) -> None:
    raise CommandFailed("no such code")


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda command: None, ("done", None, None, None)),
        (_async_failure, ("failed", "rejected", "the phone is busy  Variable: x", None)),
        (_bug, ("failed", "failed", "the source could not carry it out because of an internal error", None)),
        (_unknown_code, ("failed", "failed", "the source could not carry it out because of an internal error", None)),
        (lambda command: [1], ("done", None, None, None)),
        (lambda command: {"long": "x" * 5_000}, ("done", None, None, None)),
        (lambda command: {"no": object()}, ("done", None, None, None)),
        (lambda command: {"many": [[] for _ in range(1_300)]}, ("done", None, None, None)),
    ],
)
async def test_every_result_of_a_function_is_an_outcome(
    peer: CommandingGateway, source: Connect, function: Any, expected: Entry
) -> None:
    source({"call.hangup": function})
    await subscribed(peer)
    await peer.send("c1")
    assert await outcome(peer, "c1") == expected


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("with_spool", [False, True])
async def test_a_command_is_carried_out_once_however_often_it_comes(
    peer: CommandingGateway, source: Connect, spool: Path, with_spool: bool
) -> None:
    calls: list[str] = []
    functions = {"call.hangup": lambda command: calls.append(command.command_id)}
    remote = source(functions, spool=spool if with_spool else None)
    await subscribed(peer)
    answers = [peer.send("c1"), peer.send("c1")]
    for answer in answers:
        assert await answer == {}
    await outcome(peer, "c1")
    assert await peer.send("c1") == {}
    await peer.send("c2")
    await outcome(peer, "c2")
    assert calls == ["c1", "c2"]
    if with_spool:
        await remote.stopService()
        source(functions, spool=spool)
        await subscribed(peer, 2)
        assert await peer.send("c1") == {}
        await peer.send("c3")
        await outcome(peer, "c3")
        assert calls == ["c1", "c2", "c3"]
    assert [entry[0] for entry in peer.outcomes] == ["c1", "c2"] + ["c3"] * with_spool


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("ahead", [-3_600.0, 0.0, 3_600.0])
async def test_nothing_is_begun_after_the_deadline_by_the_gateway_s_clock(
    peer: CommandingGateway, source: Connect, ahead: float
) -> None:
    peer.ahead = ahead
    calls: list[str] = []
    source({"call.hangup": lambda command: calls.append(command.command_id)})
    await subscribed(peer)
    await peer.send("late", seconds=-0.01)
    await peer.send("in time", seconds=30)
    late = await outcome(peer, "late")
    assert late[:2] == ("failed", "timeout")
    assert await outcome(peer, "in time") == ("done", None, None, None)
    assert calls == ["in time"]


@pytest_twisted.ensureDeferred
async def test_a_command_that_was_begun_has_an_unknown_outcome_after_a_kill(
    peer: CommandingGateway, source: Connect, spool: Path
) -> None:
    never: Deferred[None] = Deferred()
    remote = source({"call.hangup": lambda command: never}, spool=spool)
    await subscribed(peer)
    await peer.send("c1")
    await until(reactor, lambda: rows(spool) == [("c1", 1)])
    await remote.stopService()  # It waits for the function, but not for long.
    assert peer.outcomes == []
    remote = source({"call.hangup": lambda command: None}, spool=spool)
    state, code, message, _ = await outcome(peer, "c1")
    assert (state, code) == ("failed", "outcome_unknown")
    assert "restarted" in message
    await until(reactor, lambda: remote.unacknowledged == 0)
    assert rows(spool) == [("c1", 0)]
    await remote.stopService()
    source({"call.hangup": lambda command: None}, spool=spool)
    await subscribed(peer, 3)
    await peer.send("c2")
    await outcome(peer, "c2")
    assert [entry[0] for entry in peer.outcomes] == ["c1", "c2"]


@pytest_twisted.ensureDeferred
async def test_an_outcome_survives_in_the_spool(peer: CommandingGateway, source: Connect, spool: Path) -> None:
    peer.is_silent = True
    remote = source({"call.hangup": lambda command: {"x": 1}}, spool=spool)
    await subscribed(peer)
    await peer.send("c1")
    await until(reactor, lambda: peer.unanswered)
    assert rows(spool) == [("c1", 0)]
    await remote.stopService()
    peer.is_silent = False
    peer.closed.add("c1")  # It had arrived: this one is dropped, and blocks nothing.
    remote = source({"call.hangup": lambda command: None}, spool=spool)
    assert await outcome(peer, "c1") == ("done", None, None, b'{"x":1}')
    assert peer.taken == [("c1", 1)]
    await remote.call_ended("acme", "1.1", 3)
    await until(reactor, lambda: remote.unacknowledged == 0)


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_outcome_that_is_refused_blocks_nothing(
    peer: CommandingGateway, source: Connect, info_log: Any
) -> None:
    peer.refuses = commands.Overloaded("busy")
    remote = source({"call.hangup": lambda command: None})
    await subscribed(peer)
    await peer.send("c1")
    await until(reactor, lambda: "does not take events now: busy" in str(info_log))
    peer.refuses = commands.InvalidEvent("data: too large")
    await until(reactor, lambda: remote.unacknowledged == 0)
    assert "refused the outcome of CommandOutcome:call.hangup c1 of acme: invalid_event: data: too large" in str(
        info_log
    )
    peer.refuses = None
    await peer.send("c2")
    await outcome(peer, "c2")


@pytest_twisted.ensureDeferred
async def test_commands_above_the_limits_are_refused(
    peer: CommandingGateway, source: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Deferred[None]] = []

    def slow(command: Command) -> Deferred[None]:
        begun.append(Deferred())
        return begun[-1]

    remote = source({"call.hangup": slow}, max_commands=2)
    await subscribed(peer)
    await peer.send("c1")
    await peer.send("c2")
    with pytest.raises(commands.Overloaded, match="carries out 2 commands already"):
        await peer.send("c3")
    begun[0].callback(None)
    await outcome(peer, "c1")
    await peer.send("c3")
    await until(reactor, lambda: len(begun) == 3)
    begun[1].callback(None)
    begun[2].callback(None)
    await outcome(peer, "c3")
    monkeypatch.setattr(taken_commands_module, "MAX_TAKEN", 3)
    with pytest.raises(commands.Overloaded, match="3 commands were taken"):
        await peer.send("c4")
    # Of those whose deadline has passed the oldest ones are forgotten.
    peer.ahead = 60
    await remote.ping()
    await peer.send("c4")
    await until(reactor, lambda: len(begun) == 4)
    begun[3].callback(None)
    await outcome(peer, "c4")


@pytest_twisted.ensureDeferred
async def test_unanswered_outcomes_are_bounded(
    peer: CommandingGateway, source: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_runner_module, "MAX_UNANSWERED", 1)
    peer.is_silent = True
    source({"call.hangup": lambda command: None})
    await subscribed(peer)
    await peer.send("c1")
    await until(reactor, lambda: peer.unanswered)
    with pytest.raises(commands.Overloaded):
        await peer.send("c2")


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_command_whose_id_cannot_be_stored_is_not_begun(
    peer: CommandingGateway, source: Connect, spool: Path
) -> None:
    calls: list[str] = []
    source({"call.hangup": lambda command: calls.append(command.command_id)}, spool=spool)
    await subscribed(peer)
    with closing(sqlite3.connect(spool)) as db:
        db.execute("DROP TABLE taken")
    with pytest.raises(commands.Overloaded, match=r"was not begun: the spool .* cannot be written"):
        await peer.send("c1")
    assert calls == []


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("is_stored", [False, True])
async def test_no_answer_comes_before_the_id_is_stored(
    peer: CommandingGateway, source: Connect, spool: Path, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    released = threading.Event()
    take = SpoolFile.take

    def slow_take(file: SpoolFile, *arguments: Any) -> None:
        assert released.wait(30)
        if not is_stored:
            raise sqlite3.OperationalError("disk I/O error")
        take(file, *arguments)

    monkeypatch.setattr(SpoolFile, "take", slow_take)
    calls: list[str] = []
    remote = source({"call.hangup": lambda command: calls.append(command.command_id)}, spool=spool)
    await subscribed(peer)
    answers = [peer.send("c1").addErrback(lambda failure: str(failure.value)) for _ in range(2)]
    await remote.ping()
    assert not any(answer.called for answer in answers)
    released.set()
    results = [await answer for answer in answers]
    assert results == [{}, {}] if is_stored else all("was not begun" in text for text in results)
    if is_stored:
        await outcome(peer, "c1")
    assert calls == ["c1"] * is_stored


@pytest_twisted.ensureDeferred
async def test_other_commands_are_not_supported(peer: CommandingGateway, source: Connect) -> None:
    source({"call.hangup": lambda command: None})
    await subscribed(peer)
    await peer.send("c1", "call.hold")
    assert (await outcome(peer, "c1"))[:2] == ("failed", "unsupported")
    with pytest.raises(commands.InvalidEvent):
        await peer.send("c2", payload=b"[]")
    with pytest.raises(commands.InvalidEvent):
        await peer.send("c3", payload=b"{")
    for deadline in (-1, 2**63, 10**400):
        with pytest.raises(commands.InvalidEvent):
            await peer.send("c4", deadline_ms=deadline)


@pytest_twisted.ensureDeferred
async def test_names_that_change_are_told_over_a_new_connection(peer: CommandingGateway, source: Connect) -> None:
    remote = source({})
    await until(reactor, lambda: remote.state is LinkState.CONNECTED)
    assert peer.kinds == []
    remote.on_command("call.hangup", lambda command: None)
    remote.on_command("call.hold", lambda command: None)
    await subscribed(peer)
    remote.on_command("call.hold", lambda command: {"second": True})  # No other names.
    await peer.send("c1", "call.hold")
    assert (await outcome(peer, "c1"))[3] == b'{"second":true}'
    remote.on_command("call.hold", None)
    remote.on_command("call.hangup", None)
    await until(reactor, lambda: len(peer.hellos) == 3)
    assert peer.hellos == [[], ["call.hangup", "call.hold"], []]
    assert peer.kinds == [["command"]]


@pytest_twisted.ensureDeferred
async def test_events_of_clients_and_commands_share_the_subscription(peer: CommandingGateway, source: Connect) -> None:
    remote = source({"call.hangup": lambda command: None})
    await remote.subscribe(["chat.*"], lambda message: None)
    assert peer.kinds[-1] == ["chat.*", "command"]
    peer.peers[-1].transport.abortConnection()
    await until(reactor, lambda: peer.kinds[-2:] == [["command"], ["chat.*", "command"]])


@pytest_twisted.ensureDeferred
async def test_an_earlier_gateway_is_used_without_commands(
    peer: CommandingGateway, source: Connect, info_log: Any
) -> None:
    peer.is_old = True
    remote = source({"call.hangup": lambda command: None})
    await remote.call_ended("acme", "1.1", 3)
    await remote.subscribe(["chat.*"], lambda message: None)
    assert peer.kinds == [["chat.*"]]
    assert str(info_log).count("sends this source no commands: kinds[0]: there is no such event type") == 1


@pytest_twisted.ensureDeferred
async def test_a_stop_waits_for_functions_and_takes_no_more(peer: CommandingGateway, source: Connect) -> None:
    released: Deferred[None] = Deferred()
    remote = source({"call.hangup": lambda command: released}, stop_timeout=30)
    await subscribed(peer)
    await peer.send("c1")
    stopped = remote.stopService()
    with pytest.raises(commands.Overloaded, match="is being stopped"):
        await peer.send("c2")
    assert not stopped.called
    released.callback(None)
    await outcome(peer, "c1")
    await stopped


def test_only_sources_carry_out_commands_that_exist() -> None:
    remote = EventBroadcaster("tcp:127.0.0.1:1", reactor)
    with pytest.raises(ValueError, match="give the broadcaster a source"):
        remote.on_command("call.hangup", print)
    remote = EventBroadcaster("tcp:127.0.0.1:1", reactor, source="pbx1")
    with pytest.raises(ValueError, match=r"did you mean call\.hangup"):
        remote.on_command("call.hangups", print)
    with pytest.raises(ValueError, match="by the gateway itself"):
        remote.on_command("call.disposition", print)
    with pytest.raises(ValueError, match="call on_command for it"):
        EventBroadcaster("tcp:127.0.0.1:1", reactor, source="pbx1", capabilities=["call.hangup"])
    with pytest.raises(ValueError, match="max_commands"):
        EventBroadcaster("tcp:127.0.0.1:1", reactor, max_commands=0)
