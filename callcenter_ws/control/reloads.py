"""Reloads that run one at a time: of a gateway of one process, or of anything else that can reload."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from twisted.internet.defer import Deferred

from callcenter_ws import __version__
from callcenter_ws.config.changes import Reloadable
from callcenter_ws.control.messages import LastReload, NodeStatus, Outcome, Refused, Reloaded, bounded
from callcenter_ws.control.report import log_outcome
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.setting_problems import ConfigError
from callcenter_ws.runtime.single_flight import SingleFlight


class Health(Protocol):
    """Whether a gateway serves."""

    @property
    def draining(self) -> bool:
        """Whether it stops."""

    def reasons(self) -> Sequence[str]:
        """Return why it does not serve; empty if it does."""


Around = Callable[[], AbstractContextManager[None]]
"""What is entered during a reload, as to tell the service manager."""


class Reloads:
    """Runs ``reload`` at most once at a time. Requests during a run share the one run that follows it.

    Attributes:
        around: entered during a reload.
        last: the last reload that has ended.
    """

    def __init__(self, reload: Callable[[], Awaitable[Outcome]], clock: Clock, spawn: Spawn) -> None:
        self._reload = reload
        self._clock = clock
        self._flight = SingleFlight(self._run, clock, spawn)
        self._waiting: list[Deferred[Outcome]] = []
        self.around: Around = nullcontext
        self.last: LastReload | None = None

    def request(self) -> Deferred[Outcome]:
        """Reload, and return the outcome, which is logged too."""
        result: Deferred[Outcome] = Deferred()
        self._waiting.append(result)
        self._flight.request()
        return result

    async def _run(self) -> None:
        waiting, self._waiting = self._waiting, []
        try:
            with self.around():
                outcome = await self._reload()
        except Exception:
            # What raised it is logged; the requests must be answered all the same.
            outcome = Refused(("the reload met an error in the gateway, which its log has",))
            self._finish(waiting, outcome)
            raise
        self._finish(waiting, outcome)

    def _finish(self, waiting: Sequence[Deferred[Outcome]], outcome: Outcome) -> None:
        self.record(log_outcome(outcome))
        for result in waiting:
            result.callback(outcome)

    def record(self, outcome: str) -> None:
        """Record what has happened last."""
        self.last = LastReload(self._clock.time(), outcome)


class ProcessOperations:
    """Reloads and describes a gateway of one process. Implements Operations.

    Args:
        around: entered during a reload.
    """

    def __init__(self, reloadable: Reloadable, health: Health, clock: Clock, spawn: Spawn, around: Around) -> None:
        self._reloadable = reloadable
        self._health = health
        self._reloads = Reloads(self._reload_once, clock, spawn)
        self._reloads.around = around

    def request_reload(self) -> None:
        """Load the settings again; the log has the outcome."""
        self._reloads.request()

    async def reload(self) -> Outcome:
        """Load the settings again, and return the outcome."""
        return await self._reloads.request()

    def node_status(self) -> NodeStatus:
        """Describe the process."""
        return NodeStatus(
            pid=os.getpid(),
            version=__version__,
            reasons=tuple(self._health.reasons()),
            workers=(),
            draining=self._health.draining,
            last_reload=self._reloads.last,
        )

    async def _reload_once(self) -> Outcome:
        if self._health.draining:
            return Refused(("the gateway stops",))
        try:
            prepared = self._reloadable.prepare()
        except ConfigError as error:
            return Refused(bounded(error.problems))
        prepared.commit()
        return Reloaded(prepared.report)
