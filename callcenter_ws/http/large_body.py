"""Writes the large body of a response in pieces, as the peer reads it, with the minimum rate of all peers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.outgoing import OutgoingBytes
from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.runtime.transports import TwistedTransport, buffered_bytes, unsent_bytes

PIECE_BYTES = 65_536
"""Bytes that are passed to a transport at once. A body of at most this size is written as a whole."""


@dataclass(slots=True)
class BodyWriting:
    """What writing large bodies needs; one for all sites.

    Attributes:
        limits: may be replaced.
    """

    clock: Clock
    slicer: Slicer
    outgoing: OutgoingBytes
    limits: Limits


@implementer(IPushProducer)
class LargeBody:
    """The body of one response. Implements ``delivery.outgoing.UnsentPeer``; finishes the request at its end.

    The connection is aborted when its peer reads less than ``limits.min_rate``, or has to pay for all peers together.
    """

    def __init__(self, request: Request, body: bytes, writing: BodyWriting) -> None:
        self._request = request
        self._body = body
        self._written = 0
        self._is_paused = self._is_over = False
        self._writing = writing
        self._watch = SlowConsumerWatch(writing.clock, self, writing, self.close_slow)

    def start(self) -> None:
        """Begin to write; the headers have been written."""
        self._request.notifyFinish().addBoth(self._ended)
        self._request.registerProducer(self, True)
        self._writing.outgoing.add(self)
        self._watch.start()
        self._writing.slicer.call(self._write_piece)

    def _write_piece(self) -> None:
        if self._is_paused or self._is_over:
            return
        piece = self._body[self._written : self._written + PIECE_BYTES]
        self._written += len(piece)
        self._request.write(piece)
        if self._written == len(self._body):
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._write_next()

    def _write_next(self) -> None:
        # Writing may have paused it.
        if not self._is_paused:
            self._writing.slicer.call(self._write_piece)

    def _ended(self, result: object) -> None:
        """Release everything: the body was written, or the connection is lost."""
        self._is_over = True
        self._watch.stop()
        self._writing.outgoing.discard(self)

    # Called by the transport

    def pauseProducing(self) -> None:
        """Write nothing for now."""
        self._is_paused = True

    def resumeProducing(self) -> None:
        """Continue to write."""
        self._is_paused = False
        self._writing.slicer.call(self._write_piece)

    def stopProducing(self) -> None:
        """Do nothing: the request reports the loss of the connection."""

    # What waits

    @property
    def _transport(self) -> TwistedTransport:
        return getattr(self._request.channel, "transport", None)

    @property
    def is_stranger(self) -> bool:
        """Whether the request has no token."""
        return self._request.getHeader(b"Authorization") is None

    def unsent_bytes(self) -> int:
        """Return the bytes that the peer has not received."""
        return len(self._body) - self._written + unsent_bytes(self._transport)

    def buffered_bytes(self) -> int:
        """Return the bytes in the buffers of the transport."""
        return buffered_bytes(self._transport)

    def unsent_frames(self) -> Sequence[bytes]:
        """Return the body, which is held until it has been written."""
        return (self._body,)

    def close_slow(self) -> None:
        """Abort the connection."""
        if not self._is_over:
            self._transport.abortConnection()
