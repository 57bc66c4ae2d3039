"""What many clients missed is prepared once."""

from __future__ import annotations

from typing import Any

import pytest
from core_stage import TENANT, SlowBroker, Stage
from msgspec.structs import replace

from callcenter_ws.delivery import replay_cache
from callcenter_ws.delivery.catch_up import CHUNK_EVENTS
from callcenter_ws.delivery.replay_cache import KEPT_FOR
from callcenter_ws.events.principal import Role

NOTE = {"type": "x", "title": "t", "message": "m"}


@pytest.fixture
def stage() -> Stage:
    return Stage(slow=True)


def reads_of(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions after which the store was read, but for the looks whether they can be reached."""
    reads: list[int] = []
    broker: SlowBroker = stage.broker
    real = broker.read

    async def read(tenant_id: str, after: int, limit: int) -> Any:
        if limit:
            reads.append(after)
        return await real(tenant_id, after, limit)

    monkeypatch.setattr(broker, "read", read)
    return reads


def seqs(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages if "seq" in message]


def finish(stage: Stage) -> None:
    for _ in range(100):
        stage.settle()


def test_those_who_missed_the_same_have_it_read_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.alerts(CHUNK_EVENTS + 50)
    finish(stage)
    reads = reads_of(stage, monkeypatch)
    sockets = [stage.resume(30) for _ in range(20)]
    finish(stage)
    for socket in sockets:
        messages = socket.read()
        assert seqs(messages) == list(range(31, CHUNK_EVENTS + 51))
        assert messages[-1]["payload"]["count"] == CHUNK_EVENTS + 20
    assert reads == [30, CHUNK_EVENTS]


def test_those_who_begin_elsewhere_share_what_follows(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.alerts(2 * CHUNK_EVENTS)
    finish(stage)
    reads = reads_of(stage, monkeypatch)
    sockets = [stage.resume(seq) for seq in (3, 50, 77)]
    finish(stage)
    for socket, seq in zip(sockets, (3, 50, 77), strict=True):
        assert seqs(socket.read()) == list(range(seq + 1, 2 * CHUNK_EVENTS + 1))
    assert sorted(reads) == [3, 50, 77, CHUNK_EVENTS]


def test_who_sees_something_else_shares_nothing(stage: Stage) -> None:
    stage.alerts(2)
    stage.publish("call.incoming", {"unique_id": "1", "caller_id": "555", "destination": "100"})
    stage.publish("presence.changed", {"user_id": "7", "online": True})
    finish(stage)
    supervisor, wallboard = stage.resume(0), stage.resume(0, role=Role.WALLBOARD)
    agent = stage.resume(0, role=Role.AGENT)
    service = stage.resume(0, role=Role.SERVICE)
    finish(stage)
    told = {name: socket.read() for name, socket in (("s", supervisor), ("w", wallboard), ("a", agent), ("x", service))}
    assert {name: seqs(messages) for name, messages in told.items()} == {
        "s": [1, 2, 3, 4],
        "w": [1, 2, 3, 4],
        "a": [1, 2, 3],
        "x": [],
    }
    callers = {
        name: [m["payload"].get("caller_id") for m in messages if m.get("seq") == 3] for name, messages in told.items()
    }
    assert callers == {"s": ["555"], "w": ["***"], "a": ["555"], "x": []}


def test_what_is_for_one_user_goes_to_that_user_alone(stage: Stage) -> None:
    stage.alerts(1)
    stage.publish("agent.login", {"user_id": "7", "username": "n"}, user_id="7")
    stage.alerts(1)
    finish(stage)
    sockets = {user: stage.resume(0, user_id=user) for user in ("6", "7", "8")}
    finish(stage)
    assert {user: seqs(socket.read()) for user, socket in sockets.items()} == {"6": [1, 3], "7": [1, 2, 3], "8": [1, 3]}


def test_who_prepares_may_go_away(stage: Stage) -> None:
    stage.alerts(10)
    finish(stage)
    first, second = stage.resume(0), stage.resume(0)
    while not stage.hub.replays._waiting:
        assert stage.clock.step()
    first.client.lost(1006)  # type: ignore[arg-type]  # any code
    finish(stage)
    assert seqs(second.read()) == list(range(1, 11))


def test_the_store_may_fail_meanwhile(stage: Stage) -> None:
    stage.alerts(10)
    finish(stage)
    sockets = [stage.resume(0) for _ in range(5)]
    failures = iter([False] * 20 + [True] * 12)
    stage.broker.fails = lambda: next(failures, False)
    finish(stage)
    stage.clock.advance(30)
    finish(stage)
    for socket in sockets:
        if not socket.client.closed:
            assert seqs(socket.read()) == list(range(1, 11))


def test_nothing_is_kept_for_longer_than_a_moment(stage: Stage) -> None:
    stage.alerts(10)
    finish(stage)
    stage.resume(0)
    finish(stage)
    assert stage.hub.replays._kept
    stage.clock.advance(2 * KEPT_FOR)
    assert not stage.hub.replays._kept
    assert stage.hub.replays._bytes == 0


def test_what_is_kept_is_bounded(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay_cache, "MAX_BYTES", 3_000)
    stage.alerts(50)
    finish(stage)
    for seq in range(40):
        stage.resume(seq)
        finish(stage)
        assert stage.hub.replays._bytes <= 3_000
        assert stage.hub.replays._bytes == sum(len(stretch.frames) for stretch in stage.hub.replays._kept.values())
    assert stage.hub.connections(TENANT) == 40


def leaves_its_group(stage: Stage, how: str) -> None:
    """One of two who missed the same prepares it, and becomes another while the store is asked."""
    queues = frozenset({"a"})
    for queue in ("a", "secret"):
        stage.stats(1, queue)
    stage.alerts(5)
    finish(stage)
    first, second = stage.resume(0, queues=queues), stage.resume(0, queues=queues)
    while not stage.hub.replays._waiting:
        assert stage.clock.step()
    if how == "subscribes":
        first.say("subscribe", {"events": ["call.*"]})
    else:
        first.client.renew(replace(first.client.principal, queues=None))
    finish(stage)
    told = second.read()
    assert seqs(told) == [1, 3, 4, 5, 6, 7]
    assert told[-1]["payload"]["count"] == 6
    expected = [] if how == "subscribes" else list(range(1, 8))
    assert seqs(first.read()) == expected


@pytest.mark.parametrize("how", ["subscribes", "renews"])
def test_who_prepares_may_become_another(stage: Stage, how: str) -> None:
    leaves_its_group(stage, how)
