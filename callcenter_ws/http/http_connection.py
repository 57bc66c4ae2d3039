"""The HTTP connection with absolute deadlines: a peer that trickles bytes does not keep it open."""

# The names that twisted.web calls.
# ruff: noqa: N802

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel

from callcenter_ws.errors import Refusal

if TYPE_CHECKING:
    from callcenter_ws.http.site import GatewaySite

LINGER_TIMEOUT = 5.0
"""Seconds for which a refused body is still read, and thrown away, so that its sender gets to see the refusal."""

CLOSE_TIMEOUT = 15.0
"""Seconds that a peer has to take the last bytes of a connection that is being closed."""

_LENGTH_DIGITS = 19


class GatewayChannel(HTTPChannel):
    """HTTP/1.1 with three deadlines, none of which is moved by bytes that arrive.

    The head of a request must be complete ``site.handshake_timeout`` seconds after the connection was made
    (TLS handshake included) or, later, after its first byte; the body ``site.body_timeout`` seconds after
    the head; the last bytes must be gone ``CLOSE_TIMEOUT`` seconds after the close. Twisted's own idle
    timeout, which every byte restarts, then matters between requests only.

    No deadline runs while a request is answered: a WebSocket that takes the transport over leaves none.

    Attributes:
        first_head_within: seconds for the first head, if some of ``site.handshake_timeout`` have passed already.
        refused_at_door: why its first request, which is whole, was not let in as a WebSocket.
    """

    site: GatewaySite
    transport: Any  # ITransport, and more: mypy cannot read what zope.interface declares

    def __init__(self) -> None:
        super().__init__()
        self._deadline: Any = None
        self._reading_head = True
        self.first_head_within: float | None = None
        self.upgrade_refusal: Refusal | None = None

    def connectionMade(self) -> None:
        """Start the first deadline."""
        super().connectionMade()
        given = self.first_head_within
        self._set_deadline(self.site.handshake_timeout if given is None else given)

    def dataReceived(self, data: bytes) -> None:
        """Take bytes; the first one of a later request starts its deadline."""
        if self._reading_head and self._deadline is None:
            self._set_deadline(self.site.handshake_timeout)
        super().dataReceived(data)
        # What follows a request that was answered at once is the beginning of the next head.
        if self._reading_head and self._deadline is None and (rest := self.clearLineBuffer()):
            self.setLineMode(rest)

    def setLineMode(self, extra: bytes = b"") -> Any:
        """Begin the next request of the connection, with what has arrived of it already."""
        self._reading_head = True
        if extra:
            self._set_deadline(self.site.handshake_timeout)
        return super().setLineMode(extra)

    def headerReceived(self, line: bytes) -> bool:
        """Take a header, but refuse a length of more digits than ``int`` would read without complaint."""
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length" and len(value.strip()) > _LENGTH_DIGITS:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            self.loseConnection()
            return False
        accepted: bool = super().headerReceived(line)
        return accepted

    def allHeadersReceived(self) -> None:
        """The head is complete: the body's deadline takes over."""
        self._reading_head = False
        self._set_deadline(self.site.body_timeout)
        super().allHeadersReceived()

    def allContentReceived(self) -> None:
        """The request is complete."""
        self._clear_deadline()
        super().allContentReceived()

    def linger(self) -> None:
        """The request is refused before its end: no more than ``LINGER_TIMEOUT`` seconds for the rest of it."""
        self.persistent = False
        self._set_deadline(LINGER_TIMEOUT)

    def loseConnection(self) -> None:
        """Close once everything is written, or after ``CLOSE_TIMEOUT`` seconds in any case."""
        self._reading_head = False
        self._set_deadline(CLOSE_TIMEOUT)
        super().loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the deadline."""
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
