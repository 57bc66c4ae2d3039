"""LinkStatus: whether a daemon is connected to its gateway, why not, and when it tries again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from twisted.logger import Logger, LogLevel

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.retry_log import RetryLog
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock

FIRST_RECONNECT_SECONDS = 0.2
FIRST_REFUSED_SECONDS = 1.0
MAX_RECONNECT_SECONDS = 30.0
MAX_IN_USE_SECONDS = 8.0
"""A source that is in use is tried more often: its lease may end soon."""

REFUSALS_UNTIL_FINAL = 3
"""Attempts that are refused in a row until events without a spool are refused, too."""

_STABLE_SECONDS = 10.0
"""A connection that lives longer, or over which an event was published, is a success: delays start anew."""

_log = Logger()


class LinkState(StrEnum):
    """The state of the link between a daemon and its gateway."""

    STOPPED = "stopped"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    SOURCE_IN_USE = "source_in_use"
    STALE_GENERATION = "stale_generation"


_STATE_OF_REFUSAL = {
    ErrorCode.UNAVAILABLE: LinkState.UNREACHABLE,
    ErrorCode.OVERLOADED: LinkState.UNREACHABLE,
    ErrorCode.SOURCE_IN_USE: LinkState.SOURCE_IN_USE,
    ErrorCode.STALE_GENERATION: LinkState.STALE_GENERATION,
}
"""The refusals of a handshake that do not say that the daemon is configured wrongly."""


@dataclass(frozen=True, slots=True)
class LinkFailure:
    """Why there is no usable connection.

    Attributes:
        reason: for people.
        refusal: what the gateway refused in the handshake; None if the connection failed.
    """

    state: LinkState
    reason: str
    refusal: Refusal | None = None

    @classmethod
    def unreachable(cls, reason: str) -> Self:
        """Return the failure of a connection that cannot be made."""
        return cls(LinkState.UNREACHABLE, reason)

    @classmethod
    def of_handshake(cls, refusal: Refusal) -> Self:
        """Return the failure of a connection on which the gateway refused the handshake."""
        state = _STATE_OF_REFUSAL.get(refusal.code, LinkState.REFUSED)
        if state is LinkState.UNREACHABLE:
            return cls(state, refusal.message)
        return cls(state, f"{refusal.entry.amp_code.decode()}: {refusal.message}", refusal)


StateChanged = Callable[[LinkState, str], object]
"""Called with the new state and its reason, which is empty for those that need none."""


class LinkStatus:
    """Records the state of the link, logs its changes, and chooses the delay before the next attempt.

    Args:
        endpoint: the address of the gateway, for log lines.
        changed: called with each new state and its reason.
        refused: called when ``refusal`` is set: the gateway has refused this daemon several times in a row, or for
            good.

    Attributes:
        state: the current state.
        reason: why it is not ``connected``; empty if it is.
        refusal: what new events are refused with; None unless the gateway keeps refusing this daemon.
    """

    def __init__(
        self, endpoint: str, clock: Clock, changed: StateChanged | None, refused: Callable[[Refusal], None]
    ) -> None:
        self._endpoint = endpoint
        self._clock = clock
        self._changed = changed
        self._refused = refused
        self._log = RetryLog(clock)
        self._refusals = 0
        self._connected_at = 0.0
        self._retry_text = ""
        self.state = LinkState.STOPPED
        self.reason = ""
        self.refusal: Refusal | None = None
        self._reset()

    @property
    def is_final(self) -> bool:
        """Whether no further attempt is made."""
        return self.state is LinkState.STALE_GENERATION

    def started(self) -> None:
        """Note that the first attempt begins."""
        self.refusal = None
        self._refusals = 0
        self._reset()
        self._set(LinkState.CONNECTING, "")

    def stopped(self) -> None:
        """Note that the daemon ends the link."""
        self._set(LinkState.STOPPED, "")

    def connected(self) -> None:
        """Note that a connection can be used."""
        self._connected_at = self._clock.monotonic()
        self._refusals = 0
        self.refusal = None
        self._log.succeeded(f"connected to the gateway at {self._endpoint}")
        self._set(LinkState.CONNECTED, "")

    def lost(self, reason: str, *, is_proven: bool) -> None:
        """Note that the connection that was used is lost."""
        if self.state is LinkState.STOPPED:
            return
        if is_proven or self._clock.monotonic() - self._connected_at >= _STABLE_SECONDS:
            self._reset()
        self._retry_text = f"the connection to the gateway at {self._endpoint} is lost: {reason}"
        self._set(LinkState.UNREACHABLE, reason)

    def renewed(self) -> None:
        """Note that the daemon ended an attempt itself, to make another one at once: no failure is logged."""
        self._retry_text = ""

    def failed(self, failure: LinkFailure) -> None:
        """Note that an attempt has failed."""
        if self.state is LinkState.STOPPED:
            return
        if failure.refusal is None:
            self._retry_text = f"cannot reach the gateway at {self._endpoint}: {failure.reason}"
        else:
            self._retry_text = f"this daemon is refused by the gateway at {self._endpoint}: {failure.reason}"
        self._set(failure.state, failure.reason)
        if failure.refusal is not None:
            self._count_refusal(failure.state, failure.refusal)

    def _count_refusal(self, state: LinkState, refusal: Refusal) -> None:
        self._refusals += state is LinkState.REFUSED
        if state is LinkState.STALE_GENERATION:
            self._log.failed(f"{self._retry_text}. Nothing more is sent", None, level=LogLevel.error)
        elif self._refusals < REFUSALS_UNTIL_FINAL or self.refusal is not None:
            return
        self.refusal = refusal
        self._refused(refusal)

    def retry_delay(self) -> float:
        """Return the seconds until the next attempt, and log why it is needed unless it is no failure."""
        delay = self._backoffs.get(self.state, self._backoff).delay()
        if self._retry_text and self.state is not LinkState.STOPPED and not self.is_final:
            level = LogLevel.error if self.state is LinkState.REFUSED else LogLevel.warn
            self._log.failed(self._retry_text, delay, level=level)
        return delay

    def _reset(self) -> None:
        self._backoff = Backoff(FIRST_RECONNECT_SECONDS, MAX_RECONNECT_SECONDS)
        self._backoffs = {
            LinkState.REFUSED: Backoff(FIRST_REFUSED_SECONDS, MAX_RECONNECT_SECONDS),
            LinkState.SOURCE_IN_USE: Backoff(FIRST_REFUSED_SECONDS, MAX_IN_USE_SECONDS),
        }

    def _set(self, state: LinkState, reason: str) -> None:
        if (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        if self._changed is not None:
            try:
                self._changed(state, reason)
            except Exception:
                _log.failure("unhandled error in state_changed")
