"""Functions on connected Twisted transports: unsent bytes, and switching the protocol."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from contextlib import suppress
from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper

TwistedTransport = Any  # no interface declares all attributes in use; which exist depends on the kind of socket


def buffered_bytes(transport: TwistedTransport) -> int:
    """Return the bytes that a transport buffers in this process; 0 if this is not known.

    Twisted has no public API for this. ``FileDescriptor`` buffers ``dataBuffer`` from ``offset`` on and then
    ``_tempDataLen`` bytes. TLS buffers ``_appSendBuffer`` before them and forwards the other names (last checked with
    Twisted 26.10). A missing attribute counts as 0. At worst, a peer that reads slowly is then considered not to read.
    """
    tls_bytes = sum(map(len, getattr(transport, "_appSendBuffer", ())))
    socket_bytes = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return tls_bytes + socket_bytes + int(getattr(transport, "_tempDataLen", 0))


def unsent_bytes(transport: TwistedTransport) -> int:
    """Return ``buffered_bytes`` plus the bytes in the socket's send queue, often megabytes.

    The size of the queue comes from SIOCOUTQ; see tcp(7) and unix(7).
    """
    try:
        queued = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):
        return buffered_bytes(transport)
    return buffered_bytes(transport) + int(struct.unpack("i", queued)[0])


SEND_QUEUE_BYTES = 131_072
"""Unsent bytes that the kernel buffers for a connection that was sent a large message."""


def limit_send_queue(transport: TwistedTransport) -> None:
    """Have the kernel accept only a little more than the network takes: the rest waits where it can be overtaken.

    Otherwise a control frame, and the close frame, may wait behind megabytes for minutes. Without effect on other
    sockets than TCP.
    """
    with suppress(AttributeError, OSError, ValueError):
        tcp = socket.socket(fileno=transport.fileno())
        try:
            tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, SEND_QUEUE_BYTES)
        finally:
            # The descriptor remains the transport's.
            tcp.detach()


def finish_writing(transport: TwistedTransport) -> None:
    """Tell the peer, after all that was written, that nothing more comes; go on reading until it closes.

    Closing instead could destroy the last bytes in transit, if the peer is still sending.
    """
    transport.unregisterProducer()
    if isinstance(transport, ProtocolWrapper):  # TLS, which waits for the peer's alert, and reads meanwhile
        transport.loseConnection()
    else:
        transport.loseWriteConnection()


def switch_protocol(transport: TwistedTransport, protocol: IProtocol) -> None:
    """Connect ``protocol`` to a transport, plain or TLS, in place of its current protocol."""
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
