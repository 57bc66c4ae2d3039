"""Two nodes, one of which is attacked: agents at both stay connected, receive everything, and nobody goes offline."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import random
from collections.abc import Callable, Iterator

import pytest
from checker import PRESENCE_CHANGED, Ledger, Offer, Reader, Viewer
from cluster import LEASE, Cluster
from restartable import RestartableGateway
from roaming import RoamingClient
from senders import AmpSender, EventQuota

from bench import attacks

AGENTS_PER_NODE = 3
ATTACK_SECONDS = 3 * LEASE
"""Long enough for a node that does not renew its lease to be declared dead."""

EVENTS_AT_ONCE = 20


def client_of(node: RestartableGateway, viewer: Viewer, ledger: Ledger) -> RoamingClient:
    """Return a client that stays at one node."""
    return RoamingClient(node, Reader(ledger, viewer, changes_nodes=True), random.Random(0))


def alerts() -> Iterator[Offer]:
    for number in itertools.count():
        yield Offer("acme", "alert", {"title": f"{number}", "message": "during the attack"}, f"alert-{number}")


def target_of(node: RestartableGateway) -> attacks.Target:
    tokens = tuple(node.token("agent", sub=f"attacker-{number}", tenant_id="other") for number in range(20))
    return attacks.Target(node.port, node.port, tokens, "", "/ws/public?tenant_id=other", ATTACK_SECONDS)


async def attacked(cluster: Cluster, attack: attacks.Attack) -> None:
    ledger = Ledger()
    await asyncio.to_thread(cluster.start)
    viewers = [(node, number) for node in range(2) for number in range(AGENTS_PER_NODE)]
    clients = [client_of(cluster.nodes[node], Viewer("acme", "agent", f"a{node}-{n}"), ledger) for node, n in viewers]
    witness = client_of(cluster.nodes[1], Viewer("acme", "service", "witness", events=(PRESENCE_CHANGED,)), ledger)
    for client in (witness, *clients):
        client.start()
        await client.until(lambda client=client: client.is_up_to_date)
    quota = EventQuota()
    sender = AmpSender(cluster.nodes[0].amp_path, ledger, alerts(), random.Random(1), quota=quota)
    sending = asyncio.create_task(sender.run())
    target = target_of(cluster.nodes[0])
    attacker = multiprocessing.get_context("spawn").Process(target=attack, args=(target,), daemon=True)
    attacker.start()
    try:
        while attacker.is_alive():
            quota.add(EVENTS_AT_ONCE)
            acknowledged = len(ledger.acknowledged) + EVENTS_AT_ONCE // 2
            await witness.until(lambda: len(ledger.acknowledged) >= acknowledged)  # noqa: B023 - used at once
        sender.stop()
        await sending
        last = max(ledger.acknowledged.values())
        for client in clients:
            await client.until(lambda client=client: client.reader.position[1] >= last)
    finally:
        attacker.kill()
        attacker.join()
    assert [client.reader.counts.connections for client in (witness, *clients)] == [1] * (1 + len(clients))
    stream = [ledger.offers[event_id] for event_id in ledger.streams["acme"].values()]
    offline = [one.payload for one in stream if one.type == PRESENCE_CHANGED and not one.payload["online"]]
    assert offline == []
    for client in (witness, *clients):
        await client.leave()


@pytest.mark.slow
@pytest.mark.parametrize(
    "attack",
    [attacks.pipelined_read, attacks.refused_tokens],
    ids=lambda attack: attack.__name__,
)
def test_an_attacked_node_serves_and_is_not_declared_dead(
    attack: attacks.Attack, make_cluster: Callable[..., Cluster]
) -> None:
    asyncio.run(attacked(make_cluster(nodes=2), attack))
