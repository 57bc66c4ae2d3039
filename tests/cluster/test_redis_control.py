"""Control messages: applied by all nodes, reported, and restored; how revocations travel between nodes."""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted
from broker_contract import A
from cluster_nodes import OpenNode, block_messages, is_revoked
from redis_nodes import until
from redis_server import RedisServer
from twisted.internet.defer import Deferred, gatherResults

from callcenter_ws.auth import revocation
from callcenter_ws.cluster import control, control_reports, revocation_sync
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role


@pytest_twisted.ensureDeferred
async def test_every_node_applies_a_message_and_reports(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(3)]
    for number, node in enumerate(nodes):
        node.hub.connections = 10**number
    await until(lambda: len(nodes[0].membership.other_nodes()) == 2)
    assert await nodes[0].directory.disconnect_user(A, "ann") == 111
    assert await nodes[1].directory.revoke(A, jti="token", user_id="bob") == 111
    for node in nodes:
        assert node.hub.applied == [("disconnect", A, "ann"), ("revoke", A, "token", "bob")]


@pytest_twisted.ensureDeferred
async def test_a_node_that_does_not_report_is_not_awaited_for_long(
    open_node: OpenNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control_reports, "REPORT_TIMEOUT_SECONDS", 0.1)
    first, second = await open_node(), await open_node()
    await until(lambda: first.membership.other_nodes())
    second.hub.connections = 5
    first.hub.connections = 1
    unblock = block_messages(second)
    assert await first.directory.disconnect_user(A, "ann") == 1
    assert second.hub.applied == []
    unblock()
    # It reads the message from the stream afterwards.
    await until(lambda: second.hub.applied == [("disconnect", A, "ann")])


@pytest_twisted.ensureDeferred
async def test_messages_of_all_nodes_at_once(open_node: OpenNode) -> None:
    nodes = [await open_node() for _ in range(3)]
    await gatherResults(
        [Deferred.fromCoroutine(node.directory.disconnect_user(A, str(at))) for at in range(30) for node in nodes]
    )
    for node in nodes:
        await until(lambda node=node: len(node.hub.applied) == 90)
        assert node.hub.applied == nodes[0].hub.applied


@pytest_twisted.ensureDeferred
async def test_a_node_that_starts_reads_the_revocations(open_node: OpenNode) -> None:
    first = await open_node()
    for number in range(10):
        await first.directory.revoke(A, jti=f"token-{number}")
    await first.directory.revoke("*", user_id="root")
    late = await open_node()
    refused = Principal(A, "ann", Role.AGENT, jti="token-9")
    await until(lambda: is_revoked(late, refused))
    assert is_revoked(late, Principal(A, "root", Role.ADMIN, issued_at=1.0, narrowed=True))
    assert not is_revoked(late, Principal(A, "ann", Role.AGENT, jti="another"))
    # Messages from before its start are not applied.
    assert late.hub.applied == []


@pytest_twisted.ensureDeferred
async def test_the_number_of_revocations_is_limited(open_node: OpenNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS", 5)
    monkeypatch.setattr(revocation, "RESERVED_REVOCATIONS", 2)
    node = await open_node()
    await node.directory.revoke(A, jti="a")
    await node.directory.revoke(A, jti="b", user_id="c")
    await node.directory.revoke(A, jti="a")
    with pytest.raises(Refusal) as refused:
        await node.directory.revoke(A, jti="d")
    assert refused.value.code is ErrorCode.OVERLOADED
    with pytest.raises(Refusal):
        await node.directory.revoke(A)
    assert len(node.hub.applied) == 3
    await node.directory.revoke(A, jti="d", for_all=True)


@pytest_twisted.ensureDeferred
async def test_one_tenant_fills_its_share_of_the_revocations_only(
    open_node: OpenNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation, "MAX_REVOCATIONS_PER_TENANT", 2)
    first, second = await open_node(), await open_node()
    await first.directory.revoke(A, jti="a", user_id="b")
    await until(lambda: second.hub.applied)
    for node in (first, second):
        with pytest.raises(Refusal, match="of one tenant") as refused:
            await node.directory.revoke(A, jti="c")
        assert refused.value.code is ErrorCode.OVERLOADED
    await second.directory.revoke("other", jti="c")
    await second.directory.revoke(A, jti="c", for_all=True)


@pytest_twisted.ensureDeferred
async def test_expired_revocations_are_deleted(
    open_node: OpenNode, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_sync, "MAX_REVOCATIONS", 2)
    monkeypatch.setattr(control, "revocation_limit", lambda *, for_all: 2)
    node = await open_node()
    await node.directory.revoke(A, jti="a")
    await node.directory.revoke(A, user_id="b")
    name = node.broker.keys.revocations
    old = time.time() - revocation_sync.REVOCATION_LIFETIME_SECONDS
    server.ask("HSET", name, '["acme","token","a"]', repr(old - 5), '["acme","user","b"]', repr(old + 60))
    await until(lambda: server.ask("HKEYS", name) == [b'["acme","user","b"]'])
    await node.directory.revoke(A, jti="c")
    for jti in "ac":
        assert is_revoked(node, Principal(A, "ann", Role.AGENT, jti=jti))


@pytest_twisted.ensureDeferred
async def test_a_node_whose_clock_is_behind_weakens_no_revocation(
    open_node: OpenNode, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = await open_node()
    await node.directory.revoke(A, user_id="ann")
    [before] = server.ask("HVALS", node.broker.keys.revocations)
    monkeypatch.setattr(node.cluster._clock, "time", lambda: float(before) - 10)
    await node.directory.revoke(A, user_id="ann")
    [after] = server.ask("HVALS", node.broker.keys.revocations)
    assert float(after) >= float(before)
    assert is_revoked(node, Principal(A, "ann", Role.AGENT, issued_at=float(before) - 1))


@pytest_twisted.ensureDeferred
async def test_a_revocation_covers_the_lead_of_the_issuer_that_another_node_saw(open_node: OpenNode) -> None:
    """The tokens of an issuer whose clock is ahead were used at one node, and the user is revoked at another."""
    first, second = await open_node(), await open_node()
    await until(lambda: first.membership.other_nodes())
    token = Principal(A, "ann", Role.AGENT, issued_at=time.time() + 20)
    second.hub.revocations.note_issued(token)
    await first.directory.revoke(A, user_id="ann")
    assert is_revoked(second, token)
    await until(lambda: is_revoked(first, token))
    started = await open_node()
    await until(lambda: is_revoked(started, token))
    assert not is_revoked(first, Principal(A, "ann", Role.AGENT, issued_at=time.time() + revocation.CLOCK_SKEW_SECONDS))


@pytest_twisted.ensureDeferred
async def test_identifiers_are_compared_for_late_messages_only(
    open_node: OpenNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of a node are made from its own clock, and the message's age is measured by Redis's."""
    monkeypatch.setattr(control_reports, "REPORT_TIMEOUT_SECONDS", 0.1)
    monkeypatch.setattr(control, "LATE_SECONDS", 1.0)
    first, second = await open_node(), await open_node()
    await until(lambda: first.membership.other_nodes())
    await first.directory.disconnect_user(A, "ann")
    await until(lambda: second.hub.applied)
    unblock = block_messages(second)
    await first.directory.disconnect_user(A, "bob")
    late_at = first.cluster._clock.monotonic() + control.LATE_SECONDS
    await until(lambda: first.cluster._clock.monotonic() > late_at)
    unblock()
    await until(lambda: len(second.hub.applied) == 2)
    assert first.hub.opened_until == ["", ""]
    assert second.hub.opened_until[0] == ""
    assert second.hub.opened_until[1] > first.membership.instance.rpartition("~")[2]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_messages_that_cannot_be_decoded_are_skipped(open_node: OpenNode, server: RedisServer) -> None:
    node = await open_node()
    server.ask("XADD", node.broker.keys.control, "*", "o", "from another version")
    server.ask("SPUBLISH", node.broker.keys.reports_channel, "from another version")
    assert await node.directory.disconnect_user(A, "ann") == 0
    assert node.hub.applied == [("disconnect", A, "ann")]


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_revocations_that_redis_has_lost_are_restored(
    open_own_node: OpenNode, own_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(revocation_sync, "CHUNK", 2)
    monkeypatch.setattr(control, "CHUNK", 2)
    nodes = [await open_own_node(), await open_own_node()]

    def stored() -> Any:
        return own_server.ask("HLEN", nodes[0].broker.keys.revocations)

    for number in range(3):
        await nodes[number % 2].directory.revoke(A, jti=f"token-{number}")
    await nodes[0].directory.revoke(A, user_id="ann")
    assert stored() == 4
    own_server.ask("FLUSHALL")
    started = await open_own_node()
    await until(lambda: stored() == 4)
    # Also at a node that started before they were restored.
    await until(lambda: is_revoked(started, Principal(A, "bob", Role.AGENT, jti="token-1")))
    await until(lambda: is_revoked(started, Principal(A, "ann", Role.AGENT, issued_at=1.0)))
    assert await nodes[0].directory.disconnect_user(A, "ann") == 0
    assert started.hub.applied == [("disconnect", A, "ann")]
