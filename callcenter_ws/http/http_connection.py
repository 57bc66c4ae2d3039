"""GatewayChannel: an HTTP connection with absolute deadlines, which a peer cannot extend by sending slowly."""

# The names that twisted.web calls.
# ruff: noqa: N802

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.transports import TwistedTransport

LINGER_TIMEOUT_SECONDS = 5.0
"""Seconds for which the rest of a refused body is read and discarded, so that its sender can read the response."""

CLOSE_TIMEOUT_SECONDS = 15.0
"""Seconds that a peer has to read the last bytes of a connection that is being closed."""

_LENGTH_DIGITS = 19
"""Digits of the largest accepted ``Content-Length``."""


@dataclass(frozen=True, slots=True)
class RequestTimeouts:
    """Time limits for receiving a request, in seconds.

    Attributes:
        head: from the connection (TLS handshake included) or from the first byte of a later request to its complete
            head.
        body: from the complete head to the complete body.
    """

    head: float
    body: float


class GatewayChannel(HTTPChannel):
    """An HTTP/1.1 connection with three deadlines, none of which is extended by arriving data.

    Two are those of RequestTimeouts. The third: the last bytes must be gone ``CLOSE_TIMEOUT_SECONDS`` after the close.
    Twisted's own idle timeout, which each byte restarts, matters between requests only. No deadline runs while a
    request is processed, or after a WebSocket has taken over the transport.

    Attributes:
        timeouts: the time limits.
        authenticator: verifies the tokens of requests with a large body; None if no such body is accepted.
        first_head_seconds: the time limit for the first head; None for ``timeouts.head``.
        upgrade_refusal: why the UpgradeHandler refused the first request; the resource sends it.
    """

    timeouts: RequestTimeouts
    authenticator: Authenticator | None = None
    first_head_seconds: float | None = None
    upgrade_refusal: Refusal | None = None
    transport: TwistedTransport

    def __init__(self) -> None:
        super().__init__()
        self._deadline: IDelayedCall | None = None
        self._reading_head = True

    def connectionMade(self) -> None:
        """Start the deadline of the first head."""
        super().connectionMade()
        seconds = self.first_head_seconds
        self._set_deadline(self.timeouts.head if seconds is None else seconds)

    def dataReceived(self, data: bytes) -> None:
        """Parse data; the first byte of a later request starts its deadline."""
        if self._reading_head and self._deadline is None:
            self._set_deadline(self.timeouts.head)
        super().dataReceived(data)
        # Data behind a request that was answered at once is the start of the next head.
        if self._reading_head and self._deadline is None and (rest := self.clearLineBuffer()):
            self.setLineMode(rest)

    def setLineMode(self, extra: bytes = b"") -> None:
        """Start reading the next request; ``extra`` is the data of it that has already arrived."""
        self._reading_head = True
        if extra:
            self._set_deadline(self.timeouts.head)
        super().setLineMode(extra)

    def headerReceived(self, line: bytes) -> bool:
        """Parse a header; refuse a ``Content-Length`` with more digits than ``int`` accepts."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.loseConnection()
            return False
        accepted: bool = super().headerReceived(line)
        return accepted

    def allHeadersReceived(self) -> None:
        """Start the deadline of the body: the head is complete."""
        self._reading_head = False
        self._set_deadline(self.timeouts.body)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """Cancel the deadline: the request is complete."""
        self._clear_deadline()
        super().allContentReceived()

    def linger(self) -> None:
        """Close the connection after a request that was refused early, at the latest in ``LINGER_TIMEOUT_SECONDS``."""
        self.persistent = False
        self._set_deadline(LINGER_TIMEOUT_SECONDS)

    def loseConnection(self) -> None:
        """Close the connection when everything is written, at the latest in ``CLOSE_TIMEOUT_SECONDS``."""
        self._reading_head = False
        self._set_deadline(CLOSE_TIMEOUT_SECONDS)
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the deadline."""
        self._clear_deadline()
        super().connectionLost(reason)

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.callLater(seconds, self._deadline_passed)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _deadline_passed(self) -> None:
        self._deadline = None
        self.transport.abortConnection()
