"""Bytes of one AMP connection to boxes and back, with a bound on everything.

Twisted's parser limits the length of a key and of a value, but not their number; its writer never looks at
whether the peer reads; and it starts TLS, keeps passed file descriptors and drops the link as the peer likes.
``GatewayAMP`` is that parser with these doors closed.
"""

# mypy: allow-untyped-calls
# Twisted has no annotations on most of AMP.

from __future__ import annotations

import os
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IPushProducer, ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.logger import Logger
from twisted.protocols import amp
from twisted.python.failure import Failure
from zope.interface import implementer

from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.transports import held_bytes, unsent_bytes

BOX_BYTES = 614_400
BOX_KEYS = 64
STRANGER_BOX_BYTES = 16_384
STRANGER_BOX_KEYS = 8
"""What a peer may send in one box, and before it has authenticated: a token and little more."""

UNWRITTEN_BYTES = 4_194_304
READ_TIMEOUT = 60.0
_HANG_UP_TIMEOUT = 5.0

_log = Logger()


class GatewayAMP(amp.BinaryBoxProtocol):
    """One connection of a daemon.

    The reader stands still while anybody holds it (``hold``), and while the peer does not read what is
    written to it. Whoever breaks the rules is cut off with one log line; see ``cut_off``.

    Args:
        session: the IBoxReceiver that boxes go to; it may have a method ``drained``, called whenever the
            peer has read everything written to it.

    Attributes:
        peer: who it is, for log lines.
        trusted: it came over a unix socket, whose file mode has decided that it may.
        writable: the peer keeps up with what is written to it.
        is_cut: the connection is about to end.
    """

    # Twisted's interfaces are not understood by mypy without a plugin.
    transport: Any

    def __init__(self, session: Any, clock: Clock) -> None:
        super().__init__(session)
        self._session = session
        self._clock = clock
        self._holds: set[str] = set()
        self._timers: dict[str, Timer] = {}
        self.is_cut = False
        self._box_keys = 0
        self._box_bytes = 0
        self._most_keys = STRANGER_BOX_KEYS
        self._most_bytes = STRANGER_BOX_BYTES
        self._written = 0
        self.peer = "unconnected"
        self.trusted = False
        self.writable = True

    # Connection

    def makeConnection(self, transport: Any) -> None:
        """Take over a fresh connection."""
        host, peer = transport.getHost(), transport.getPeer()
        self.trusted = isinstance(host, UNIXAddress)
        self.peer = f"unix:{_path(host)}" if self.trusted else _address(peer)
        if ITCPTransport.providedBy(transport):
            transport.setTcpNoDelay(True)
            # A peer that vanished without a word would otherwise stay for ever.
            transport.setTcpKeepAlive(True)
        transport.registerProducer(_Outlet(self), True)
        super().makeConnection(transport)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Forget the connection; the session learns of it through ``stopReceivingBoxes``."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        super().connectionLost(reason)
        self.transport = None

    def admit(self) -> None:
        """It is known who the peer is: its boxes may be as large as any."""
        self._most_keys, self._most_bytes = BOX_KEYS, BOX_BYTES

    def cut_off(self, reason: str) -> None:
        """End the connection of a peer that broke the rules.

        What was answered before this turn of the reactor ends is still sent. Harmless when called again.

        Args:
            reason: goes to the log; never holds a payload or a token.
        """
        if self.is_cut or self.transport is None:
            return
        _log.warn("AMP peer {peer} is cut off: {reason}", peer=self.peer, reason=reason)
        self.hang_up()

    def hang_up(self) -> None:
        """End the connection in the next turn of the reactor, or 5 s later if the peer does not let go."""
        if self.is_cut or self.transport is None:
            return
        self.is_cut = True
        self.hold("cut off")
        self._timers["close"] = self._clock.call_later(0, self._close)
        self._timers["abort"] = self._clock.call_later(_HANG_UP_TIMEOUT, self.abort)

    def _close(self) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def abort(self) -> None:
        """End the connection at once, whatever is unsent."""
        if self.transport is not None:
            self.transport.abortConnection()

    # Reading

    def hold(self, why: str) -> None:
        """Read nothing from this peer until ``release`` is called with the same ``why``."""
        self._holds.add(why)
        if not self.paused and self.transport is not None:
            self.paused = True
            self.transport.pauseProducing()

    def release(self, why: str) -> None:
        """Take back a ``hold``; reading goes on in the next turn of the reactor if nothing else holds it."""
        if why in self._holds:
            self._holds.discard(why)
            # Not at once: this may run inside the parser's own loop, which cannot be entered twice.
            self._timers["read on"] = self._clock.call_later(0, self._read_on)

    def _read_on(self) -> None:
        if self.paused and not self._holds and self.transport is not None:
            self.paused = False
            self.transport.resumeProducing()
            self.dataReceived(b"")

    def dataReceived(self, data: bytes) -> None:
        """Parse what came, unless the peer was cut off."""
        if not self.is_cut:
            super().dataReceived(data)

    def proto_init(self, string: bytes) -> str:
        """The first key of a box: begin to count."""
        self._box_keys = self._box_bytes = 0
        state: str = super().proto_init(string)
        return state

    def proto_key(self, string: bytes) -> str:
        """A key, or the end of the box."""
        self._box_keys += 1
        if not self._fits(string):
            return "init"
        state: str = super().proto_key(string)
        return state

    def proto_value(self, string: bytes) -> str:
        """A value."""
        if not self._fits(string):
            return "init"
        state: str = super().proto_value(string)
        return state

    def _fits(self, string: bytes) -> bool:
        self._box_bytes += 2 + len(string)
        if string and self._box_keys > self._most_keys:
            self.cut_off(f"a box of more than {self._most_keys} keys")
        elif self._box_bytes > self._most_bytes:
            self.cut_off(f"a box of more than {self._most_bytes} bytes")
        return not self.is_cut

    def lengthLimitExceeded(self, length: int) -> None:  # noqa: N802 - Twisted's name
        """Only a key can be too long: this is not AMP."""
        self.cut_off(f"a key of {length} bytes, AMP has at most 255; does it speak AMP at all?")

    def fileDescriptorReceived(self, descriptor: int) -> None:  # noqa: N802 - Twisted's name
        """No command takes a file descriptor, and kept ones would run us out of them."""
        os.close(descriptor)
        self.cut_off("it passed a file descriptor")

    # Writing

    def sendBox(self, box: amp.AmpBox) -> None:  # noqa: N802 - Twisted's name
        """Write a box.

        Raises:
            ConnectionLost: the peer is gone.
        """
        if self.transport is None:
            raise ConnectionLost
        data = box.serialize()
        if not self.writable and held_bytes(self.transport) + len(data) > UNWRITTEN_BYTES:
            self.cut_off(f"it does not read: more than {UNWRITTEN_BYTES} bytes wait for it")
            return
        self._written += len(data)
        self.transport.write(data)

    def unhandledError(self, failure: Failure) -> None:  # noqa: N802 - Twisted's name
        """A bug: everything that is expected was answered before it came here."""
        if failure.check(ConnectionLost) is None:
            _log.failure("AMP peer {peer}: an error that nobody handled", failure, peer=self.peer)
            self.hang_up()

    def peer_reads_not(self) -> None:
        """The transport has more than it can pass on. It says so again with every write."""
        if self.writable:
            self.writable = False
            self.hold("unread")
            self._expect_reading()

    def _expect_reading(self) -> None:
        self._timers["unread"] = self._clock.call_later(READ_TIMEOUT, self._check_reading, self._read_by_peer())

    def _check_reading(self, read_before: int) -> None:
        if self._read_by_peer() > read_before:
            self._expect_reading()
        else:
            self.cut_off(f"it has read nothing for {READ_TIMEOUT:g} s")

    def _read_by_peer(self) -> int:
        return self._written - unsent_bytes(self.transport)

    def peer_reads_again(self) -> None:
        """The transport has passed everything on."""
        self.writable = True
        timer = self._timers.pop("unread", None)
        if timer is not None:
            timer.cancel()
        self.release("unread")
        self._session.drained()


@implementer(IPushProducer)
class _Outlet:
    """What the transport knows of us as a producer.

    Not the protocol itself: there ``pauseProducing`` means the other direction.
    """

    def __init__(self, connection: GatewayAMP) -> None:
        self._connection = connection

    def pauseProducing(self) -> None:
        self._connection.peer_reads_not()

    def resumeProducing(self) -> None:
        if not self._connection.writable:
            self._connection.peer_reads_again()

    def stopProducing(self) -> None:
        """Nothing to do: the connection's end is told to the protocol."""


def _path(address: UNIXAddress) -> str:
    name = address.name
    return os.fsdecode(name) if name else "?"


def _address(address: Any) -> str:
    host = getattr(address, "host", None)
    return type(address).__name__ if host is None else f"{host}:{address.port}"
