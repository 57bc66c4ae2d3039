"""ClusterPresence: tells Redis how many connections each user has at this node, and hears how many elsewhere.

What is told is a number, not a change: it may be told again, after whatever has gone wrong. Redis announces who comes
and goes, in one with taking note of it, so that it is announced once, whoever told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.broker.redis.tenant_store import NOTHING, TenantStore
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.visibility import is_announced
from callcenter_ws.interfaces import UserPresence
from callcenter_ws.redis.scripts import ATTEND, FAREWELL, WHEREABOUTS
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import encode_json, rfc3339

if TYPE_CHECKING:
    from callcenter_ws.delivery.client import Client

CALL_USERS = 100
"""Users in one call."""

RETRY = 1.0

_MARGIN = 0.05
"""Seconds by which a farewell comes later than it may."""

_TOO_MANY = Refusal(ErrorCode.CONNECTION_LIMIT, "the user has too many connections, other nodes included")

_decode_counts = msgspec.json.Decoder(list[dict[str, int]]).decode
_decode_whereabouts = msgspec.json.Decoder(list[tuple[dict[str, int], float, float]]).decode


@dataclass(slots=True)
class _Stay:
    """A user at this node.

    Attributes:
        person: others are told of its coming and going.
        grace: seconds that it may be away now that it has left.
        admitted: how many of the clients are known to be within the limit.
    """

    clients: dict[Client, None] = field(default_factory=dict)
    admitted: int = 0
    person: bool = False
    grace: float = 0.0


@dataclass(slots=True)
class _TenantStays:
    """The users of one tenant at this node, and those of whom Redis has to be told."""

    stays: dict[str, _Stay] = field(default_factory=dict)
    untold: dict[str, None] = field(default_factory=dict)
    is_telling: bool = False
    retry: Timer | None = None


class ClusterPresence:
    """Implements ``interfaces.PresenceTracker`` for nodes that share a Redis.

    Args:
        tenancy: gives a tenant's part of Redis.
        history_limits: events and seconds that a tenant's log keeps.
        at_tenant: is told of a tenant that has clients here for the first time.
        grace: seconds that a user may be away without being announced gone.
        drain_grace: the same for those whom a node that stops has sent away: they are to come back within this.
        per_user: connections that a user may have over all nodes; 0: any number. Redis is asked only after a connection
            was accepted: one that is too many has had its welcome, and perhaps some events, before it is closed.
    """

    def __init__(
        self,
        membership: Membership,
        tenant_store: Callable[[str], TenantStore],
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        history_limits: tuple[int, float],
        at_tenant: Callable[[str], None],
        *,
        grace: float,
        drain_grace: float,
        per_user: int,
    ) -> None:
        self._membership = membership
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._history_limits = (history_limits[0], repr(float(history_limits[1])))
        self._at_tenant = at_tenant
        self._grace = grace
        self._drain_grace = drain_grace
        self._per_user = per_user
        self._tenants: dict[str, _TenantStays] = {}
        # Tenants of whose users Redis could not be told, or has forgotten what it was told.
        self._behind: set[str] = set()
        self._stopped = False

    # From the Hub

    def arrived(self, client: Client) -> None:
        """A client has been registered."""
        principal = client.principal
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is None:
            tenant = self._tenants[principal.tenant_id] = _TenantStays()
            self._at_tenant(principal.tenant_id)
        who = who_is(principal)
        stay = tenant.stays.get(who)
        if stay is None:
            stay = tenant.stays[who] = _Stay()
        stay.clients[client] = None
        stay.person = stay.person or is_announced(principal)
        self._tell(principal.tenant_id, tenant, who)

    def left(self, client: Client, code: CloseCode) -> None:
        """A client has been unregistered."""
        principal = client.principal
        tenant = self._tenants[principal.tenant_id]
        who = who_is(principal)
        stay = tenant.stays[who]
        del stay.clients[client]
        stay.admitted = min(stay.admitted, len(stay.clients))
        stay.grace = self._drain_grace if code is CloseCode.DRAINING else self._grace
        self._tell(principal.tenant_id, tenant, who)

    # Telling Redis

    def has_told(self) -> bool:
        """Whether Redis knows of all users here, but for those that are just being told."""
        return not self._behind

    def tell_everything(self) -> None:
        """Redis knows nothing of this node: tell of every user."""
        for tenant_id, tenant in self._tenants.items():
            self._at_tenant(tenant_id)
            tenant.untold.update(dict.fromkeys(tenant.stays))
            if tenant.untold:
                self._behind.add(tenant_id)
            self._begin(tenant_id, tenant)

    def tell_untold(self) -> None:
        """Redis is there again: tell what it has not heard."""
        for tenant_id, tenant in self._tenants.items():
            self._retry(tenant_id, tenant)

    def _retry(self, tenant_id: str, tenant: _TenantStays) -> None:
        if tenant.retry is not None:
            tenant.retry.cancel()
            tenant.retry = None
        self._begin(tenant_id, tenant)

    def _tell(self, tenant_id: str, tenant: _TenantStays, who: str) -> None:
        tenant.untold[who] = None
        self._begin(tenant_id, tenant)

    def _begin(self, tenant_id: str, tenant: _TenantStays) -> None:
        if tenant.untold and not tenant.is_telling and tenant.retry is None:
            tenant.is_telling = True
            # In the next turn, of all that comes until then.
            self._clock.call_later(0, self._spawn_telling, tenant_id, tenant)

    def _spawn_telling(self, tenant_id: str, tenant: _TenantStays) -> None:
        self._spawn(self._tell_all(tenant_id, tenant))

    async def _tell_all(self, tenant_id: str, tenant: _TenantStays) -> None:
        try:
            while tenant.untold:
                telling = list(tenant.untold)[:CALL_USERS]
                for who in telling:
                    del tenant.untold[who]
                try:
                    await self._attend(tenant_id, tenant, telling)
                except Refusal:
                    self._behind.add(tenant_id)
                    tenant.untold = {**dict.fromkeys(telling), **tenant.untold}
                    if not self._stopped:
                        # Sooner, if Redis is back sooner.
                        tenant.retry = self._clock.call_later(RETRY, self._retry, tenant_id, tenant)
                    return
        finally:
            tenant.is_telling = False
        self._caught_up(tenant_id)
        if not tenant.stays:
            self._tenants.pop(tenant_id, None)

    def _caught_up(self, tenant_id: str) -> None:
        if tenant_id in self._behind:
            self._behind.discard(tenant_id)
            if not self._behind:
                # Others wait for that.
                self._membership.renew()

    async def _attend(self, tenant_id: str, tenant: _TenantStays, telling: list[str]) -> None:
        tenant_store = self._tenant_store(tenant_id)
        told = {who: len(tenant.stays[who].clients) for who in telling}
        users = [self._user(tenant_store, who, tenant.stays[who]) for who in telling]
        history = tenant_store.history_arguments(NOTHING)
        reply = await tenant_store.run(ATTEND, *history, *self._history_limits, self._membership.instance, *users)
        leaving: dict[float, list[str]] = {}
        for who, counts in zip(telling, _decode_counts(reply), strict=True):
            stay = tenant.stays[who]
            if told[who]:
                self._check_limit(tenant_id, who, stay, counts)
            else:
                leaving.setdefault(stay.grace, []).append(who)
                # Who came and went meanwhile has to be told of once more.
                if not stay.clients and who not in tenant.untold:
                    del tenant.stays[who]
        for grace, gone in leaving.items():
            self._clock.call_later(grace + _MARGIN, self._spawn_farewell, tenant_id, gone)

    def _user(self, tenant_store: TenantStore, who: str, stay: _Stay) -> bytes:
        return encode_json(
            {
                "who": who,
                "count": len(stay.clients),
                "person": stay.person,
                "grace": stay.grace,
                "draft": self._draft(tenant_store, who),
            }
        )

    def _draft(self, tenant_store: TenantStore, who: str) -> dict[str, str]:
        """What ``telling.lua`` makes an event of, if there is something to be told."""
        now = tenant_store.now
        event_id = self._new_id()
        head = encode_json((event_id, "presence.changed", rfc3339(now), None, False, Origin.GATEWAY.value, now))
        user = encode_json(who.partition(":")[2])
        return {"id": event_id, "at": repr(now), "head": f"{head[1:-1].decode()},", "user": user.decode()}

    # Gone

    def _spawn_farewell(self, tenant_id: str, gone: list[str]) -> None:
        self._spawn(self._attempt_farewell(tenant_id, gone))

    async def _attempt_farewell(self, tenant_id: str, gone: list[str]) -> None:
        with suppress(Refusal):  # the caretaker will do it
            await self.farewell(tenant_id, gone)

    async def farewell(self, tenant_id: str, gone: list[str]) -> None:
        """Announce those gone whose grace is over; whoever came back meanwhile is not.

        Raises:
            Refusal: ``unavailable``.
        """
        tenant_store = self._tenant_store(tenant_id)
        for begin in range(0, len(gone), CALL_USERS):
            part = gone[begin : begin + CALL_USERS]
            users = [encode_json({"who": who, "draft": self._draft(tenant_store, who)}) for who in part]
            await tenant_store.run(FAREWELL, *tenant_store.history_arguments(NOTHING), *self._history_limits, *users)

    # The limit on a user's connections

    def _check_limit(self, tenant_id: str, who: str, stay: _Stay, counts: dict[str, int]) -> None:
        """Send those away that came last and are too many."""
        certain = sum(count for node, count in counts.items() if self._membership.certainly_lives(node))
        if self._per_user and certain > self._per_user:
            for client in list(stay.clients)[stay.admitted :][-(certain - self._per_user) :]:
                client.refuse(_TOO_MANY)
                client.close(CloseCode.CONNECTION_LIMIT)
        elif self._per_user and sum(counts.values()) > self._per_user:
            # Some may be those of a node that has just died, and whose clients have come here.
            self._clock.call_later(self._membership.lease, self._look_again, tenant_id, who)
            return
        stay.admitted = len(stay.clients)

    def _look_again(self, tenant_id: str, who: str) -> None:
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and who in tenant.stays:
            self._tell(tenant_id, tenant, who)

    # Who is where

    async def of(self, tenant_id: str, user_id: str) -> UserPresence:
        """Whether a user is connected, to whatever node. A visitor is told of where no staff has that id.

        Raises:
            Refusal: ``unavailable``: it is not known.
        """
        self._membership.check_informed()
        found = await self._whereabouts(tenant_id, user_id)
        if not await self._membership.vouches(node for counts, *_ in found for node in counts):
            found = await self._whereabouts(tenant_id, user_id)
        staff, visitor = [self._presence(*whereabouts) for whereabouts in found]
        return staff if staff.online or staff.last_seen is not None else visitor

    async def _whereabouts(self, tenant_id: str, user_id: str) -> list[tuple[dict[str, int], float, float]]:
        names = [f"s:{user_id}", f"v:{user_id}"]
        found = _decode_whereabouts(await self._tenant_store(tenant_id).run(WHEREABOUTS, *names))
        if tenant_id in self._behind:
            # What Redis has of this node is not how it is.
            stays = self._tenants[tenant_id].stays
            for who, (counts, *_) in zip(names, found, strict=True):
                counts[self._membership.instance] = len(stays[who].clients) if who in stays else 0
        return found

    def _presence(self, counts: dict[str, int], since: float, seen: float) -> UserPresence:
        total = sum(count for node, count in counts.items() if self._membership.lives(node))
        if not total:
            return UserPresence(False, 0, None, seen or None)
        return UserPresence(True, total, since or None, self._clock.time())

    async def finish(self) -> bool:
        """Tell what has not been told yet, as long as Redis answers; return whether all of it is told."""
        self._stopped = True
        for tenant_id, tenant in list(self._tenants.items()):
            while tenant.untold or tenant.is_telling:
                if not tenant.is_telling:
                    tenant.is_telling = True
                    await self._tell_all(tenant_id, tenant)
                    break
                turn: Deferred[None] = Deferred()
                self._clock.call_later(0.01, turn.callback, None)
                await turn
        return not any(tenant.untold for tenant in self._tenants.values())


def who_is(principal: Principal) -> str:
    """A user's name within its tenant: a visitor and an agent with the same id are two people."""
    return f"{'v' if principal.is_visitor else 's'}:{principal.user_id}"
