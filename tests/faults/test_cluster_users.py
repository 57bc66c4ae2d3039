"""Users of a cluster: who is announced, how often they may connect, how they are sent away, and who hears them."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable

import pytest
from checker import OF_THE_GATEWAY, Ledger, Reader, Viewer, check_presence
from cluster import GRACE, LEASE, SETTINGS, Cluster, RedisPeer
from processes import DEADLINE
from restartable import RestartableGateway, until
from roaming import RoamingClient
from senders import AmpLink
from websockets.asyncio.client import connect

SLACK = 8.0
"""Seconds for which an announcement may be late: somebody looks every two, on a machine that may be slow."""


def client_of(node: RestartableGateway, viewer: Viewer, ledger: Ledger) -> RoamingClient:
    """A client of one node, which it does not leave for being slow."""
    return RoamingClient(node, Reader(ledger, viewer, hops=True), random.Random(0))


async def arrive(clients: Iterable[RoamingClient]) -> None:
    clients = list(clients)
    for client in clients:
        client.start()
    for client in clients:
        await client.until(lambda client=client: client.is_here)


class Witness:
    """Sees at one node what is announced of users, and when."""

    def __init__(self, node: RestartableGateway, ledger: Ledger) -> None:
        self._ledger = ledger
        self.client = client_of(node, Viewer("acme", "service", "witness", events=(OF_THE_GATEWAY,)), ledger)

    @property
    def told(self) -> list[tuple[str, bool]]:
        stream = sorted(self._ledger.streams.get("acme", {}).items())
        payloads = [self._ledger.offers[event_id].payload for _, event_id in stream]
        return [(payload["user_id"], payload["online"]) for payload in payloads]

    def now(self, online: bool) -> set[str]:
        """Who was announced last as here, or as gone."""
        return {user for user, here in dict(self.told).items() if here is online}


# A node that dies


async def some_come_back(cluster: Cluster) -> None:
    ledger = Ledger()
    witness = Witness(cluster.nodes[1], ledger)
    dying = cluster.nodes[0]
    await asyncio.to_thread(cluster.start)
    loyal = [client_of(dying, Viewer("acme", "agent", f"loyal-{number}"), ledger) for number in range(4)]
    fickle = [client_of(dying, Viewer("acme", "agent", f"fickle-{number}"), ledger) for number in range(4)]
    await arrive([witness.client])
    await arrive([*loyal, *fickle])
    everybody = {client.reader.viewer.user_id for client in (*loyal, *fickle)}
    await witness.client.until(lambda: witness.now(True) == everybody)
    for client in loyal:
        client.move(cluster.nodes[1:])
    for client in fickle:
        client.break_off()
    await asyncio.to_thread(dying.end)
    begin = time.monotonic()
    gone = {user for user in everybody if user.startswith("fickle")}
    await witness.client.until(lambda: witness.now(False) == gone)
    assert GRACE - 1 < time.monotonic() - begin < LEASE + GRACE + SLACK
    await asyncio.to_thread(dying.start)
    await asyncio.to_thread(cluster.until_ready)
    told = check_presence(witness.told)
    assert told == Counter([*((user, True) for user in everybody), *((user, False) for user in gone)])
    for node in cluster.nodes:
        assert [is_online(node, user) for user in ("loyal-0", "fickle-0")] == [True, False]
    for client in (witness.client, *loyal):
        await client.leave()


def is_online(node: RestartableGateway, user: str) -> bool:
    status, answer = node.http(f"/ws/users/{user}/online", token=node.token("supervisor"))
    assert status == 200, answer
    return answer["online"]


@pytest.mark.slow
def test_of_the_users_of_a_node_that_dies_those_are_announced_gone_who_do_not_come_back(
    make_cluster: Callable[..., Cluster],
) -> None:
    asyncio.run(some_come_back(make_cluster()))


# How often one may connect


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
    assert all(client.reader.figures.connections == 1 and client.is_here for client in clients)
    await clients[0].leave()
    again = client_of(cluster.nodes[1], viewer, ledger)
    await arrive([again])
    await comes_to_stay(again)
    for client in (*clients[1:], again):
        await client.leave()


async def comes_to_stay(client: RoamingClient) -> None:
    """Who is too much here is told so a moment later: ask, until nothing is said for two questions."""
    stable, end = 0, time.monotonic() + DEADLINE
    while stable < 20:
        assert time.monotonic() < end, "it is always sent away"
        before = client.reader.figures.connections
        await client.until(lambda: client.is_here)
        await client.hear_out()
        stable = stable + 1 if client.reader.figures.connections == before else 0


@pytest.mark.slow
def test_a_users_connections_are_counted_over_all_nodes(make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(count_over_nodes(make_cluster(SETTINGS + "connections_per_user = 3\n")))


# Sent away


async def send_away(cluster: Cluster, *, stopped: bool) -> None:
    """Orders are given at the first node; the last one may be stopped meanwhile, for longer than its lease."""
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    guest = [client_of(node, Viewer("acme", "agent", "guest"), ledger) for node in cluster.nodes]
    thief = [client_of(node, Viewer("acme", "agent", "thief", jti="stolen"), ledger) for node in cluster.nodes]
    honest = [client_of(node, Viewer("acme", "agent", "thief", jti="own"), ledger) for node in cluster.nodes]
    await arrive([*guest, *thief, *honest])
    link = await AmpLink(ledger).open(cluster.nodes[0].amp_path)
    last = cluster.nodes[-1].process.process
    try:
        if stopped:
            last.send_signal(signal.SIGSTOP)
        closed = [
            int((await link.call("DisconnectUser", tenant_id="acme", user_id="guest"))[b"closed"]),
            int((await link.call("RevokeToken", tenant_id="acme", jti="stolen"))[b"closed"]),
        ]
        assert closed == ([2, 2] if stopped else [3, 3])
        if stopped:
            with RedisPeer(cluster.redis.port) as redis:
                await asyncio.to_thread(until, lambda: len(leases(redis)) == 2, "its lease has run out")
    finally:
        last.send_signal(signal.SIGCONT)
    await are_sent_away(guest, thief, honest)
    await link.close()
    for client in (*guest, *thief, *honest):
        await client.leave()


def leases(redis: RedisPeer) -> list[bytes]:
    """The nodes that have not been buried."""
    return redis.ask("ZRANGE", "callcenter-ws:{nodes}:leases", "0", "-1")


async def are_sent_away(guest: list[RoamingClient], thief: list[RoamingClient], honest: list[RoamingClient]) -> None:
    """The guest may come back, the thief may not, and who is honest has noticed nothing."""
    for client in guest:
        await client.until(lambda client=client: client.is_here and client.closed_with == [4503])
    for client in thief:
        await client.until(lambda client=client: client.closed_with == [4503] and client.refused_with[401])
        assert not client.is_here and client.reader.figures.connections == 1
    for client in honest:
        await client.hear_out()
        assert (client.closed_with, client.reader.figures.connections) == ([], 1)


@pytest.mark.slow
@pytest.mark.parametrize("stopped", [False, True], ids=["while_all_listen", "while_one_is_stopped"])
def test_what_is_ordered_at_one_node_is_done_by_all(stopped: bool, make_cluster: Callable[..., Cluster]) -> None:
    asyncio.run(send_away(make_cluster(), stopped=stopped))


# Who hears them


async def overhear(cluster: Cluster) -> None:
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    link = await AmpLink(ledger).open(cluster.nodes[0].amp_path)
    await link.call("Subscribe", kinds='["chat.message"]')
    visitors = [("acme", 1), ("newborn", 1), ("newborn", 2), ("late", 2), ("acme", 0)]
    for number, (tenant, node) in enumerate(visitors):
        await say(cluster.nodes[node], tenant, f"hello {number}")
    end = time.monotonic() + DEADLINE
    while len(link.heard) < len(visitors):
        assert time.monotonic() < end, f"only {link.heard} was heard"
        await asyncio.sleep(0.02)
    heard = [(box[b"tenant_id"].decode(), json.loads(box[b"payload"])["body"]) for box in link.heard]
    said = [(tenant, f"hello {number}") for number, (tenant, _) in enumerate(visitors)]
    assert sorted(heard) == sorted(said)
    for tenant in ("acme", "newborn", "late"):
        assert [body for name, body in heard if name == tenant] == [body for name, body in said if name == tenant]
    await link.close()


async def say(node: RestartableGateway, tenant: str, body: str) -> None:
    """A visitor comes, says something, sees it said, and goes."""
    token = node.token("visitor", tenant_id=tenant, session_id="chat-1")
    url = f"ws://127.0.0.1:{node.port}/ws/public"
    async with connect(url, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        request = {"type": "chat.message", "payload": {"session_id": "chat-1", "body": body}}
        await socket.send(json.dumps(request))
        while json.loads(await asyncio.wait_for(socket.recv(), DEADLINE)).get("payload", {}).get("body") != body:
            pass


@pytest.mark.slow
def test_a_daemon_hears_at_one_node_what_is_said_at_another(make_cluster: Callable[..., Cluster]) -> None:
    """Of a tenant that was never heard of before, too."""
    asyncio.run(overhear(make_cluster()))
