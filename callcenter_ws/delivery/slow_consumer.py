"""Tells a slow client, which is fed from the history, from one that reads nothing, which is closed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callcenter_ws.errors import CloseCode
from callcenter_ws.interfaces import Transport
from callcenter_ws.runtime.clock import Clock, Timer

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client


class SlowConsumerWatch:
    """Watches a blocked socket; as long as it takes some bytes it may go on."""

    __slots__ = ("_client", "_clock", "_timeout", "_timer", "_transport", "_unsent")

    def __init__(self, clock: Clock, transport: Transport, timeout: float, client: Client) -> None:
        self._clock = clock
        self._transport = transport
        self._timeout = timeout
        self._client = client
        self._timer: Timer | None = None
        self._unsent = 0

    def start(self) -> None:
        """The socket is blocked from now on."""
        self.stop()
        self._look_later()

    def stop(self) -> None:
        """The socket takes bytes again, or is closed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_later(self) -> None:
        self._unsent = self._transport.unsent_bytes()
        self._timer = self._clock.call_later(self._timeout, self._look)

    def _look(self) -> None:
        if self._transport.unsent_bytes() < self._unsent:
            self._look_later()
        else:
            self._client.close(CloseCode.SLOW_CONSUMER)
