"""How frames get from this process into a socket.

Twisted keeps what is written until the reactor comes round, and asks the operating system twice more for each such
write. A gateway writes to many sockets that nearly always have room, so it tries the socket itself when Twisted holds
nothing for it, and gives the rest to ``transport.write``, which remains the only way in which anything waits.

This reads attributes that Twisted has not promised to keep (seen in Twisted 26.10 and pyOpenSSL 26). They are
touched in this module only, and which way a connection is written to is decided once, by what its transport is able to
do. ``tests/ws/test_ws_writer.py`` holds that all ways make the same stream of bytes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.tcp import Connection
from twisted.protocols.tls import BufferingTLSTransport

from callcenter_ws.delivery.group import DIRECT_BYTES

# pyOpenSSL's own way to OpenSSL.
_ffi: Any = getattr(SSL, "_ffi", None)
_lib: Any = getattr(SSL, "_lib", None)

Send = Callable[[bytes], int]

_RECORD_BYTES = 16_384
"""The most that one TLS record carries (RFC 8446 section 5.1)."""

_BUFFER_BYTES = 2 * DIRECT_BYTES
"""Room for ``DIRECT_BYTES`` with the headers and tags of their records, and for what the handshake left to be sent."""


_buffer: Any = None if _ffi is None else _ffi.new("char[]", _BUFFER_BYTES)
_records = memoryview(b"" if _ffi is None else _ffi.buffer(_buffer))


class Writer(Protocol):
    """One way of writing to one transport. It never blocks, and never raises for what the network or the peer does."""

    def write(self, data: bytes, /) -> None:
        """Send what can be sent now; the rest waits in the transport, behind what waits there already."""

    def direct(self) -> Send | None:
        """See ``interfaces.Transport.direct``: all that was written before must have been written by this writer."""


def writer_for(transport: Any) -> Writer:
    """Return the best way of writing to a connected transport."""
    if _is_known_socket(transport):
        return SocketWriter(transport)
    if type(transport) is BufferingTLSTransport and _is_known_socket(transport.transport) and _is_known_tls(transport):
        return TlsWriter(transport)
    return PublicWriter(transport)


def _is_known_socket(transport: Any) -> bool:
    return (
        isinstance(transport, Connection)
        and isinstance(transport.getHandle(), socket.socket)
        and all(hasattr(transport, name) for name in ("connected", "disconnecting", "dataBuffer", "_tempDataLen"))
    )


def _is_known_tls(transport: Any) -> bool:
    names = ("connected", "disconnecting", "_appSendBuffer", "_aborted", "_handshakeDone", "_lostTLSConnection")
    connection = getattr(transport, "_tlsConnection", None)
    return (
        all(hasattr(transport, name) for name in names)
        and isinstance(connection, SSL.Connection)
        and hasattr(connection, "_ssl")
        and hasattr(connection, "_from_ssl")
        and _ffi is not None
        and all(hasattr(_lib, name) for name in ("SSL_write", "BIO_read", "ERR_clear_error"))
        and isinstance(getattr(getattr(transport, "_aggregator", None), "_buffer", None), list)
    )


class PublicWriter:
    """Leaves everything to the transport."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Have the transport write it."""
        self._transport.write(data)

    def direct(self) -> Send:
        """Send by writing."""
        return self._send

    def _send(self, data: bytes) -> int:
        self._transport.write(data)
        return len(data)


class NullWriter:
    """Writes to a connection that is gone."""

    def write(self, data: bytes) -> None:
        """There is nobody."""

    def direct(self) -> None:
        """There is no way."""


class SocketWriter:
    """Writes to the socket of a plain transport.

    Args:
        transport: a connected ``twisted.internet.tcp.Connection``, TCP or unix.
    """

    __slots__ = ("_send", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._send = transport.getHandle().send

    def write(self, data: bytes) -> None:
        """Send what the socket takes now; the transport has the rest."""
        transport = self._transport
        if not self.is_clear() or len(data) > DIRECT_BYTES:
            transport.write(data)
            return
        try:
            sent = self._send(data)
        except OSError:
            # The socket is full, or broken: what that means is for the transport to find out.
            transport.write(data)
            return
        if sent != len(data):
            transport.write(data[sent:])

    def write_records(self, records: memoryview) -> None:
        """The same for bytes that are somebody else's from the next moment on."""
        sent = 0
        if self.is_clear():
            with suppress(OSError):
                sent = self._send(records)
        if sent != len(records):
            self._transport.write(bytes(records[sent:]))

    def is_clear(self) -> bool:
        """Whether the socket has taken all that was written, and may be given more."""
        transport = self._transport
        return not (
            transport.dataBuffer or transport._tempDataLen or transport.disconnecting or not transport.connected
        )

    def direct(self) -> Send | None:
        """The socket's own way of sending."""
        return self._send if self.is_clear() else None


class TlsWriter:
    """Encrypts, and writes to the socket below.

    It calls OpenSSL as pyOpenSSL does, but has it write into one buffer that all connections share, from which the
    socket takes the records. What is anything but a success is left to the transport, which meets it again.

    Args:
        transport: a connected ``BufferingTLSTransport`` above a ``twisted.internet.tcp.Connection``.
    """

    __slots__ = ("_records_out", "_socket", "_ssl", "_transport")

    def __init__(self, transport: Any) -> None:
        connection = transport._tlsConnection
        self._transport = transport
        self._ssl = connection._ssl
        self._records_out = connection._from_ssl
        self._socket = SocketWriter(transport.transport)

    def write(self, data: bytes) -> None:
        """Send what the socket takes now; the transports have the rest, as records or, amid a handshake, as it is."""
        if len(data) > DIRECT_BYTES or not self._is_clear():
            self._transport.write(data)
            return
        taken, size = self._encrypt(data)
        if size:
            self._socket.write_records(_records[:size])
        if taken != len(data):
            self._transport.write(data[taken:])

    def direct(self) -> Send | None:
        """Encrypt and send. What the socket does not take waits below, which is none of the caller's business."""
        return self._send if self._is_clear() else None

    def _send(self, data: bytes) -> int:
        # A peer may begin a handshake at any time.
        self.write(data)
        return len(data)

    def _is_clear(self) -> bool:
        transport = self._transport
        return not (
            transport._appSendBuffer
            or transport.disconnecting
            or not transport._handshakeDone
            or not transport.connected
            or transport._lostTLSConnection
            or transport._aborted
            # What takes its place as the connection ends has none.
            or getattr(transport._aggregator, "_buffer", True)
        )

    def _encrypt(self, data: bytes) -> tuple[int, int]:
        """Return how much was made into records, and the size of these, which are in the shared buffer.

        Record by record, or what OpenSSL holds for this connection would grow to the size of ``data`` and stay so.
        """
        text = _ffi.from_buffer(data)
        taken = size = 0
        while taken < len(data):
            done = _lib.SSL_write(self._ssl, text + taken, min(_RECORD_BYTES, len(data) - taken))
            if done <= 0:
                _lib.ERR_clear_error()
                break
            taken += done
            size += max(0, _lib.BIO_read(self._records_out, _buffer + size, _BUFFER_BYTES - size))
        return taken, size
