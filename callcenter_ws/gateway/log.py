"""The log lines about connections: one line each, without tokens and payloads."""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure

from callcenter_ws.errors import CLOSES, CloseCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import LoggedConnection
from callcenter_ws.runtime.log_fields import Name, reason_of
from callcenter_ws.runtime.network import network_of
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.runtime.refusal_log import RefusalLog
from callcenter_ws.ws.authentication import PrincipalRefused

_OTHER_CLOSES = {1005: "no_status"}
"""Names of close codes that only peers send, in effect (RFC 6455 section 7.4.1)."""


class TwistedConnectionLog:
    """Implements ``interfaces.ConnectionLog`` with Twisted's logger; clients cannot fill the log.

    Args:
        limits: how many lines there may be.
        connections: the initial value of the attribute.

    Attributes:
        connections: whether to log connections that are opened, and those that their peers end.
    """

    def __init__(self, limits: PeerLimits, *, connections: bool = True) -> None:
        self._logs = limits.logs
        self.connections = connections

    def opened(self, client: LoggedConnection) -> None:
        """Log that a client is connected."""
        if self.connections:
            log, share = self._log_of(client, self._logs.connections)
            log.write(
                share,
                "{tenant}/{user} ({role}, connection {connection}) is connected from {ip} at {endpoint}",
                **_fields(client),
            )

    def ended(self, client: LoggedConnection, code: int, reason: str) -> None:
        """Log that the peer has ended a connection."""
        if self.connections:
            self._write_closed(self._logs.connections, client, "peer", code, reason)

    def closed(self, client: LoggedConnection, code: CloseCode) -> None:
        """Log that the gateway closed a connection."""
        self._write_closed(self._logs.closes, client, "gateway", code.value, CLOSES[code].text)

    def _write_closed(self, of_users: RefusalLog, client: LoggedConnection, by: str, code: int, reason: str) -> None:
        log, share = self._log_of(client, of_users)
        log.write(
            share,
            "{tenant}/{user} ({role}, connection {connection}) from {ip} is closed by the {by} with {close_code} "
            "{close_name}, {reason}, after {seconds} s: {received} messages received, {delivered} delivered, "
            "{dropped} dropped",
            **_fields(client),
            by=by,
            close_code=code,
            close_name=_name_of(code),
            reason=reason,
            seconds=round(client.seconds, 3),
            received=client.received,
            delivered=client.delivered,
            dropped=client.dropped,
        )

    def refused(self, client: LoggedConnection, refusal: Refusal) -> None:
        """Log that a request of a client was refused."""
        log, share = self._log_of(client, self._logs.requests)
        log.write(
            share,
            "a request of {tenant}/{user} ({role}, connection {connection}) from {ip} is refused: {code}, {reason}",
            **_fields(client),
            code=refusal.code.value,
            reason=reason_of(refusal.message),
        )

    def handshake_refused(self, ip: str, endpoint: str, refusal: Refusal) -> None:
        """Log that a WebSocket was refused: its handshake, its first message, or the user of a valid token."""
        code, reason = refusal.code.value, reason_of(refusal.message)
        if not isinstance(refusal, PrincipalRefused) or refusal.principal.is_visitor:
            self._logs.networks.write(
                network_of(ip),
                "a handshake from {ip} at {endpoint} is refused: {code}, {reason}",
                ip=ip,
                endpoint=endpoint,
                code=code,
                reason=reason,
            )
            return
        self._logs.closes.write(
            _share(refusal.principal),
            "a connection of {tenant}/{user} ({role}) from {ip} at {endpoint} is refused: {code}, {reason}",
            **_fields_of(refusal.principal),
            ip=ip,
            endpoint=endpoint,
            code=code,
            reason=reason,
        )

    def unauthenticated_closed(self, ip: str, code: CloseCode) -> None:
        """Log that the gateway closed the connection of a peer that has not authenticated."""
        self._logs.networks.write(
            network_of(ip),
            "an unauthenticated peer at {ip} is closed by the gateway with {close_code} {close_name}, {reason}",
            ip=ip,
            close_code=code.value,
            close_name=CLOSES[code].name,
            reason=CLOSES[code].text,
        )

    def unhandled_error(self, where: str) -> None:
        """Log the exception being handled, with its traceback; ``where`` names the operation that raised it."""
        self._logs.networks.failure("unhandled error in {where}", Failure(), where=where)

    def _log_of(self, client: LoggedConnection, of_users: RefusalLog) -> tuple[RefusalLog, str]:
        """Return the log for a line about a client, and what it counts as there."""
        if client.principal.is_visitor:
            return self._logs.visitors, network_of(client.ip)
        return of_users, _share(client.principal)


def _share(principal: Principal) -> str:
    return f"{Name(principal.tenant_id)}/{Name(principal.user_id)}"


def _fields_of(principal: Principal) -> dict[str, Any]:  # keyword arguments of any type
    return {"tenant": Name(principal.tenant_id), "user": Name(principal.user_id), "role": principal.role.value}


def _fields(client: LoggedConnection) -> dict[str, Any]:  # keyword arguments of any type
    return {
        **_fields_of(client.principal),
        "connection": client.connection_id,
        "ip": client.ip,
        "endpoint": client.endpoint,
    }


def _name_of(code: int) -> str:
    try:
        return CLOSES[CloseCode(code)].name
    except ValueError:
        return _OTHER_CLOSES.get(code, "other")
