"""Nodes that share a Redis, each with its registry of sources, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from redis_nodes import until
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.redis.address import redis_address
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.claim import Claim, claim_of
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.sources.shared import SharedSources

INSTALLATION = Principal("*", "token-file", Role.SERVICE)
ACME = Principal("acme", "acd", Role.SERVICE)
LONG = 600.0


def claim(principal: Principal = ACME, **options: Any) -> Claim:
    """Return the claim of a ``Hello``."""
    defaults = {"source": "pbx1", "kind": "asterisk", "instance": "i1", "generation": None, "version": None}
    return claim_of(principal, **{**defaults, "tenants": None, "capabilities": None, **options})


def draft(number: int | None = None, tenant_id: str = "acme", **fields: Any) -> dict[str, Any]:
    """Return an event of a source."""
    event = {"tenant_id": tenant_id, "type": "alert", "payload": {"title": "t", "message": "m"}, **fields}
    return event if number is None else {**event, "source_seq": number}


class SourceNode:
    """A node: a broker and the registry of sources.

    Attributes:
        delivered: what the broker has delivered.
        closed: the reasons with which the registry has closed connections.
    """

    def __init__(self, url: str, prefix: str, lease: float, timeout: float = 5.0) -> None:
        self.clock = ReactorClock(reactor)
        self.delivered: list[Publication] = []
        self.closed: list[str] = []
        self.broker = RedisBroker(reactor, self.clock, spawn, redis_address(url), prefix=prefix, timeout=timeout)
        new_id = UlidFactory(self.clock.time)
        announcer = SourceAnnouncer(self.broker, self.clock, new_id)
        self.sources = SharedSources(self.broker, announcer, self.clock, spawn, new_id, lease=lease)
        self.publisher = SourcePublisher(EventBroadcaster(self.broker, self.clock), self.broker, self.clock)
        self._is_open = False

    async def open(self, tenants: Sequence[str]) -> None:
        """Start, and wait until Redis is connected."""
        for tenant in tenants:
            self.broker.attach(tenant)
        Deferred.fromCoroutine(self.broker.start(self.delivered.extend))
        self.sources.start()
        self._is_open = True
        await until(lambda: self.broker.not_ready() is None)

    async def hello(self, principal: Principal = ACME, **options: Any) -> SourceLink:
        """Register a source."""
        return await self.sources.register(claim(principal, **options), self.closed.append)

    async def publish(self, link: SourceLink, *drafts: dict[str, Any]) -> list[int | str]:
        """Publish events of a source; return their positions, 0 for duplicates, and the codes of refusals."""
        outcomes = await self.publisher.publish(link, drafts)
        return [_short(outcome) for outcome in outcomes]

    def announced(self, tenant_id: str = "acme") -> list[str]:
        """Return the announcements about sources that were delivered for a tenant."""
        of_tenant = (one.event for one in self.delivered if one.event.tenant_id == tenant_id)
        return [event.type.name.partition(".")[2] for event in of_tenant if event.type.name.startswith("source.")]

    async def close(self) -> None:
        """Stop as if the process were killed: nothing is reported about its connections."""
        if self._is_open:
            self._is_open = False
            self.sources.stop()
            await self.broker.stop()


def _short(outcome: PublishResult | Refusal) -> int | str:
    if isinstance(outcome, Refusal):
        return str(outcome.code)
    return 0 if outcome.duplicate else outcome.seq
