"""The log lines about connections: one line each, without tokens and payloads."""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.errors import CLOSES, CloseCode, Refusal
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.refusal_log import RefusalLog

_log = Logger("callcenter_ws")


class TwistedConnectionLog:
    """Implements ``interfaces.ConnectionLog`` with Twisted's logger.

    Args:
        connections: whether to log connections that are opened, and those that their peers end.
        errors: limits the unhandled errors that are logged; None: all are.
    """

    def __init__(self, *, connections: bool = True, errors: RefusalLog | None = None) -> None:
        self._connections = connections
        self._errors = errors

    def opened(self, who: str, ip: str) -> None:
        """Log that the client ``who`` is connected from ``ip``."""
        if self._connections:
            _log.info("{who} is connected from {ip}", who=who, ip=ip)

    def ended(self, who: str) -> None:
        """Log that the peer has ended the connection of the client ``who``."""
        if self._connections:
            _log.info("{who} has disconnected", who=who)

    def refused(self, who: str, refusal: Refusal) -> None:
        """Log that a request of the client ``who`` was refused."""
        _log.info("{who} is refused: {code}, {reason}", who=who, code=refusal.code.value, reason=refusal.message)

    def closed(self, who: str, code: CloseCode) -> None:
        """Log that the gateway closed the connection of the client ``who``."""
        _log.info("{who} is closed with {code} {name}", who=who, code=code.value, name=CLOSES[code].name)

    def unhandled_error(self, where: str) -> None:
        """Log the exception being handled, with its traceback; ``where`` names the operation that raised it."""
        log = _log if self._errors is None else self._errors
        log.failure("unhandled error in {where}", Failure(), where=where)


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
