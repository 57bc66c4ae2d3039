"""The end of a session's token: announced a minute before, then the session is closed."""

from __future__ import annotations

from typing import Protocol

from callcenter_ws.runtime.clock import Clock, Timer

NOTICE_SECONDS = 60.0
"""Time before its end at which a client is sent ``session.expiring``."""

_MAX_SLEEP_SECONDS = 86_400.0


class TokenHolder(Protocol):
    """The session whose token is watched. An object, because callbacks would take 250 bytes for each connection."""

    def token_expires_soon(self, expires_at: float) -> None:
        """Announce the end at that Unix time; called once for each token, ``NOTICE_SECONDS`` before it."""

    def token_expired(self) -> None:
        """End the session."""


class TokenExpiry:
    """Watches the expiry of one client's token."""

    __slots__ = ("_clock", "_expires_at", "_holder", "_noticed", "_timer")

    def __init__(self, clock: Clock, holder: TokenHolder) -> None:
        self._clock = clock
        self._holder = holder
        self._expires_at: float | None = None
        self._noticed = False
        self._timer: Timer | None = None

    def set(self, expires_at: float | None) -> None:
        """Watch a token that expires at that Unix time; None: it never does."""
        self.stop()
        self._expires_at = expires_at
        self._noticed = False
        self._schedule()

    def stop(self) -> None:
        """Stop watching."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def announce_if_soon(self) -> None:
        """Announce the end if the token expires within the notice and that was not done yet."""
        if self._expires_at is None or self._noticed or self._clock.time() < self._expires_at - NOTICE_SECONDS:
            return
        self._noticed = True
        self._holder.token_expires_soon(self._expires_at)

    def _schedule(self) -> None:
        if self._expires_at is None:
            return
        delay = self._expires_at - self._clock.time()
        if not self._noticed and delay > NOTICE_SECONDS:
            delay -= NOTICE_SECONDS
        self._timer = self._clock.call_later(min(max(delay, 0.0), _MAX_SLEEP_SECONDS), self._timer_fired)

    def _timer_fired(self) -> None:
        if self._expires_at is not None and self._clock.time() >= self._expires_at:
            self._holder.token_expired()
            return
        self.announce_if_soon()
        self._schedule()
