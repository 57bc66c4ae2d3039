"""The commands that a source has taken: none is carried out twice, also after a restart."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple, Protocol

from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandKey

MAX_TAKEN = 10_000
"""The ids that are kept, at most."""


class TakenCommand(NamedTuple):
    """A command that was taken.

    Attributes:
        name: of the command, for the outcome.
        deadline_ms: in Unix milliseconds of the gateway.
        is_open: whether it has no outcome yet.
    """

    key: CommandKey
    name: str
    deadline_ms: int
    is_open: bool = True


class TakenStore(Protocol):
    """Keeps taken commands. They are closed when their outcome is stored."""

    async def take_command(self, command: TakenCommand, forgotten: Sequence[CommandKey]) -> None:
        """Store a command, so that it survives a power loss, and delete others.

        Raises:
            Refusal: ``unavailable``: it cannot be stored now, and nothing has changed.
        """


class TakenCommands:
    """The ids of taken commands, each kept for 24 hours after its deadline, as the gateway keeps them.

    At most ``MAX_TAKEN`` are kept: the oldest ones that have an outcome and whose deadline has passed are forgotten
    first. Without them, too, a command that is sent again after its deadline is not carried out.
    """

    def __init__(self, store: TakenStore) -> None:
        self._store = store
        self._taken: dict[CommandKey, TakenCommand] = {}
        self._storing: dict[CommandKey, list[Deferred[None]]] = {}

    def __contains__(self, key: object) -> bool:
        """Return whether a command was taken."""
        return key in self._taken

    def open(self, stored: Iterable[TakenCommand], running: Collection[CommandKey]) -> Sequence[TakenCommand]:
        """Take what an earlier process has stored; return what it has taken and left without an outcome.

        Args:
            stored: in the order in which they were taken.
            running: those that this process carries out.
        """
        self._taken.update((command.key, command) for command in stored)
        return [command for command in self._taken.values() if command.is_open and command.key not in running]

    async def take(self, command: TakenCommand, now_ms: float) -> None:
        """Keep a command before it is carried out.

        Raises:
            Refusal: ``overloaded``: it cannot be kept, and must not be carried out.
        """
        forgotten = self._forgettable(now_ms)
        if len(self._taken) - len(forgotten) >= MAX_TAKEN:
            raise Refusal(ErrorCode.OVERLOADED, f"{MAX_TAKEN} commands were taken, no more ids are kept")
        key = command.key
        self._taken[key], self._storing[key] = command, []
        try:
            await self._store.take_command(command, forgotten)
        except BaseException as error:
            del self._taken[key]
            if isinstance(error, Refusal):
                raise Refusal(ErrorCode.OVERLOADED, f"the command was not begun: {error.message}") from None
            raise
        finally:
            for waiter in self._storing.pop(key):
                waiter.callback(None)
        for old in forgotten:
            self._taken.pop(old, None)

    async def stored(self, key: CommandKey) -> None:
        """Return when a command that was taken is kept for certain.

        Raises:
            Refusal: ``overloaded``: it could not be kept, and is not carried out.
        """
        if key in self._storing:
            waiter: Deferred[None] = Deferred()
            self._storing[key].append(waiter)
            await waiter
            if key not in self._taken:
                raise Refusal(ErrorCode.OVERLOADED, "the command was not begun")

    def closed(self, key: CommandKey) -> None:
        """Note that a command has its outcome."""
        command = self._taken.get(key)
        if command is not None:
            self._taken[key] = command._replace(is_open=False)

    def _forgettable(self, now_ms: float) -> Sequence[CommandKey]:
        """Return the oldest commands that need not, or cannot, be kept any longer."""
        forgotten: list[CommandKey] = []
        for key, command in self._taken.items():
            is_old = command.deadline_ms < now_ms - LIFETIME_SECONDS * 1_000
            is_surplus = len(self._taken) - len(forgotten) >= MAX_TAKEN and command.deadline_ms < now_ms
            if command.is_open:
                continue
            if not (is_old or is_surplus):
                break
            forgotten.append(key)
        return forgotten
