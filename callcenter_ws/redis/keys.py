"""The names of everything that the gateway keeps in Redis."""

from __future__ import annotations


class Keys:
    """Names under one prefix.

    What belongs to a tenant has the tenant as its hash tag, so that a cluster of Redis keeps it in one place, where one
    script can work on it (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).

    Args:
        database: channels are the same for all databases of a Redis, so that they have to tell them apart.
    """

    def __init__(self, prefix: str, database: int) -> None:
        self._prefix = prefix
        self._channels = f"{prefix}:{database}" if database else prefix
        self.tenants = f"{prefix}:tenants"
        # What concerns the nodes together is in one place, too.
        self.leases = f"{prefix}:{{nodes}}:leases"
        self.caretaker = f"{prefix}:{{nodes}}:caretaker"
        self.orders = f"{prefix}:{{nodes}}:orders"
        self.revocations = f"{prefix}:{{nodes}}:revocations"
        self.orders_channel = f"{self._channels}:{{nodes}}:orders"
        self.reports_channel = f"{self._channels}:{{nodes}}:reports"
        self.tenants_channel = f"{self._channels}:{{nodes}}:tenants"

    def meta(self, tenant_id: str) -> str:
        """The tenant's hash of epoch and head; the scripts make the names of its other keys from it."""
        return self.of(tenant_id, "meta")

    def of(self, tenant_id: str, name: str) -> str:
        """One of the tenant's keys."""
        return f"{self._prefix}:{{{_tag(tenant_id)}}}:{name}"

    def tenants_at(self, instance: str) -> str:
        """The tenants that have had clients at a node."""
        return f"{self._prefix}:at:{instance}"

    def channel(self, tenant_id: str) -> str:
        """Where the tenant's events are announced."""
        return f"{self._channels}:{{{_tag(tenant_id)}}}:live"

    def tenant_of(self, channel: str) -> str:
        """The tenant whose channel it is."""
        tag = channel[len(self._channels) + 2 : -len("}:live")]
        return tag.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")


def _tag(tenant_id: str) -> str:
    """A hash tag ends at the first closing brace."""
    return tenant_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
