"""Background work that runs once at a time, merges requests made meanwhile, and retries after transient failures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum

from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock, Timer


class _State(Enum):
    IDLE = "idle"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    REQUESTED_AGAIN = "running, requested again"
    REQUESTED_NOW = "running, requested again without back-off"
    STOPPED = "stopped"


_UNDER_WAY = (_State.RUNNING, _State.REQUESTED_AGAIN, _State.REQUESTED_NOW)


class SingleFlight:
    """Runs ``work`` at most once at a time.

    A request while ``work`` runs causes one more run after it, however many requests there are. A run that raises one
    of ``transient`` is repeated after the delay of ``backoff``. Any other exception is a bug: ``spawn`` logs it and the
    next request starts a new run.

    Args:
        work: returns the coroutine of one run.
        backoff: the delays before repetitions; None: a failed run is not repeated.
        delay: seconds between a request and its run, in which further requests are merged; None: the run starts within
            ``request``.
        transient: the exceptions after which a run is repeated.
        resets_backoff: whether a run that returns is a success; otherwise ``work`` resets the back-off itself.
    """

    __slots__ = (
        "_backoff",
        "_clock",
        "_delay",
        "_idle",
        "_resets_backoff",
        "_spawn",
        "_state",
        "_timer",
        "_transient",
        "_work",
    )

    def __init__(
        self,
        work: Callable[[], Awaitable[None]],
        clock: Clock,
        spawn: Spawn,
        *,
        backoff: Backoff | None = None,
        delay: float | None = None,
        transient: tuple[type[Exception], ...] = (Refusal,),
        resets_backoff: bool = True,
    ) -> None:
        self._work = work
        self._clock = clock
        self._spawn = spawn
        self._backoff = backoff
        self._delay = delay
        self._transient = transient
        self._resets_backoff = resets_backoff
        self._state = _State.IDLE
        self._timer: Timer | None = None
        self._idle: Deferred[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no run is under way and none is scheduled."""
        return self._timer is None and self._state in (_State.IDLE, _State.STOPPED)

    @property
    def is_running(self) -> bool:
        """Whether a run is under way."""
        return self._state in _UNDER_WAY or self._idle is not None

    def request(self, *, skip_backoff: bool = False) -> None:
        """Have ``work`` run, unless a run that has not started yet is scheduled already.

        Args:
            skip_backoff: run now, not after the delay that follows a failure: its cause is known to have gone.
        """
        if self._state in (_State.RUNNING, _State.REQUESTED_AGAIN):
            self._state = _State.REQUESTED_NOW if skip_backoff else _State.REQUESTED_AGAIN
        elif self._state is _State.SCHEDULED and skip_backoff:
            self._cancel_timer()
            self._run()
        elif self._state is _State.IDLE:
            if skip_backoff:
                self._run()
            else:
                self._start()

    def stop(self) -> None:
        """Start no further run; one that is under way goes on to its end."""
        self._cancel_timer()
        if self.is_running and self._idle is None:
            self._idle = Deferred()
        self._state = _State.STOPPED

    async def stopped(self) -> None:
        """Stop, and return when no run is under way any more."""
        self.stop()
        if self._idle is not None:
            waiter: Deferred[None] = Deferred()
            self._idle.addCallback(lambda _: waiter.callback(None))
            await waiter

    def _start(self) -> None:
        if self._delay is None:
            self._run()
        else:
            self._schedule(self._delay)

    def _schedule(self, delay: float) -> None:
        self._state = _State.SCHEDULED
        self._timer = self._clock.call_later(delay, self._run)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._timer = None
        self._state = _State.RUNNING
        self._spawn(self._attempt())

    async def _attempt(self) -> None:
        failed = False
        try:
            await self._work()
        except self._transient:
            failed = True
        finally:
            self._finish(failed)

    def _finish(self, failed: bool) -> None:
        if self._state is _State.STOPPED:
            idle, self._idle = self._idle, None
            if idle is not None:
                idle.callback(None)
            return
        requested, self._state = self._state, _State.IDLE
        if failed and self._backoff is not None and requested is not _State.REQUESTED_NOW:
            self._schedule(self._backoff.delay())
            return
        if not failed and self._backoff is not None and self._resets_backoff:
            self._backoff.reset()
        if requested is not _State.RUNNING:
            # Not within this call: runs that follow each other must not deepen the stack.
            self._schedule(self._delay or 0)
