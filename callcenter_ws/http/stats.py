"""``GET /ws/stats``: what this node does, for one tenant or for all."""

from __future__ import annotations

from typing import Any, Protocol

from twisted.web.server import Request

from callcenter_ws.broker.ingest import IngestCounters
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.http.answers import STAFF_ROLES, Answer, JsonResource, asked_tenant, authorize, json_answer
from callcenter_ws.interfaces import Authenticator, Broker, Directory
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import rfc3339


class NodeFacts(Protocol):
    """What the node is. ``started_at`` is Unix seconds."""

    @property
    def node_id(self) -> str:
        """Its name in the cluster."""

    @property
    def version(self) -> str:
        """The version of the software."""

    @property
    def started_at(self) -> float:
        """When it started."""

    @property
    def worker(self) -> int | None:
        """Which of the node's processes it is, from 1; None when there is one only."""


class StatsResource(JsonResource):
    """Connections, messages, lagging clients and the broker's state.

    Any role but visitor sees its own tenant. Only an ``admin`` with the tenant ``*`` sees all, or one that it
    names as ``?tenant_id=``. What belongs to no single tenant (the events taken in, details of the broker)
    is shown in the view of all alone, so that no tenant can watch another's traffic.

    In ``messages``, ``in`` counts what clients sent over WebSocket, ``delivered`` what was written to them and
    ``dropped`` what they were told they miss; ``accepted``, ``duplicates`` and ``refused`` (by reason) count events,
    whoever published them.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        directory: Directory,
        broker: Broker,
        intake: IngestCounters,
        node: NodeFacts,
        clock: Clock,
    ) -> None:
        super().__init__(get=self._stats)
        self._authenticator = authenticator
        self._directory = directory
        self._broker = broker
        self._intake = intake
        self._node = node
        self._clock = clock

    async def _stats(self, request: Request) -> Answer:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        tenant_id = asked_tenant(principal, request)
        if tenant_id is None and principal.role is not Role.ADMIN:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: only an admin sees all tenants, name one")
        counted = self._directory.stats(tenant_id)
        return json_answer(
            {
                **self._facts(),
                "tenant_id": tenant_id,
                "connections": counted["connections"],
                "messages": self._messages(counted["messages"], tenant_id),
                "lagging": counted["lagging"],
                "broker": self._broker_state(tenant_id),
            }
        )

    def _facts(self) -> dict[str, Any]:
        return {
            "node": self._node.node_id,
            "worker": self._node.worker,
            "version": self._node.version,
            "started_at": rfc3339(self._node.started_at),
            "uptime": round(max(0.0, self._clock.time() - self._node.started_at), 3),
        }

    def _messages(self, counted: dict[str, int], tenant_id: str | None) -> dict[str, Any]:
        messages: dict[str, Any] = {
            "in": counted["received"],
            "delivered": counted["delivered"],
            "dropped": counted["dropped"],
        }
        if tenant_id is None:
            messages["accepted"] = self._intake.accepted
            messages["duplicates"] = self._intake.duplicates
            messages["refused"] = dict(self._intake.refused)
        return messages

    def _broker_state(self, tenant_id: str | None) -> dict[str, Any]:
        state = self._broker.state()
        return state if tenant_id is None else {"kind": state["kind"], "ready": state["ready"]}
