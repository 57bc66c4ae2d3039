"""ClusterPresence: reports to Redis how many connections each user has at this node.

A report is a number, not a change, so it can be repeated after any failure. The script that stores a report also
publishes ``presence.changed``, so that is published exactly once, whichever node reports.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec

from callcenter_ws.broker.redis.tenant_store import NO_EVENT, TenantStore
from callcenter_ws.cluster.connection_limit import ConnectionLimit, decode_user_limit_message
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.node_user import NodeUser, user_key
from callcenter_ws.cluster.offline import CALL_USERS, OfflineAnnouncements
from callcenter_ws.cluster.presence_event import presence_draft
from callcenter_ws.errors import CloseCode, Refusal
from callcenter_ws.events.visibility import is_announced
from callcenter_ws.interfaces import PresenceClient
from callcenter_ws.redis.connection import Argument
from callcenter_ws.redis.scripts import PRESENCE_UPDATE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.single_flight import SingleFlight

RETRY_SECONDS = 1.0

_decode_counts = msgspec.json.Decoder(list[tuple[dict[str, int], dict[str, float]]]).decode


@dataclass(slots=True)
class _TenantUsers:
    """The users of one tenant at this node.

    Attributes:
        unreported: users whose number of connections Redis does not have yet, in the order of changes.
    """

    reports: SingleFlight
    users: dict[str, NodeUser] = field(default_factory=dict)
    unreported: dict[str, None] = field(default_factory=dict)


class ClusterPresence:
    """Implements ``interfaces.PresenceTracker`` for nodes that share a Redis.

    Args:
        tenant_store: returns a tenant's store.
        log_limits: the limits of a tenant's log, as arguments of the scripts.
        register_tenant: called with a tenant that has clients at this node for the first time, and again when Redis may
            have lost that.
        grace: seconds between a user's last disconnect and the offline announcement.
        drain_grace: the same for users whose node was stopped, and whom it has asked to reconnect.
    """

    def __init__(
        self,
        membership: Membership,
        tenant_store: Callable[[str], TenantStore],
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        log_limits: tuple[Argument, ...],
        register_tenant: Callable[[str], None],
        offline: OfflineAnnouncements,
        limit: ConnectionLimit,
        *,
        grace: float,
        drain_grace: float,
    ) -> None:
        self._membership = membership
        self._tenant_store = tenant_store
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._log_limits = log_limits
        self._register_tenant = register_tenant
        self._offline = offline
        self._limit = limit
        self.change_grace(grace, drain_grace)
        self._tenants: dict[str, _TenantUsers] = {}
        # Tenants for which a report has failed, or whose reports Redis has lost.
        self._unreported_tenants: set[str] = set()

    def change_grace(self, grace: float, drain_grace: float) -> None:
        """Use other times from now on, for users who disconnect."""
        self._grace, self._drain_grace = grace, drain_grace

    # From the Hub

    def client_registered(self, client: PresenceClient) -> None:
        """Count a client that was registered with the Hub."""
        principal = client.principal
        tenant = self._tenants.get(principal.tenant_id)
        if tenant is None:
            tenant = self._add_tenant(principal.tenant_id)
        key = user_key(principal.user_id, is_visitor=principal.is_visitor)
        user = tenant.users.get(key)
        if user is None:
            user = tenant.users[key] = NodeUser()
        user.clients[client] = self._clock.monotonic()
        user.announced = user.announced or is_announced(principal)
        self._changed(tenant, key)

    def client_unregistered(self, client: PresenceClient, code: CloseCode) -> None:
        """Count a client that was removed from the Hub, and the close code of its connection."""
        principal = client.principal
        tenant = self._tenants[principal.tenant_id]
        key = user_key(principal.user_id, is_visitor=principal.is_visitor)
        user = tenant.users[key]
        del user.clients[client]
        user.admitted = min(user.admitted, len(user.clients))
        user.grace = self._drain_grace if code is CloseCode.DRAINING else self._grace
        self._changed(tenant, key)

    def _add_tenant(self, tenant_id: str) -> _TenantUsers:
        # A report starts in the next turn of the reactor, with all users who have changed until then.
        reports = SingleFlight(
            partial(self._report_all, tenant_id),
            self._clock,
            self._spawn,
            backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS),
            delay=0,
        )
        tenant = self._tenants[tenant_id] = _TenantUsers(reports)
        self._register_tenant(tenant_id)
        return tenant

    def _changed(self, tenant: _TenantUsers, key: str) -> None:
        tenant.unreported[key] = None
        self._request_reports(tenant)

    # Reports to Redis

    def has_reported_all(self) -> bool:
        """Return whether Redis has all users of this node, except for reports under way."""
        return not self._unreported_tenants

    def unreported_connections(self, tenant_id: str, key: str) -> int | None:
        """Return a user's connections at this node if Redis may have another number, else None."""
        if tenant_id not in self._unreported_tenants:
            return None
        user = self._tenants[tenant_id].users.get(key)
        return 0 if user is None else len(user.clients)

    def report_everything(self) -> None:
        """Report all users: Redis has no data of this node."""
        for tenant_id, tenant in self._tenants.items():
            self._register_tenant(tenant_id)
            tenant.unreported.update(dict.fromkeys(tenant.users))
            if tenant.unreported:
                self._unreported_tenants.add(tenant_id)
            self._request_reports(tenant)

    def report_unreported(self) -> None:
        """Repeat failed reports now: Redis is connected again."""
        for tenant in list(self._tenants.values()):
            self._request_reports(tenant, skip_backoff=True)

    def _request_reports(self, tenant: _TenantUsers, *, skip_backoff: bool = False) -> None:
        # A run under way includes what has become unreported meanwhile.
        if tenant.unreported and not tenant.reports.is_running:
            tenant.reports.request(skip_backoff=skip_backoff)

    async def _report_all(self, tenant_id: str) -> None:
        """Report until no user of the tenant is unreported.

        Raises:
            Refusal: ``unavailable``.
        """
        tenant = self._tenants[tenant_id]
        while tenant.unreported:
            keys = list(tenant.unreported)[:CALL_USERS]
            for key in keys:
                del tenant.unreported[key]
            try:
                await self._report(tenant_id, tenant, keys)
            except Refusal:
                self._unreported_tenants.add(tenant_id)
                tenant.unreported = {**dict.fromkeys(keys), **tenant.unreported}
                raise
        if tenant_id in self._unreported_tenants:
            self._unreported_tenants.discard(tenant_id)
            if not self._unreported_tenants:
                # Other nodes wait until this node has reported all users.
                self._membership.renew()
        if not tenant.users:
            del self._tenants[tenant_id]

    async def _report(self, tenant_id: str, tenant: _TenantUsers, keys: list[str]) -> None:
        tenant_store = self._tenant_store(tenant_id)
        reported = {key: len(tenant.users[key].clients) for key in keys}
        arguments = [self._argument(tenant_store, key, tenant.users[key]) for key in keys]
        history = tenant_store.history_arguments(NO_EVENT)
        reply = await tenant_store.run(
            PRESENCE_UPDATE, *history, *self._log_limits, self._membership.instance, *arguments
        )
        left: dict[float, list[str]] = {}
        for key, (counts, oldest) in zip(keys, _decode_counts(reply), strict=True):
            user = tenant.users[key]
            if reported[key]:
                if not self._limit.enforce(tenant_id, key, user, counts, oldest):
                    self._clock.call_later(self._membership.lease, self._count_again, tenant_id, key)
                continue
            left.setdefault(user.grace, []).append(key)
            # A user who has connected and disconnected since has to be reported once more.
            if not user.clients and key not in tenant.unreported:
                del tenant.users[key]
        for grace, users in left.items():
            self._offline.schedule(tenant_id, users, grace)

    def _argument(self, tenant_store: TenantStore, key: str, user: NodeUser) -> bytes:
        """Return a user's argument of ``presence_update.lua``."""
        argument = {
            "name": key,
            "count": len(user.clients),
            "announced": user.announced,
            "grace": user.grace,
            "draft": presence_draft(tenant_store, key, self._new_id()),
        }
        if self._limit.replaces and user.clients:
            # The age, because the clocks of two nodes must not be compared.
            argument["age"] = self._clock.monotonic() - next(iter(user.clients.values()))
        return encode_json(argument)

    def user_limit_message_received(self, data: bytes) -> None:
        """Process a message about a user with too many connections; empty: messages may have been missed."""
        if not data:
            return  # a node with connections above the limit sends it again
        try:
            message = decode_user_limit_message(data)
        except msgspec.DecodeError:
            return  # of another version
        tenant = self._tenants.get(message.tenant_id)
        user = None if tenant is None else tenant.users.get(message.user)
        if tenant is None or user is None:
            return
        if message.action == "probe":
            self._limit.probe(message.tenant_id, message.user, user)
        else:
            self._changed(tenant, message.user)

    def _count_again(self, tenant_id: str, key: str) -> None:
        tenant = self._tenants.get(tenant_id)
        if tenant is not None and key in tenant.users:
            self._changed(tenant, key)

    async def finish(self) -> bool:
        """Report what is unreported, if Redis answers; return whether everything has been reported."""
        for tenant_id, tenant in list(self._tenants.items()):
            await tenant.reports.stopped()
            if tenant.unreported:
                with suppress(Refusal):
                    await self._report_all(tenant_id)
        return not any(tenant.unreported for tenant in self._tenants.values())
