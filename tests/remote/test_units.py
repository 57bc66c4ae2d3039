"""Units: events and records that are published together, against a real gateway on a loopback socket."""

from __future__ import annotations

import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import SECRET, LoopbackGateway, until
from twisted.internet import reactor

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote import EventBroadcaster, SpooledEvent, UnitEvent
from callcenter_ws.remote.records import MAX_KEY_BYTES, MAX_RECORD_BYTES, MAX_RECORDS

Connect = Callable[..., EventBroadcaster]
EXAMPLE = Path(__file__).parents[2] / "examples" / "records_daemon.py"
KILLS = 8


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.spool"


@pytest_twisted.async_yield_fixture
async def daemon(gateway: LoopbackGateway, path: Path) -> AsyncIterator[Connect]:
    """Create and start EventBroadcasters that use the same spool, one after the other."""
    started: list[EventBroadcaster] = []

    def start(**options: Any) -> EventBroadcaster:
        options = {"token": SECRET.decode(), "stop_timeout": 0, "spool": path, **options}
        remote = EventBroadcaster(gateway.endpoint, reactor, **options)
        started.append(remote)
        remote.startService()
        return remote

    yield start
    for remote in started:
        await remote.stopService()


def alert(title: object, **options: Any) -> UnitEvent:
    return UnitEvent("acme", "alert", {"title": str(title), "message": "m"}, **options)


def titles(gateway: LoopbackGateway) -> list[str]:
    payloads = [json.loads(message.event.payload) for message in gateway.delivered]
    return [payload["title"] for payload in payloads if "title" in payload]


def stored(path: Path) -> tuple[list[str], dict[str, bytes]]:
    """Return the titles of the events in the file, and its records."""
    with closing(sqlite3.connect(path, timeout=30)) as db:
        db.execute("BEGIN")
        events = [json.loads(payload)["title"] for (payload,) in db.execute("SELECT payload FROM event ORDER BY key")]
        return events, dict(db.execute("SELECT key, value FROM record").fetchall())


@pytest_twisted.ensureDeferred
async def test_records_are_those_of_the_events_in_the_spool(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    await gateway.kill()
    remote = daemon()
    at = "2026-11-22T19:40:00.123Z"
    remote.publish_unit([alert(1, event_id="one", timestamp=at), alert(2, user_id="7")], {"a": b"1", "b": b"2"})
    remote.publish_unit([], {"a": None})
    remote.publish_unit([alert(3)])
    assert dict(remote.records) == {"b": b"2"}
    await remote.stopService()
    assert stored(path) == (["1", "2", "3"], {"b": b"2"})
    remote = daemon()
    assert dict(remote.records) == {"b": b"2"}
    gateway.listen()
    await until(reactor, lambda: not remote.unacknowledged)
    assert titles(gateway) == ["1", "2", "3"]
    first, second = (message.event for message in gateway.delivered[:2])
    assert (first.event_id, first.timestamp, second.user_id) == ("one", at, "7")


@pytest_twisted.ensureDeferred
async def test_unit_published_before_the_start_changes_the_records_of_earlier_processes(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    remote = daemon()
    remote.publish_unit([], {"a": b"1", "b": b"1", "c": b"1"})
    await remote.stopService()
    remote = EventBroadcaster(gateway.endpoint, reactor, token=SECRET.decode(), spool=path, stop_timeout=0)
    remote.publish_unit([alert(1)], {"a": None, "b": b"2"})
    remote.startService()
    assert dict(remote.records) == {"b": b"2", "c": b"1"}
    await remote.stopService()
    assert stored(path)[1] == {"b": b"2", "c": b"1"}


@pytest_twisted.ensureDeferred
async def test_unit_without_room_is_refused_as_a_whole_until_there_is_room(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    await gateway.kill()
    remote = daemon(buffer=4, stop_timeout=30)
    remote.publish_unit([alert(1), alert(2), alert(3)], {"last": b"3"})
    with pytest.raises(Refusal) as refused:
        remote.publish_unit([alert(4), alert(5)], {"last": b"5"})
    assert refused.value.code is ErrorCode.OVERLOADED
    assert dict(remote.records) == {"last": b"3"}
    room = remote.when_room()
    assert not room.called
    gateway.listen()
    await room
    remote.publish_unit([alert(4), alert(5)], {"last": b"5"})
    await until(reactor, lambda: not remote.unacknowledged)
    assert titles(gateway) == ["1", "2", "3", "4", "5"]
    await remote.stopService()
    assert stored(path) == ([], {"last": b"5"})


@pytest_twisted.ensureDeferred
async def test_empty_buffer_takes_a_unit_of_any_size(gateway: LoopbackGateway, daemon: Connect) -> None:
    remote = daemon(buffer=2)
    remote.publish_unit([alert(number) for number in range(250)], {"last": b"249"})
    with pytest.raises(Refusal):
        remote.publish_unit([alert("more")])
    await until(reactor, lambda: not remote.unacknowledged)
    assert titles(gateway) == [str(number) for number in range(250)]


@pytest_twisted.ensureDeferred
async def test_invalid_event_or_record_refuses_the_unit(gateway: LoopbackGateway, daemon: Connect) -> None:
    remote = daemon(spool=None)
    remote.publish_unit([], {"kept": b"1"})
    bad: list[tuple[list[UnitEvent], dict[Any, Any]]] = [
        ([alert(1), alert(2)._replace(payload={"title": object()})], {"kept": b"2"}),  # type: ignore[dict-item]
        ([alert(1)], {"kept": "2"}),
        ([alert(1)], {7: b"2"}),
        ([alert(1)], {"": b"2"}),
        ([alert(1)], {"\ud800": b"2"}),
        ([alert(1)], {"k" * (MAX_KEY_BYTES + 1): b"2"}),
        ([alert(1)], {"kept": bytes(MAX_RECORD_BYTES + 1)}),
        ([alert(1)], {f"many {number}": b"" for number in range(MAX_RECORDS + 1)}),
    ]
    for events, records in bad:
        with pytest.raises(Refusal):
            remote.publish_unit(events, records)
    assert dict(remote.records) == {"kept": b"1"}
    assert remote.unacknowledged == 0


@pytest_twisted.ensureDeferred
async def test_units_exclude_refusing_old_events(gateway: LoopbackGateway, daemon: Connect) -> None:
    with pytest.raises(ValueError, match="refuse_newest"):
        daemon(when_full="refuse_oldest").publish_unit([alert(1)])


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_refused_event_of_a_unit_is_reported(gateway: LoopbackGateway, daemon: Connect) -> None:
    refused: list[tuple[SpooledEvent, Refusal]] = []
    remote = daemon(spool_refused=lambda event, refusal: refused.append((event, refusal)))
    remote.publish_unit([alert(1), UnitEvent("acme", "no.such.type", {}, event_id="wrong"), alert(2)], {"a": b"1"})
    await until(reactor, lambda: not remote.unacknowledged)
    ((event, refusal),) = refused
    assert (event.event_id, refusal.code) == ("wrong", ErrorCode.INVALID_EVENT)
    assert titles(gateway) == ["1", "2"]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_records_changed_while_the_disk_fails_are_written_when_it_works(
    gateway: LoopbackGateway, daemon: Connect, path: Path
) -> None:
    remote = daemon()
    remote.publish_unit([alert(0)], {"kept": b"0", "gone": b"0"})
    await until(reactor, lambda: not remote.unacknowledged and stored(path) == ([], {"kept": b"0", "gone": b"0"}))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for number in range(1, 300):
        remote.publish_unit([alert(number)], {f"call/{number}": b"up", "last": b"%d" % number})
        remote.publish_unit([alert(f"end of {number}")], {f"call/{number}": None})
        remote.publish_unit([], {"gone": None})
    await until(reactor, lambda: not remote.unacknowledged)
    assert len(titles(gateway)) == 1 + 2 * 299
    other.execute("ROLLBACK")
    other.close()
    await remote.stopService()
    assert stored(path) == ([], {"kept": b"0", "last": b"299"})


def check_spool(gateway: LoopbackGateway, path: Path) -> None:
    """All alerts up to the number in the records were delivered or are in the spool, once, and no other."""
    waiting, records = stored(path)
    number = int(records.get("number", b"0"))
    assert number % 2 == 0
    pairs = {end % 10: b"%d %d" % (end - 1, end) for end in range(max(2, number - 8), number + 1, 2)}
    assert {key: value for key, value in records.items() if key != "number"} == {
        f"pair/{digit}": pair for digit, pair in pairs.items()
    }
    delivered = titles(gateway)
    assert len(set(delivered)) == len(delivered)
    published = dict.fromkeys([*delivered, *waiting])
    assert list(published) == [f"alert {index}" for index in range(1, number + 1)]


@pytest_twisted.ensureDeferred
async def test_records_of_a_killed_process_say_what_was_published(
    gateway: LoopbackGateway, tmp_path: Path, path: Path
) -> None:
    token = tmp_path / "amp.token"
    token.write_bytes(SECRET)
    command = [sys.executable, str(EXAMPLE), gateway.endpoint, str(path), "--token-file", str(token)]
    rng = random.Random(7)
    for _ in range(KILLS):
        before = len(titles(gateway))
        process = subprocess.Popen([*command, "--interval", "0.001"])  # noqa: ASYNC220 - returns at once
        try:
            wanted = before + rng.randint(1, 60)
            await until(reactor, lambda wanted=wanted: len(titles(gateway)) >= wanted)  # type: ignore[misc]
        finally:
            process.kill()
            process.wait()
        check_spool(gateway, path)
    assert len(titles(gateway)) >= KILLS
