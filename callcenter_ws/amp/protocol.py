"""One AMP connection of a daemon: parsing and writing boxes within limits.

``twisted.protocols.amp`` limits the length of keys and values but not their number, writes regardless of whether the
peer reads, and lets the peer start TLS, pass file descriptors, and end the connection with an exception.
``GatewayAMP`` extends its parser to prevent all of these.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import os
from typing import Protocol

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.runtime.client_address import UNIX_SOCKET
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.transports import TwistedTransport, buffered_bytes, unsent_bytes

MAX_BOX_BYTES = 614_400
MAX_BOX_KEYS = 64
"""The limits of one box."""

UNCOUNTED_BOX_BYTES = 65_536
"""An incomplete box counts for ``limits.incoming_bytes`` above this."""

MAX_UNAUTHENTICATED_BOX_BYTES = 16_384
MAX_UNAUTHENTICATED_BOX_KEYS = 8
"""The limits of one box before the peer has authenticated: a token and little more."""

BOXES_PER_TURN = 16
"""Boxes of one peer that are dispatched before others have their turn."""

BYTES_PER_UNIT = 4_096
KEYS_PER_UNIT = 8
"""A box takes one unit of a turn, and one more for so many bytes or keys."""

MAX_UNWRITTEN_BYTES = 4_194_304
READ_TIMEOUT_SECONDS = 60.0

UNHELD_BYTES = 16_384
"""A connection is read up to so many bytes whatever others of its network have sent."""

MAX_HOLD_SECONDS = 5.0
"""The longest time for which nothing is read from a peer whose network has sent too many bytes."""

_CLOSE_TIMEOUT_SECONDS = 5.0


class Session(Protocol):
    """The part of a session that the protocol uses; besides, a session is Twisted's ``IBoxReceiver``."""

    def closing(self, reason: str, *, is_warning: bool) -> None:
        """Note that the gateway closes the connection of a peer that has authenticated, and why."""

    def write_drained(self) -> None:
        """Go on writing: the transport has written everything to the peer."""


class GatewayAMP(amp.BinaryBoxProtocol):
    """The server's protocol of one AMP connection.

    It does not read from the peer while there is any reason to pause (``pause_reading``), such as a peer that does not
    read what is written to it. A peer that violates the protocol or a limit is disconnected with one log line; see
    ``disconnect``.

    Args:
        session: the IBoxReceiver of the boxes. Its method ``write_drained`` is called whenever the transport has
            written everything to the peer.

    Attributes:
        peer: the address of the peer, for log lines.
        ip: the address of the peer without its port.
        network: the network that the peer is counted by until it has authenticated.
        trusted: whether the connection came over a unix socket, whose file mode has authorized it.
        writable: whether the transport accepts more; False while its buffer is full.
        is_closing: whether the connection is about to end.
    """

    transport: TwistedTransport

    def __init__(self, session: Session, clock: Clock, limits: PeerLimits) -> None:
        super().__init__(session)
        self._session = session
        self._clock = clock
        self._limits = limits
        self._boxes_left = BOXES_PER_TURN
        self._waits_for_turn = False
        self._is_authenticated = False
        self._unauthenticated_bytes = 0
        self._pause_reasons: set[str] = set()
        self._timers: dict[str, Timer] = {}
        self.is_closing = False
        self._box_keys = 0
        self._box_bytes = 0
        self._counted_bytes = 0
        self._max_box_keys = MAX_UNAUTHENTICATED_BOX_KEYS
        self._max_box_bytes = MAX_UNAUTHENTICATED_BOX_BYTES
        self._written_bytes = 0
        self.peer = "unconnected"
        self.network = self.ip = UNIX_SOCKET
        self.trusted = False
        self.writable = True

    # Connection

    def makeConnection(self, transport: TwistedTransport) -> None:
        """Start on a new connection."""
        host, peer = transport.getHost(), transport.getPeer()
        self.trusted = isinstance(host, UNIXAddress)
        self.peer = f"unix:{_path(host)}" if self.trusted else _host_and_port(peer)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            # Without keepalive, a connection whose peer is lost without a FIN or RST would stay open forever.
            transport.setTcpKeepAlive(True)
        transport.registerProducer(_WriteProducer(self), True)
        if not self.trusted:
            self.ip = getattr(peer, "host", None) or UNIX_SOCKET
            self.network = network_of(self.ip)
            self._limits.budget.open(self, self.network, is_proxy=self._is_proxy(peer))
        super().makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Cancel the timers and end the session through ``stopReceivingBoxes``."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._limits.budget.close(self)
        self._limits.incoming.remove(self)
        if self._waits_for_turn:
            self._waits_for_turn = False
            self._limits.turns.cancel(self._share, self)
        super().connectionLost(reason)
        self.transport = None

    def authenticated(self) -> None:
        """Count this peer as authenticated, and accept boxes up to the limits of such peers from now on."""
        if self._waits_for_turn:
            self._limits.turns.cancel(self._share, self)
            self._limits.turns.wait(self, self)
        self._is_authenticated = True
        self._limits.budget.close(self)
        self._max_box_keys, self._max_box_bytes = MAX_BOX_KEYS, MAX_BOX_BYTES

    def disconnect(self, reason: str) -> None:
        """Log ``reason`` as a warning and close the connection of a peer that broke a rule.

        Answers written before this turn of the reactor ends are still sent. Further calls have no effect.

        Args:
            reason: must not contain a payload or a token.
        """
        if self.is_closing or self.transport is None:
            return
        if not self._is_authenticated:
            self.log_refusal("AMP peer {peer} is disconnected: {reason}", is_warning=True, reason=reason)
        self._close(reason, is_warning=True)

    def log_refusal(self, text: str, *, is_warning: bool = False, **fields: object) -> None:
        """Log a line that any peer can cause; ``text`` names the ``peer``."""
        self._limits.log.write(self.network, text, is_warning=is_warning, peer=self.peer, ip=self.ip, **fields)

    def evict(self) -> None:
        """Abort the connection: its place is needed, or its data cannot be parsed."""
        self.is_closing = True
        self.abort()

    def close(self) -> None:
        """Close the connection, because the gateway stops; see ``disconnect`` for peers that broke a rule."""
        self._close("this node is shutting down", is_warning=False)

    def _close(self, reason: str, *, is_warning: bool) -> None:
        """Close the connection in the next turn of the reactor; abort it if it is still open 5 s later."""
        if self.is_closing or self.transport is None:
            return
        if self._is_authenticated:
            self._session.closing(reason, is_warning=is_warning)
        self.is_closing = True
        self.pause_reading("closing")
        self._timers["close"] = self._clock.call_later(0, self._lose_connection)
        self._timers["abort"] = self._clock.call_later(_CLOSE_TIMEOUT_SECONDS, self.abort)

    def _lose_connection(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def abort(self) -> None:
        """Close the connection at once and discard unsent data."""
        if self.transport is not None:
            self.transport.abortConnection()

    # Reading

    def pause_reading(self, reason: str) -> None:
        """Read nothing from the peer until ``resume_reading`` is called with the same reason."""
        self._pause_reasons.add(reason)
        if not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pauseProducing()

    def resume_reading(self, reason: str) -> None:
        """Remove a reason of ``pause_reading``; with the last one, reading resumes in the next turn of the reactor."""
        if reason in self._pause_reasons:
            self._pause_reasons.discard(reason)
            # Not now: this may run inside the parser's loop, which is not reentrant.
            self._timers["resume"] = self._clock.call_later(0, self._resume)

    def _resume(self) -> None:
        if self.paused and not self._pause_reasons and self.transport is not None:
            self.paused = False
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """Parse received bytes, some in this turn; ignore them while the connection is closing."""
        if self.is_closing:
            return
        if data and not self._is_authenticated:
            self._unauthenticated_bytes += len(data)
            seconds = self._limits.budget.received(self.network, len(data))
            if seconds and self._unauthenticated_bytes > UNHELD_BYTES and "bytes" not in self._pause_reasons:
                self.pause_reading("bytes")
                self._timers["bytes"] = self._clock.call_later(
                    min(seconds, MAX_HOLD_SECONDS), self.resume_reading, "bytes"
                )
        self._boxes_left = BOXES_PER_TURN
        if self._limits.turns.left <= 0:
            self._wait_for_turn()
        super().dataReceived(data)
        if self._box_bytes - self._counted_bytes > UNCOUNTED_BOX_BYTES:
            self._count_incoming()

    def _count_incoming(self) -> None:
        """Count a large box that is not complete for ``limits.incoming_bytes``."""
        count, self._counted_bytes = self._box_bytes - self._counted_bytes, self._box_bytes
        self._limits.incoming.add(self, self.network, count)

    def give_up(self) -> None:
        """Disconnect the peer: others need the memory of its incomplete box."""
        self.disconnect("too many bytes of boxes that are not complete")

    def _box_done(self) -> None:
        """Count the work of a box; leave what has arrived behind it to later turns if this one has no room for it."""
        turns = self._limits.turns
        turns.spend(1 + self._box_bytes // BYTES_PER_UNIT + self._box_keys // KEYS_PER_UNIT)
        self._box_bytes = 0
        if self._counted_bytes:
            self._counted_bytes = 0
            self._limits.incoming.remove(self)
        self._boxes_left -= 1
        # Twisted keeps in these what it has received, and how much of it is parsed.
        if (turns.left <= 0 or self._boxes_left <= 0) and len(self._unprocessed) > self._compatibilityOffset:
            self._wait_for_turn()

    def _wait_for_turn(self) -> None:
        if not self._waits_for_turn and self.transport is not None:
            self._waits_for_turn = True
            self.pause_reading("turn")
            self._limits.turns.wait(self._share, self)

    def take_turn(self) -> None:
        """Dispatch more of the boxes that have arrived."""
        self._waits_for_turn = False
        self._pause_reasons.discard("turn")
        if self._pause_reasons or self.transport is None:
            return
        self.paused = False
        self._boxes_left = BOXES_PER_TURN
        super().dataReceived(b"")
        if not self.paused and self.transport is not None:
            self.transport.resumeProducing()

    @property
    def _share(self) -> object:
        return self if self._is_authenticated else self.network

    def _is_proxy(self, peer: object) -> bool:
        host = getattr(peer, "host", None)
        return host is not None and self._limits.proxies.trusts(self._limits.proxies.client_ip(host, ()))

    def proto_init(self, string: bytes) -> str:
        """Reset the counters at the first key of a box."""
        self._box_keys = self._box_bytes = 0
        state: str = super().proto_init(string)
        return state

    def proto_key(self, string: bytes) -> str:
        """Accept a key, or the empty key that ends the box."""
        self._box_keys += 1
        if not self._is_within_limits(string):
            return "init"
        state: str = super().proto_key(string)
        if not string:
            self._box_done()
        return state

    def proto_value(self, string: bytes) -> str:
        """Accept a value."""
        if not self._is_within_limits(string):
            return "init"
        state: str = super().proto_value(string)
        return state

    def _is_within_limits(self, string: bytes) -> bool:
        self._box_bytes += 2 + len(string)
        if string and self._box_keys > self._max_box_keys:
            self.disconnect(f"a box of more than {self._max_box_keys} keys")
        elif self._box_bytes > self._max_box_bytes:
            self.disconnect(f"a box of more than {self._max_box_bytes} bytes")
        return not self.is_closing

    def lengthLimitExceeded(self, length: int) -> None:  # noqa: N802 - Twisted's name
        """Disconnect a peer whose key is too long. Only keys can be: the length of a value has two bytes."""
        self.disconnect(f"a key of {length} bytes, the limit of AMP is 255; is this an AMP client?")

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802 - Twisted's name
        """Close a passed file descriptor and disconnect: no command takes one, and kept ones would exhaust ours."""
        os.close(descriptor)
        self.disconnect("it passed a file descriptor")

    # Writing

    def sendBox(self, box: amp.AmpBox) -> None:  # noqa: N802 - Twisted's name
        """Write a box.

        Raises:
            ConnectionLost: the connection is closed.
        """
        if self.transport is None:
            raise ConnectionLost
        data = box.serialize()
        if not self.writable and buffered_bytes(self.transport) + len(data) > MAX_UNWRITTEN_BYTES:
            self.disconnect(f"it does not read: more than {MAX_UNWRITTEN_BYTES} bytes wait for it")
            return
        self._written_bytes += len(data)
        self.transport.write(data)

    def unhandledError(self, failure: Failure) -> None:  # noqa: N802 - Twisted's name
        """Log an error that no code expected, and close. Expected failures have been answered before."""
        if failure.check(ConnectionLost) is None:
            self._limits.log.failure("unhandled error on the connection of AMP peer {peer}", failure, peer=self.peer)
            self._close("internal error of the gateway; its log has the details", is_warning=True)

    def write_buffer_full(self) -> None:
        """Pause reading until the transport has written its buffer. Transports call this again at every write."""
        if self.writable:
            self.writable = False
            self.pause_reading("write buffer full")
            self._schedule_progress_check()

    def write_buffer_drained(self) -> None:
        """Resume reading: the transport has written everything."""
        self.writable = True
        timer = self._timers.pop("progress", None)
        if timer is not None:
            timer.cancel()
        self.resume_reading("write buffer full")
        self._session.write_drained()

    def _schedule_progress_check(self) -> None:
        self._timers["progress"] = self._clock.call_later(
            READ_TIMEOUT_SECONDS, self._check_progress, self._bytes_read_by_peer()
        )

    def _check_progress(self, read_before: int) -> None:
        if self._bytes_read_by_peer() > read_before:
            self._schedule_progress_check()
        else:
            self.disconnect(f"it has read nothing for {READ_TIMEOUT_SECONDS:g} s")

    def _bytes_read_by_peer(self) -> int:
        return self._written_bytes - unsent_bytes(self.transport)


@implementer(IPushProducer)
class _WriteProducer:
    """The producer registered with the transport: forwards its flow control of what is written.

    It is separate from the protocol because the protocol's own ``pauseProducing`` concerns the other direction.
    """

    def __init__(self, protocol: GatewayAMP) -> None:
        self._protocol = protocol

    def pauseProducing(self) -> None:
        self._protocol.write_buffer_full()

    def resumeProducing(self) -> None:
        if not self._protocol.writable:
            self._protocol.write_buffer_drained()

    def stopProducing(self) -> None:
        """Do nothing: ``connectionLost`` of the protocol follows."""


def _path(address: UNIXAddress) -> str:
    name = address.name
    return os.fsdecode(name) if name else "?"


def _host_and_port(address: object) -> str:
    host = getattr(address, "host", None)
    return type(address).__name__ if host is None else f"{host}:{getattr(address, 'port', None)}"
