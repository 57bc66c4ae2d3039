"""Followers: the tenants that this node follows, and the memory that they use."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from callcenter_ws.broker.redis.follower import Follower
from callcenter_ws.broker.redis.tenant_discovery import TenantDiscovery
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.runtime.clock import Clock, Timer

DETACH_DELAY_SECONDS = 30.0
"""How long a tenant is followed after its last client has left: clients that lost their connection soon reconnect."""

_EXPIRY_INTERVAL_SECONDS = 60.0


class Followers:
    """Followers by tenant.

    Args:
        make_discovery: returns the discovery of all tenants, given what it calls for each of them.
        make_follower: returns the follower of a tenant, given what it calls after publications were added, and whether
            it begins with the first event of the log.
        subscribe, unsubscribe: subscribe to a tenant's channel, or unsubscribe.
        memory_events, history_seconds: how much of each tenant's history is kept in memory.
        memory_bytes: limit of the memory of all followers.

    Attributes:
        bytes: memory of all followers.
    """

    def __init__(
        self,
        clock: Clock,
        make_discovery: Callable[[Callable[[str, bool], None]], TenantDiscovery],
        make_follower: Callable[[str, Callable[[Follower], None], bool], Follower],
        subscribe: Callable[[str], None],
        unsubscribe: Callable[[str], None],
        *,
        memory_events: int,
        memory_bytes: int,
        history_seconds: float,
    ) -> None:
        self._clock = clock
        self._discovery = make_discovery(self._follow)
        self._make_follower = make_follower
        self._subscribe = subscribe
        self._unsubscribe = unsubscribe
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._history_seconds = history_seconds
        self._followers: dict[str, Follower] = {}
        self._attached: set[str] = set()
        # Tenants that will be followed no longer.
        self._detaching: dict[str, Timer] = {}
        self._expiry_timer: Timer | None = None
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._followers)

    def __iter__(self) -> Iterator[Follower]:
        return iter(list(self._followers.values()))

    def get(self, tenant_id: str) -> Follower | None:
        """Return a tenant's follower; None if the tenant is not followed."""
        return self._followers.get(tenant_id)

    # Attached tenants

    def attach(self, tenant_id: str) -> None:
        """Follow a tenant, or all of them (``*``)."""
        if tenant_id == EVERY_TENANT:
            self._discovery.start()
            return
        self._attached.add(tenant_id)
        detaching = self._detaching.pop(tenant_id, None)
        if detaching is not None:
            detaching.cancel()
        self._follow(tenant_id, False)

    def detach(self, tenant_id: str) -> None:
        """Stop following a tenant, or all of them (``*``), after ``DETACH_DELAY_SECONDS``."""
        if tenant_id == EVERY_TENANT:
            known = self._discovery.known
            self._discovery.stop()
            for name in known - self._attached:
                self._unfollow_later(name)
            return
        self._attached.discard(tenant_id)
        if tenant_id not in self._discovery.known:
            self._unfollow_later(tenant_id)

    def scan_tenants(self) -> None:
        """Scan for tenants that are not known yet, if all tenants are followed."""
        self._discovery.scan()

    def tenant_announced(self, name: bytes) -> None:
        """Process the announcement of a new tenant; empty: announcements may have been missed."""
        self._discovery.announced(name)

    def _follow(self, tenant_id: str, from_the_start: bool) -> None:
        if tenant_id not in self._followers:
            self._followers[tenant_id] = self._make_follower(tenant_id, self.trim_memory, from_the_start)
            self._subscribe(tenant_id)

    def _unfollow_later(self, tenant_id: str) -> None:
        if tenant_id in self._followers and tenant_id not in self._detaching:
            self._detaching[tenant_id] = self._clock.call_later(DETACH_DELAY_SECONDS, self._unfollow, tenant_id)

    def _unfollow(self, tenant_id: str) -> None:
        del self._detaching[tenant_id]
        if tenant_id in self._discovery.known:
            return
        follower = self._followers.pop(tenant_id)
        follower.stop(Refusal(ErrorCode.UNAVAILABLE, "this node does not follow the tenant any more"))
        self.bytes -= follower.counted_bytes
        self._unsubscribe(tenant_id)

    def start(self) -> None:
        """Remove expired publications from memory from now on."""
        self._expiry_timer = self._clock.call_later(_EXPIRY_INTERVAL_SECONDS, self._expire)

    def stop(self, refusal: Refusal) -> None:
        """Stop all followers; requests that wait for them are refused."""
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        self._discovery.stop()
        for timer in self._detaching.values():
            timer.cancel()
        for follower in self:
            follower.stop(refusal)

    # Memory

    def trim_memory(self, follower: Follower) -> None:
        """Apply the memory limits after publications were added to a follower."""
        follower.history.trim(self._memory_events, self._clock.monotonic() - self._history_seconds)
        self._count(follower)
        if self.bytes > self._memory_bytes:
            self._free_memory()

    def _count(self, follower: Follower) -> None:
        used = follower.bytes
        self.bytes += used - follower.counted_bytes
        follower.counted_bytes = used

    def _free_memory(self) -> None:
        """Halve the largest histories, then drop states; both can be read again from Redis."""
        by_size = sorted(self, key=lambda follower: follower.bytes, reverse=True)
        target = self._memory_bytes - self._memory_bytes // 16
        for free in (_halve_history, Follower.drop_state):
            for follower in by_size:
                if self.bytes <= target:
                    return
                free(follower)
                self._count(follower)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        for follower in self:
            follower.expire_state(now)
            self.trim_memory(follower)
        self._expiry_timer = self._clock.call_later(_EXPIRY_INTERVAL_SECONDS, self._expire)


def _halve_history(follower: Follower) -> None:
    follower.history.trim(len(follower.history) // 2, 0)
