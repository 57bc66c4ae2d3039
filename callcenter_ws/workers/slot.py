"""WorkerSlot: the place of one worker, which is always to be filled."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger

from callcenter_ws.workers.process import WorkerProcess

_log = Logger()

READY_SECONDS = 60.0
"""How long a replacement may take until it serves."""

STEADY_SECONDS = 60.0
"""A worker that ends sooner after its start has not been of use."""

FIRST_DELAY, MOST_DELAY = 1.0, 30.0
"""Seconds before a worker is started again that keeps ending: 1, 2, 4 and so on. Before that, at once.

While no worker at all serves it may be started sooner, see ``outage.py``.
"""

Ended = Callable[[WorkerProcess], None]


class Spawn(Protocol):
    """Starts a process."""

    def __call__(self, number: int, ended: Ended, *, replaces: bool) -> WorkerProcess:
        """Start a worker for the post of that number, and call ``ended`` with it when it has gone.

        Args:
            replaces: another worker of that post still serves.

        Raises:
            OSError: the system does not allow it.
        """


class WorkerSlot:
    """Starts a worker again when it ends, and replaces it by another when told to.

    Args:
        unusable: called when the very first worker of this post cannot be started, or gives up before it served:
            another would as well.
        patience: seconds that a worker has to drain.

    Attributes:
        closed: it is not to be filled any more.
    """

    def __init__(
        self,
        reactor: Any,
        number: int,
        spawn: Spawn,
        unusable: Callable[[], None],
        patience: float,
    ) -> None:
        self._reactor = reactor
        self.number = number
        self._spawn = spawn
        self._unusable = unusable
        self._patience = patience
        self.current: WorkerProcess | None = None
        self._successor: WorkerProcess | None = None
        self._alive: set[WorkerProcess] = set()
        self._restart: Any = None  # an IDelayedCall
        self._delay = 0.0
        self._first = True
        self.closed = False

    @property
    def serves(self) -> bool:
        """Whether its worker has reported that it serves."""
        return self.current is not None and self.current.ready

    @property
    def due(self) -> float:
        """The reactor's time at which a worker is started again; infinite when none is to be."""
        return math.inf if self._restart is None else float(self._restart.getTime())

    def fill(self) -> None:
        """Start a worker."""
        self._restart = None
        self.current = self._started()
        if self.current is not None:
            return
        if self._first:
            self._unusable()
        else:
            self._plan_restart(0.0)

    def hurry(self) -> None:
        """Start the worker that is due later at once; where none is due, do nothing."""
        if self._restart is not None:
            self._cancel_restart()
            _log.info("worker {number} is started before its time", number=self.number)
            self.fill()

    async def close(self) -> None:
        """Have all processes of this post drain, and wait until they have gone."""
        self.closed = True
        self._cancel_restart()
        await gatherResults([Deferred.fromCoroutine(process.end(self._patience)) for process in tuple(self._alive)])

    async def replace(self) -> bool:
        """Start a worker, and when it serves, end the one that was here before. Whether that worked."""
        successor = self._started()
        if successor is None:
            return False
        if self.current is None:
            self._cancel_restart()
            self.current = successor
        else:
            self._successor = successor
        await successor.settle(READY_SECONDS)
        if self.closed:
            return False
        if not successor.ready:
            await self._give_up(successor)
            return False
        self._delay = 0.0
        if successor is self._successor:
            await self._succeed(successor)
        return not self.closed

    async def _succeed(self, successor: WorkerProcess) -> None:
        old, self.current, self._successor = self.current, successor, None
        if old is not None:
            _log.info("{new} serves; {old} drains", new=str(successor), old=str(old))
            await old.end(self._patience)

    async def _give_up(self, successor: WorkerProcess) -> None:
        why = successor.ending or f"does not serve after {READY_SECONDS:g} s: {successor.waits_for}"
        _log.error("{new}, a replacement, {why}", new=str(successor), why=why)
        if successor is self.current:
            return
        self._successor = None
        if self.current is not None:
            _log.error("{old} stays as it is", old=str(self.current))
        await successor.end(self._patience)

    def _started(self) -> WorkerProcess | None:
        try:
            process = self._spawn(self.number, self._ended, replaces=self.current is not None)
        except OSError as error:
            _log.error("worker {number} cannot be started: {error}", number=self.number, error=error)
            return None
        self._alive.add(process)
        return process

    def _ended(self, process: WorkerProcess) -> None:
        self._alive.discard(process)
        first, self._first = self._first, False
        if process is self._successor:
            self._successor = None
        elif self.closed or process is not self.current:
            _log.info("{worker} {how}", worker=str(process), how=process.ending)
        elif first and process.exit_status == 1 and not process.ready:
            self.current = None
            _log.critical("{worker} {how} before it ever served; see its lines above", **_told(process))
            self._unusable()
        else:
            self._fill_after(process)

    def _fill_after(self, process: WorkerProcess) -> None:
        self.current, self._successor = self._successor, None
        if self.current is not None:
            _log.error("{worker} {how}; {next} is in its place", next=str(self.current), **_told(process))
        else:
            lived = self._reactor.seconds() - process.started_at
            _log.error("{worker} {how}, {lived:.0f} s after its start", lived=lived, **_told(process))
            self._plan_restart(lived)

    def _plan_restart(self, lived: float) -> None:
        if lived >= STEADY_SECONDS:
            self._delay = 0.0
        when = f"in {self._delay:g} s" if self._delay else "now"
        _log.info("worker {number} is started again {when}", number=self.number, when=when)
        self._restart = self._reactor.callLater(self._delay, self.fill)
        self._delay = min(MOST_DELAY, 2 * self._delay) or FIRST_DELAY

    def _cancel_restart(self) -> None:
        restart, self._restart = self._restart, None
        if restart is not None:
            restart.cancel()


def _told(process: WorkerProcess) -> dict[str, str]:
    return {"worker": str(process), "how": process.ending}
