"""What the gateway writes into its log about connections: one line each, without tokens and payloads."""

from __future__ import annotations

from twisted.logger import Logger

from callcenter_ws.errors import CLOSES, CloseCode, Refusal

_log = Logger("callcenter_ws")


class TwistedConnectionLog:
    """Implements ``interfaces.ConnectionLog`` on Twisted's log."""

    def refused(self, who: str, refusal: Refusal) -> None:
        """A client asked for something and was refused."""
        _log.info("{who} is refused: {code}, {reason}", who=who, code=refusal.code.value, reason=refusal.message)

    def closed(self, who: str, code: CloseCode) -> None:
        """The gateway closed a connection."""
        _log.info("{who} is closed with {code} {name}", who=who, code=code.value, name=CLOSES[code].name)

    def unhandled_error(self, what: str) -> None:
        """The exception being handled is a bug."""
        _log.failure("{what} met a bug", what=what)

    def handshake_refused(self, ip: str, refusal: Refusal) -> None:
        """A peer asked for a WebSocket and got none."""
        _log.info(
            "a handshake from {ip} is refused: {code}, {reason}", ip=ip, code=refusal.code.value, reason=refusal.message
        )
