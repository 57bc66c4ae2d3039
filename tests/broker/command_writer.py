"""A process that accepts, dispatches and closes commands until it is killed; for ``test_sqlite_commands_kill``.

Usage: ``command_writer.py FILE SEED``. Prints what was acknowledged: a word and the id of the command. At its start it
closes what an earlier process has left open. Two closings of each command compete.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

from twisted.internet import defer, reactor, task

from callcenter_ws.broker.sqlite.broker import SqliteBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import (
    CommandClosing,
    CommandKey,
    CommandOutcome,
    CommandRecord,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.principal import Role
from callcenter_ws.runtime.clock import ReactorClock

TENANT, USER = "acme", "7"
WORKERS = 20
DONE = CommandOutcome(state=CommandState.DONE)
FAILED = CommandOutcome(state=CommandState.FAILED, code=OutcomeCode.OUTCOME_UNKNOWN)


class Writer:
    """Uses the commands of a store."""

    def __init__(self, broker: SqliteBroker, clock: ReactorClock, rng: random.Random) -> None:
        self._broker = broker
        self._clock = clock
        self._rng = rng

    async def close_left(self) -> None:
        """Close what an earlier process has left open."""
        while found := await self._broker.commands.overdue(2**53, 100):
            for record in found:
                await self._close(record.key, FAILED)

    async def run(self, worker: int) -> None:
        """Use one command after the other."""
        while True:
            key = CommandKey(TENANT, USER, f"{worker}-{self._rng.getrandbits(64):x}")
            now = round(self._clock.time() * 1_000)
            record = CommandRecord(
                key=key,
                role=Role.AGENT,
                name="call.hangup",
                payload=b"{}",
                source="pbx1",
                accepted_ms=now,
                deadline_ms=now + 60_000,
            )
            assert await self._broker.commands.accept(record) is None
            _say("accepted", key)
            if self._rng.random() < 0.5:
                assert await self._broker.commands.dispatch(key, now) is not None
                _say("dispatched", key)
            closings = [defer.ensureDeferred(self._close(key, outcome)) for outcome in (DONE, FAILED)]
            assert sorted(await defer.gatherResults(closings)) == [False, True]

    async def _close(self, key: CommandKey, outcome: CommandOutcome) -> bool:
        closed_ms = round(self._clock.time() * 1_000)
        closing = self._event(key, f"command.{outcome.state}", {"command_id": key.command_id, "name": "call.hangup"})
        closing.condition = StoreCondition(closes=CommandClosing(key, outcome, closed_ms))
        following = self._event(key, "alert", {"title": key.command_id, "message": "m"})
        following.condition = StoreCondition(follows=True)
        outcomes = [isinstance(one, Refusal) for one in await self._broker.publish([closing, following])]
        assert outcomes[0] == outcomes[1]
        if not outcomes[0]:
            _say("closed", key)
        return not outcomes[0]

    def _event(self, key: CommandKey, type_: str, payload: dict[str, str]) -> Event:
        if type_ == "command.failed":
            payload = {**payload, "code": "outcome_unknown"}
        is_closing = type_ != "alert"
        return make_event(
            tenant_id=TENANT,
            type_=type_,
            payload=payload,
            user_id=USER if is_closing else None,
            persist=is_closing,
            origin=Origin.GATEWAY,
            event_id=f"{type_} {key.command_id}",
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
        )


def _say(what: str, key: CommandKey) -> None:
    sys.stdout.write(f"{what} {key.command_id}\n")
    sys.stdout.flush()


async def main(path: Path, seed: int) -> None:
    """Use commands until the process is killed."""
    clock = ReactorClock(reactor)
    broker = SqliteBroker(reactor, clock, path, history_events=1_000_000)
    await broker.start(lambda _: None)
    writer = Writer(broker, clock, random.Random(seed))
    await writer.close_left()
    await defer.gatherResults([defer.ensureDeferred(writer.run(worker)) for worker in range(WORKERS)])


if __name__ == "__main__":
    task.react(lambda _: defer.ensureDeferred(main(Path(sys.argv[1]), int(sys.argv[2]))))
