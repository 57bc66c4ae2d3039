"""A gateway that is killed at random times while events are published, and restarted with the same file."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from operator import add

import pytest
from checker import (
    PRESENCE_CHANGED,
    Counts,
    Ledger,
    Offer,
    Reader,
    Viewer,
    check_presence,
    presence_in,
    stored_events,
)
from event_generator import EventGenerator
from restartable import RestartableGateway
from roaming import RoamingClient
from senders import AmpSender, DaemonSender, EventQuota, HttpSender

KILLS = int(os.environ.get("CALLCENTER_WS_KILLS", "12"))
RUN_TIMEOUT_SECONDS = 30.0
SETTINGS = """
history_events = 1000000
memory_events = 100
[limits]
outbox = 64
rate = 100000
burst = 100000
"""
BY_NAME = ("agent.*", "call.*", "queue.*", "chat.*", "alert", "presence.changed")
MAIL_USERS = {"acme": ("n1", "n2", "n3", "never-online"), "globex": ("n1",)}

# The clients: the viewer, the maximum messages per connection, and how it uses its mailbox.
MAX_MESSAGES = 60
CLIENTS: tuple[tuple[Viewer, int, dict[str, bool]], ...] = (
    (Viewer("acme", "admin", "ada"), MAX_MESSAGES, {}),
    (Viewer("acme", "supervisor", "sue"), 0, {}),
    (Viewer("acme", "supervisor", "sam", queues=("sales",)), MAX_MESSAGES, {}),
    (Viewer("acme", "agent", "a1"), MAX_MESSAGES, {}),
    (Viewer("acme", "agent", "a2", queues=("support",)), MAX_MESSAGES, {}),
    (Viewer("acme", "agent", "a3", events=("alert", "call.*")), MAX_MESSAGES, {}),
    (Viewer("acme", "wallboard", "wall"), MAX_MESSAGES, {}),
    (Viewer("acme", "visitor", "v1", session="chat-1"), MAX_MESSAGES, {}),
    (Viewer("acme", "service", "svc", events=BY_NAME), MAX_MESSAGES, {}),
    (Viewer("acme", "agent", "n1"), MAX_MESSAGES, {"acknowledges": True}),
    (Viewer("acme", "agent", "n2"), MAX_MESSAGES, {"acknowledges": True, "forgets_position": True}),
    (Viewer("acme", "agent", "n3"), MAX_MESSAGES, {"forgets_position": True}),
    (Viewer("globex", "supervisor", "ada"), MAX_MESSAGES, {}),
    (Viewer("globex", "wallboard", "wall", queues=("sales",)), 0, {}),
    (Viewer("globex", "visitor", "v1", session="chat-1"), MAX_MESSAGES, {}),
    (Viewer("globex", "agent", "n1"), MAX_MESSAGES, {"acknowledges": True}),
)


class KillScenario:
    """Publishers and clients of a gateway that is killed repeatedly."""

    def __init__(self, gateway: RestartableGateway, seed: int) -> None:
        self.gateway = gateway
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.kills = 0
        self.checked = 0
        self._forked = 0
        self.quota = EventQuota()
        self.daemon = DaemonSender(gateway, self.ledger, self._events("daemon"), quota=self.quota)
        self.senders = [
            *[self._amp_sender(f"amp{number}") for number in range(3)],
            self._amp_sender("dropping", resends=False),
            HttpSender(gateway, self.ledger, self._events("http"), self._fork(), quota=self.quota),
            self.daemon,
        ]
        self.clients = [self._client(*described) for described in CLIENTS]

    def _fork(self) -> random.Random:
        self._forked += 1
        return random.Random(self.rng.random())

    def _events(self, name: str, *, whole: bool = True) -> Iterator[Offer]:
        return iter(EventGenerator(name, MAIL_USERS, self._fork(), whole=whole))

    def _amp_sender(self, name: str, *, resends: bool = True) -> AmpSender:
        offers = self._events(name, whole=resends)
        path, rng = self.gateway.amp_path, self._fork()
        return AmpSender(path, self.ledger, offers, rng, quota=self.quota, resends=resends)

    def _client(self, viewer: Viewer, max_messages: int, mailbox: dict[str, bool]) -> RoamingClient:
        reader = Reader(self.ledger, viewer, forgets_position=mailbox.get("forgets_position", False))
        acknowledges = mailbox.get("acknowledges", False)
        return RoamingClient(self.gateway, reader, self._fork(), max_messages=max_messages, acknowledges=acknowledges)

    # The run

    async def run(self, kills: int) -> None:
        await asyncio.to_thread(self.gateway.start)
        for client in self.clients:
            client.start()
        for client in self.clients:
            await client.until(lambda client=client: client.reader.position is not None)
        running = [asyncio.create_task(sender.run()) for sender in self.senders]
        try:
            for _ in range(kills):
                await self._kill_once(running)
            for sender in self.senders:
                sender.stop()
            await asyncio.wait_for(asyncio.gather(*running), 2 * RUN_TIMEOUT_SECONDS)
            await self._finish()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _kill_once(self, running: list[asyncio.Task[None]]) -> None:
        await self._wait_for_random_time(running)
        await asyncio.to_thread(self.gateway.end)
        self.kills += 1
        self.ledger.process_number += 1
        answered = len(self.ledger.acknowledged)
        await asyncio.to_thread(self.gateway.start)
        # Sometimes it is killed again before anything is checked.
        if self.rng.random() < 0.75:
            self.checked += 1
            self.quota.add(50)
            self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store), answered)
            await self._check_history()
        if self.rng.random() < 0.3:
            await self._wait_for_daemon(running)

    async def _wait_for_daemon(self, running: list[asyncio.Task[None]]) -> None:
        """Wait until the daemon is connected, or its reconnect delay would grow with each kill."""
        async with asyncio.timeout(2 * RUN_TIMEOUT_SECONDS):
            while not self.daemon.is_answered:
                self._check(running)
                await asyncio.sleep(0.01)

    def _check(self, running: list[asyncio.Task[None]]) -> None:
        """Raise the error of any publisher or client that has failed."""
        for task in running:
            if task.done():
                task.result()
        for client in self.clients:
            client.check()

    async def _wait_for_random_time(self, running: list[asyncio.Task[None]]) -> None:
        """Wait for a random number of answers, events or connections, then for a random time."""
        count, limit = self.rng.choice(
            [
                (lambda: len(self.ledger.acknowledged), 1_000),
                (lambda: len(self.ledger.offers), 1_000),
                (lambda: sum(client.reader.counts.connections for client in self.clients), 2 * len(CLIENTS)),
            ]
        )
        target = count() + self.rng.choice([1, self.rng.randint(1, limit), self.rng.randint(1, limit)])
        async with asyncio.timeout(RUN_TIMEOUT_SECONDS):
            while count() < target:
                self._check(running)
                # A thousand events per second, and sometimes many at once.
                self.quota.add(200 if self.rng.random() < 0.01 else 1)
                await asyncio.sleep(0.001)
        # An answer follows a commit; a random time later the gateway is within a transaction or between two.
        await asyncio.sleep(self.rng.uniform(0, 0.02))

    async def _check_history(self) -> None:
        """Let a new client read the history, and compare it."""
        for tenant in MAIL_USERS:
            acknowledged = list(self.ledger.acknowledged)
            viewer = Viewer(tenant, "service", "observer", events=(*BY_NAME, "notification"))
            reader = Reader(self.ledger, viewer)
            reader.position, reader._first = (self.ledger.epoch or "", max(0, self.ledger.head(tenant) - 2_000)), 0
            reader._first = reader.position[1]
            observer = RoamingClient(self.gateway, reader, self._fork())
            observer.start()
            await observer.until(lambda observer=observer: observer.is_up_to_date)
            await observer.leave()
            reader.compare()
            assert reader.counts.resumed >= 1 and not reader.counts.resets
            assert reader.position[1] >= max(
                (self.ledger.acknowledged[i] for i in acknowledged if self.ledger.offers[i].tenant == tenant), default=0
            )

    async def _finish(self) -> None:
        """Let all clients read up to the head, and compare."""
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))
        for client in self.clients:
            # Without a position, the answer to the request shows that the mailbox has been sent completely.
            client.reader.resumes_by_request = client.reader.resumes_by_request or client.reader.forgets_position
            await client.reconnect()
            assert client.reader.position is not None
            assert client.reader.position[1] >= self.ledger.head(client.reader.viewer.tenant)
            if client.acknowledges:
                # Acknowledged items are not sent again.
                await client.reconnect()
                assert not client.reader.mail_on_connection
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))
        for client in self.clients:
            await client.leave()
            client.reader.compare()
            client.reader.compare_mail()

    # Results

    @property
    def counts(self) -> Counts:
        return reduce(add, (client.reader.counts for client in self.clients))

    def __str__(self) -> str:
        mail = sum(offer.is_mail for offer in map(self.ledger.offers.get, self.ledger.acknowledged) if offer)
        return (
            f"kills {self.kills}, checked after {self.checked} restarts; events offered {len(self.ledger.offers)}, "
            f"acknowledged {len(self.ledger.acknowledged)} ({mail} mail), resent {self.ledger.resent}, "
            f"refused {len(self.ledger.refused)}; clients {len(self.clients)}: {self.counts}"
        )


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(
    make_gateway: Callable[..., RestartableGateway], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(SETTINGS)
    scenario = KillScenario(gateway, seed)
    try:
        asyncio.run(scenario.run(KILLS))
    finally:
        scenario.daemon.end()
        with capsys.disabled():
            print(f"\n{scenario} (seed {seed})")  # noqa: T201 - the counts are of interest
    counts = scenario.counts
    assert not scenario.ledger.refused
    assert not [reason for client in scenario.clients for reason in client.reader.reasons]
    assert (counts.resets, counts.gaps) == (0, 0)
    # All clients reconnected within the grace: each user is announced online once, and never offline.
    users = Counter((v.tenant, v.user_id) for v, *_ in CLIENTS if v.role not in ("visitor", "service"))
    announced = {tenant: check_presence(rows) for tenant, rows in presence_in(stored_events(gateway.store)).items()}
    assert announced == {
        tenant: Counter({(user, True): 1 for where, user in users if where == tenant}) for tenant in MAIL_USERS
    }


class PresenceObserver:
    """A client that receives all announcements of users."""

    def __init__(self, gateway: RestartableGateway, ledger: Ledger) -> None:
        reader = Reader(ledger, Viewer("acme", "service", "observer", events=(PRESENCE_CHANGED,)))
        self.client = RoamingClient(gateway, reader, random.Random(0))
        self.ledger = ledger

    def announced(self) -> list[tuple[str, bool]]:
        """Return the announcements so far, in order."""
        stream = sorted(self.ledger.streams.get("acme", {}).items())
        payloads = [self.ledger.offers[event_id].payload for _, event_id in stream]
        return [(payload["user_id"], payload["online"]) for payload in payloads]

    def offline(self) -> set[str]:
        """Return the users that were announced offline."""
        return {user_id for user_id, online in self.announced() if not online}


def agents(gateway: RestartableGateway, ledger: Ledger, names: Iterable[str]) -> list[RoamingClient]:
    rng = random.Random(0)
    return [RoamingClient(gateway, Reader(ledger, Viewer("acme", "agent", name)), rng) for name in names]


async def kill_and_reconnect_half_of_the_agents(gateway: RestartableGateway) -> None:
    ledger = Ledger()
    observer = PresenceObserver(gateway, ledger)
    await asyncio.to_thread(gateway.start)
    returning = agents(gateway, ledger, [f"back-{number}" for number in range(5)])
    leaving = agents(gateway, ledger, [f"gone-{number}" for number in range(5)])
    all_users = {str(client.reader).partition("/")[2] for client in (*returning, *leaving)}
    for client in (observer.client, *returning, *leaving):
        client.start()
        await client.until(lambda client=client: client.is_up_to_date)
    await observer.client.until(lambda: {user_id for user_id, _ in observer.announced()} == all_users)
    for client in leaving:
        client.abort()
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(gateway.start)
    await observer.client.until(lambda: len(observer.offline()) >= len(leaving))
    # The grace ended for all of them at once: no announcement is pending.
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(gateway.start)
    await observer.client.reconnect()
    lost = {user_id for user_id in all_users if user_id.startswith("gone")}
    announced = check_presence(observer.announced())
    assert announced == Counter([*((name, True) for name in all_users), *((name, False) for name in lost)])
    for client in (observer.client, *returning):
        await client.leave()


def test_users_that_do_not_reconnect_after_a_kill_are_announced_offline_once(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    gateway = make_gateway("[limits]\npresence_grace = 2\ndrain_timeout = 2\n")
    asyncio.run(kill_and_reconnect_half_of_the_agents(gateway))
    announced = presence_in(stored_events(gateway.store))
    assert len(check_presence(announced["acme"])) == 15


async def kill_amid_departures(gateway: RestartableGateway, users: int) -> None:
    """Many users go offline at once; the process is killed as soon as the first of them is announced."""
    ledger = Ledger()
    observer = PresenceObserver(gateway, ledger)
    await asyncio.to_thread(gateway.start)
    observer.client.start()
    await observer.client.until(lambda: observer.client.is_up_to_date)
    names = [f"user-{number}" for number in range(users)]
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(record_online, gateway, names)
    while len(observer.offline()) < users:
        before = len(observer.offline())
        await asyncio.to_thread(gateway.start)
        try:
            await observer.client.until(lambda before=before: len(observer.offline()) > before, 10)
        except AssertionError:
            raise AssertionError(f"{before} of {users} were announced offline, the others never") from None
        await asyncio.to_thread(gateway.end)
    await observer.client.leave()
    assert check_presence([*((name, True) for name in names), *observer.announced()])


def record_online(gateway: RestartableGateway, users: list[str]) -> None:
    """Write into the file that these users were online when the process was killed."""
    db = sqlite3.connect(gateway.store)
    with db:
        db.executemany(
            "INSERT INTO attendance (tenant_id, user_id, visitor, since, last_seen, told) "
            "VALUES ('acme', ?, 0, 1, 1, 1)",
            [(user,) for user in users],
        )
    db.close()


@pytest.mark.slow
def test_a_kill_amid_many_departures_loses_none_and_repeats_none(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    gateway = make_gateway("[limits]\npresence_grace = 0\ndrain_timeout = 1\n")
    asyncio.run(kill_amid_departures(gateway, 3_000))


async def kill_after_mail_was_sent(gateway: RestartableGateway, repetitions: int) -> None:
    """Send mail to a user, kill the process at once, and let the user reconnect without having acknowledged it."""
    ledger = Ledger()
    for number in range(repetitions):
        reader = Reader(ledger, Viewer("acme", "agent", f"n{number}"), forgets_position=True)
        client = RoamingClient(gateway, reader, random.Random(number), acknowledges=True)
        client.withholds_acks = True
        await asyncio.to_thread(gateway.start)
        client.start()
        await client.until(lambda client=client: client.is_up_to_date)
        notification = {"type": "callback", "title": "Call back", "message": "now"}
        offer = Offer("acme", "notification", notification, f"notification-{number}", user_id=reader.viewer.user_id)
        ledger.offer(offer)
        publishing = asyncio.create_task(asyncio.to_thread(gateway.publish, offer.fields))
        await client.until(lambda reader=reader, offer=offer: reader.mail_seen[offer.event_id])
        gateway.process.process.kill()
        await asyncio.gather(publishing, return_exceptions=True)
        await asyncio.to_thread(gateway.end)
        ledger.process_number += 1
        await asyncio.to_thread(gateway.start)
        await client.until(lambda reader=reader, offer=offer: reader.mail_seen[offer.event_id] == 2)
        await client.leave()
        await asyncio.to_thread(gateway.end)
        assert (reader.counts.redelivered, reader.counts.unflagged) == (1, 0), f"repetition {number}"


@pytest.mark.slow
def test_mail_sent_before_a_kill_is_sent_again_as_redelivered(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    asyncio.run(kill_after_mail_was_sent(make_gateway(), 5))


def test_the_process_id_of_a_killed_gateway_may_be_in_use(make_gateway: Callable[..., RestartableGateway]) -> None:
    """In a container the new process usually has the same id."""
    gateway = make_gateway()
    gateway.start()
    gateway.end()
    for link in gateway.folder.glob("*.lock"):
        if link.is_symlink():
            link.unlink()
            link.symlink_to(str(os.getpid()))
    gateway.start()
    assert gateway.http("/readyz") == (200, {"ready": True})
