"""DaemonLog: the log lines about connections of daemons."""

from __future__ import annotations

from typing import Protocol

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from callcenter_ws.events.principal import Principal
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.peer_logs import PeerLogs


class LoggedDaemon(Protocol):
    """What the log lines say of a connection.

    Attributes:
        connection: its number, which no other connection to this process has.
        received: events that the daemon has published or tried to.
        delivered: events of its subscription that it has acknowledged.
    """

    principal: Principal | None
    connection: int
    received: int
    delivered: int

    @property
    def name(self) -> str:
        """The address of the peer."""

    @property
    def ip(self) -> str:
        """The address of the peer without its port."""

    @property
    def seconds(self) -> float:
        """For how long it is connected."""


class DaemonLog:
    """Logs the connections of daemons that have authenticated; the others are ``GatewayAMP.log_refusal``'s.

    Attributes:
        connections: whether to log connections that are opened, and those that their peers end.
    """

    def __init__(self, logs: PeerLogs) -> None:
        self._log = logs.daemons
        self.connections = True

    def opened(self, daemon: LoggedDaemon, principal: Principal) -> None:
        """Log that a daemon has authenticated."""
        if self.connections:
            self._log.write(
                daemon.name,
                "daemon {tenant}/{user} (connection {connection}) is connected from {peer}",
                tenant=Name(principal.tenant_id),
                user=Name(principal.user_id),
                role=principal.role.value,
                connection=str(daemon.connection),
                peer=daemon.name,
                ip=daemon.ip,
            )

    def ended(self, daemon: LoggedDaemon, failure: Failure = connectionDone) -> None:
        """Log that the connection was lost, or that the peer has ended it."""
        if self.connections:
            is_done = failure.type is connectionDone.type
            self._closed(daemon, "peer", "the end of the connection" if is_done else "reset, timed out or broken")

    def closed(self, daemon: LoggedDaemon, reason: str, *, is_warning: bool) -> None:
        """Log that the gateway closes a connection."""
        self._closed(daemon, "gateway", reason, is_warning=is_warning)

    def _closed(self, daemon: LoggedDaemon, by: str, reason: str, *, is_warning: bool = False) -> None:
        principal = daemon.principal
        if principal is None:
            return
        self._log.write(
            daemon.name,
            "daemon {tenant}/{user} (connection {connection}) from {peer} is closed by the {by}: {reason}; after "
            "{seconds} s, {received} events received, {delivered} delivered",
            is_warning=is_warning,
            tenant=Name(principal.tenant_id),
            user=Name(principal.user_id),
            role=principal.role.value,
            connection=str(daemon.connection),
            peer=daemon.name,
            ip=daemon.ip,
            by=by,
            reason=reason,
            seconds=round(daemon.seconds, 3),
            received=daemon.received,
            delivered=daemon.delivered,
        )
