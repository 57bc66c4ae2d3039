"""Admission of connections: endpoints and roles, limits, revocations. Checked before a socket becomes a Client."""

from __future__ import annotations

from enum import StrEnum

from callcenter_ws.delivery.counters import add
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits, OverUserLimit
from callcenter_ws.delivery.user_probes import UserProbes
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.principal import EVERY_TENANT, Principal, Role

DRAINING_RETRY_AFTER_SECONDS = 5.0
"""The ``Retry-After`` of a node that stops: another node serves, or this one is restarted soon."""

RETRY_AFTER_SECONDS = 30.0
"""The ``Retry-After`` of a peer that exceeds a limit."""


class EndpointName(StrEnum):
    """The two WebSocket endpoints, ``/ws`` and ``/ws/public``; also a label of statistics."""

    STAFF = "ws"
    PUBLIC = "public"


class Admission:
    """Decides whether a node accepts a connection.

    Attributes:
        limits: may be replaced; then they apply to the next connection.
        over_user_limit: what happens to a user's connection over ``limits.connections_per_user``; may be changed.
        sockets: open sockets, authenticated or not; counted from ``open_socket`` to ``close_socket``.
        draining: whether all connections are refused, because the node stops.
    """

    def __init__(self, hub: Hub, limits: Limits, over_user_limit: OverUserLimit = "refuse") -> None:
        self._hub = hub
        self.limits = limits
        self.over_user_limit = over_user_limit
        self._probes = UserProbes(hub.clock)
        self.sockets = 0
        self._sockets_by_network: dict[str, int] = {}
        self.draining = False

    def open_socket(self, network: str) -> None:
        """Count a socket of a client in a network (``runtime.network``).

        Raises:
            Refusal: ``connection_limit`` when the node or the network has too many sockets; ``draining``.
        """
        if self.draining:
            raise Refusal(ErrorCode.DRAINING, retry_after=DRAINING_RETRY_AFTER_SECONDS)
        limits = self.limits
        if limits.connections and self.sockets >= limits.connections:
            raise Refusal(ErrorCode.CONNECTION_LIMIT, "this node is full", retry_after=RETRY_AFTER_SECONDS)
        if limits.connections_per_ip and self._sockets_by_network.get(network, 0) >= limits.connections_per_ip:
            raise Refusal(
                ErrorCode.CONNECTION_LIMIT, "too many connections from this address", retry_after=RETRY_AFTER_SECONDS
            )
        self.sockets += 1
        add(self._sockets_by_network, network)

    def close_socket(self, network: str) -> None:
        """Uncount a socket that was closed."""
        self.sockets -= 1
        add(self._sockets_by_network, network, -1)
        if not self._sockets_by_network[network]:
            del self._sockets_by_network[network]

    def admit(self, principal: Principal, endpoint: EndpointName, tenant_id: str | None = None) -> Principal:
        """Return the principal, narrowed to one tenant, if it may connect.

        Args:
            tenant_id: the tenant that the URL names; required with a token for all tenants (``*``).

        Raises:
            Refusal: ``unauthorized`` (revoked), ``forbidden`` (wrong endpoint or tenant), ``connection_limit``,
                ``draining``.
        """
        if self.draining:
            raise Refusal(ErrorCode.DRAINING, retry_after=DRAINING_RETRY_AFTER_SECONDS)
        if principal.every_tenant:
            if tenant_id is None or tenant_id == EVERY_TENANT or identifier_problem(tenant_id):
                raise Refusal(ErrorCode.FORBIDDEN, "a token for all tenants must name one: ?tenant_id=…")
            principal = principal.narrow(tenant_id)
        elif tenant_id is not None and tenant_id != principal.tenant_id:
            raise Refusal(ErrorCode.FORBIDDEN, "the token is for another tenant")
        self._hub.revocations.check(principal)
        if (principal.role is Role.VISITOR) != (endpoint is EndpointName.PUBLIC):
            place = "/ws/public" if principal.role is Role.VISITOR else "/ws"
            raise Refusal(ErrorCode.FORBIDDEN, f"the role {principal.role} connects at {place}")
        self._check_limits(principal)
        return principal

    def _check_limits(self, principal: Principal) -> None:
        limits, tenant_id = self.limits, principal.tenant_id
        if limits.connections_per_tenant and self._hub.connections(tenant_id) >= limits.connections_per_tenant:
            raise Refusal(
                ErrorCode.CONNECTION_LIMIT, "the tenant has too many connections", retry_after=RETRY_AFTER_SECONDS
            )
        mine = self._hub.clients_of(principal)
        if not limits.connections_per_user or len(mine) < limits.connections_per_user:
            return
        if self.over_user_limit == "refuse":
            raise self._probes.decide((tenant_id, principal.user_id, principal.is_visitor), mine)[0]
        mine.sort(key=lambda client: client.connection_id)
        for client in mine[: len(mine) - limits.connections_per_user + 1]:
            client.close(CloseCode.REPLACED)
