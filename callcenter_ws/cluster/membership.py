"""Membership: which nodes are alive, as far as this node knows, and whether this view is recent and complete.

A node is alive while its lease has not expired (``lease_renewal.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal

from callcenter_ws.cluster.lease_renewal import RENEWAL_INTERVAL_SECONDS, LeaseRenewal, Leases
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import NODE_DEAD
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock

CERTAINLY_ALIVE_SECONDS = 1.5
"""Seconds since its last renewal for which a node is certainly alive, beside the interval of renewals."""

EvictionStep = Literal["begin", "continue", "end"]
"""A step of an eviction; see ``node_dead.lua``."""

_NO_LEASES = Leases(False, False, 0.0, {}, [], [])


class Membership:
    """This node's lease, and the leases of the other nodes when it was renewed last.

    Args:
        instance: the name of this node; different after each start.
        lease: the length of a lease in seconds.
        on_unknown: called when the other nodes know nothing of this node, so that it has to report everything again.
        has_reported_all: returns whether Redis has the connections of all users of this node.

    Attributes:
        is_reaper: whether this node is the one that evicts dead nodes.
        contact: a number that is larger each time that contact with Redis was regained, or Redis had no lease of this
            node.
        in_contact_since: time of the monotonic clock of the first renewal after contact with Redis was lost, or after
            Redis had no lease of this node.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        clock: Clock,
        spawn: Spawn,
        instance: str,
        lease: float,
        on_unknown: Callable[[], None],
        has_reported_all: Callable[[], bool],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self.lease = lease
        self._on_unknown = on_unknown
        self._last = _NO_LEASES
        self._expiry: dict[str, float] = {}
        # Redis's clock minus the monotonic clock.
        self._offset = 0.0
        self._is_in_contact = False
        # Nodes that were alive when contact was lost, with the expiry of their leases when it was regained.
        self._awaited: dict[str, float] = {}
        self._renewed_at: float | None = None
        self.instance = instance
        self.is_reaper = False
        self.contact = 0
        self.in_contact_since = 0.0
        self._lease_renewal = LeaseRenewal(
            redis,
            keys,
            clock,
            spawn,
            instance,
            lease,
            has_reported_all=has_reported_all,
            renewed=self._renewed,
            failed=self._renewal_failed,
        )

    def start(self) -> None:
        """Renew the lease from now on."""
        self._lease_renewal.start()

    async def stop(self, *, release: bool) -> None:
        """Renew the lease no longer; delete it if the other nodes need not clean up after this one."""
        self._lease_renewal.stop()
        if release:
            await self._lease_renewal.release(is_reaper=self.is_reaper)

    def reconnected(self) -> None:
        """Renew the lease now: Redis is connected again, and what happened meanwhile is not known."""
        self._is_in_contact = False
        self.renew()

    def renew(self) -> None:
        """Renew the lease now."""
        self._lease_renewal.request()

    def _renewal_failed(self) -> None:
        self.is_reaper = False
        self._is_in_contact = False

    def _renewed(self, leases: Leases) -> None:
        now = self._clock.monotonic()
        if self._was_out_of_contact(leases, now) or not leases.was_known:
            self.contact += 1
            self.in_contact_since = now
            self._await_others(leases)
        self._is_in_contact = True
        self._last, self._renewed_at, self._offset = leases, now, leases.now - now
        self._expiry, self.is_reaper = leases.expiry, leases.is_reaper
        # A node is awaited until it has renewed its lease and has reported all its users.
        self._awaited = {
            name: expiry
            for name, expiry in self._awaited.items()
            if leases.expiry.get(name, 0.0) == expiry or name in leases.unreported
        }
        if not leases.was_known:
            self._on_unknown()

    def _was_out_of_contact(self, leases: Leases, now: float) -> bool:
        """Return whether much time has passed since the last renewal, by either clock: one may have been suspended."""
        if self._renewed_at is None or not self._is_in_contact:
            return True
        return max(now - self._renewed_at, leases.now - self._last.now) > self.lease / 2

    def _await_others(self, leases: Leases) -> None:
        """Await the nodes that were alive before.

        A node whose lease has been deleted since is not awaited, unless Redis has lost all leases.
        """
        alive = {name for name, expiry in self._expiry.items() if expiry > self._last.now and name != self.instance}
        kept = {name for name in alive if name in leases.expiry or not leases.was_known}
        self._awaited = {name: leases.expiry.get(name, 0.0) for name in kept | self._awaited.keys()}

    # Eviction

    async def evict(self, instance: str, step: EvictionStep) -> bool:
        """Delete a node's lease if it has expired by Redis's clock; return whether it has.

        From the first step to the last the node is marked as being evicted, so that the next reaper continues if this
        one dies. If the node is alive after all, it reports all its users again.

        Raises:
            Refusal: ``unavailable``.
        """
        keys = [self._keys.leases, self._keys.evictions, self._keys.unreported]
        return bool(await self._redis.run(NODE_DEAD, keys, instance, step))

    @property
    def could_all_renew(self) -> bool:
        """Whether contact with Redis has lasted for a lease, so that every living node has renewed its own."""
        return self._clock.monotonic() - self.in_contact_since >= self.lease

    # What is known of the nodes

    @property
    def is_current(self) -> bool:
        """Whether what this node and Redis know of the nodes is recent enough for answers."""
        renewed_at = self._renewed_at
        if self._redis.problem is not None:
            # Redis may be readable, but what has happened since could not be written.
            return False
        return renewed_at is not None and self._clock.monotonic() - renewed_at < self.lease

    def check_current(self) -> None:
        """Raise ``Refusal``, ``unavailable``, unless ``is_current``."""
        if not self.is_current:
            raise _not_current()

    async def refresh(self) -> None:
        """Read the leases of all nodes: a node may have been started since the last renewal.

        Raises:
            Refusal: ``unavailable``.
        """
        if self._lease_renewal.is_stopped:
            raise _not_current()
        await self._lease_renewal.renew()
        self.check_current()

    async def is_complete(self, instances: Iterable[str], contact: int) -> bool:
        """Return whether connections just read from Redis, at these nodes, are all connections.

        If not, the leases have been read again, and the connections should be, too. After contact with Redis was lost,
        or Redis has lost its data, every node that was alive before is awaited for the length of a lease.

        Args:
            contact: the value of that attribute before the connections were read.

        Raises:
            Refusal: ``unavailable``: nodes are awaited.
        """
        is_certain = not self._is_awaiting and all(map(self.is_known, instances)) and await self._is_registered()
        # A renewal meanwhile may have found that Redis had lost its data, and have registered this node again.
        if is_certain and contact == self.contact:
            return True
        await self.refresh()
        if self._is_awaiting:
            raise _not_current()
        return False

    @property
    def _is_awaiting(self) -> bool:
        return bool(self._awaited) and not self.could_all_renew

    async def _is_registered(self) -> bool:
        """Return whether Redis has this node's lease; if not, it may have lost its data since the last renewal."""
        return await self._redis.send("ZSCORE", self._keys.leases, self.instance) is not None

    def is_known(self, instance: str) -> bool:
        """Return whether a node had a lease, or was being evicted, at the last renewal."""
        return instance == self.instance or instance in self._expiry or instance in self._last.evictions

    def is_alive(self, instance: str) -> bool:
        """Return whether a node's lease has not expired, as far as is known."""
        return instance == self.instance or self._seconds_left(instance) > 0

    def is_certainly_alive(self, instance: str) -> bool:
        """Return whether a node renewed its lease a moment ago."""
        oldest = self.lease - CERTAINLY_ALIVE_SECONDS - RENEWAL_INTERVAL_SECONDS
        return instance == self.instance or self._seconds_left(instance) > oldest

    def _seconds_left(self, instance: str) -> float:
        """Return the seconds until a lease expires."""
        return self._expiry.get(instance, 0.0) - (self._clock.monotonic() + self._offset)

    def other_nodes(self) -> set[str]:
        """Return the other nodes that are alive."""
        return {name for name in self._expiry if name != self.instance and self.is_alive(name)}

    def dead_nodes(self) -> list[str]:
        """Return the nodes whose leases have expired, and those whose eviction is not finished."""
        expired = [name for name in self._expiry if not self.is_alive(name)]
        return [*expired, *(name for name in self._last.evictions if name not in expired)]


def _not_current() -> Refusal:
    return Refusal(ErrorCode.UNAVAILABLE, "the state of the other nodes is not known", retry_after=1)
