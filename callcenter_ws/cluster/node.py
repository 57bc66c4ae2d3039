"""Cluster: this node among the nodes that share its Redis: presence, membership and control messages."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from twisted.internet.defer import CancelledError

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.cluster.connection_limit import ConnectionLimit, UserLimitMessage
from callcenter_ws.cluster.control import ControlMessages
from callcenter_ws.cluster.directory import ClusterDirectory
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.offline import OfflineAnnouncements
from callcenter_ws.cluster.presence import ClusterPresence
from callcenter_ws.cluster.reaper import Reaper
from callcenter_ws.cluster.user_locations import UserLocations
from callcenter_ws.delivery.drain import longest_absence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits, OverUserLimit
from callcenter_ws.errors import Refusal
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json

_RETRY_SECONDS = 1.0


class Cluster:
    """One node.

    Args:
        node: the name of the node; an identifier is added that is different after each start.
        lease: seconds after the last renewal of its lease at which a node counts as dead.
        history_limits: events and seconds that a tenant's log keeps.
        revoked: closes what else a revoked token is used for at this node, beside the Hub's clients; returns how many.
        over_user_limit: what happens to a user's connection over the limit.

    Attributes:
        presence: for the Hub.
    """

    def __init__(
        self,
        broker: RedisBroker,
        clock: Clock,
        spawn: Spawn,
        limits: Limits,
        *,
        node: str,
        lease: float,
        history_limits: tuple[int, float],
        revoked: Callable[[], int],
        over_user_limit: OverUserLimit = "refuse",
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._spawn = spawn
        self._new_id = UlidFactory(clock.time)
        self._revoked = revoked
        self._node = node
        self._is_stopped = False
        self._control: ControlMessages | None = None
        redis, keys = broker.redis, broker.keys
        log_limits = (history_limits[0], repr(float(history_limits[1])))
        self._membership = Membership(
            redis,
            keys,
            clock,
            spawn,
            f"{node}~{self._new_id()}",
            lease,
            self._report_everything,
            lambda: self.presence.has_reported_all(),
        )
        self._connection_limit = ConnectionLimit(
            self._membership,
            clock,
            limits.connections_per_user,
            over_user_limit,
            lambda message: spawn(self._publish(message)),
        )
        offline = OfflineAnnouncements(broker.tenant_store, clock, spawn, self._new_id, log_limits)
        self.presence = ClusterPresence(
            self._membership,
            broker.tenant_store,
            clock,
            spawn,
            self._new_id,
            log_limits,
            lambda tenant_id: spawn(self._register_tenant(tenant_id)),
            offline,
            self._connection_limit,
            grace=limits.presence_grace,
            drain_grace=_drain_grace(limits),
        )
        self._locations = UserLocations(
            self._membership, broker.tenant_store, self.presence.unreported_connections, clock
        )
        self._reaper = Reaper(redis, keys, self._membership, offline, clock, spawn, limits.presence_grace)

    def live_processes(self) -> int:
        """Return how many processes of the cluster are alive, as far as this one knows, itself included."""
        return 1 + len(self._membership.other_nodes())

    def change_limits(self, limits: Limits, over_user_limit: OverUserLimit) -> None:
        """Use other limits from now on."""
        self._connection_limit.change(limits.connections_per_user, over_user_limit)
        self.presence.change_grace(limits.presence_grace, _drain_grace(limits))
        self._reaper.grace = limits.presence_grace

    def _report_everything(self) -> None:
        """Report everything again: Redis had no lease of this node, so it may have lost all data."""
        self._broker.tenants.clear()
        self.presence.report_everything()
        if self._control is not None:
            self._control.restore_revocations()

    async def _publish(self, message: UserLimitMessage) -> None:
        """Send a message to all nodes, this one included."""
        try:
            await self._broker.redis.send("SPUBLISH", self._broker.keys.user_limit_channel, encode_json(message))
        except Refusal:
            return  # it is repeated

    async def _register_tenant(self, tenant_id: str) -> None:
        """Register that this node has clients of a tenant, so that they are found when the node dies."""
        redis, keys = self._broker.redis, self._broker.keys
        try:
            await redis.send("SADD", keys.tenants_at(self._membership.instance), tenant_id)
            await self._broker.tenants.register(tenant_id)
        except Refusal:
            if not self._is_stopped:
                self._clock.call_later(_RETRY_SECONDS, lambda: self._spawn(self._register_tenant(tenant_id)))

    def directory(self, hub: Hub) -> ClusterDirectory:
        """Return the directory of all nodes' users, with ``hub`` for those of this node; to be called once."""
        broker = self._broker
        control = self._control = ControlMessages(
            broker.redis,
            broker.keys,
            self._membership,
            hub,
            self._clock,
            self._spawn,
            self._new_id,
            self._revoked,
        )
        broker.subscribe(broker.keys.control_channel, lambda _: control.request_read())
        broker.subscribe(broker.keys.reports_channel, control.report_received)
        broker.subscribe(broker.keys.user_limit_channel, self.presence.user_limit_message_received)
        broker.on_connected(control.request_read)
        return ClusterDirectory(hub, self._locations, control)

    async def has_other_nodes(self) -> bool:
        """Return whether other nodes are alive; False if that is not known. The workers of a node are one node.

        If it is cancelled, because Redis does not answer in time, what the last renewal has found is the result.
        """
        with suppress(Refusal, CancelledError):
            # One may have been started since the last renewal.
            await self._membership.refresh()
        own, membership = _without_worker(self._node), self._membership
        others = (name.rpartition("~")[0] for name in membership.other_nodes())
        return membership.is_current and any(_without_worker(name) != own for name in others)

    def start(self) -> None:
        """Become one of the nodes as soon as Redis is connected."""
        self._broker.on_connected(self._membership.reconnected)
        self._broker.on_connected(self.presence.report_unreported)
        self._membership.start()
        self._reaper.start()

    async def stop(self) -> None:
        """Report that this node's users have left, and leave the cluster."""
        self._is_stopped = True
        self._reaper.stop()
        if self._control is not None:
            self._control.stop()
        # If not everything could be reported, the lease has to expire, so that the reaper does the rest.
        await self._membership.stop(release=await self.presence.finish())


def _drain_grace(limits: Limits) -> float:
    """Return the seconds that users of a node that stops have to reconnect."""
    return limits.presence_grace + longest_absence(limits.drain_timeout)


def _without_worker(name: str) -> str:
    """Return the name of the node of a process: that of a worker ends with its number, as ``pbx1/2``."""
    node, _, number = name.rpartition("/")
    return node if node and number.isdecimal() else name
