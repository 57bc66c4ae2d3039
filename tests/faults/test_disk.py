"""A disk that is full or cannot be written, while agents are connected."""

from __future__ import annotations

import asyncio
import itertools
import random
import resource
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from checker import Ledger, Offer, Reader, Viewer, stored_events
from restartable import RestartableGateway, until
from roaming import RoamingClient
from senders import AmpLink
from small_disk import SmallDisk, make_immutable

FULL = "the disk is full"
FREE_BYTES = 1_000_000
LIMITS = "[limits]\nrate = 10000\nburst = 10000\npresence_grace = 0\n"
VIEWERS = (
    Viewer("acme", "supervisor", "sue"),
    Viewer("acme", "supervisor", "sam", queues=("sales",)),
    Viewer("acme", "agent", "n1"),
    Viewer("acme", "wallboard", "wall"),
    Viewer("acme", "visitor", "v1", session="chat-1"),
    Viewer("globex", "supervisor", "sue"),
)
PAYLOAD = "x" * 3_000


def endless_events() -> Iterator[Offer]:
    """Yield events for all viewers, without an end."""
    for number in itertools.count(1):
        tenant = "globex" if number % 5 == 0 else "acme"
        kind = number % 3
        if kind == 0:
            message = {"session_id": "chat-1", "message_id": f"{number}", "sender_id": "a1", "sender_type": "agent"}
            yield Offer(tenant, "chat.message", {**message, "body": PAYLOAD}, f"event-{number}")
        elif kind == 1:
            yield Offer(tenant, "alert", {"title": f"{number}", "message": PAYLOAD}, f"event-{number}")
        else:
            text = {"type": "callback", "title": f"{number}", "message": PAYLOAD}
            yield Offer(tenant, "notification", text, f"event-{number}", user_id="n1")


@dataclass
class DiskFault:
    """A fault that prevents the gateway from writing, and the reason that it reports."""

    begin: Callable[[], None]
    end: Callable[[], None]
    reason: str


class Outage:
    """A gateway with clients and publishers, before, during and after a fault of the disk."""

    def __init__(self, gateway: RestartableGateway) -> None:
        self.gateway = gateway
        self.ledger = Ledger()
        self.offers = endless_events()
        self.clients = [self.client(viewer) for viewer in VIEWERS]
        self.links: list[AmpLink] = []

    def client(self, viewer: Viewer) -> RoamingClient:
        reader = Reader(self.ledger, viewer)
        return RoamingClient(self.gateway, reader, random.Random(0), acknowledges=viewer.user_id == "n1")

    async def open(self) -> None:
        await asyncio.to_thread(self.gateway.start)
        for client in self.clients:
            client.start()
            await client.until(lambda client=client: client.is_up_to_date)
        self.links = [await AmpLink(self.ledger).open(self.gateway.amp_path) for _ in range(3)]
        for offer in itertools.islice(self.offers, 20):
            assert not await self.links[0].publish(offer)

    async def close(self) -> None:
        for link in self.links:
            await link.close()
        for client in self.clients:
            await client.leave()

    # Publishing

    async def publish_until_refused(self) -> list[str]:
        """Publish from several publishers until each is refused; return the refusals."""
        publishers: list[Callable[[], Awaitable[str]]] = [
            *[lambda link=link: link.publish(next(self.offers)) for link in self.links for _ in range(5)],
            self.publish_over_http,
        ]
        return await asyncio.wait_for(asyncio.gather(*[self._until_refused(one) for one in publishers]), 60)

    async def _until_refused(self, publish: Callable[[], Awaitable[str]]) -> str:
        while True:
            refusal = await publish()
            if refusal:
                return refusal

    async def publish_over_http(self) -> str:
        offer = next(self.offers)
        self.ledger.offer(offer)
        return await self.repeat_over_http(offer)

    async def repeat_over_http(self, offer: Offer) -> str:
        status, answer = await asyncio.to_thread(self.gateway.publish, offer.fields)
        if status == 200:
            self.ledger.acknowledge(offer.event_id, answer["epoch"], answer["seq"])
            return ""
        assert status == 503, answer
        self.ledger.refuse(offer.event_id, answer["error"]["code"])
        return f"{answer['error']['code'].upper()} {answer['error']['message']}"

    # Checks

    async def go_through(self, fault: DiskFault) -> None:
        fault.begin()
        try:
            for refusal in await self.publish_until_refused():
                assert refusal.startswith("UNAVAILABLE ") and fault.reason in refusal, refusal
            await self.check_fault(fault.reason)
        finally:
            fault.end()
        await self.check_recovery()

    async def check_clients(self) -> None:
        """Check that all clients are connected, answered, and have received exactly the acknowledged events."""
        for client in self.clients:
            client.check()
            await client.wait_for_pongs()
            client.reader.compare(self.ledger.head(client.reader.viewer.tenant))
            assert (client.reader.counts.connections, client.closed_with) == (1, [])
            counts = client.reader.counts
            assert (counts.resets, counts.gaps) == (0, 0)
        self.ledger.check_refused()

    async def check_fault(self, reason: str) -> None:
        """Check that the reason is reported, and that everything works that needs no writing."""
        status, answer = await asyncio.to_thread(self.gateway.http, "/readyz")
        assert status == 503
        assert [reason in text for text in answer["reasons"]] == [True], answer
        assert (await asyncio.to_thread(self.gateway.http, "/livez"))[0] == 200
        await self.check_clients()
        await self._check_chat(reason)
        await self._check_new_client()

    async def _check_chat(self, reason: str) -> None:
        """Check that a message of an agent is refused with the reason."""
        agent = self.clients[2]
        await agent.ask("chat.message", {"session_id": "chat-1", "body": "Hi"}, id_="chat")
        await agent.until(lambda: agent.reader.errors)
        error = agent.reader.errors.pop()
        assert (error["in_reply_to"], error["payload"]["code"]) == ("chat", "unavailable")
        assert reason in error["payload"]["message"]
        assert not agent.reader.errors

    async def _check_new_client(self) -> None:
        """Check that a new client can connect and read the history."""
        new_client = self.client(Viewer("acme", "service", "svc", events=("alert", "chat.*")))
        new_client.reader.position = (self.ledger.epoch or "", 0)
        new_client.reader._first = 0
        new_client.start()
        await new_client.until(lambda: new_client.is_up_to_date)
        new_client.reader.compare(self.ledger.head("acme"))
        assert new_client.reader.counts.messages > 10
        await new_client.leave()

    async def check_recovery(self) -> None:
        """Check that, without a restart, refused events are accepted when repeated, and everything works."""
        await asyncio.to_thread(until, lambda: self.gateway.http("/readyz")[0] == 200, "the gateway to be ready")
        heads = {tenant: self.ledger.head(tenant) for tenant in ("acme", "globex")}
        for event_id in list(self.ledger.refused):
            assert not await self.links[0].publish(self.ledger.offers[event_id])
        for offer in itertools.islice(self.offers, 20):
            assert not await self.links[1].publish(offer)
        assert not await self.publish_over_http()
        assert not self.ledger.refused
        assert all(self.ledger.head(tenant) > head for tenant, head in heads.items())
        await self.check_clients()
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))

    async def check_restart(self) -> None:
        """Check that everything is there after a kill and a restart."""
        for link in self.links:
            await link.close()
        self.links = []
        self.ledger.process_number += 1
        await asyncio.to_thread(self.gateway.end)
        await asyncio.to_thread(self.gateway.start)
        for client in self.clients:
            await client.reconnect()
            client.reader.compare(self.ledger.head(client.reader.viewer.tenant))
            client.reader.compare_mail()
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))
        self.ledger.check_refused()


async def run_outages(gateway: RestartableGateway, fault: DiskFault) -> None:
    outage = Outage(gateway)
    try:
        await outage.open()
        for _ in range(2):
            await outage.go_through(fault)
        await outage.check_restart()
    finally:
        await outage.close()
    # Logged once per outage, not once per event.
    assert gateway.log.count("publishing is refused") == 2
    assert gateway.log.count("can be written again") == 2


@pytest.mark.slow
def test_a_full_disk(small_disk: SmallDisk, make_gateway: Callable[..., RestartableGateway]) -> None:
    gateway = make_gateway(LIMITS, store=small_disk.path / "events.sqlite")
    fault = DiskFault(lambda: small_disk.fill(FREE_BYTES), small_disk.clear, FULL)
    asyncio.run(run_outages(gateway, fault))


@pytest.mark.slow
def test_a_file_that_must_not_grow(make_gateway: Callable[..., RestartableGateway]) -> None:
    """As with a quota, or ``LimitFSIZE`` of systemd."""
    gateway = make_gateway(LIMITS)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    log = Path(f"{gateway.store}-wal")

    def limit() -> None:
        size = log.stat().st_size + 100_000
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (size, hard))

    def lift() -> None:
        resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (hard, hard))

    asyncio.run(run_outages(gateway, DiskFault(limit, lift, "")))


@pytest.mark.slow
def test_a_log_that_becomes_read_only(immutable_folder: Path, make_gateway: Callable[..., RestartableGateway]) -> None:
    gateway = make_gateway(LIMITS, store=immutable_folder / "events.sqlite")
    log = Path(f"{gateway.store}-wal")
    fault = DiskFault(lambda: make_immutable(log, True), lambda: make_immutable(log, False), "")
    asyncio.run(run_outages(gateway, fault))
