"""Giving an open connection to another protocol."""

from __future__ import annotations

from typing import Any

from twisted.protocols.policies import ProtocolWrapper


def hand_over(transport: Any, protocol: Any) -> None:
    """Make ``protocol`` the one that hears of what comes on a connected transport, plain or TLS, from now on."""
    if isinstance(transport, ProtocolWrapper):  # TLS
        transport.wrappedProtocol = protocol
    else:
        transport.protocol = protocol
    protocol.makeConnection(transport)
