"""Drafts of ``presence.changed``, which the scripts complete and publish (``presence_event.lua``)."""

from __future__ import annotations

from callcenter_ws.broker.redis.tenant_store import TenantStore
from callcenter_ws.cluster.node_user import user_id_of
from callcenter_ws.events.event import Origin
from callcenter_ws.runtime.json import encode_json, rfc3339


def presence_draft(tenant_store: TenantStore, key: str, event_id: str) -> dict[str, str]:
    """Return the parts of the event that do not depend on what Redis has.

    Args:
        key: the user's name within its tenant.
    """
    now = tenant_store.now
    head = encode_json((event_id, "presence.changed", rfc3339(now), None, False, Origin.GATEWAY.value, now))
    user = encode_json(user_id_of(key))
    return {"id": event_id, "at": repr(now), "head": f"{head[1:-1].decode()},", "user": user.decode()}
