"""NoWorkerMonitor: the time when no worker at all serves, while the open ports go on to take connections."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.logger import Logger

from callcenter_ws.workers.slot import WorkerSlot

_log = Logger()

LOOK_SECONDS = 1.0
"""Between two looks at whether a worker serves again. Each that finds none starts the one that is due next."""


class NoWorkerMonitor:
    """Notices that no worker serves, and until one does it starts those that wait because they keep dying."""

    def __init__(self, reactor: Any, posts: Sequence[WorkerSlot]) -> None:
        self._reactor = reactor
        self._posts = posts
        self._next_look: Any = None  # an IDelayedCall, there is one during an outage

    def worker_gone(self) -> None:
        """A worker has ended: see whether another serves."""
        if self._next_look is None and self._serving() is None:
            _log.critical("no worker serves: who connects has to wait until one does")
            self._plan_look()

    def stop(self) -> None:
        """Look no more."""
        next_look, self._next_look = self._next_look, None
        if next_look is not None:
            next_look.cancel()

    def _look(self) -> None:
        self._next_look = None
        serving = self._serving()
        if serving is not None:
            # As an error, for those who were told of the outage and see nothing of less weight.
            _log.error("a worker serves again: {worker}", worker=str(serving.current))
            return
        self._plan_look()
        # One that is being started may hang, so that is nothing to wait for.
        min(self._posts, key=lambda post: post.due).hurry()

    def _serving(self) -> WorkerSlot | None:
        return next((post for post in self._posts if post.serves), None)

    def _plan_look(self) -> None:
        self._next_look = self._reactor.callLater(LOOK_SECONDS, self._look)
