"""Reads the state of a tenant once for all that request it at the same position."""

from __future__ import annotations

from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.snapshot_cache import SharedSnapshot
from callcenter_ws.delivery.subscriber import Subscriber
from callcenter_ws.delivery.tenant import Tenant
from callcenter_ws.runtime.clock import Clock

SNAPSHOT_SHARED_SECONDS = 1.0
"""Time for which a snapshot is given to further clients; it does not count as memory of the store."""


async def take_snapshot(hub: Hub, tenant: Tenant, client: Subscriber) -> SharedSnapshot:
    """Return the tenant's state for a client; the snapshot that another one was sent, if nothing was published since.

    While another one is prepared, wait: all that wait share the next.

    Raises:
        Refusal: ``unavailable``: too many are being prepared, or the store does not answer.
    """
    tenant.view_preparation.check_room(tenant.tenant_id)
    while True:
        shared = await _present(hub, tenant)
        if shared is not None:
            return shared
        preparing = None if tenant.in_preparation is None else tenant.in_preparation.preparing()
        if preparing is None:
            break
        await preparing
    shared = await _share(hub, tenant)
    shared.begin(client)
    return shared


async def read_snapshot(hub: Hub, tenant: Tenant) -> SharedSnapshot:
    """Return the tenant's state for a principal without a connection; the snapshot that others were sent, likewise.

    Raises:
        Refusal: the store does not answer.
    """
    return await _present(hub, tenant) or await _share(hub, tenant)


async def _present(hub: Hub, tenant: Tenant) -> SharedSnapshot | None:
    """Return the snapshot that was taken last, if nothing was published since."""
    shared = tenant.snapshot
    if shared is None:
        return None
    head = await hub.broker.position(tenant.tenant_id)
    return shared if (shared.snapshot.epoch, shared.snapshot.seq) == (head.epoch, head.seq) else None


async def _share(hub: Hub, tenant: Tenant) -> SharedSnapshot:
    shared = tenant.share_snapshot(await hub.broker.snapshot(tenant.tenant_id))
    hub.clock.call_later(SNAPSHOT_SHARED_SECONDS, _release_in_time, hub.clock, tenant, shared)
    return shared


def _release_in_time(clock: Clock, tenant: Tenant, shared: SharedSnapshot) -> None:
    """Release a snapshot that was shared for a moment; also while it is prepared, or clients could keep it for ever."""
    tenant.release_snapshot(shared)
    if tenant.in_preparation is shared:
        clock.call_later(SNAPSHOT_SHARED_SECONDS, _release_in_time, clock, tenant, shared)
