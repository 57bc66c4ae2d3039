"""Cluster: this node among those that share its Redis, beside the broker: who is where, and orders to all."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.cluster.control import ControlMessages
from callcenter_ws.cluster.directory import ClusterDirectory
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.presence import ClusterPresence
from callcenter_ws.cluster.reaper import Reaper
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import Refusal
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock


class Cluster:
    """One node.

    Args:
        node: its name; with it and the moment, this life of it is named.
        lease: seconds after which a node that was not heard of is dead.
        history_limits: events and seconds that a tenant's log keeps.
        revoked: closes what else a revoked token is used for here, beside the Hub's clients; returns how many.

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
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._spawn = spawn
        self._new_id = UlidFactory(clock.time)
        self._revoked = revoked
        self._is_stopped = False
        self._orders: ControlMessages | None = None
        redis, keys = broker.redis, broker.keys
        self._membership = Membership(
            redis,
            keys,
            clock,
            spawn,
            f"{node}~{self._new_id()}",
            lease,
            self._introduce_anew,
            lambda: self.presence.has_told(),
        )
        self.presence = ClusterPresence(
            self._membership,
            broker.tenant_store,
            clock,
            spawn,
            self._new_id,
            history_limits,
            lambda tenant_id: spawn(self._note_tenant(tenant_id)),
            grace=limits.presence_grace,
            drain_grace=limits.presence_grace + limits.drain_timeout,
            per_user=limits.connections_per_user,
        )
        self._caretaker = Reaper(redis, keys, self._membership, self.presence, clock, spawn, limits.presence_grace)

    def _introduce_anew(self) -> None:
        """Redis knows nothing of this node: that may be all that it does not know."""
        self._broker.introduce_anew()
        self.presence.tell_everything()
        if self._orders is not None:
            self._orders.restore()

    async def _note_tenant(self, tenant_id: str) -> None:
        """Have it found when this node dies."""
        redis, keys = self._broker.redis, self._broker.keys
        try:
            await redis.send("SADD", keys.tenants_at(self._membership.instance), tenant_id)
            if await redis.send("SADD", keys.tenants, tenant_id):
                await redis.send("SPUBLISH", keys.tenants_channel, tenant_id)
        except Refusal:
            if not self._is_stopped:
                self._clock.call_later(1.0, lambda: self._spawn(self._note_tenant(tenant_id)))

    def directory(self, hub: Hub) -> ClusterDirectory:
        """Return what the edges may ask, with ``hub`` for this node's part; to be called once."""
        broker = self._broker
        orders = self._orders = ControlMessages(
            broker.redis,
            broker.keys,
            self._membership,
            hub,
            self._clock,
            self._spawn,
            self._new_id,
            self._revoked,
        )
        broker.hear(broker.keys.orders_channel, lambda _: orders.look())
        broker.hear(broker.keys.reports_channel, orders.reported)
        broker.when_connected(orders.look)
        return ClusterDirectory(hub, self.presence, orders)

    def start(self) -> None:
        """Become a node among the others, as soon as Redis can be reached."""
        self._broker.when_connected(self._membership.resume)
        self._broker.when_connected(self.presence.tell_untold)
        self._membership.start()
        self._caretaker.start()

    async def stop(self) -> None:
        """Say who has gone, and take leave of the others."""
        self._is_stopped = True
        self._caretaker.stop()
        if self._orders is not None:
            self._orders.stop()
        # If not all of it could be told, the lease has to run out, for others to see to the rest.
        await self._membership.stop(give_back=await self.presence.finish())
