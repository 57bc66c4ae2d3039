"""A response that is written in pieces: each is made when the peer has read what was written before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.web.server import Request
from zope.interface import implementer

from callcenter_ws.delivery.slow_consumer import SlowConsumerWatch
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.responses import log_unhandled
from callcenter_ws.runtime.transports import TwistedTransport, buffered_bytes, unsent_bytes

_ASSUMED_LENGTH = 2**62


@implementer(IPushProducer)
class PieceWriter:
    """Writes the body of one response and finishes it. Implements ``delivery.outgoing.UnsentPeer``.

    What waits in memory is what the transport buffers: one piece, and the one that filled it. The connection is aborted
    when its peer reads less than ``limits.min_rate``, or has to pay for all peers together.

    Args:
        request: its status and headers are set.
        pieces: the body; making one takes at most about a millisecond.
        writing: its slicer makes one piece for each response in turn.
    """

    def __init__(self, request: Request, pieces: Iterator[bytes], writing: BodyWriting) -> None:
        self._request = request
        self._pieces = pieces
        self._slicer = writing.slicer
        self._outgoing = writing.outgoing
        self._written = 0
        self._watch = SlowConsumerWatch(writing.clock, self, writing, self.close_slow)
        self._is_paused = False
        self._is_scheduled = False
        self._is_done = False

    def start(self) -> None:
        """Write the first piece in a later turn."""
        self._request.notifyFinish().addErrback(lambda _: self.stopProducing())
        self._request.registerProducer(self, True)
        self._watch.start()
        self._schedule()

    def pauseProducing(self) -> None:
        """Write nothing for now: the transport is full."""
        self._is_paused = True
        self._outgoing.add(self)

    def resumeProducing(self) -> None:
        """Continue: the transport is empty."""
        self._is_paused = False
        self._outgoing.discard(self)
        self._schedule()

    def stopProducing(self) -> None:
        """Write nothing any more: the connection is lost."""
        self._end()
        self._pieces = iter(())

    def _schedule(self) -> None:
        if not (self._is_scheduled or self._is_paused or self._is_done):
            self._is_scheduled = True
            self._slicer.call(self._write)

    def _write(self) -> None:
        self._is_scheduled = False
        if self._is_paused or self._is_done:
            return
        try:
            piece = next(self._pieces, None)
        except Exception:
            log_unhandled(Failure(), self._request)
            self._end()
            # The peer sees that the response is incomplete: its last chunk is missing.
            self._request.loseConnection()
            return
        if piece is None:
            self._end()
            self._request.unregisterProducer()
            self._request.finish()
        else:
            self._written += len(piece)
            self._request.write(piece)
            self._schedule()

    def _end(self) -> None:
        self._is_done = True
        self._outgoing.discard(self)
        self._watch.stop()

    # What waits

    @property
    def _transport(self) -> TwistedTransport:
        return getattr(self._request.channel, "transport", None)

    @property
    def is_stranger(self) -> bool:
        """Whether the request has no token."""
        return False

    def unsent_bytes(self) -> int:
        """Return the bytes that the peer has not received; the length of the body is not known, and taken as huge."""
        return _ASSUMED_LENGTH - self._written + unsent_bytes(self._transport)

    def buffered_bytes(self) -> int:
        """Return the bytes in the buffers of the transport."""
        return buffered_bytes(self._transport)

    def unsent_frames(self) -> Sequence[bytes]:
        """Return nothing: no piece is made before it can be written."""
        return ()

    def close_slow(self) -> None:
        """Abort the connection."""
        if not self._is_done:
            self._transport.abortConnection()
