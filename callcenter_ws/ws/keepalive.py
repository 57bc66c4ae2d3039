"""Keepalive: the gateway pings each client and closes connections that stop responding (RFC 6455 section 5.5.2)."""

from __future__ import annotations

from callcenter_ws.delivery.user_probes import PROBE_TIMEOUT_SECONDS
from callcenter_ws.errors import CloseCode
from callcenter_ws.runtime.clock import Timer
from callcenter_ws.ws.autobahn import TunedServerProtocol

PING_BYTES = 256
"""Upper bound in bytes of a ping on the wire, TLS overhead included."""


class KeepaliveProtocol(TunedServerProtocol):
    """Autobahn's automatic pings, with a timeout that tolerates a ping queued behind unsent data.

    Autobahn sends a ping after ``autoPingInterval`` seconds without data from the client. Any data that arrives,
    a pong included, restarts that interval and cancels the timeout. A client that is slow to read must not be closed
    here: its ping may still be queued. The SlowConsumerWatch of its session closes it when it reads nothing at all.
    """

    autoPingInterval: float  # noqa: N815 - Autobahn's name
    autoPingTimeout: float  # noqa: N815
    _write_paused = False
    """Whether the transport's buffer is full, or a backlog waits for it."""
    _unsent_at_ping = 0
    _probe_timer: Timer | None = None
    _unsent_at_probe = 0

    def start_keepalive(self) -> None:
        """Schedule the first ping."""
        if self.autoPingInterval:
            self.autoPingPendingCall = self.factory._batched_timer.call_later(self.autoPingInterval, self._sendAutoPing)

    def probe(self) -> None:
        """Ping the peer, and close the connection unless anything arrives in time; see ``interfaces.Transport``."""
        if self.state != self.STATE_OPEN or self._probe_timer is not None:
            return
        self.sendPing(b"")
        self._unsent_at_probe = self._unsent_beside_ping()
        self._probe_timer = self.factory._batched_timer.call_later(PROBE_TIMEOUT_SECONDS, self._probe_timed_out)
        # For this time only: otherwise, nothing is done for each piece of data.
        self.dataReceived = self._probe_answered  # type: ignore[method-assign]  # of this connection alone

    def _probe_answered(self, data: bytes) -> None:
        self.end_probe()
        self.dataReceived(data)

    def end_probe(self) -> None:
        """Await no answer to a probe any longer."""
        if self._probe_timer is not None:
            self._probe_timer.cancel()
            self._probe_timer = None
            del self.dataReceived

    def _probe_timed_out(self) -> None:
        """Close the connection, unless the peer has read some of what was written before the ping."""
        self.end_probe()
        if self._unsent_beside_ping() >= self._unsent_at_probe:
            self._fail_connection(CloseCode.KEEPALIVE_TIMEOUT, "")

    def unsent_bytes(self) -> int:
        """Return the bytes written to the transport that the peer has not received; see ``interfaces.Transport``."""
        raise NotImplementedError

    def _sendAutoPing(self) -> None:  # noqa: N802 - Autobahn's name
        super()._sendAutoPing()
        self._unsent_at_ping = self._unsent_beside_ping()

    def onAutoPingTimeout(self) -> None:
        """Close the connection if no data arrived since the ping, unless the ping is still queued.

        The timeout is extended while the transport is paused or the amount of unsent data shrinks.
        """
        self.autoPingTimeoutCall = None
        unsent = self._unsent_beside_ping()
        if self._write_paused or unsent < self._unsent_at_ping:
            self._unsent_at_ping = unsent
            self.autoPingTimeoutCall = self.factory._batched_timer.call_later(
                self.autoPingTimeout, self.onAutoPingTimeout
            )
        else:
            self._fail_connection(CloseCode.KEEPALIVE_TIMEOUT, "")

    def _unsent_beside_ping(self) -> int:
        unsent = self.unsent_bytes()
        return unsent if unsent > PING_BYTES else 0
