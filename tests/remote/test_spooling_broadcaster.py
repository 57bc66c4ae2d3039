"""The remote EventBroadcaster with a spool, against a real gateway on a loopback socket."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import SECRET, LoopbackGateway, until
from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList, gatherResults

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster, SpooledEvent, SpoolUnusable
from callcenter_ws.remote.buffer import BATCH_EVENTS

Connect = Callable[..., EventBroadcaster]
TOKEN = SECRET.decode()
KEPT = "stopped before the gateway answered; the event is kept in the spool and will be sent at the next start"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.spool"


@pytest_twisted.async_yield_fixture
async def daemon(gateway: LoopbackGateway, path: Path) -> AsyncIterator[Connect]:
    """Create and start EventBroadcasters that use the same spool, one after the other."""
    started: list[EventBroadcaster] = []

    def start(**options: Any) -> EventBroadcaster:
        options = {"token": TOKEN, "stop_timeout": 0, "spool": path, **options}
        remote = EventBroadcaster(gateway.endpoint, reactor, **options)
        started.append(remote)
        remote.startService()
        return remote

    yield start
    for remote in started:
        await remote.stopService()
    assert [thread.name for thread in threading.enumerate() if "callcenter-ws-spool" in thread.name] == []


def stored(path: Path, columns: str = "event_id") -> list[Any]:
    """Return the rows of the spool."""
    db = sqlite3.connect(path)
    try:
        return [row if len(row) > 1 else row[0] for row in db.execute(f"SELECT {columns} FROM event ORDER BY key")]  # noqa: S608
    finally:
        db.close()


def exists(path: Path) -> bool:
    return path.exists()


@contextmanager
def occupied(path: Path) -> Iterator[None]:
    """Put a text file in the place of the spool."""
    path.write_text("no database\n" * 100)
    try:
        yield
    finally:
        path.unlink()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Let writes fail: another program has locked the file."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


async def refusals_of(answers: list[Deferred[Any]]) -> list[Refusal]:
    outcomes = await DeferredList(answers, consumeErrors=True)
    assert not any(succeeded for succeeded, _ in outcomes)
    return [failure.value for _, failure in outcomes]


def unique_ids(gateway: LoopbackGateway) -> list[str]:
    return [json.loads(message.event.payload)["unique_id"] for message in gateway.delivered]


async def leave_in_spool(daemon: Connect, *calls: tuple[str, str], **options: Any) -> list[tuple[str, str]]:
    """Let a daemon without a gateway leave events in the spool; return their ids and timestamps."""
    remote = daemon(**options)
    answers = [remote.call_hold(tenant_id, unique_id) for tenant_id, unique_id in calls]
    await remote.stopService()
    assert {(refusal.code, refusal.message) for refusal in await refusals_of(answers)} == {
        (ErrorCode.UNAVAILABLE, KEPT)
    }
    return stored(remote._persistence._path, "event_id, timestamp")  # type: ignore[attr-defined]


@pytest_twisted.ensureDeferred
async def test_events_left_by_a_daemon_are_sent_first_by_the_next(gateway: LoopbackGateway, daemon: Connect) -> None:
    await gateway.kill()
    spooled = await leave_in_spool(daemon, ("acme", "u1"), ("globex", "u2"), ("acme", "u3"))
    assert len(spooled) == 3
    remote = daemon()
    assert (remote.unacknowledged, remote.unspooled) == (3, 0)
    answer = remote.call_hold("acme", "u4")
    gateway.listen()
    assert (await answer).seq == 3
    assert unique_ids(gateway) == ["u1", "u2", "u3", "u4"]
    assert [(message.event.event_id, message.event.timestamp) for message in gateway.delivered[:3]] == spooled


@pytest_twisted.ensureDeferred
async def test_all_fields_of_an_event_are_kept(gateway: LoopbackGateway, daemon: Connect, path: Path) -> None:
    await gateway.kill()
    remote = daemon()
    payload = {"type": "info", "title": "Zoé\0", "message": "x" * 300_000}
    options = {"user_id": "7", "event_id": "mine", "timestamp": "2026-11-22T19:40:00.123Z", "persist": True}
    refused = remote.publish("acme", "notification", payload, **options)
    await remote.stopService()
    await refusals_of([refused])
    gateway.listen()
    remote = daemon()
    await until(reactor, lambda: not remote.unacknowledged)
    event = gateway.delivered[0].event
    assert json.loads(event.payload) == payload
    assert (event.user_id, event.event_id, event.timestamp, event.persist) == tuple(options.values())
    await until(reactor, lambda: stored(path) == [])


@pytest_twisted.ensureDeferred
async def test_service_can_be_started_again(gateway: LoopbackGateway, daemon: Connect) -> None:
    await gateway.kill()
    remote = daemon()
    refused = remote.call_hold("acme", "u1")
    for _ in range(2):
        await remote.stopService()
        assert (remote.unacknowledged, remote.unspooled) == (0, 0)
        remote.startService()
        assert (remote.unacknowledged, remote.unspooled) == (1, 0)
    await refusals_of([refused])
    answer = remote.call_hold("acme", "u2")
    gateway.listen()
    assert (await answer).seq == 2
    assert unique_ids(gateway) == ["u1", "u2"]


@pytest_twisted.ensureDeferred
async def test_events_published_before_the_start_follow_those_of_the_spool(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    await gateway.kill()
    await leave_in_spool(daemon, ("acme", "u1"))
    remote = EventBroadcaster(gateway.endpoint, reactor, token=TOKEN, spool=path)
    answer = remote.call_hold("acme", "u2")
    assert (remote.unacknowledged, remote.unspooled) == (1, 1)
    remote.startService()
    await until(reactor, lambda: not remote.unspooled)
    gateway.listen()
    assert (await answer).seq == 2
    assert unique_ids(gateway) == ["u1", "u2"]
    await remote.stopService()


@pytest_twisted.ensureDeferred
async def test_service_that_was_never_started_creates_no_spool(gateway: LoopbackGateway, path: Path) -> None:
    remote = EventBroadcaster(gateway.endpoint, reactor, token=TOKEN, spool=path, stop_timeout=0)
    answer = remote.call_hold("acme", "u1")
    await remote.stopService()
    assert [refusal.message for refusal in await refusals_of([answer])] == ["stopped before the gateway answered"]
    assert not exists(path)


@pytest_twisted.ensureDeferred
async def test_order_over_batches_tenants_and_large_events(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    gateway.broker.is_blocked = True
    numbers = range(3 * BATCH_EVENTS)
    remote = daemon()
    answers = [
        remote.call_hold("globex" if number % 70 == 0 else "acme", f"u{number}", note="x" * 300_000 * (number == 50))
        for number in numbers
    ]
    await until(reactor, lambda: gateway.broker.blocked)
    await remote.stopService()
    await refusals_of(answers)
    assert len(stored(path)) == len(numbers)
    gateway.broker.unblock()
    remote = daemon()
    await remote.call_hold("acme", "last")
    assert unique_ids(gateway) == [*(f"u{number}" for number in numbers), "last"]
    # The first batch had been published before.
    assert gateway.broadcaster.counters.duplicates == 1


@pytest_twisted.ensureDeferred
async def test_refused_events_do_not_affect_the_others_and_are_deleted(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    remote = daemon(token="acme-service")
    good, bad, foreign, last = (
        remote.call_hold("acme", "u1"),
        remote.publish("acme", "call.hold", {}),
        remote.call_hold("globex", "u1"),
        remote.call_hold("acme", "u2"),
    )
    assert [answer.seq for answer in await gatherResults([good, last])] == [1, 2]
    assert [refusal.code for refusal in await refusals_of([bad, foreign])] == ["invalid_event", "forbidden"]
    await until(reactor, lambda: stored(path) == [])


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_refused_event_of_an_earlier_process_is_logged_and_reported(
    gateway: LoopbackGateway, daemon: Connect, path: Path, error_log: Any
) -> None:
    await gateway.kill()
    ((_, _), (event_id, timestamp), (_, _)) = await leave_in_spool(
        daemon, ("acme", "u1"), ("globex", "secret"), ("acme", "u2")
    )
    gateway.listen()
    reported: list[tuple[SpooledEvent, Refusal]] = []

    async def refused(event: SpooledEvent, refusal: Refusal) -> None:
        reported.append((event, refusal))
        raise RuntimeError("the callback is broken")

    remote = daemon(token="acme-service", spool_refused=refused)
    await remote.call_hold("acme", "u3")
    assert unique_ids(gateway) == ["u1", "u2", "u3"]
    ((event, refusal),) = reported
    payload = b'{"unique_id":"secret"}'
    assert event == SpooledEvent("globex", "call.hold", event_id, timestamp, payload, None, False)
    assert refusal.code is ErrorCode.FORBIDDEN
    assert f"call.hold {event_id} of globex" in str(error_log)
    assert f"was refused: forbidden: {refusal.message}" in str(error_log)
    assert "the callback is broken" in str(error_log)
    assert "secret" not in str(error_log)
    await until(reactor, lambda: stored(path) == [])


# A full buffer


@pytest_twisted.ensureDeferred
async def test_recovered_events_count_towards_the_buffer(gateway: LoopbackGateway, daemon: Connect) -> None:
    await gateway.kill()
    await leave_in_spool(daemon, ("acme", "u1"), ("acme", "u2"))
    remote = daemon(buffer=3)
    kept, refused = remote.call_hold("acme", "u3"), remote.call_hold("acme", "u4")
    (refusal,) = await refusals_of([refused])
    assert (refusal.code, refusal.message) == (
        ErrorCode.OVERLOADED,
        "3 events wait for the gateway, no more are kept",
    )
    gateway.listen()
    assert (await kept).seq == 3


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_refuse_oldest_refuses_recovered_events_first(
    gateway: LoopbackGateway, daemon: Connect, path: Path, error_log: Any
) -> None:
    await gateway.kill()
    await leave_in_spool(daemon, *(("acme", f"u{number}") for number in range(4)))
    reported: list[str] = []
    # The buffer is smaller than before: the next event makes it refuse the excess.
    remote = daemon(
        buffer=3, when_full="refuse_oldest", spool_refused=lambda event, refusal: reported.append(str(event.payload))
    )
    assert remote.unacknowledged == 4
    answers = [remote.call_hold("acme", f"u{number}") for number in (4, 5, 6)]
    assert reported == [str(b'{"unique_id":"u%d"}' % number) for number in range(4)]
    assert str(error_log).count("was refused: overloaded: refused in favor of a newer event") == 4
    newest = remote.call_hold("acme", "u7")
    (refusal,) = await refusals_of(answers[:1])
    assert refusal.code is ErrorCode.OVERLOADED
    await until(reactor, lambda: not remote.unspooled and len(stored(path)) == 3)
    gateway.listen()
    assert (await newest).seq == 3
    assert unique_ids(gateway) == ["u5", "u6", "u7"]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"when_full": "refuse_everything"}, "when_full: expected one of refuse_newest, refuse_oldest"),
        ({"buffer": 0}, "buffer: expected a number"),
        ({"spool": ""}, "spool: expected the path"),
    ],
)
def test_invalid_arguments(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        EventBroadcaster("unix:/run/x.sock", reactor, **options)


# Disks


@pytest_twisted.ensureDeferred
async def test_event_is_sent_after_it_is_on_disk_and_a_slow_disk_does_not_block(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.runtime.sqlite._BUSY_SECONDS", 60)
    remote = daemon()
    await remote.ping()
    with locked(path):
        answer = remote.call_hold("acme", "u1")
        for _ in range(3):
            await remote.ping()
        assert gateway.broker.attempts == 0
        assert (remote.unacknowledged, remote.unspooled) == (1, 1)
        # The spool wakes the sender when the event may be sent; the sender does not poll.
        assert remote._sender._sending.is_idle
    assert (await answer).seq == 1
    assert remote.unspooled == 0


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_failing_disk_does_not_stop_sending_and_is_logged_once(
    gateway: LoopbackGateway,
    daemon: Connect,
    path: Path,
    error_log: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("callcenter_ws.runtime.sqlite._BUSY_SECONDS", 0)
    monkeypatch.setattr("callcenter_ws.remote.spool._MAX_RETRY_SECONDS", 0.02)
    monkeypatch.setattr("callcenter_ws.remote.spool._FIRST_RETRY_SECONDS", 0.02)
    remote = daemon()
    for outage in (1, 2):
        with locked(path):
            for unique_id in ("u1", "u2"):
                await remote.call_hold("acme", unique_id)
            gateway.broker.is_blocked = True
            answer = remote.call_hold("acme", "u3")
            await until(reactor, lambda: gateway.broker.blocked)
            assert (remote.unacknowledged, remote.unspooled) == (1, 1)
        # It is written as soon as that is possible, although it has been sent.
        await until(reactor, lambda: not remote.unspooled)
        assert len(stored(path)) == 1
        gateway.broker.unblock()
        await answer
        await until(reactor, lambda: stored(path) == [])
        assert len(error_log.events) == outage
        assert str(error_log).count(f"the spool {path} cannot be written: the file is locked") == outage
    assert unique_ids(gateway) == ["u1", "u2", "u3"] * 2


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_refusal_does_not_claim_that_an_unwritten_event_is_kept(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.runtime.sqlite._BUSY_SECONDS", 0)
    await gateway.kill()
    remote = daemon()
    answers = [remote.call_hold("acme", "u1")]
    await until(reactor, lambda: not remote.unspooled)
    with locked(path):
        answers.append(remote.call_hold("acme", "u2"))
        await remote.stopService()
    texts = [refusal.message for refusal in await refusals_of(answers)]
    assert texts == [KEPT, "stopped before the gateway answered"]
    remote = daemon()
    gateway.listen()
    await until(reactor, lambda: not remote.unacknowledged)
    assert unique_ids(gateway) == ["u1"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_answered_event_that_is_still_in_the_file_arrives_once(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulates a daemon that is killed between the answer and the deletion from the file."""
    monkeypatch.setattr("callcenter_ws.runtime.sqlite._BUSY_SECONDS", 0)
    gateway.broker.is_blocked = True
    remote = daemon()
    answer = remote.call_hold("acme", "u1")
    await until(reactor, lambda: gateway.broker.blocked)
    with locked(path):
        gateway.broker.unblock()
        first = await answer
        await remote.stopService()
    assert stored(path) == [first.event_id]
    remote = daemon()
    assert (await remote.call_hold("acme", "u2")).seq == 2
    assert unique_ids(gateway) == ["u1", "u2"]
    assert gateway.broadcaster.counters.duplicates == 1


# Starting


@pytest_twisted.ensureDeferred
async def test_unusable_spool_is_reported_at_the_start_and_nothing_is_started(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    remote = EventBroadcaster(gateway.endpoint, reactor, token=TOKEN, spool=str(path))
    with occupied(path), pytest.raises(SpoolUnusable, match="not a SQLite file"):
        remote.startService()
    assert not remote.running
    remote.startService()
    assert (await remote.call_hold("acme", "u1")).seq == 1
    await remote.stopService()


@pytest_twisted.ensureDeferred
async def test_spool_is_used_by_one_broadcaster_at_a_time(gateway: LoopbackGateway, daemon: Connect) -> None:
    first = daemon()
    with pytest.raises(SpoolUnusable, match="in use by another"):
        daemon()
    await first.stopService()
    assert (await daemon().call_hold("acme", "u1")).seq == 1


@pytest_twisted.ensureDeferred
async def test_relative_path_is_resolved_when_the_broadcaster_is_created(
    gateway: LoopbackGateway, daemon: Connect, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    remote = EventBroadcaster(gateway.endpoint, reactor, token=TOKEN, spool=path.name)
    monkeypatch.chdir("/")
    remote.startService()
    assert exists(path)
    await remote.stopService()
