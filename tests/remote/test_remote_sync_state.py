"""``EventBroadcaster.sync_state``: parts, order, the spool, refusals."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from amp_doubles import LoopbackGateway, until
from twisted.internet import reactor

from callcenter_ws.amp import commands
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.state_sync import MAX_SYNC_BYTES, MAX_SYNC_ENTITIES
from callcenter_ws.remote import EventBroadcaster, SpooledEvent
from callcenter_ws.remote import state_sync as state_sync_module
from callcenter_ws.remote.state_sync import PART_BYTES, parts_of

Connect = Callable[..., EventBroadcaster]


def agent(user_id: str, state: str = "available", **fields: Any) -> dict[str, Any]:
    return {"user_id": user_id, "username": f"u{user_id}", "state": state, **fields}


def events(gateway: LoopbackGateway) -> list[tuple[str, str | None]]:
    """Return the types of the delivered events, without those about sources, and their users."""
    delivered = [(one.event.type.name, json.loads(one.event.payload)) for one in gateway.delivered]
    return [(type_, payload.get("user_id")) for type_, payload in delivered if not type_.startswith("source.")]


def refuse_command(gateway: LoopbackGateway, command: type[commands.GatewayCommand]) -> None:
    """Have the gateway not know a command."""
    responders = gateway.factory._responders
    responders.by_name = {name: found for name, found in responders.by_name.items() if name != command.commandName}


@pytest_twisted.ensureDeferred
async def test_a_sync_is_sent_in_parts_and_in_order(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync_module, "PART_ENTITIES", 2)
    gateway.sources.start()
    remote = connect(source="pbx1", tenants=["acme"])
    before = remote.agent_login("acme", "9", "u9")
    synced = remote.sync_state("acme", "agents", [agent(str(number)) for number in range(5)])
    after = remote.agent_logout("acme", "3", "u3")
    seqs = [(await answer).seq for answer in (before, synced, after)]
    assert seqs == [2, 8, 9]
    logins = [("agent.login", str(number)) for number in range(5)]
    assert events(gateway) == [("agent.login", "9"), ("agent.logout", "9"), *logins, ("agent.logout", "3")]
    assert (await remote.sync_state("acme", "agents", (agent(str(number)) for number in (0, 1, 2, 4)))).seq == 0
    ended = await remote.sync_state("acme", "agents", [], timestamp="2026-11-29T10:00:00Z")
    assert gateway.delivered[-1].event.timestamp == "2026-11-29T10:00:00.000Z"
    assert ended.seq == 13
    assert remote.gateway_time() is not None
    gateway.sources.stop()


@pytest_twisted.ensureDeferred
async def test_a_sync_stays_in_the_spool(gateway: LoopbackGateway, connect: Connect, tmp_path: Path) -> None:
    gateway.sources.start()
    options: dict[str, Any] = {"source": "pbx1", "tenants": ["acme"], "spool": tmp_path / "spool"}
    remote = connect(**options)
    await remote.agent_login("acme", "1", "u1")
    await gateway.kill()
    answers = [remote.agent_login("acme", "2", "u2"), remote.sync_state("acme", "agents", [agent("3", "busy")])]
    answers.append(remote.agent_login("acme", "4", "u4"))
    await until(reactor, lambda: remote.unacknowledged == 3 and remote.unspooled == 0)
    await remote.stopService()
    for answer in answers:
        with pytest.raises(Refusal, match="is kept in the spool"):
            await answer
    gateway.listen()
    again = connect(**options)
    await until(reactor, lambda: not again.unacknowledged)
    assert events(gateway)[1:] == [
        *[("agent.login", "2"), ("agent.logout", "1"), ("agent.logout", "2")],
        *[("agent.login", "3"), ("agent.login", "4")],
    ]
    assert (await again.sync_state("acme", "agents", [agent("3", "busy"), agent("4")])).seq == 0
    gateway.sources.stop()


@pytest_twisted.ensureDeferred
async def test_a_link_that_ends_amid_the_parts(
    gateway: LoopbackGateway, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state_sync_module, "PART_ENTITIES", 1)
    monkeypatch.setattr("callcenter_ws.remote.link_state.FIRST_RECONNECT_SECONDS", 0.01)
    gateway.sources.start()
    remote = connect(source="pbx1", tenants=["acme"])
    await remote.agent_login("acme", "1", "u1")
    name = commands.SyncState.commandName
    command, responder = gateway.factory._responders.by_name[name]
    parts: list[int] = []

    async def ending(peer: Any, **arguments: Any) -> Any:
        parts.append(arguments["part"])
        if len(parts) == 2:
            peer.disconnect("the test ends the link")
        return await responder(peer, **arguments)

    by_name: Any = gateway.factory._responders.by_name
    by_name[name] = (command, ending)
    assert (await remote.sync_state("acme", "agents", [agent(each) for each in "234"])).seq > 0
    assert parts[:3] == [1, 2, 1]
    assert parts[-3:] == [1, 2, 3]
    assert events(gateway)[1:] == [("agent.logout", "1"), *[("agent.login", each) for each in "234"]]
    gateway.sources.stop()


@pytest_twisted.ensureDeferred
async def test_what_is_refused(gateway: LoopbackGateway, connect: Connect, tmp_path: Path) -> None:
    gateway.sources.start()

    async def code_of(remote: EventBroadcaster, *arguments: Any) -> ErrorCode:
        with pytest.raises(Refusal) as raised:
            await remote.sync_state(*arguments)
        return raised.value.code

    plain = connect()
    assert await code_of(plain, "acme", "agents", []) is ErrorCode.FORBIDDEN
    remote = connect(source="pbx1", tenants=["acme"])
    invalid: list[tuple[Any, ...]] = [
        *[("acme", "users", []), ("acme", "agents", [7]), (7, "agents", []), ("acme", "agents", [{"a": object()}])],
        *[("acme", "agents", [{"user_id": "1"}]), ("acme", "agents", [agent("1"), agent("1")])],
    ]
    for arguments in invalid:
        assert await code_of(remote, *arguments) is ErrorCode.INVALID_EVENT
    large = [agent("1", note="x" * MAX_SYNC_BYTES)]
    assert await code_of(remote, "acme", "agents", large) is ErrorCode.TOO_LARGE
    assert await code_of(remote, "acme", "agents", [{}] * (MAX_SYNC_ENTITIES + 1)) is ErrorCode.TOO_LARGE
    assert await code_of(remote, "acme", "agents", [agent("1", note="x" * 600_000)]) is ErrorCode.TOO_LARGE
    assert await code_of(remote, "globex", "agents", []) is ErrorCode.FORBIDDEN
    assert (await remote.agent_login("acme", "1", "u1")).seq > 0
    gateway.sources.stop()


@pytest_twisted.ensureDeferred
async def test_a_gateway_that_does_not_know_the_command(gateway: LoopbackGateway, connect: Connect) -> None:
    gateway.sources.start()
    refuse_command(gateway, commands.SyncState)
    remote = connect(source="pbx1", tenants=["acme"])
    synced, after = remote.sync_state("acme", "agents", []), remote.agent_login("acme", "1", "u1")
    with pytest.raises(Refusal, match="the gateway is of an earlier release, which does not know SyncState"):
        await synced
    assert (await after).seq > 0
    gateway.sources.stop()


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_sync_of_an_earlier_process_that_is_refused(
    gateway: LoopbackGateway, connect: Connect, tmp_path: Path, error_log: Any
) -> None:
    gateway.sources.start()
    await gateway.kill()
    options: dict[str, Any] = {"source": "pbx1", "tenants": ["acme"], "spool": tmp_path / "spool"}
    remote = connect(**options)
    kept = remote.sync_state("acme", "agents", [{"user_id": "1"}])
    await until(reactor, lambda: remote.unspooled == 0)
    await remote.stopService()
    with pytest.raises(Refusal):
        await kept
    gateway.listen()
    refused: list[SpooledEvent] = []
    connect(**options, spool_refused=lambda event, refusal: refused.append(event))
    await until(reactor, lambda: refused)
    assert (refused[0].type, refused[0].payload) == ("SyncState:agents", b'[{"user_id":"1"}]')
    gateway.sources.stop()


def test_parts() -> None:
    assert list(parts_of(b"[]")) == [b"[]"]
    entities = [{"n": number} for number in range(1_201)]
    parts = [json.loads(part) for part in parts_of(json.dumps(entities).encode())]
    assert [len(part) for part in parts] == [500, 500, 201]
    assert [entity for part in parts for entity in part] == entities
    large = [{"n": "x" * (PART_BYTES // 2)}, {"n": 2}, {"n": "y" * (PART_BYTES + 1)}, {"n": 4}]
    parts = [json.loads(part) for part in parts_of(json.dumps(large).encode())]
    assert parts == [large[:2], large[2:3], large[3:]]
