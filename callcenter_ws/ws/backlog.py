"""How much of what was written a transport still holds."""

from __future__ import annotations

from typing import Any


def unsent_bytes(transport: Any) -> int:
    """Return the bytes that the operating system has not taken yet, 0 when this cannot be told.

    Twisted has no public name for it: ``FileDescriptor`` keeps ``dataBuffer`` from ``offset`` on and
    ``_tempDataLen`` bytes behind it, TLS keeps ``_appSendBuffer`` in front and passes the other names through
    (seen in Twisted 26.10). Where a name is missing it counts as nothing; at worst a client that drains slowly
    is then taken for one that drains nothing.
    """
    in_front = sum(map(len, getattr(transport, "_appSendBuffer", ())))
    started = len(getattr(transport, "dataBuffer", b"")) - int(getattr(transport, "offset", 0))
    return in_front + started + int(getattr(transport, "_tempDataLen", 0))
