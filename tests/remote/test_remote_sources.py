"""Sources over ``callcenter_ws.remote``: numbers, generations and spools, against a real gateway on a loopback socket.

``forget_ids`` makes the gateway forget all event ids, as five minutes do: only numbers can then show a duplicate.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import SECRET, LoopbackGateway, until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from callcenter_ws.amp.commands import Hello
from callcenter_ws.broker.recent_ids import RecentIds
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster, LinkState
from callcenter_ws.remote.spool import Spool
from callcenter_ws.remote.spool_file import BLOCK_NUMBERS, SpoolFile

Connect = Callable[..., EventBroadcaster]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.spool"


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST_RECONNECT_SECONDS", "FIRST_REFUSED_SECONDS", "MAX_RECONNECT_SECONDS", "MAX_IN_USE_SECONDS"):
        monkeypatch.setattr(f"callcenter_ws.remote.link_state.{name}", 0.02)
    monkeypatch.setattr("callcenter_ws.remote.sender._MAX_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("callcenter_ws.remote.sender._FIRST_RETRY_SECONDS", 0.02)


@pytest.fixture
def hellos(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each ``Hello`` that is sent."""
    from callcenter_ws.remote.gateway_connection import GatewayConnection

    sent: list[dict[str, Any]] = []
    call = GatewayConnection.call

    async def record(self: GatewayConnection, command: Any, **arguments: Any) -> Any:
        if command is Hello:
            sent.append(arguments)
        return await call(self, command, **arguments)

    monkeypatch.setattr(GatewayConnection, "call", record)
    return sent


@pytest_twisted.async_yield_fixture
async def daemon(gateway: LoopbackGateway) -> AsyncIterator[Connect]:
    """Create and start EventBroadcasters of the source "dialer"."""
    started: list[EventBroadcaster] = []

    def start(**options: Any) -> EventBroadcaster:
        source = {"source": "dialer", "tenants": ["acme", "globex"]}
        options = {"token": SECRET.decode(), "stop_timeout": 0, **source, **options}
        remote = EventBroadcaster(gateway.endpoint, reactor, **options)
        started.append(remote)
        remote.startService()
        return remote

    yield start
    for remote in started:
        await remote.stopService()


def forget_ids(gateway: LoopbackGateway) -> None:
    for tenant in gateway.broker._tenants.values():
        tenant.stream.recent = RecentIds()


def spooled(path: Path, query: str = "SELECT source_seq FROM event ORDER BY key") -> list[Any]:
    db = sqlite3.connect(path)
    try:
        return [row if len(row) > 1 else row[0] for row in db.execute(query)]
    finally:
        db.close()


def unique_ids(gateway: LoopbackGateway) -> list[str]:
    payloads = [json.loads(message.event.payload) for message in gateway.delivered]
    return [payload["unique_id"] for payload in payloads if "unique_id" in payload]


async def refusal_of(answer: Deferred[Any]) -> Refusal:
    with pytest.raises(Refusal) as refused:
        await answer
    return refused.value


async def copy_with_unanswered(gateway: LoopbackGateway, daemon: Connect, path: Path, count: int) -> Path:
    """Let a daemon publish events, whose answers do not arrive; return a copy of its spool from before the answers."""
    remote = daemon(spool=path)
    await remote.ping()
    gateway.broker.is_blocked = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(count)]
    await until(reactor, lambda: gateway.broker.blocked)
    copy = path.with_name("copy.spool")
    with closing(sqlite3.connect(path)) as db, closing(sqlite3.connect(copy)) as target:
        db.backup(target)
    gateway.broker.unblock()
    await gatherResults(answers)
    await remote.stopService()
    return copy


@pytest_twisted.ensureDeferred
async def test_events_are_numbered_over_tenants_and_restarts(
    gateway: LoopbackGateway, daemon: Connect, path: Path, hellos: list[dict[str, Any]]
) -> None:
    remote = daemon(spool=path, kind="asterisk", version="1.2", capabilities=["chats"])
    await remote.ping()
    gateway.broker.is_blocked = True
    answers = [remote.call_hold(tenant, "u") for tenant in ("acme", "globex", "acme")]
    await until(reactor, lambda: gateway.broker.blocked)
    assert spooled(path) == [1, 2, 3]
    gateway.broker.unblock()
    await gatherResults(answers)
    assert {message.event.source for message in gateway.delivered if "hold" in message.event.type.name} == {"dialer"}
    await remote.stopService()
    # The numbers that were reserved are not given again.
    remote = daemon(spool=path)
    await remote.ping()
    gateway.broker.is_blocked = True
    answer = remote.call_hold("acme", "u")
    await until(reactor, lambda: gateway.broker.blocked)
    assert spooled(path) == [3 + BLOCK_NUMBERS + 1]
    gateway.broker.unblock()
    await answer
    first, second = hellos
    assert (first["source"], first["kind"], first["version"]) == ("dialer", "asterisk", "1.2")
    assert (first["tenants"], first["capabilities"]) == (b'["acme","globex"]', b'["chats"]')
    assert (first["generation"], second["generation"]) == (None, 1)
    assert first["instance"] == second["instance"]
    assert spooled(path, "SELECT name, generation FROM source") == [("dialer", 1)]


@pytest_twisted.ensureDeferred
async def test_events_that_were_answered_but_not_deleted_are_published_once_after_any_time(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    copy = await copy_with_unanswered(gateway, daemon, path, 5)
    forget_ids(gateway)
    # As after a kill: the spool has the events still. Another process uses it.
    remote = daemon(spool=copy)
    assert remote.unacknowledged == 5
    await remote.call_hold("acme", "last")
    assert unique_ids(gateway) == [*(f"u{number}" for number in range(5)), "last"]
    await until(reactor, lambda: spooled(copy) == [])


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("with_spool", [False, True])
async def test_events_whose_answers_were_lost_are_published_once_after_any_time(
    gateway: LoopbackGateway, daemon: Connect, path: Path, with_spool: bool, hellos: list[dict[str, Any]]
) -> None:
    remote = daemon(spool=path if with_spool else None)
    await remote.call_hold("acme", "before")
    gateway.broker.is_blocked = True
    answers = [remote.call_hold("acme", f"u{number}") for number in range(250)]
    await until(reactor, lambda: gateway.broker.blocked)
    await gateway.kill()
    gateway.broker.unblock()
    forget_ids(gateway)
    gateway.listen()
    published = await gatherResults(answers)
    assert unique_ids(gateway) == ["before", *(f"u{number}" for number in range(250))]
    # The first batch had been published; the position of a duplicate may be unknown.
    assert [answer.seq for answer in published[100:]] == list(
        range(gateway.delivered[-1].seq - 149, gateway.delivered[-1].seq + 1)
    )
    assert [hello["generation"] for hello in hellos] == [None, 1]


@pytest_twisted.ensureDeferred
async def test_events_published_before_the_start_are_numbered_after_those_of_the_spool(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    await gateway.kill()
    remote = daemon(spool=path)
    left = remote.call_hold("acme", "u1")
    await until(reactor, lambda: not remote.unspooled)
    await remote.stopService()
    await refusal_of(left)
    options = {"token": SECRET.decode(), "source": "dialer", "tenants": ["acme"], "spool": path}
    remote = EventBroadcaster(gateway.endpoint, reactor, **options)  # type: ignore[arg-type]
    answer = remote.call_hold("acme", "u2")
    remote.startService()
    await until(reactor, lambda: not remote.unspooled)
    assert spooled(path) == [1, 1 + BLOCK_NUMBERS + 1]
    gateway.listen()
    await answer
    assert unique_ids(gateway) == ["u1", "u2"]
    await remote.stopService()


@pytest_twisted.ensureDeferred
async def test_after_a_transient_refusal_events_are_sent_again_in_order(
    gateway: LoopbackGateway, daemon: Connect
) -> None:
    remote = daemon()
    await remote.call_hold("acme", "u0")
    gateway.broker.error = Refusal(ErrorCode.OVERLOADED)
    answers = [remote.call_hold("acme" if number % 3 else "globex", f"u{number}") for number in range(1, 10)]
    await until(reactor, lambda: gateway.broker.attempts >= 4)
    gateway.broker.error = None
    await gatherResults(answers)
    assert unique_ids(gateway) == [f"u{number}" for number in range(10)]


@pytest_twisted.ensureDeferred
async def test_an_event_that_was_refused_and_is_no_longer_kept_does_not_block_the_others(
    gateway: LoopbackGateway, daemon: Connect, hellos: list[dict[str, Any]]
) -> None:
    remote = daemon(buffer=2, when_full="refuse_oldest")
    await remote.call_hold("acme", "u0")
    gateway.broker.error = Refusal(ErrorCode.UNAVAILABLE)
    answers = [remote.call_hold("acme", f"u{number}") for number in (1, 2)]
    attempts = gateway.broker.attempts
    await until(reactor, lambda: gateway.broker.attempts > attempts and not remote._buffer._in_flight)
    answers += [remote.call_hold("acme", f"u{number}") for number in (3, 4)]
    assert [(await refusal_of(answer)).code for answer in answers[:2]] == [ErrorCode.OVERLOADED] * 2
    gateway.broker.error = None
    await gatherResults(answers[2:])
    assert unique_ids(gateway) == ["u0", "u3", "u4"]
    # The gateway takes nothing after a refused event over the same connection, so another one was made.
    assert len(hellos) == 2


# Generations and instances


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_new_spool_begins_the_next_generation_and_the_old_one_is_refused_for_good(
    gateway: LoopbackGateway, daemon: Connect, path: Path, error_log: Any, hellos: list[dict[str, Any]]
) -> None:
    old = daemon(spool=path)
    await old.call_hold("acme", "u1")
    await old.stopService()
    gateway.sources._table.end(("*", "dialer"))
    new = daemon(spool=path.with_name("new.spool"))
    await new.call_hold("acme", "u2")
    assert spooled(path.with_name("new.spool"), "SELECT generation FROM source") == [2]
    await new.stopService()
    gateway.sources._table.end(("*", "dialer"))
    states: list[LinkState] = []
    old = daemon(spool=path, state_changed=lambda state, reason: states.append(state))
    refusal = await refusal_of(old.call_hold("acme", "u3"))
    assert refusal.code is ErrorCode.STALE_GENERATION
    assert (await refusal_of(old.call_hold("acme", "u4"))).code is ErrorCode.STALE_GENERATION
    assert (await refusal_of(old.ping())).code is ErrorCode.STALE_GENERATION
    assert old.state is LinkState.STALE_GENERATION
    assert str(error_log).count("STALE_GENERATION") == 1
    attempts = len(hellos)
    # It does not connect any more: the service has stopped.
    await until(reactor, lambda: "Stopped" in str(old._connector._service._machine) or not old._connector._connections)
    assert len(hellos) == attempts
    assert unique_ids(gateway) == ["u1", "u2"]


@pytest_twisted.ensureDeferred
async def test_a_second_instance_waits_for_the_end_of_the_lease(
    gateway: LoopbackGateway, daemon: Connect, hellos: list[dict[str, Any]]
) -> None:
    first = daemon()
    await first.call_hold("acme", "u1")
    second = daemon()
    answer = second.call_hold("acme", "u2")
    await until(reactor, lambda: len(hellos) >= 5)
    assert second.state is LinkState.SOURCE_IN_USE
    assert not answer.called
    await first.stopService()
    await until(reactor, lambda: not gateway.sources._links)
    gateway.sources._table.end(("*", "dialer"))
    await answer
    assert unique_ids(gateway) == ["u1", "u2"]
    assert second.state is LinkState.CONNECTED


@pytest_twisted.ensureDeferred
async def test_a_restarted_daemon_with_its_spool_does_not_wait_for_the_end_of_the_lease(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    for number in range(3):
        remote = daemon(spool=path)
        await remote.call_hold("acme", f"u{number}")
        await remote.stopService()
    assert unique_ids(gateway) == ["u0", "u1", "u2"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_of_two_processes_with_copies_of_one_spool_one_stops(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    """As after a machine was cloned."""
    copy = await copy_with_unanswered(gateway, daemon, path, 1)
    first = daemon(spool=path)
    await first.call_hold("acme", "u1")
    second = daemon(spool=copy)
    answers = [remote.call_hold("acme", name) for name, remote in (("first", first), ("second", second))]
    await until(reactor, lambda: LinkState.STALE_GENERATION in (first.state, second.state))
    outcomes = await DeferredList(answers, consumeErrors=True)
    published = [name for name, (succeeded, _) in zip(("first", "second"), outcomes, strict=True) if succeeded]
    found = unique_ids(gateway)
    assert len(found) == len(set(found))
    assert {"u0", "u1", *published} <= set(found)
    assert published


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_older_copy_of_a_spool_begins_a_new_generation_and_loses_nothing(
    gateway: LoopbackGateway, daemon: Connect, path: Path, error_log: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.spool_file.BLOCK_NUMBERS", 0)
    copy = await copy_with_unanswered(gateway, daemon, path, 3)
    remote = daemon(spool=path)
    await gatherResults([remote.call_hold("acme", f"later-{number}") for number in range(5)])
    await remote.stopService()
    forget_ids(gateway)
    # The copy would give the numbers 4 to 8 a second time.
    remote = daemon(spool=copy)
    await gatherResults([remote.call_hold("acme", f"copy-{number}") for number in range(7)])
    events = [("u", 3), ("later-", 5), ("copy-", 7)]
    assert unique_ids(gateway) == [f"{name}{number}" for name, count in events for number in range(count)]
    assert spooled(copy, "SELECT generation FROM source") == [2]
    assert "it is an older copy, or its disk lost changes" in str(error_log)
    await until(reactor, lambda: spooled(copy) == [])


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_kill_while_an_older_copy_begins_a_new_generation_doubles_nothing(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.spool_file.BLOCK_NUMBERS", 0)
    copy = await copy_with_unanswered(gateway, daemon, path, 3)
    remote = daemon(spool=path)
    await remote.call_hold("acme", "later")
    await remote.stopService()
    forget_ids(gateway)

    def killed(self: SpoolFile, rows: Any, deleted_keys: Any) -> None:
        raise sqlite3.OperationalError("nothing is written any more")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "write", killed)
        remote = daemon(spool=copy)
        await until(reactor, lambda: spooled(copy, "SELECT generation FROM source") == [None])
        # What is on the disk now is what the next process finds.
        left = copy.with_name("left.spool")
        with closing(sqlite3.connect(copy)) as db, closing(sqlite3.connect(left)) as target:
            db.backup(target)
        await remote.stopService()
    gateway.sources._table.end(("*", "dialer"))
    remote = daemon(spool=left)
    await remote.call_hold("acme", "last")
    assert unique_ids(gateway) == ["u0", "u1", "u2", "later", "last"]


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_lost_while_the_generation_is_stored_is_not_used(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[LinkState] = []
    stored: list[Deferred[None]] = []

    async def slow(self: Spool, generation: int) -> None:
        stored.append(Deferred())
        await stored[-1]
        self.generation = generation

    monkeypatch.setattr(Spool, "keep_generation", slow)
    remote = daemon(spool=path, state_changed=lambda state, reason: states.append(state))
    await until(reactor, lambda: stored)
    (lost,) = remote._connector._connections
    await gateway.kill()
    await until(reactor, lambda: lost.lost_reason)
    stored[0].callback(None)
    assert remote._sender.connection is None
    assert LinkState.CONNECTED not in states
    gateway.listen()
    await remote.call_hold("acme", "u1")
    assert unique_ids(gateway) == ["u1"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_nothing_is_sent_before_the_generation_is_stored(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: SpoolFile, generation: int) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patch:
        patch.setattr(SpoolFile, "keep_generation", fail)
        remote = daemon(spool=path)
        answer = remote.call_hold("acme", "u1")
        await until(reactor, lambda: remote.state is LinkState.UNREACHABLE)
        assert "cannot be written" in remote.state_reason
        assert unique_ids(gateway) == []
    await answer
    assert unique_ids(gateway) == ["u1"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("options", "text"),
    [({"tenants": None}, "tenants"), ({"token": "acme-service", "tenants": ["globex"]}, "tenant")],
)
async def test_a_source_that_the_gateway_refuses_is_a_wrong_configuration(
    gateway: LoopbackGateway, daemon: Connect, options: dict[str, Any], text: str
) -> None:
    remote = daemon(**options)
    refusal = await refusal_of(remote.call_hold("acme", "u1"))
    assert refusal.code in (ErrorCode.INVALID_EVENT, ErrorCode.FORBIDDEN)
    assert text in refusal.message
    assert remote.state is LinkState.REFUSED


@pytest.mark.parametrize(
    "options",
    [
        {"source": ""},
        {"source": "x" * 129},
        {"source": "a\0b"},
        {"source": "x", "kind": "k" * 65},
        {"source": "x", "tenants": "acme"},
        {"source": "x", "tenants": ["t"] * 1_001},
        {"source": "x", "capabilities": ["c"] * 17},
        {"source": "x", "capabilities": [""]},
        {"source": "x", "capabilities": ["chat"]},
    ],
)
def test_invalid_descriptions_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"expected|at most|the control character U\+0000|did you mean chats"):
        EventBroadcaster("unix:/run/x.sock", reactor, **options)


# Files of the former release


def old_spool(path: Path, count: int) -> None:
    """Write a spool as the former release did."""
    SpoolFile(path).close()
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE record")
        db.execute("DROP TABLE taken")
        db.execute("DROP TABLE source")
        db.execute("ALTER TABLE event DROP COLUMN source_seq")
        db.execute("PRAGMA user_version = 1")
        for key in range(1, count + 1):
            at, payload = "2026-11-22T19:40:00.123Z", b'{"unique_id":"u%d"}' % key
            row = (key + 7, "acme", "call.hold", f"old-{key}", at, None, 0, payload)
            db.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


@pytest_twisted.ensureDeferred
async def test_events_of_an_old_file_are_numbered_and_keep_their_ids(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    old_spool(path, 3)
    shutil.copy(path, path.with_name("plain.spool"))
    # A daemon of the former release had sent the first one.
    plain = daemon(source=None, tenants=None, spool=path.with_name("plain.spool"))
    await until(reactor, lambda: not plain.unacknowledged)
    remote = daemon(spool=path)
    assert [event.source_seq for event in remote._buffer._queue] == [1, 2, 3]
    await remote.call_hold("acme", "u4")
    assert unique_ids(gateway) == ["u1", "u2", "u3", "u4"]


@pytest_twisted.ensureDeferred
async def test_a_spool_of_another_source_begins_a_new_generation(
    gateway: LoopbackGateway, daemon: Connect, path: Path, hellos: list[dict[str, Any]]
) -> None:
    for name in ("dialer", "other"):
        remote = daemon(source=name, spool=path)
        await remote.call_hold("acme", name)
        await remote.stopService()
    assert [hello["generation"] for hello in hellos] == [None, None]
    assert hellos[0]["instance"] != hellos[1]["instance"]
    assert unique_ids(gateway) == ["dialer", "other"]


@pytest_twisted.ensureDeferred
async def test_without_a_source_no_event_is_numbered(gateway: LoopbackGateway, daemon: Connect, path: Path) -> None:
    numbered = daemon(spool=path)
    await numbered.call_hold("acme", "u1")
    await numbered.stopService()
    remote = daemon(source=None, tenants=None, spool=path)
    await remote.call_hold("acme", "u2")
    assert unique_ids(gateway) == ["u1", "u2"]
    # Without Hello the gateway refuses numbers.
    assert gateway.delivered[-1].event.source is None
