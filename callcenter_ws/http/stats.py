"""``GET /ws/stats``: statistics of this node, for one tenant or for all."""

from __future__ import annotations

from typing import Protocol

from twisted.web.server import Request

from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.http.responses import STAFF_ROLES, JsonResource, Response, authorize, json_response, requested_tenant
from callcenter_ws.interfaces import Authenticator, Broker, Directory
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import rfc3339
from callcenter_ws.sources.registry import SourceCounters


class NodeFacts(Protocol):
    """The identity of the node."""

    @property
    def node_id(self) -> str:
        """The node's name in the cluster."""

    @property
    def version(self) -> str:
        """The version of the software."""

    @property
    def started_at(self) -> float:
        """The start time in Unix seconds."""

    @property
    def worker(self) -> int | None:
        """The number of this worker process, from 1; None if the node is a single process."""


class FigureStates(Protocol):
    """Describes the process's part in deriving statistics."""

    def state_of(self, tenant_id: str) -> dict[str, object] | None:
        """Return what the process does with the statistics of a tenant; None: they are not enabled."""

    def state(self) -> dict[str, object]:
        """Return the same for all tenants together."""


class StatsResource(JsonResource):
    """Responds with counts of connections, messages and lagging clients, and with the state of the broker.

    All roles but ``visitor`` may read the statistics of their own tenant. Only an ``admin`` with the tenant ``*`` may
    read those of all tenants, or of the one that ``?tenant_id=`` names. Figures that belong to no single tenant (the
    published events, the sources, details of the broker) are included only for all tenants, so that no tenant can
    observe another's traffic.

    In ``messages``, ``in`` counts messages that clients sent over WebSocket, ``delivered`` messages that were written
    to clients, and ``dropped`` messages that clients were notified of missing. ``accepted``, ``duplicates`` and
    ``refused`` (by reason) count published events from all sources.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        directory: Directory,
        broker: Broker,
        ingest: IngestCounters,
        sources: SourceCounters,
        figures: FigureStates,
        node: NodeFacts,
        clock: Clock,
    ) -> None:
        super().__init__(get=self._stats)
        self._authenticator = authenticator
        self._directory = directory
        self._broker = broker
        self._ingest = ingest
        self._sources = sources
        self._figures = figures
        self._node = node
        self._clock = clock

    async def _stats(self, request: Request) -> Response:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None and principal.role is not Role.ADMIN:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: required, because only an admin may read all tenants")
        counted = self._directory.stats(tenant_id)
        stats: dict[str, object] = {
            **self._facts(),
            "tenant_id": tenant_id,
            "connections": counted["connections"],
            "messages": self._messages(counted["messages"], tenant_id),
            "lagging": counted["lagging"],
            "broker": self._broker_state(tenant_id),
        }
        statistics = self._figures.state() if tenant_id is None else self._figures.state_of(tenant_id)
        if statistics is not None:
            stats["statistics"] = statistics
        if tenant_id is None:
            stats["sources"] = {"connected": self._sources.connected, "lost": self._sources.lost}
        return json_response(stats)

    def _facts(self) -> dict[str, object]:
        return {
            "node": self._node.node_id,
            "worker": self._node.worker,
            "version": self._node.version,
            "started_at": rfc3339(self._node.started_at),
            "uptime": round(max(0.0, self._clock.time() - self._node.started_at), 3),
        }

    def _messages(self, counted: dict[str, int], tenant_id: str | None) -> dict[str, object]:
        messages: dict[str, object] = {
            "in": counted["received"],
            "delivered": counted["delivered"],
            "dropped": counted["dropped"],
        }
        if tenant_id is None:
            messages["accepted"] = self._ingest.accepted
            messages["duplicates"] = self._ingest.duplicates
            messages["refused"] = dict(self._ingest.refused)
        return messages

    def _broker_state(self, tenant_id: str | None) -> dict[str, object]:
        state = self._broker.state()
        return state if tenant_id is None else {"kind": state["kind"], "ready": state["ready"]}
