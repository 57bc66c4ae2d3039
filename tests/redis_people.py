"""Nodes that tell each other who is there: the real thing but for the Hub and the clients, on small leases."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from broker_contract import A
from redis_nodes import until
from twisted.internet import reactor, task

from callcenter_ws.auth.revocation import Revocations
from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.cluster.node import Cluster
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.runtime.json import decode_json

LEASE = 0.6
GRACE = 0.2


class Person:
    """A client, as far as presence has to do with it."""

    def __init__(self, user_id: str, role: Role = Role.AGENT, tenant_id: str = A) -> None:
        self.principal = Principal(tenant_id, user_id, role)
        self.refusals: list[Refusal] = []
        self.closes: list[CloseCode] = []

    def refuse(self, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def close(self, code: CloseCode) -> None:
        self.closes.append(code)


class HubDouble:
    """Carries out what was ordered, by saying so."""

    def __init__(self) -> None:
        self.revocations = Revocations()
        self.ordered: list[tuple[Any, ...]] = []
        self.opened_until: list[str] = []
        self.connections = 0

    def disconnect_user(self, tenant_id: str, user_id: str, opened_until: str = "") -> int:
        self.ordered.append(("disconnect", tenant_id, user_id))
        self.opened_until.append(opened_until)
        return self.connections

    def revoke(self, tenant_id: str, *, jti: str | None, user_id: str | None, at: float | None) -> int:
        self.ordered.append(("revoke", tenant_id, jti, user_id))
        if jti is not None:
            self.revocations.revoke_token(tenant_id, jti)
        if user_id is not None:
            self.revocations.revoke_user(tenant_id, user_id, at or 0)
        return self.connections

    def close_revoked(self, tenant_id: str) -> int:
        return 0


class People:
    """A node and whoever is connected to it.

    Attributes:
        changes: what was announced, in order: who, and whether that one is there.
    """

    def __init__(self, url: str, prefix: str, name: str, **limits: Any) -> None:
        clock = ReactorClock(reactor)
        self.broker = RedisBroker(reactor, clock, spawn, redis_address(url), prefix=prefix, timeout=1.0)
        given = Limits(**{"presence_grace": GRACE, "drain_timeout": 0.2, **limits})
        self.cluster = Cluster(
            self.broker,
            clock,
            spawn,
            given,
            node=name,
            lease=LEASE,
            history_limits=(1_000, 86_400),
            revoked=lambda: 0,
        )
        self.hub = HubDouble()
        hub: Any = self.hub
        self.directory = self.cluster.directory(hub)
        self.presence: Any = self.cluster.presence
        self.membership = self.cluster._membership
        self.changes: list[tuple[str, bool]] = []
        self.runs = False

    async def open(self) -> People:
        self.broker.attach(A)
        await self.broker.start(self._take)
        self.cluster.start()
        self.runs = True
        await self.until_ready()
        await self.broker.position(A)
        return self

    async def until_ready(self) -> None:
        await until(lambda: self.broker.not_ready() is None and self.membership.is_informed)

    def _take(self, messages: Sequence[Publication]) -> None:
        for message in messages:
            if message.event.type.name == "presence.changed":
                payload = decode_json(message.event.payload)
                self.changes.append((payload["user_id"], payload["online"]))

    def come(self, *people: Person) -> None:
        for person in people:
            self.presence.arrived(person)

    def go(self, *people: Person) -> None:
        for person in people:
            self.presence.left(person, CloseCode.GOING_AWAY)

    async def count(self, user_id: str, tenant_id: str = A) -> int:
        return (await self.directory.user_presence(tenant_id, user_id)).connections

    async def until_counted(self, user_id: str, connections: int) -> None:
        """Wait until the user is known to have so many connections."""
        known = -1
        deadline = reactor.seconds() + 15
        while known != connections:
            assert reactor.seconds() < deadline, known
            with suppress(Refusal):
                known = await self.count(user_id)
            await task.deferLater(reactor, 0.002)

    async def die(self) -> None:
        """End as a process does that is killed: nobody is told."""
        self.runs = False
        self.cluster._caretaker.stop()
        await self.membership.stop(give_back=False)
        await self.broker.stop()

    async def stop(self) -> None:
        """Take leave."""
        if self.runs:
            self.runs = False
            await self.cluster.stop()
            await self.broker.stop()
