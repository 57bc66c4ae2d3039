"""Followers: the tenants that this node follows, and what of them is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from callcenter_ws.broker.redis.follower import Follower
from callcenter_ws.broker.redis.tenant_discovery import TenantDiscovery
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.runtime.clock import Clock, Timer

LINGER = 30.0
"""Seconds for which a tenant is followed after its last client has gone: many come back at once."""

_HOUSEKEEPING = 60.0


class Followers:
    """Followers by tenant.

    Args:
        make: makes the follower of a tenant, which begins at its first event, or else at the present.
        listen, forget: have Redis announce a tenant's events, or no more.
        memory_events, history_seconds: how much of each tenant's history is held.
        memory_bytes: of everything that is held.

    Attributes:
        bytes: that are held.
    """

    def __init__(
        self,
        clock: Clock,
        everybody: Callable[[Callable[[str, bool], None]], TenantDiscovery],
        make: Callable[[str, Callable[[Follower], None], bool], Follower],
        listen: Callable[[str], None],
        forget: Callable[[str], None],
        *,
        memory_events: int,
        memory_bytes: int,
        history_seconds: float,
    ) -> None:
        self._clock = clock
        self._everybody = everybody(self._follow)
        self._make = make
        self._listen = listen
        self._forget = forget
        self._memory_events = memory_events
        self._memory_bytes = memory_bytes
        self._history_seconds = history_seconds
        self._followers: dict[str, Follower] = {}
        self._attached: set[str] = set()
        self._leaving: dict[str, Timer] = {}
        self._housekeeping: Timer | None = None
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._followers)

    def __iter__(self) -> Iterator[Follower]:
        return iter(list(self._followers.values()))

    def get(self, tenant_id: str) -> Follower | None:
        """A tenant's follower, if it has one."""
        return self._followers.get(tenant_id)

    # Whom to follow

    def attach(self, tenant_id: str) -> None:
        """Follow a tenant, or all of them (``*``)."""
        if tenant_id == EVERY_TENANT:
            self._everybody.start()
            return
        self._attached.add(tenant_id)
        leaving = self._leaving.pop(tenant_id, None)
        if leaving is not None:
            leaving.cancel()
        self._follow(tenant_id, False)

    def detach(self, tenant_id: str) -> None:
        """Follow it for a little longer."""
        if tenant_id == EVERY_TENANT:
            known = self._everybody.known
            self._everybody.stop()
            for name in known - self._attached:
                self._leave_soon(name)
            return
        self._attached.discard(tenant_id)
        if tenant_id not in self._everybody.known:
            self._leave_soon(tenant_id)

    def look_for_others(self) -> None:
        """There may be tenants that were not there before."""
        self._everybody.look()

    def tenant_announced(self, name: bytes) -> None:
        """There is a tenant that was not there before; without a name: there may be."""
        self._everybody.announced(name)

    def _follow(self, tenant_id: str, from_the_start: bool) -> None:
        if tenant_id not in self._followers:
            self._followers[tenant_id] = self._make(tenant_id, self.keep, from_the_start)
            self._listen(tenant_id)

    def _leave_soon(self, tenant_id: str) -> None:
        if tenant_id in self._followers and tenant_id not in self._leaving:
            self._leaving[tenant_id] = self._clock.call_later(LINGER, self._leave, tenant_id)

    def _leave(self, tenant_id: str) -> None:
        del self._leaving[tenant_id]
        if tenant_id in self._everybody.known:
            return
        follower = self._followers.pop(tenant_id)
        follower.stop(Refusal(ErrorCode.UNAVAILABLE, "nobody follows this tenant"))
        self.bytes -= follower.counted
        self._forget(tenant_id)

    # Life

    def start(self) -> None:
        """Let age take its toll from now on."""
        self._housekeeping = self._clock.call_later(_HOUSEKEEPING, self._keep_house)

    def stop(self, refusal: Refusal) -> None:
        """Follow nobody; who waits for something is told why it does not come."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        self._everybody.stop()
        for timer in self._leaving.values():
            timer.cancel()
        for follower in self:
            follower.stop(refusal)

    # Memory

    def keep(self, follower: Follower) -> None:
        """Let go of what memory should not hold, after a tenant's stream has grown."""
        follower.history.keep(self._memory_events, self._clock.monotonic() - self._history_seconds)
        self._count(follower)
        if self.bytes > self._memory_bytes:
            self._make_room()

    def _count(self, follower: Follower) -> None:
        held = follower.bytes
        self.bytes += held - follower.counted
        follower.counted = held

    def _make_room(self) -> None:
        """Halve the largest histories, then forget states: all of it can be read again."""
        by_size = sorted(self, key=lambda follower: follower.bytes, reverse=True)
        enough = self._memory_bytes - self._memory_bytes // 16
        for forget in (_halve_history, Follower.forget_state):
            for follower in by_size:
                if self.bytes <= enough:
                    return
                forget(follower)
                self._count(follower)

    def _keep_house(self) -> None:
        now = self._clock.monotonic()
        for follower in self:
            follower.age(now)
            self.keep(follower)
        self._housekeeping = self._clock.call_later(_HOUSEKEEPING, self._keep_house)


def _halve_history(follower: Follower) -> None:
    follower.history.keep(len(follower.history) // 2, 0)
