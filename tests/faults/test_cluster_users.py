"""Users of a cluster: presence, the connection limit, disconnects and revocations, and messages to daemons."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from checker import PRESENCE_CHANGED, Ledger, Reader, Viewer, check_presence
from cluster import GRACE, LEASE, SETTINGS, Cluster, RedisPeer
from processes import DEADLINE
from restartable import RestartableGateway, until
from roaming import RoamingClient
from senders import AmpLink
from websockets.asyncio.client import connect


def client_of(node: RestartableGateway, viewer: Viewer, ledger: Ledger) -> RoamingClient:
    """Return a client that stays at one node."""
    return RoamingClient(node, Reader(ledger, viewer, changes_nodes=True), random.Random(0))


async def arrive(clients: Iterable[RoamingClient]) -> None:
    clients = list(clients)
    for client in clients:
        client.start()
    for client in clients:
        await client.until(lambda client=client: client.is_up_to_date)


class Witness:
    """Records the announcements of users at one node."""

    def __init__(self, node: RestartableGateway, ledger: Ledger) -> None:
        self._ledger = ledger
        self.client = client_of(node, Viewer("acme", "service", "witness", events=(PRESENCE_CHANGED,)), ledger)

    @property
    def announcements(self) -> list[tuple[str, bool]]:
        stream = sorted(self._ledger.streams.get("acme", {}).items())
        payloads = [self._ledger.offers[event_id].payload for _, event_id in stream]
        return [(payload["user_id"], payload["online"]) for payload in payloads]

    def announced(self, online: bool) -> set[str]:
        """Return the users whose last announcement was online, or offline."""
        return {user for user, here in dict(self.announcements).items() if here is online}


# A node that dies


async def some_come_back(cluster: Cluster) -> None:
    ledger = Ledger()
    witness = Witness(cluster.nodes[1], ledger)
    dying = cluster.nodes[0]
    await asyncio.to_thread(cluster.start)
    reconnecting = [client_of(dying, Viewer("acme", "agent", f"reconnecting-{number}"), ledger) for number in range(4)]
    leaving = [client_of(dying, Viewer("acme", "agent", f"leaving-{number}"), ledger) for number in range(4)]
    await arrive([witness.client])
    await arrive([*reconnecting, *leaving])
    users = {client.reader.viewer.user_id for client in (*reconnecting, *leaving)}
    await witness.client.until(lambda: witness.announced(True) == users)
    for client in reconnecting:
        client.use_nodes(cluster.nodes[1:])
    begin = time.monotonic()
    for client in leaving:
        client.abort()
    await asyncio.to_thread(dying.end)
    gone = {user for user in users if user.startswith("leaving")}
    await witness.client.until(lambda: witness.announced(False) == gone, LEASE + GRACE + DEADLINE)
    assert time.monotonic() - begin > GRACE - 1
    await asyncio.to_thread(dying.start)
    await asyncio.to_thread(cluster.until_ready)
    announcements = check_presence(witness.announcements)
    assert announcements == Counter([*((user, True) for user in users), *((user, False) for user in gone)])
    for node in cluster.nodes:
        assert [is_online(node, user) for user in ("reconnecting-0", "leaving-0")] == [True, False]
    for client in (witness.client, *reconnecting):
        await client.leave()


def is_online(node: RestartableGateway, user: str) -> bool:
    status, answer = node.http(f"/ws/users/{user}/online", token=node.token("supervisor"))
    assert status == 200, answer
    return answer["online"]


@pytest.mark.slow
def test_users_of_a_dead_node_who_do_not_reconnect_are_announced_offline(
    make_cluster: Callable[..., Cluster],
) -> None:
    asyncio.run(some_come_back(make_cluster()))


# The connection limit


async def count_over_nodes(cluster: Cluster) -> None:
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    viewer = Viewer("acme", "agent", "a1")
    clients = [client_of(node, viewer, ledger) for node in cluster.nodes]
    await arrive(clients)
    for node in cluster.nodes:
        surplus = client_of(node, viewer, ledger)
        surplus.start()
        await surplus.until(lambda surplus=surplus: 4504 in surplus.closed_with)
        await surplus.leave()
    assert all(client.reader.counts.connections == 1 and client.is_up_to_date for client in clients)
    await clients[0].leave()
    again = client_of(cluster.nodes[1], viewer, ledger)
    await arrive([again])
    await wait_until_stable(again)
    for client in (*clients[1:], again):
        await client.leave()


async def wait_until_stable(client: RoamingClient) -> None:
    """Wait until a client is not closed again: a connection in excess is closed a moment after its welcome."""
    stable, end = 0, time.monotonic() + DEADLINE
    while stable < 20:
        assert time.monotonic() < end, "it is closed each time"
        before = client.reader.counts.connections
        await client.until(lambda: client.is_up_to_date)
        # The connection may be closed before it has answered: it is in excess.
        is_answered = await client.is_answered()
        stable = stable + 1 if is_answered and client.reader.counts.connections == before else 0


@pytest.mark.slow
def test_a_users_connections_are_counted_over_all_nodes(make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(count_over_nodes(make_cluster(SETTINGS + "connections_per_user = 3\n")))


# Disconnects and revocations


async def disconnect_and_revoke(cluster: Cluster, *, stopped: bool) -> None:
    """Disconnect and revoke at the first node; the last one may be suspended for longer than its lease."""
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    disconnected = [client_of(node, Viewer("acme", "agent", "disconnected"), ledger) for node in cluster.nodes]
    revoked = [client_of(node, Viewer("acme", "agent", "revoked", jti="stolen"), ledger) for node in cluster.nodes]
    unaffected = [client_of(node, Viewer("acme", "agent", "revoked", jti="own"), ledger) for node in cluster.nodes]
    await arrive([*disconnected, *revoked, *unaffected])
    link = await AmpLink(ledger).open(cluster.nodes[0].amp_path)
    last = cluster.nodes[-1].process.process
    try:
        if stopped:
            last.send_signal(signal.SIGSTOP)
        closed = [
            int((await link.call("DisconnectUser", tenant_id="acme", user_id="disconnected"))[b"closed"]),
            int((await link.call("RevokeToken", tenant_id="acme", jti="stolen"))[b"closed"]),
        ]
        assert closed == ([2, 2] if stopped else [3, 3])
        if stopped:
            with RedisPeer(cluster.redis.port) as redis:
                await asyncio.to_thread(until, lambda: len(leases(redis)) == 2, "its lease has run out")
    finally:
        last.send_signal(signal.SIGCONT)
    await check_closed(disconnected, revoked, unaffected)
    await link.close()
    for client in (*disconnected, *revoked, *unaffected):
        await client.leave()


def leases(redis: RedisPeer) -> list[bytes]:
    """Return the nodes that have a lease."""
    return redis.ask("ZRANGE", "callcenter-ws:{nodes}:leases", "0", "-1")


async def check_closed(
    disconnected: list[RoamingClient], revoked: list[RoamingClient], unaffected: list[RoamingClient]
) -> None:
    """Check that disconnected users reconnected, revoked tokens are refused, and others are unaffected."""
    for client in disconnected:
        await client.until(lambda client=client: client.is_up_to_date and client.closed_with == [4503])
    for client in revoked:
        await client.until(lambda client=client: client.closed_with == [4503] and client.refused_with[401])
        assert not client.is_up_to_date and client.reader.counts.connections == 1
    for client in unaffected:
        await client.wait_for_pongs()
        assert (client.closed_with, client.reader.counts.connections) == ([], 1)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["while_all_run", "while_one_is_suspended"])
def test_control_messages_of_one_node_are_applied_by_all(stopped: bool, make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(disconnect_and_revoke(make_cluster(), stopped=stopped))


# Messages to daemons


async def receive_messages(cluster: Cluster) -> None:
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    link = await AmpLink(ledger).open(cluster.nodes[0].amp_path)
    await link.call("Subscribe", kinds='["chat.message"]')
    visitors = [("acme", 1), ("newborn", 1), ("newborn", 2), ("late", 2), ("acme", 0)]
    for number, (tenant, node) in enumerate(visitors):
        await say(cluster.nodes[node], tenant, f"hello {number}")
    end = time.monotonic() + DEADLINE
    while len(link.client_events) < len(visitors):
        assert time.monotonic() < end, f"only {link.client_events} was heard"
        await asyncio.sleep(0.02)
    heard = [(box[b"tenant_id"].decode(), json.loads(box[b"payload"])["body"]) for box in link.client_events]
    said = [(tenant, f"hello {number}") for number, (tenant, _) in enumerate(visitors)]
    assert sorted(heard) == sorted(said)
    for tenant in ("acme", "newborn", "late"):
        assert [body for name, body in heard if name == tenant] == [body for name, body in said if name == tenant]
    await link.close()


async def say(node: RestartableGateway, tenant: str, body: str) -> None:
    """Connect as a visitor, send a chat message, wait for it, and disconnect."""
    token = node.token("visitor", tenant_id=tenant, session_id="chat-1")
    url = f"ws://127.0.0.1:{node.port}/ws/public"
    async with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        request = {"type": "chat.message", "payload": {"session_id": "chat-1", "body": body}}
        await socket.send(json.dumps(request))
        while json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)).get("payload", {}).get("body") != body:
            pass


@pytest.mark.slow
def test_a_daemon_receives_at_one_node_what_is_sent_at_another(make_cluster: Callable[..., Cluster]) -> None:
    """Also for a tenant that did not exist before."""
    asyncio.run(receive_messages(make_cluster()))
