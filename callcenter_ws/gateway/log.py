"""The log lines about connections: one line each, without tokens and payloads."""

from __future__ import annotations

from collections.abc import Callable

from twisted.python.failure import Failure

from callcenter_ws.errors import CLOSES, CloseCode, Refusal
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.refusal_log import RefusalLog


class TwistedConnectionLog:
    """Implements ``interfaces.ConnectionLog`` with Twisted's logger; clients cannot fill the log.

    Args:
        limits: how many lines there may be.
        connections: whether to log connections that are opened, and those that their peers end.
    """

    def __init__(self, limits: PeerLimits, *, connections: bool = True) -> None:
        self._connections = limits.connections_log if connections else None
        self._clients = limits.clients_log
        self._errors = limits.log

    def opened(self, who: str, ip: str) -> None:
        """Log that the client ``who`` is connected from ``ip``."""
        if self._connections is not None:
            self._connections.write(_user(who), "{who} is connected from {ip}", who=who, ip=ip)

    def ended(self, who: str) -> None:
        """Log that the peer has ended the connection of the client ``who``."""
        if self._connections is not None:
            self._connections.write(_user(who), "{who} has disconnected", who=who)

    def refused(self, who: str, refusal: Refusal) -> None:
        """Log that a request of the client ``who`` was refused."""
        text = "{who} is refused: {code}, {reason}"
        self._clients.write(_user(who), text, who=who, code=refusal.code.value, reason=refusal.message)

    def closed(self, who: str, code: CloseCode) -> None:
        """Log that the gateway closed the connection of the client ``who``."""
        text = "{who} is closed with {code} {name}"
        self._clients.write(_user(who), text, who=who, code=code.value, name=CLOSES[code].name)

    def unhandled_error(self, where: str) -> None:
        """Log the exception being handled, with its traceback; ``where`` names the operation that raised it."""
        self._errors.failure("unhandled error in {where}", Failure(), where=where)


def _user(who: str) -> str:
    """Return the part of a client's description that all clients of the user have: without role and connection."""
    return who.rpartition(" (")[0] or who


def handshake_refusals(log: RefusalLog) -> Callable[[str, Refusal], None]:
    """Return a function that logs a refused handshake of a peer at an address, as often as ``log`` allows."""

    def refused(ip: str, refusal: Refusal) -> None:
        log.write(
            network_of(ip),
            "a handshake from {ip} is refused: {code}, {reason}",
            ip=ip,
            code=refusal.code.value,
            reason=refusal.message,
        )

    return refused
