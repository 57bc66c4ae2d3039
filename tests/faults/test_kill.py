"""A gateway that is killed at random points while it takes events, and started again on the same file."""

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
    OF_THE_GATEWAY,
    Figures,
    Ledger,
    Offer,
    Reader,
    Viewer,
    check_presence,
    presence_in,
    stored_events,
)
from restartable import RestartableGateway
from roaming import RoamingClient
from scenes import Scenes
from senders import Allowance, AmpSender, DaemonSender, HttpSender

KILLS = int(os.environ.get("CALLCENTER_WS_KILLS", "12"))
PATIENCE = 30.0
SETTINGS = """
history_events = 1000000
memory_events = 100
[limits]
outbox = 64
rate = 100000
burst = 100000
"""
BY_NAME = ("agent.*", "call.*", "queue.*", "chat.*", "alert", "presence.changed")
LETTERS_FOR = {"acme": ("n1", "n2", "n3", "nobody"), "globex": ("n1",)}

# Who is connected: the viewer, messages after which it goes away at most, and how it is with its mailbox.
RESTLESS = 60
CAST: tuple[tuple[Viewer, int, dict[str, bool]], ...] = (
    (Viewer("acme", "admin", "ada"), RESTLESS, {}),
    (Viewer("acme", "supervisor", "sue"), 0, {}),
    (Viewer("acme", "supervisor", "sam", queues=("sales",)), RESTLESS, {}),
    (Viewer("acme", "agent", "a1"), RESTLESS, {}),
    (Viewer("acme", "agent", "a2", queues=("support",)), RESTLESS, {}),
    (Viewer("acme", "agent", "a3", events=("alert", "call.*")), RESTLESS, {}),
    (Viewer("acme", "wallboard", "wall"), RESTLESS, {}),
    (Viewer("acme", "visitor", "v1", session="chat-1"), RESTLESS, {}),
    (Viewer("acme", "service", "svc", events=BY_NAME), RESTLESS, {}),
    (Viewer("acme", "agent", "n1"), RESTLESS, {"acknowledges": True}),
    (Viewer("acme", "agent", "n2"), RESTLESS, {"acknowledges": True, "forgetful": True}),
    (Viewer("acme", "agent", "n3"), RESTLESS, {"forgetful": True}),
    (Viewer("globex", "supervisor", "ada"), RESTLESS, {}),
    (Viewer("globex", "wallboard", "wall", queues=("sales",)), 0, {}),
    (Viewer("globex", "visitor", "v1", session="chat-1"), RESTLESS, {}),
    (Viewer("globex", "agent", "n1"), RESTLESS, {"acknowledges": True}),
)


class Siege:
    """Publishers, clients and one who kills."""

    def __init__(self, gateway: RestartableGateway, seed: int) -> None:
        self.gateway = gateway
        self.rng = random.Random(seed)
        self.ledger = Ledger()
        self.kills = 0
        self.checked = 0
        self._forked = 0
        self.allowance = Allowance()
        self.daemon = DaemonSender(gateway, self.ledger, self._scenes("daemon"), allowance=self.allowance)
        self.senders = [
            *[self._amp_sender(f"amp{number}") for number in range(3)],
            self._amp_sender("loose", careful=False),
            HttpSender(gateway, self.ledger, self._scenes("http"), self._fork(), allowance=self.allowance),
            self.daemon,
        ]
        self.clients = [self._client(*described) for described in CAST]

    def _fork(self) -> random.Random:
        self._forked += 1
        return random.Random(self.rng.random())

    def _scenes(self, name: str, *, whole: bool = True) -> Iterator[Offer]:
        return iter(Scenes(name, LETTERS_FOR, self._fork(), whole=whole))

    def _amp_sender(self, name: str, *, careful: bool = True) -> AmpSender:
        offers = self._scenes(name, whole=careful)
        path, rng = self.gateway.amp_path, self._fork()
        return AmpSender(path, self.ledger, offers, rng, allowance=self.allowance, careful=careful)

    def _client(self, viewer: Viewer, stays: int, mailbox: dict[str, bool]) -> RoamingClient:
        reader = Reader(self.ledger, viewer, forgetful=mailbox.get("forgetful", False))
        acknowledges = mailbox.get("acknowledges", False)
        return RoamingClient(self.gateway, reader, self._fork(), stays=stays, acknowledges=acknowledges)

    # The course of events

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
            await asyncio.wait_for(asyncio.gather(*running), 2 * PATIENCE)
            await self._finish()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _kill_once(self, running: list[asyncio.Task[None]]) -> None:
        await self._moment(running)
        await asyncio.to_thread(self.gateway.end)
        self.kills += 1
        self.ledger.life += 1
        answered = len(self.ledger.acknowledged)
        await asyncio.to_thread(self.gateway.start)
        # Now and then it is killed again before anybody has looked.
        if self.rng.random() < 0.75:
            self.checked += 1
            self.allowance.give(50)
            self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store), answered)
            await self._witness()
        if self.rng.random() < 0.3:
            await self._daemon_is_back(running)

    async def _daemon_is_back(self, running: list[asyncio.Task[None]]) -> None:
        """Let the daemon find the gateway, or it would be there more and more rarely."""
        async with asyncio.timeout(2 * PATIENCE):
            while not self.daemon.is_answered:
                self._check(running)
                await asyncio.sleep(0.01)

    def _check(self, running: list[asyncio.Task[None]]) -> None:
        """Let a failure of any of them be ours."""
        for task in running:
            if task.done():
                task.result()
        for client in self.clients:
            client.check()

    async def _moment(self, running: list[asyncio.Task[None]]) -> None:
        """Wait for a random number of answers or of connections, and then for a random moment more."""
        counted, most = self.rng.choice(
            [
                (lambda: len(self.ledger.acknowledged), 1_000),
                (lambda: len(self.ledger.offers), 1_000),
                (lambda: sum(client.reader.figures.connections for client in self.clients), 2 * len(CAST)),
            ]
        )
        enough = counted() + self.rng.choice([1, self.rng.randint(1, most), self.rng.randint(1, most)])
        async with asyncio.timeout(PATIENCE):
            while counted() < enough:
                self._check(running)
                # A thousand events a second, and now and then many at once.
                self.allowance.give(200 if self.rng.random() < 0.01 else 1)
                await asyncio.sleep(0.001)
        # Answers come when a transaction has ended: a moment later it is within the next, or between two.
        await asyncio.sleep(self.rng.uniform(0, 0.02))

    async def _witness(self) -> None:
        """Somebody who was never here reads everything from the beginning."""
        for tenant in LETTERS_FOR:
            acknowledged = list(self.ledger.acknowledged)
            viewer = Viewer(tenant, "service", "witness", events=(*BY_NAME, "notification"))
            reader = Reader(self.ledger, viewer)
            reader.position, reader._first = (self.ledger.epoch or "", max(0, self.ledger.head(tenant) - 2_000)), 0
            reader._first = reader.position[1]
            witness = RoamingClient(self.gateway, reader, self._fork())
            witness.start()
            await witness.until(lambda witness=witness: witness.is_here)
            await witness.leave()
            reader.compare()
            assert reader.figures.resumed >= 1 and not reader.figures.resets
            assert reader.position[1] >= max(
                (self.ledger.acknowledged[i] for i in acknowledged if self.ledger.offers[i].tenant == tenant), default=0
            )

    async def _finish(self) -> None:
        """Let everybody come back to the head, and compare."""
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))
        for client in self.clients:
            # Whose position is that of its welcome hears in this way that there is nothing left in the mailbox.
            client.reader.asks = client.reader.asks or client.reader.forgetful
            await client.come_back()
            assert client.reader.position is not None
            assert client.reader.position[1] >= self.ledger.head(client.reader.viewer.tenant)
            if client.acknowledges:
                # What was acknowledged does not come again.
                await client.come_back()
                assert not client.reader.offline_on_last
        self.ledger.check_store(await asyncio.to_thread(stored_events, self.gateway.store))
        for client in self.clients:
            await client.leave()
            client.reader.compare()
            client.reader.compare_letters()

    # What came of it

    @property
    def figures(self) -> Figures:
        return reduce(add, (client.reader.figures for client in self.clients))

    def __str__(self) -> str:
        mail = sum(offer.is_mail for offer in map(self.ledger.offers.get, self.ledger.acknowledged) if offer)
        return (
            f"kills {self.kills}, checked after {self.checked} restarts; events offered {len(self.ledger.offers)}, "
            f"acknowledged {len(self.ledger.acknowledged)} ({mail} letters), resent {self.ledger.resent}, "
            f"refused {len(self.ledger.refused)}; clients {len(self.clients)}: {self.figures}"
        )


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(
    make_gateway: Callable[..., RestartableGateway], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = make_gateway(SETTINGS)
    siege = Siege(gateway, seed)
    try:
        asyncio.run(siege.run(KILLS))
    finally:
        siege.daemon.end()
        with capsys.disabled():
            print(f"\n{siege} (seed {seed})")  # noqa: T201 - the figures are asked for
    figures = siege.figures
    assert not siege.ledger.refused
    assert not [reason for client in siege.clients for reason in client.reader.reasons]
    assert (figures.resets, figures.gaps) == (0, 0)
    # Everybody came back in time: each person is announced once, and nobody is announced gone.
    persons = Counter((v.tenant, v.user_id) for v, *_ in CAST if v.role not in ("visitor", "service"))
    told = {tenant: check_presence(rows) for tenant, rows in presence_in(stored_events(gateway.store)).items()}
    assert told == {
        tenant: Counter({(user, True): 1 for where, user in persons if where == tenant}) for tenant in LETTERS_FOR
    }


class Witness:
    """Sees all the time what is announced of users."""

    def __init__(self, gateway: RestartableGateway, ledger: Ledger) -> None:
        reader = Reader(ledger, Viewer("acme", "service", "witness", events=(OF_THE_GATEWAY,)))
        self.client = RoamingClient(gateway, reader, random.Random(0))
        self.ledger = ledger

    def told(self) -> list[tuple[str, bool]]:
        """What it was shown so far, in order."""
        stream = sorted(self.ledger.streams.get("acme", {}).items())
        payloads = [self.ledger.offers[event_id].payload for _, event_id in stream]
        return [(payload["user_id"], payload["online"]) for payload in payloads]

    def gone(self) -> set[str]:
        return {user_id for user_id, online in self.told() if not online}


def agents(gateway: RestartableGateway, ledger: Ledger, names: Iterable[str]) -> list[RoamingClient]:
    rng = random.Random(0)
    return [RoamingClient(gateway, Reader(ledger, Viewer("acme", "agent", name)), rng) for name in names]


async def kill_and_see_who_comes_back(gateway: RestartableGateway) -> None:
    ledger = Ledger()
    witness = Witness(gateway, ledger)
    await asyncio.to_thread(gateway.start)
    loyal = agents(gateway, ledger, [f"loyal-{number}" for number in range(5)])
    fickle = agents(gateway, ledger, [f"fickle-{number}" for number in range(5)])
    everybody = {str(client.reader).partition("/")[2] for client in (*loyal, *fickle)}
    for client in (witness.client, *loyal, *fickle):
        client.start()
        await client.until(lambda client=client: client.is_here)
    await witness.client.until(lambda: {user_id for user_id, _ in witness.told()} == everybody)
    for client in fickle:
        client.break_off()
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(gateway.start)
    await witness.client.until(lambda: len(witness.gone()) >= len(fickle))
    # The time was up for all of them at once: what else was to be announced stands before this.
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(gateway.start)
    await witness.client.come_back()
    gone = {user_id for user_id in everybody if user_id.startswith("fickle")}
    told = check_presence(witness.told())
    assert told == Counter([*((name, True) for name in everybody), *((name, False) for name in gone)])
    for client in (witness.client, *loyal):
        await client.leave()


def test_who_does_not_come_back_after_a_kill_is_announced_gone_once(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    gateway = make_gateway("[limits]\npresence_grace = 2\ndrain_timeout = 2\n")
    asyncio.run(kill_and_see_who_comes_back(gateway))
    told = presence_in(stored_events(gateway.store))
    assert len(check_presence(told["acme"])) == 15


async def kill_amid_farewells(gateway: RestartableGateway, users: int) -> None:
    """All of them are gone at once; the process is killed as soon as the first of them was announced gone."""
    ledger = Ledger()
    witness = Witness(gateway, ledger)
    await asyncio.to_thread(gateway.start)
    witness.client.start()
    await witness.client.until(lambda: witness.client.is_here)
    names = [f"user-{number}" for number in range(users)]
    await asyncio.to_thread(gateway.end)
    await asyncio.to_thread(leave_behind, gateway, names)
    while len(witness.gone()) < users:
        before = len(witness.gone())
        await asyncio.to_thread(gateway.start)
        try:
            await witness.client.until(lambda before=before: len(witness.gone()) > before, 10)
        except AssertionError:
            raise AssertionError(f"{before} of {users} were announced gone, the others never") from None
        await asyncio.to_thread(gateway.end)
    await witness.client.leave()
    assert check_presence([*((name, True) for name in names), *witness.told()])


def leave_behind(gateway: RestartableGateway, users: list[str]) -> None:
    """Note in the file that these users were here as the process was killed."""
    db = sqlite3.connect(gateway.store)
    with db:
        db.executemany(
            "INSERT INTO attendance (tenant_id, user_id, visitor, since, last_seen, told) "
            "VALUES ('acme', ?, 0, 1, 1, 1)",
            [(user,) for user in users],
        )
    db.close()


@pytest.mark.slow
def test_a_kill_amid_many_farewells_loses_none_and_repeats_none(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    gateway = make_gateway("[limits]\npresence_grace = 0\ndrain_timeout = 1\n")
    asyncio.run(kill_amid_farewells(gateway, 3_000))


async def kill_after_a_letter(gateway: RestartableGateway, rounds: int) -> None:
    """A letter is shown, the process is killed at once, and the user, who has not acknowledged it, comes back."""
    ledger = Ledger()
    for number in range(rounds):
        reader = Reader(ledger, Viewer("acme", "agent", f"n{number}"), forgetful=True)
        client = RoamingClient(gateway, reader, random.Random(number), acknowledges=True)
        client.owes = True  # it does not get to it
        await asyncio.to_thread(gateway.start)
        client.start()
        await client.until(lambda client=client: client.is_here)
        letter = {"type": "callback", "title": "Call back", "message": "now"}
        offer = Offer("acme", "notification", letter, f"letter-{number}", user_id=reader.viewer.user_id)
        ledger.offer(offer)
        publishing = asyncio.create_task(asyncio.to_thread(gateway.publish, offer.fields))
        await client.until(lambda reader=reader, offer=offer: reader.letters[offer.event_id])
        gateway.process.process.kill()
        await asyncio.gather(publishing, return_exceptions=True)
        await asyncio.to_thread(gateway.end)
        ledger.life += 1
        await asyncio.to_thread(gateway.start)
        await client.until(lambda reader=reader, offer=offer: reader.letters[offer.event_id] == 2)
        await client.leave()
        await asyncio.to_thread(gateway.end)
        assert (reader.figures.redelivered, reader.figures.unflagged) == (1, 0), f"in round {number}"


@pytest.mark.slow
def test_a_letter_that_was_shown_before_a_kill_comes_again_as_redelivered(
    make_gateway: Callable[..., RestartableGateway],
) -> None:
    asyncio.run(kill_after_a_letter(make_gateway(), 5))


def test_after_a_kill_the_process_id_may_be_somebody_elses(make_gateway: Callable[..., RestartableGateway]) -> None:
    """In a container it is the new process's own, as a rule."""
    gateway = make_gateway()
    gateway.start()
    gateway.end()
    for link in gateway.folder.glob("*.lock"):
        if link.is_symlink():
            link.unlink()
            link.symlink_to(str(os.getpid()))
    gateway.start()
    assert gateway.http("/readyz") == (200, {"ready": True})
