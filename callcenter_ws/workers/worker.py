"""Worker: what a gateway does besides when it is one of several on a machine."""

from __future__ import annotations

import math
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from twisted.application.service import Service
from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.workers.handoff import LIFELINE, STATUS, WorkerHandoff
from callcenter_ws.workers.process import READY

_log = Logger()

LOOK_EVERY = 0.1
"""Seconds between two looks at whether the gateway can serve."""

DOOR_PATIENCE = 10.0
"""Seconds after which connections are taken even if the gateway cannot serve: they are told so, and do not wait."""


class Worker(Service):
    """Takes connections when the gateway can serve, reports that, and ends it when the supervisor is gone.

    Args:
        reasons: why the gateway cannot serve now; empty when it can.
        open_doors: begins to take connections.
        patience: seconds that the gateway has to drain when nobody is left who would kill it.
        lifeline, status: descriptors from and to the supervisor.
    """

    def __init__(
        self,
        reactor: Any,
        handoff: WorkerHandoff,
        reasons: Callable[[], Sequence[str]],
        open_doors: Callable[[], None],
        patience: float,
        *,
        lifeline: int = LIFELINE,
        status: int = STATUS,
    ) -> None:
        self._reactor = reactor
        # While another serves there is no hurry.
        self._door_patience = math.inf if handoff.replaces else DOOR_PATIENCE
        self._private_folder = handoff.folder
        self._reasons = reasons
        self._open_doors = open_doors
        self._patience = patience
        self._doors_are_open = False
        self._started_at = 0.0
        self._said = ""
        self._next_look: Any = None  # an IDelayedCall
        self._draining = False
        self._lifeline = Lifeline(lifeline, self._supervisor_gone)
        self._status = status

    def startService(self) -> None:
        """Watch the supervisor, and the gateway until it is ready."""
        super().startService()
        self._started_at = self._reactor.seconds()
        self._reactor.addReader(self._lifeline)
        self._reactor.callWhenRunning(self._look)
        self._reactor.callWhenRunning(self._take_signals)

    def stopService(self) -> None:
        """Watch no more."""
        super().stopService()
        self._reactor.removeReader(self._lifeline)
        if self._next_look is not None:
            self._next_look.cancel()
            self._next_look = None

    # Getting ready

    def _look(self) -> None:
        self._next_look = None
        if self._draining or not self.running:
            return
        reasons = "; ".join(self._reasons())
        waited = self._reactor.seconds() - self._started_at
        if not self._doors_are_open and (not reasons or waited >= self._door_patience):
            self._doors_are_open = True
            self._open_doors()
        self._report(reasons or READY)
        if reasons:
            self._next_look = self._reactor.callLater(LOOK_EVERY, self._look)

    def _report(self, text: str) -> None:
        if text != self._said:
            self._said = text
            with suppress(OSError):
                os.write(self._status, text.replace("\n", " ").encode() + b"\n")

    # Ending

    def _take_signals(self) -> None:
        """Stop once, however often it is asked for: systemd signals the whole group, the supervisor each worker."""
        for number, stop in {signal.SIGTERM: self._reactor.sigTerm, signal.SIGINT: self._reactor.sigInt}.items():
            signal.signal(number, lambda *how, stop=stop: None if self._is_draining() else stop(*how))

    def _is_draining(self) -> bool:
        before, self._draining = self._draining, True
        return before

    def _supervisor_gone(self) -> None:
        if self._is_draining():
            return
        _log.error("the supervisor is gone: this worker drains and ends")
        # Its end must not depend on this process's health: nobody else would see to it.
        signal.alarm(math.ceil(self._patience))
        # Nobody else will remove it, and nobody needs it any more.
        shutil.rmtree(self._private_folder, ignore_errors=True)
        self._reactor.stop()


@implementer(IReadDescriptor)
class Lifeline:
    """The end of a pipe that nobody writes to: it reads as closed when who holds the other end is gone."""

    def __init__(self, descriptor: int, cut: Callable[[], None]) -> None:
        self._descriptor = descriptor
        self._cut = cut

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def logPrefix(self) -> str:
        """The name in the log."""
        return "lifeline"

    def doRead(self) -> Exception | None:  # noqa: N802 - Twisted's name
        """There is something to read, or it is closed."""
        if os.read(self._descriptor, 4096):
            return None
        return EOFError()

    def connectionLost(self, reason: Failure) -> None:
        """It is closed."""
        self._cut()
