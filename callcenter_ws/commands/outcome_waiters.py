"""OutcomeWaiters: requests that wait until a command has its outcome, or must not be answered as if it had none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandKey, CommandRecord
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import CommandStore
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_trusted_json

MAX_WAITERS = 1_000
"""Requests that wait at once; more are refused with ``overloaded``."""

POLL_SECONDS = 0.5
"""How often the store is asked: a node without clients of a tenant is delivered none of its events."""

_CLOSES = frozenset({"command.done", "command.failed"})


@dataclass(slots=True)
class OutcomeWatch:
    """Whether the outcome of a command was delivered at this node during a request."""

    is_delivered: bool = False


class OutcomeWaiters:
    """Waits for outcomes: a delivered event wakes a waiter up, and the store has the outcome."""

    def __init__(self, store: CommandStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[CommandKey, list[Deferred[None]]] = {}
        self._count = 0
        self._is_stopped = False
        self._watched: dict[CommandKey, list[OutcomeWatch]] = {}

    def delivered(self, publications: Sequence[Publication]) -> None:
        """Wake up those who wait for what was published. Implements ``interfaces.Deliver``."""
        if not self._waiting and not self._watched:
            return
        for publication in publications:
            event = publication.event
            if event.type.name in _CLOSES and event.user_id is not None:
                command_id = str(decode_trusted_json(event.payload)["command_id"])
                key = CommandKey(event.tenant_id, event.user_id, command_id)
                for watch in self._watched.get(key, ()):
                    watch.is_delivered = True
                for waiter in self._waiting.pop(key, []):
                    # Not within the delivery: those who wait go on with work of their own.
                    self._clock.call_later(0, _wake, waiter)

    def stop(self) -> None:
        """Have all requests that wait be answered with what is known now."""
        self._is_stopped = True
        for waiters in self._waiting.values():
            for waiter in waiters:
                self._clock.call_later(0, _wake, waiter)

    @contextmanager
    def watch(self, key: CommandKey) -> Iterator[OutcomeWatch]:
        """Note whether the outcome of a command is delivered meanwhile."""
        watch = OutcomeWatch()
        self._watched.setdefault(key, []).append(watch)
        try:
            yield watch
        finally:
            watches = self._watched[key]
            watches.remove(watch)
            if not watches:
                del self._watched[key]

    async def wait(self, key: CommandKey, seconds: float) -> CommandRecord:
        """Return a command when it is closed, or as it is after so many seconds.

        Raises:
            Refusal: ``unknown_command``, ``overloaded``, ``unavailable``.
        """
        if self._count >= MAX_WAITERS:
            raise Refusal(ErrorCode.OVERLOADED, f"{MAX_WAITERS} requests wait for the outcome of a command")
        self._count += 1
        try:
            return await self._wait(key, self._clock.monotonic() + seconds)
        finally:
            self._count -= 1

    async def _wait(self, key: CommandKey, until: float) -> CommandRecord:
        while True:
            # Before the store is asked: an outcome that is delivered meanwhile is not missed.
            woken: Deferred[None] = Deferred()
            self._waiting.setdefault(key, []).append(woken)
            try:
                record = await self._store.command(key)
                if record is None:
                    raise Refusal(ErrorCode.UNKNOWN_COMMAND)
                left = until - self._clock.monotonic()
                if not record.state.is_open or left <= 0 or self._is_stopped:
                    return record
                timer = self._clock.call_later(min(left, POLL_SECONDS), _wake, woken)
                try:
                    await woken
                finally:
                    timer.cancel()
            finally:
                self._forget(key, woken)

    def _forget(self, key: CommandKey, woken: Deferred[None]) -> None:
        waiters = self._waiting.get(key, [])
        if woken in waiters:
            waiters.remove(woken)
        if not waiters:
            self._waiting.pop(key, None)


def _wake(waiter: Deferred[None]) -> None:
    if not waiter.called:
        waiter.callback(None)
