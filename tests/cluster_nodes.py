"""Nodes of a cluster without a Hub and sockets: presence, membership and control messages, with short leases."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

from broker_contract import A
from redis_nodes import DEADLINE, until
from twisted.internet import reactor, task

from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.cluster.node import Cluster
from callcenter_ws.delivery.limits import Limits, OverUserLimit
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.json import decode_json

LEASE = 0.6
GRACE = 0.2


class FakeClient:
    """A Subscriber that records what it is sent.

    Attributes:
        close_hook: called by ``close``.
    """

    def __init__(self, user_id: str, role: Role = Role.AGENT, tenant_id: str = A) -> None:
        self.principal = Principal(tenant_id, user_id, role)
        self.connection_id = secrets.token_hex(8)
        self.refusals: list[Refusal] = []
        self.closes: list[CloseCode] = []
        self.probes = 0
        self.close_hook: Callable[[], None] = lambda: None

    def refuse(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def probe(self) -> None:
        self.probes += 1

    def close(self, code: CloseCode) -> None:
        self.closes.append(code)
        self.close_hook()


class HubDouble:
    """Records the control messages that are applied to it.

    Attributes:
        connections: what it returns as the number of closed connections.
    """

    def __init__(self) -> None:
        self.revocations = Revocations()
        self.applied: list[tuple[Any, ...]] = []
        self.opened_until: list[str] = []
        self.connections = 0

    def disconnect_user(self, tenant_id: str, user_id: str, opened_until: str = "") -> int:
        self.applied.append(("disconnect", tenant_id, user_id))
        self.opened_until.append(opened_until)
        return self.connections

    def revoke(
        self, tenant_id: str, *, jti: str | None, user_id: str | None, at: float | None, opened_until: str
    ) -> int:
        self.applied.append(("revoke", tenant_id, jti, user_id))
        if jti is not None:
            self.revocations.revoke_token(tenant_id, jti)
        if user_id is not None:
            self.revocations.revoke_user(tenant_id, user_id, at or 0)
        return self.connections

    def close_revoked(self, tenant_id: str) -> int:
        return 0


class ClusterNode:
    """A node and the clients that are connected to it.

    Attributes:
        changes: the announcements that were delivered, in order: user, and whether it is online.
    """

    def __init__(
        self, url: str, prefix: str, name: str, over_user_limit: OverUserLimit = "refuse", **limits: Any
    ) -> None:
        clock = ReactorClock(reactor)
        self.broker = RedisBroker(reactor, clock, spawn, redis_address(url), prefix=prefix, timeout=1.0)
        self.cluster = Cluster(
            self.broker,
            clock,
            spawn,
            Limits(**{"presence_grace": GRACE, "drain_timeout": 0.2, **limits}),
            node=name,
            lease=LEASE,
            history_limits=(1_000, 86_400),
            revoked=lambda: 0,
            over_user_limit=over_user_limit,
        )
        self.hub = HubDouble()
        hub: Any = self.hub
        self.directory = self.cluster.directory(hub)
        self.presence: Any = self.cluster.presence
        self.membership = self.cluster._membership
        self.lease_renewal = self.membership._lease_renewal
        self.reaper = self.cluster._reaper
        self.changes: list[tuple[str, bool]] = []
        self.runs = False

    async def open(self) -> ClusterNode:
        self.broker.attach(A)
        await self.broker.start(self._deliver)
        self.cluster.start()
        self.runs = True
        await self.until_ready()
        await self.broker.position(A)
        return self

    async def until_ready(self) -> None:
        await until(lambda: self.broker.not_ready() is None and self.membership.is_current)

    def _deliver(self, publications: Sequence[Publication]) -> None:
        for publication in publications:
            if publication.event.type.name == "presence.changed":
                payload = decode_json(publication.event.payload)
                self.changes.append((payload["user_id"], payload["online"]))

    def connect(self, *clients: FakeClient) -> None:
        for client in clients:
            self.presence.client_registered(client)

    def disconnect(self, *clients: FakeClient) -> None:
        for client in clients:
            self.presence.client_unregistered(client, CloseCode.GOING_AWAY)

    async def count(self, user_id: str, tenant_id: str = A) -> int:
        return (await self.directory.user_presence(tenant_id, user_id)).connections

    async def until_counted(self, user_id: str, connections: int) -> None:
        """Wait until the user is known to have so many connections."""
        known = -1
        deadline = reactor.seconds() + DEADLINE
        while known != connections:
            assert reactor.seconds() < deadline, known
            with suppress(Refusal):
                known = await self.count(user_id)
            await task.deferLater(reactor, 0.002)

    async def kill(self) -> None:
        """Stop as a process that is killed: without leaving the cluster."""
        self.runs = False
        self.reaper.stop()
        await self.membership.stop(release=False)
        await self.broker.stop()

    async def stop(self) -> None:
        """Leave the cluster, and stop."""
        if self.runs:
            self.runs = False
            await self.cluster.stop()
            await self.broker.stop()


OpenNode = Callable[..., Awaitable[ClusterNode]]
"""Makes a node and waits until it is ready; the arguments are ``Limits``."""


def block_messages(node: ClusterNode) -> Callable[[], None]:
    """Have a node receive no messages of channels until the returned function is called."""
    redis = node.broker.redis
    on_message, redis._on_message = redis._on_message, lambda channel, data: None

    def unblock() -> None:
        redis._on_message = on_message
        connection = redis._subscriber
        assert connection is not None
        connection.abort("by the test")

    return unblock


def is_revoked(node: ClusterNode, principal: Principal) -> bool:
    """Return whether a node refuses the token of a principal."""
    try:
        node.hub.revocations.check(principal)
    except Refusal:
        return True
    return False
