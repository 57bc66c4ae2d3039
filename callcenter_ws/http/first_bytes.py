"""The entrance: a new connection, until it has said what it wants.

Nearly all want a WebSocket, and say so in one segment of the usual shape. They are let in at a door; who wants
anything else, or says it in any other way, is twisted.web's, which parses everything that HTTP allows.
"""

# The names that Twisted calls.

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.http_head import Head, read_plain_head
from callcenter_ws.runtime.transports import switch_protocol

if TYPE_CHECKING:
    from callcenter_ws.http.site import GatewaySite

UpgradeHandler = Callable[[Head, Any], Refusal | None]
"""Takes a connection over whose head is read. If it refuses, it has done nothing, and a resource has to say so."""


class FirstBytesProtocol(Protocol):
    """A connection that has said nothing yet."""

    transport: Any  # ITransport, and more: mypy cannot read what zope.interface declares

    def __init__(self, site: GatewaySite, address: Any) -> None:
        self._site = site
        self._address = address

    def connectionMade(self) -> None:
        """Give the peer so long and no longer, TLS handshake included."""
        self._site.waiting.add(self)

    def dataReceived(self, data: bytes) -> None:
        """Take the first bytes, and leave."""
        seconds_left = self._site.waiting.leave(self)
        head = read_plain_head(data)
        door = None if head is None else self._site.upgrade_handlers.get(head.path)
        refusal = None
        if head is not None and door is not None:
            refusal = door(head, self.transport)
            if refusal is None:
                return
        channel = self._site.channel(self._address, seconds_left)
        channel.upgrade_refusal = refusal
        switch_protocol(self.transport, channel)
        channel.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The peer has left without a word."""
        self._site.waiting.leave(self)

    def deadline_passed(self) -> None:
        """The peer has said nothing in time."""
        self.transport.abortConnection()
