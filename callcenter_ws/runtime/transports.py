"""How much of what was written has not reached the peer."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Any

from twisted.protocols.policies import ProtocolWrapper


def held_bytes(transport: Any) -> int:
    """Return the bytes that wait in this process, 0 when this cannot be told.

    Twisted has no public name for it: ``FileDescriptor`` keeps ``dataBuffer`` from ``offset`` on and
    ``_tempDataLen`` bytes behind it, TLS keeps ``_appSendBuffer`` in front and passes the other names through
    (seen in Twisted 26.10). Where a name is missing it counts as nothing; at worst a peer that drains slowly is
    then taken for one that drains nothing.
    """
    in_front = sum(map(len, getattr(transport, "_appSendBuffer", ())))
    started = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return in_front + started + int(getattr(transport, "_tempDataLen", 0))


def unsent_bytes(transport: Any) -> int:
    """Return ``held_bytes`` and what the socket's send queue (tcp(7), unix(7): SIOCOUTQ) holds, often megabytes."""
    try:
        answer = fcntl.ioctl(transport.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError, ValueError):
        return held_bytes(transport)
    return held_bytes(transport) + int(struct.unpack("i", answer)[0])


def switch_protocol(transport: Any, protocol: Any) -> None:
    """Make ``protocol`` the one that hears of what comes on a connected transport, plain or TLS, from now on."""
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
