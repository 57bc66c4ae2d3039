"""Writes frames to a socket, without Twisted's buffer where the socket has room.

Twisted buffers written data until the next reactor iteration, at the cost of two more system calls for each write. The
gateway writes to many sockets that nearly always have room. So it sends to the socket directly while Twisted buffers
nothing for it, and passes what the socket does not accept to ``transport.write``. All buffering remains Twisted's.

This depends on private attributes of Twisted and pyOpenSSL (last checked with Twisted 26.10 and pyOpenSSL 26). Only
this module uses them. The writer of a connection is chosen once, by the attributes that its transport has.
``tests/ws/test_ws_writer.py`` checks that all writers produce the same stream of bytes.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.internet.tcp import Connection
from twisted.protocols.tls import BufferingTLSTransport

from callcenter_ws.delivery.outbox import MAX_DIRECT_BYTES
from callcenter_ws.interfaces import Send
from callcenter_ws.runtime.tls_turns import TurnTLSTransport
from callcenter_ws.runtime.transports import TwistedTransport

OpenSslBinding = Any  # the objects of pyOpenSSL's CFFI binding, which have no declared types

_ffi: OpenSslBinding = getattr(SSL, "_ffi", None)
_lib: OpenSslBinding = getattr(SSL, "_lib", None)

_RECORD_BYTES = 16_384
"""The largest payload of a TLS record (RFC 8446 section 5.1)."""

_BUFFER_BYTES = 2 * MAX_DIRECT_BYTES
"""Size of the buffer: MAX_DIRECT_BYTES with record headers and tags, and data that the TLS handshake left unsent."""

_buffer: OpenSslBinding = None if _ffi is None else _ffi.new("char[]", _BUFFER_BYTES)
_records = memoryview(b"" if _ffi is None else _ffi.buffer(_buffer))


class Writer(Protocol):
    """Writes to one transport. It neither blocks nor raises exceptions for errors of the network or the peer."""

    def write(self, data: bytes, /) -> None:
        """Send ``data``. The transport buffers what cannot be sent now, behind what it buffers already."""

    def direct(self) -> Send | None:
        """See ``interfaces.Transport.direct``. All earlier data must have been written by this writer."""


_KNOWN_TLS = (BufferingTLSTransport, TurnTLSTransport)
"""TLS transports whose writing is known; ``TurnTLSTransport`` changes only how a handshake is read."""


def writer_for(transport: TwistedTransport) -> Writer:
    """Return the fastest writer that a connected transport supports."""
    if _is_known_socket(transport):
        return SocketWriter(transport)
    if type(transport) in _KNOWN_TLS and _is_known_socket(transport.transport) and _is_known_tls(transport):
        return TlsWriter(transport)
    return PublicWriter(transport)


def _is_known_socket(transport: TwistedTransport) -> bool:
    return (
        isinstance(transport, Connection)
        and isinstance(transport.getHandle(), socket.socket)
        and all(hasattr(transport, name) for name in ("connected", "disconnecting", "dataBuffer", "_tempDataLen"))
    )


def _is_known_tls(transport: TwistedTransport) -> bool:
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
    """Writes with ``transport.write`` only."""

    __slots__ = ("_transport",)

    def __init__(self, transport: TwistedTransport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Pass ``data`` to the transport."""
        self._transport.write(data)

    def direct(self) -> Send:
        """Return a function that passes data to the transport and reports all of it as accepted."""
        return self._send

    def _send(self, data: bytes) -> int:
        self._transport.write(data)
        return len(data)


class NullWriter:
    """Discards data for a connection that is closed."""

    def write(self, data: bytes) -> None:
        """Discard ``data``."""

    def direct(self) -> None:
        """Return None."""


class SocketWriter:
    """Writes to the socket of a plain transport.

    Args:
        transport: a connected ``twisted.internet.tcp.Connection``, TCP or unix.
    """

    __slots__ = ("_send", "_transport")

    def __init__(self, transport: TwistedTransport) -> None:
        self._transport = transport
        self._send = transport.getHandle().send

    def write(self, data: bytes) -> None:
        """Send what the socket accepts now; the transport buffers the rest."""
        transport = self._transport
        if not self.is_clear() or len(data) > MAX_DIRECT_BYTES:
            transport.write(data)
            return
        try:
            sent = self._send(data)
        except OSError:
            # The send buffer is full, or the connection is broken; the transport handles both.
            transport.write(data)
            return
        if sent != len(data):
            transport.write(data[sent:])

    def write_records(self, records: memoryview) -> None:
        """Send as ``write`` does, but copy what is not sent at once: the caller reuses the memory of ``records``."""
        sent = 0
        if self.is_clear():
            with suppress(OSError):
                sent = self._send(records)
        if sent != len(records):
            self._transport.write(bytes(records[sent:]))

    def is_clear(self) -> bool:
        """Return whether the transport is open and buffers nothing."""
        transport = self._transport
        return not (
            transport.dataBuffer or transport._tempDataLen or transport.disconnecting or not transport.connected
        )

    def direct(self) -> Send | None:
        """Return the socket's ``send``; None while the transport buffers data."""
        return self._send if self.is_clear() else None


class TlsWriter:
    """Encrypts data and writes the records to the socket of a TLS transport.

    It calls OpenSSL as pyOpenSSL does, but reads the records into one buffer that all connections share, and sends them
    from there. If OpenSSL reports anything but success, the data is passed to the transport, where the same error
    occurs again and is handled.

    Args:
        transport: a connected ``BufferingTLSTransport`` above a ``twisted.internet.tcp.Connection``.
    """

    __slots__ = ("_records_out", "_socket", "_ssl", "_transport")

    def __init__(self, transport: TwistedTransport) -> None:
        connection = transport._tlsConnection
        self._transport = transport
        self._ssl = connection._ssl
        self._records_out = connection._from_ssl
        self._socket = SocketWriter(transport.transport)

    def write(self, data: bytes) -> None:
        """Send what the socket accepts now; the transports buffer the rest, as records or as plain data."""
        if len(data) > MAX_DIRECT_BYTES or not self._is_clear():
            self._transport.write(data)
            return
        consumed, size = self._encrypt(data)
        if size:
            self._socket.write_records(_records[:size])
        if consumed != len(data):
            self._transport.write(data[consumed:])

    def direct(self) -> Send | None:
        """Return a function that encrypts and sends; None while a transport buffers data.

        The function accepts all data: the lower transport buffers records that the socket does not accept.
        """
        return self._send if self._is_clear() else None

    def _send(self, data: bytes) -> int:
        # ``write`` checks the state again: a peer may start a handshake at any time.
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
            # The aggregator is replaced when the connection ends by an object without a buffer.
            or getattr(transport._aggregator, "_buffer", True)
        )

    def _encrypt(self, data: bytes) -> tuple[int, int]:
        """Encrypt ``data`` into the shared buffer; return the bytes consumed and the bytes of the records.

        It encrypts record by record: OpenSSL's buffer of this connection would otherwise grow to the size of ``data``
        and never shrink.
        """
        plaintext = _ffi.from_buffer(data)
        consumed = size = 0
        while consumed < len(data):
            done = _lib.SSL_write(self._ssl, plaintext + consumed, min(_RECORD_BYTES, len(data) - consumed))
            if done <= 0:
                _lib.ERR_clear_error()
                break
            consumed += done
            size += max(0, _lib.BIO_read(self._records_out, _buffer + size, _BUFFER_BYTES - size))
        return consumed, size
