"""Commands at a source whose process, connections and gateway fail at random.

What must hold whatever happens: no command is begun twice or after its deadline, and every one that was taken has an
outcome that says what is true.
"""

from __future__ import annotations

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from amp_doubles import until
from commanding_gateway import CommandingGateway
from processes import Deadline
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from callcenter_ws.amp import commands
from callcenter_ws.remote import Command, CommandFailed, EventBroadcaster

STEPS = 150


class Process:
    """A process of the source: a broadcaster on its own copy of the spool, which may be killed."""

    def __init__(self, world: World, spool: Path) -> None:
        self.world = world
        self.spool = spool
        self.is_alive = True
        self.pending: list[Deferred[None]] = []
        self.remote = EventBroadcaster(
            world.peer.endpoint, reactor, source="pbx1", tenants=["acme"], spool=spool, stop_timeout=0, max_commands=20
        )
        self.remote.on_command("call.hangup", self.hang_up)
        self.remote.startService()

    def hang_up(self, command: Command) -> Deferred[None] | None:
        if not self.is_alive:
            return None
        assert command.seconds_left > 0
        self.world.begun[command.command_id] += 1
        chance = self.world.random.random()
        if chance < 0.2:
            raise CommandFailed("rejected")
        if chance < 0.5:
            return None
        self.pending.append(Deferred())
        return self.pending[-1]

    def finish(self) -> None:
        """Let a function end."""
        if self.pending:
            self.pending.pop(self.world.random.randrange(len(self.pending))).callback(None)

    async def kill(self, copy: Path) -> None:
        """End as by SIGKILL; what was committed to the spool is in ``copy``."""
        self.is_alive = False
        with closing(sqlite3.connect(self.spool)) as db, closing(sqlite3.connect(copy)) as target:
            db.backup(target)
        self.world.drop_connection()
        await self.remote.stopService()
        for ended in self.pending:
            ended.callback(None)


class World:
    """The gateway, the present process of the source, and what was seen.

    Attributes:
        begun: how often the function was called, by command.
        taken: the commands whose answer said that they were taken; ``sent``: all.
    """

    def __init__(self, peer: CommandingGateway, folder: Path, seed: int) -> None:
        self.peer = peer
        self.folder = folder
        self.random = random.Random(seed)
        self.begun: Counter[str] = Counter()
        self.sent: dict[str, float] = {}
        self.taken: set[str] = set()
        self.processes = 1
        self.process = Process(self, folder / "1.spool")

    def drop_connection(self) -> None:
        for connection in self.peer.peers:
            connection.transport.abortConnection()

    def send(self) -> None:
        """Send a command, or one that was sent before once more, with its deadline."""
        if not self.peer.peers:
            return
        known = sorted(self.sent)
        command_id = self.random.choice(known) if known and self.random.random() < 0.2 else f"c{len(known)}"
        seconds = self.sent.setdefault(command_id, self.random.choice([-1.0, 60.0, 60.0, 60.0]))
        answer = self.peer.send(command_id, seconds=seconds)
        answer.addCallbacks(lambda _: self.taken.add(command_id), lambda failure: None)

    async def kill(self) -> None:
        self.processes += 1
        copy = self.folder / f"{self.processes}.spool"
        await self.process.kill(copy)
        self.process = Process(self, copy)

    async def step(self) -> None:
        chance = self.random.random()
        if chance < 0.6:
            self.send()
        elif chance < 0.8:
            self.process.finish()
        elif chance < 0.86:
            self.peer.is_silent = not self.peer.is_silent
        elif chance < 0.91:
            self.peer.refuses = None if self.peer.refuses else commands.Overloaded("busy")
        elif chance < 0.96:
            self.drop_connection()
        else:
            await self.kill()
        turns = iter([*[False] * self.random.randrange(3), True])
        await until(reactor, lambda: next(turns))

    async def settle(self) -> None:
        """Let everything end."""
        self.peer.is_silent, self.peer.refuses = False, None
        self.drop_connection()
        remote = self.process.remote

        def is_quiet() -> bool:
            self.process.finish()
            return not remote._commands.running and not remote.unacknowledged

        await until(reactor, is_quiet)

    def check(self) -> None:
        outcomes: dict[str, tuple[str, str | None]] = {}
        for command_id, state, code, *_ in self.peer.outcomes:
            outcomes.setdefault(command_id, (state, code))
        assert set(self.begun.values()) <= {1}
        assert self.taken <= set(outcomes)
        assert not [name for name, seconds in self.sent.items() if seconds < 0 and self.begun[name]]
        for command_id, outcome in outcomes.items():
            if outcome in (("done", None), ("failed", "rejected")):
                assert self.begun[command_id] == 1
            elif outcome == ("failed", "timeout"):
                assert self.begun[command_id] == 0
            else:
                assert outcome in (("failed", "outcome_unknown"), ("failed", "busy")), outcome
        numbers = [number for _, number in self.peer.taken]
        assert numbers == sorted(set(numbers))


@pytest_twisted.async_yield_fixture
async def peer() -> AsyncIterator[CommandingGateway]:
    gateway = CommandingGateway()
    port = reactor.listenTCP(0, gateway, interface="127.0.0.1")
    gateway.endpoint = f"tcp:127.0.0.1:{port.getHost().port}"
    yield gateway
    await port.stopListening()
    await until(reactor, lambda: not gateway.peers)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("seed", range(4))
async def test_each_command_is_begun_once_and_has_a_true_outcome(
    peer: CommandingGateway, tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("callcenter_ws.remote.link_state.MAX_RECONNECT_SECONDS", 0.05)
    monkeypatch.setattr("callcenter_ws.remote.link_state.FIRST_RECONNECT_SECONDS", 0.01)
    world = World(peer, tmp_path, seed)
    # On a busy machine the steps are over before the first connection is made.
    deadline, steps = Deadline(), 0
    while steps < STEPS or not world.taken:
        assert deadline.remaining() > 0
        await world.step()
        steps += 1
    await world.settle()
    await world.process.kill(tmp_path / "last.spool")
    world.check()
