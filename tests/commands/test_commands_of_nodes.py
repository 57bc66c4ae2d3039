"""Commands over several nodes that share a Redis: the agent at one, the source at another."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
import pytest_twisted
from command_world import CHOICES, Source, person
from redis_nodes import until
from shared_nodes import INSTALLATION, SourceNode
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.commands import sweep
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.service import CommandService
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS, CommandKey
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.json import decode_trusted_json

if TYPE_CHECKING:
    from redis_server import RedisServer

LONG = 600.0
_prefixes = (f"commands-{number}" for number in itertools.count())


class CommandNode(SourceNode):
    """A node that accepts commands, and sends them to its sources."""

    async def open(self, tenants: Any) -> None:
        new_id = map(str, itertools.count())
        self.service = CommandService(
            self.broker,
            self.sources,
            self.clock,
            spawn,
            CommandPolicy(enabled=True, choices=CHOICES),
            charge=lambda asker: 0.0,
            new_id=lambda: f"made-{next(new_id)}",
        )
        await super().open(tenants)
        self.service.start()

    async def source(self, name: str = "pbx1", instance: str = "i1") -> Source:
        """Connect a source that carries out everything."""
        link = await self.hello(
            INSTALLATION, source=name, instance=instance, tenants=["acme"], capabilities=[*COMMANDS]
        )
        source = Source(self, name)
        source.link = link
        return source.subscribe()

    async def issue(self, name: str, user: str = "alice", **fields: Any) -> Any:
        return (await self.service.issue(person(user), {"name": name, **fields})).payload()

    def outcomes(self) -> dict[str, str]:
        """Return the outcomes that were delivered here."""
        found: dict[str, str] = {}
        for one in self.delivered:
            if one.event.type.name in ("command.done", "command.failed"):
                payload = decode_trusted_json(one.event.payload)
                assert payload["command_id"] not in found
                found[payload["command_id"]] = payload.get("code", "done")
        return found

    async def close(self) -> None:
        if self._is_open:
            await self.service.stop()
        await super().close()


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SWEEP_SECONDS", 0.05)


@pytest_twisted.async_yield_fixture
async def open_node(server: RedisServer) -> AsyncIterator[Callable[..., Awaitable[Any]]]:
    """Open nodes that share a Redis; called with the tenants that the node follows."""
    nodes: list[CommandNode] = []
    prefix = next(_prefixes)

    async def open_node(*tenants: str) -> CommandNode:
        node = CommandNode(server.url, prefix, LONG)
        nodes.append(node)
        await node.open(tenants)
        return node

    yield open_node
    for node in nodes:
        await node.close()


@pytest_twisted.ensureDeferred
async def test_an_agent_at_one_node_and_the_source_at_another(open_node: Any) -> None:
    desk, third, exchange = await open_node("acme"), await open_node("acme"), await open_node()
    source = await exchange.source()
    call = {"unique_id": "c1", "caller_id": "1", "destination": "2"}
    incoming = {"tenant_id": "acme", "type": "call.incoming", "payload": call}
    answered = {"tenant_id": "acme", "type": "call.answered", "payload": {**call, "agent_id": "alice"}}
    await exchange.publish(source.link, incoming, answered)
    answer = await desk.issue("call.hangup", call_id="c1", command_id="h1")
    assert (answer["source"], answer["state"]) == ("pbx1", "accepted")
    with pytest.raises(Refusal) as refused:
        await third.issue("call.hangup", "bob", call_id="c1")
    assert refused.value.code is ErrorCode.NOT_ALLOWED
    await until(lambda: source.sent)
    assert await source.give(source.told("h1"))
    await until(lambda: desk.outcomes() and third.outcomes())
    assert desk.outcomes() == third.outcomes() == {"h1": "done"}
    assert (await third.issue("call.hangup", call_id="c1", command_id="h1"))["state"] == "done"
    with pytest.raises(Refusal) as refused:
        await third.issue("call.originate", destination="1", command_id="h1")
    assert refused.value.code is ErrorCode.CONFLICT


@pytest_twisted.ensureDeferred
async def test_a_command_that_comes_to_all_nodes_at_once_is_sent_once(open_node: Any) -> None:
    nodes = [await open_node("acme") for _ in range(3)]
    source = await nodes[0].source()
    ids = [f"o{number}" for number in range(20)]
    issued = [
        node.service.issue(person(), {"name": "call.originate", "destination": "100", "command_id": command_id})
        for command_id in ids
        for node in nodes
    ]
    await gatherResults([Deferred.fromCoroutine(one) for one in issued])
    await until(lambda: len(source.sent) >= len(ids))
    assert sorted(source.sent) == sorted(ids)
    for command_id in ids:
        assert await source.give(source.told(command_id))
    await until(lambda: all(len(node.outcomes()) == len(ids) for node in nodes))
    assert len(source.sent) == len(ids)


@pytest_twisted.ensureDeferred
async def test_the_node_of_the_source_dies(open_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    type_ = COMMANDS["call.originate"]
    monkeypatch.setitem(COMMANDS, "call.originate", dataclasses.replace(type_, deadline=0.5))
    monkeypatch.setattr(sweep, "GRACE_SECONDS", 0.1)
    desk, dies = await open_node("acme"), await open_node()
    source = await dies.source()
    await desk.issue("call.originate", destination="100", command_id="sent")
    await until(lambda: source.sent)
    await dies.close()
    again = await (await open_node()).source()
    await until(lambda: "sent" in desk.outcomes())
    assert desk.outcomes()["sent"] == "outcome_unknown"
    # What the source says after that is dropped, at another node too.
    assert not await again.give(again.told("sent", source_seq=None))
    assert again.sent == []


@pytest_twisted.ensureDeferred
async def test_what_the_first_node_has_not_sent_the_second_one_sends(open_node: Any) -> None:
    desk, first = await open_node("acme"), await open_node()
    source = await first.source()
    source.writable = False
    await desk.issue("call.originate", destination="100", command_id="o1")
    await first.close()
    second = await open_node()
    moved = await second.source()
    await until(lambda: moved.sent == ["o1"])
    assert source.sent == []
    record = await desk.service.command(person(), "o1")
    assert record.state == "dispatched"
    assert await moved.give(moved.told("o1"))
    assert (await desk.service.outcome(CommandKey("acme", "alice", "o1"), 30)).state == "done"


@pytest_twisted.ensureDeferred
async def test_of_two_agents_at_two_nodes_one_gets_a_chat(open_node: Any) -> None:
    nodes = [await open_node("acme"), await open_node("acme")]
    started = {"tenant_id": "acme", "type": "chat.session.started", "payload": {"session_id": "chat"}}
    await EventBroadcaster(nodes[0].broker, nodes[0].clock).publish_batch([started])
    await until(lambda: all(node.delivered for node in nodes))
    issued = [
        node.issue("chat.accept", user, session_id="chat", command_id=user)
        for node, user in zip(nodes, ("alice", "bob"), strict=True)
    ]
    await gatherResults([Deferred.fromCoroutine(one) for one in issued])
    await until(lambda: all(len(node.outcomes()) == 2 for node in nodes))
    outcomes = nodes[0].outcomes()
    assert outcomes == nodes[1].outcomes()
    assert sorted(outcomes.values()) in (["done", "not_allowed"], ["done", "not_found"])
    (moved,) = [one.event for one in nodes[1].delivered if one.event.type.name == "chat.transferred"]
    assert outcomes[decode_trusted_json(moved.payload)["to_agent_id"]] == "done"


@pytest_twisted.ensureDeferred
async def test_where_the_sources_of_a_tenant_are(open_node: Any) -> None:
    one, two = await open_node(), await open_node()
    assert await one.sources.command_sources("acme") == []
    source = await two.source()
    (found,) = await one.sources.command_sources("acme")
    assert (found.scope, found.name, found.connected) == ("*", "pbx1", True)
    assert "call.hangup" in found.capabilities
    assert await one.sources.command_sources("globex") == []
    two.sources.link_lost(source.link)
    for _ in range(200):
        (found,) = await one.sources.command_sources("acme")
        if not found.connected:
            break
    assert not found.connected
    with pytest.raises(Refusal) as refused:
        await one.issue("call.originate", destination="100")
    assert refused.value.code is ErrorCode.SOURCE_DOWN
