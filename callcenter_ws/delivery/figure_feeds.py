"""The feeds of live figures of a node: opened for tenants that have clients, and read from the store."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from callcenter_ws.delivery.figure_feed import FigureFeed
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.errors import Refusal
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.store import FigurePolicy, FigureStore, LiveFigure

RETRY_SECONDS = 1.0
"""Time after which live figures are read again that could not be read."""


class FigureFeeds:
    """Opens and closes the feeds of tenants as the policy says, and has their tables read; nothing before ``use``."""

    def __init__(self, clock: Clock, slicer: Slicer, spawn: Spawn) -> None:
        self._clock = clock
        self._slicer = slicer
        self._spawn = spawn
        self._store: FigureStore | None = None
        self._policy: FigurePolicy | None = None

    def use(self, store: FigureStore, policy: FigurePolicy) -> None:
        """Use a store and a policy from now on; ``update`` follows for each tenant."""
        self._store, self._policy = store, policy

    def update(self, tenant: Tenant, *, has_clients: bool) -> None:
        """Begin or end to send live figures to the clients of a tenant, as the policy says."""
        policy, store = self._policy, self._store
        if policy is None or store is None:
            return
        is_enabled = policy.is_enabled(tenant.tenant_id)
        tenant.use_policy(policy if is_enabled else None)
        if tenant.feed is None and is_enabled and has_clients:
            feed = tenant.open_figures(policy, self._slicer)
            read = partial(self._read, tenant.tenant_id, feed, store)
            feed.reading = SingleFlight(read, self._clock, self._spawn)
            feed.request_reading()

    async def _read(self, tenant_id: str, feed: FigureFeed, store: FigureStore) -> None:
        feed.begin_reading()
        try:
            figures = await store.live(tenant_id)
        except Refusal:
            self._clock.call_later(RETRY_SECONDS, feed.request_reading)
            return
        if not feed.is_closed:
            feed.replace(figures)

    async def to_read(self, tenant: Tenant) -> FigureFeed | None:
        """Return the figures of a tenant that may have no clients; None: it has no statistics.

        Raises:
            Refusal: the store does not answer.
        """
        policy, store = self._policy, self._store
        if policy is None or store is None or not policy.is_enabled(tenant.tenant_id):
            return None
        if tenant.feed is not None and tenant.feed.is_complete:
            return tenant.feed
        # This node is not informed of the changes of a tenant without clients, or has not taken all of them yet.
        feed = FigureFeed(tenant.tenant_id, self._slicer, policy)
        await self._slicer.run(feed.fill(await store.live(tenant.tenant_id)))
        return feed


def announce(tenant: Tenant, changed: Sequence[LiveFigure] | None) -> None:
    """Send live figures that changed to the clients of a tenant; None: have all of them read from the store."""
    feed = tenant.feed
    if feed is not None:
        if changed is None:
            feed.request_reading()
        else:
            feed.announce(changed)
