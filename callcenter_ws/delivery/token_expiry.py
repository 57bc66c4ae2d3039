"""The end of a session's token: announced a minute before, then the connection is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callcenter_ws.errors import CloseCode
from callcenter_ws.events.frames import control_frame
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import rfc3339

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client

NOTICE = 60.0
"""Seconds before its end at which a client is told (PROTOCOL section 1.2)."""

_LONGEST_SLEEP = 86_400.0


class TokenExpiry:
    """Watches one client's token."""

    __slots__ = ("_client", "_clock", "_expires_at", "_noticed", "_timer")

    def __init__(self, clock: Clock, client: Client) -> None:
        self._clock = clock
        self._client = client
        self._expires_at: float | None = None
        self._noticed = False
        self._timer: Timer | None = None

    def set(self, expires_at: float | None) -> None:
        """Watch a token that ends at that Unix time; None never ends."""
        self.stop()
        self._expires_at = expires_at
        self._noticed = False
        self._sleep()

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def announce_if_soon(self) -> None:
        """Tell the client when its token ends within the notice and it was not told yet."""
        if self._expires_at is None or self._noticed or self._clock.time() < self._expires_at - NOTICE:
            return
        self._noticed = True
        self._client.send(control_frame("session.expiring", {"expires_at": rfc3339(self._expires_at)}))

    def _sleep(self) -> None:
        if self._expires_at is None:
            return
        wait = self._expires_at - self._clock.time()
        if not self._noticed and wait > NOTICE:
            wait -= NOTICE
        self._timer = self._clock.call_later(min(max(wait, 0.0), _LONGEST_SLEEP), self._wake)

    def _wake(self) -> None:
        if self._expires_at is not None and self._clock.time() >= self._expires_at:
            self._client.close(CloseCode.TOKEN_EXPIRED)
            return
        self.announce_if_soon()
        self._sleep()
