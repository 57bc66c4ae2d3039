"""Names of the keys and channels that the gateway uses in Redis."""

from __future__ import annotations


class Keys:
    """Names under one prefix.

    The keys of a tenant have the tenant as hash tag. Redis Cluster would keep them in one slot, which scripts require
    (https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags).

    Some names in Redis are older than the terms of the code, and are kept for compatibility with stored data.

    Args:
        database: the number of the database; part of the names of channels, because channels are shared by all
            databases of a Redis.

    Attributes:
        tenants: set of all tenants.
        figure_tenants: set of the tenants that have rows of statistics.
        command_tenants: sorted set of the tenants that may have open commands, by their latest deadline.
        leases: sorted set of nodes by the expiry of their leases.
        reaper: the node that evicts dead nodes (stored as ``caretaker``).
        evictions: hash of the nodes that are being evicted (stored as ``burials``).
        unreported: set of nodes that have not reported all their users (stored as ``behind``).
        control: stream of control messages (stored as ``orders``).
        revocations: hash of revoked subjects.
        sources: set of the registered sources; scripts derive the other keys of sources from it.
    """

    def __init__(self, prefix: str, database: int) -> None:
        self._prefix = prefix
        self._channels = f"{prefix}:{database}" if database else prefix
        self.tenants = f"{prefix}:tenants"
        self.figure_tenants = f"{prefix}:figuretenants"
        self.command_tenants = f"{prefix}:commandtenants"
        # Keys about nodes share a hash tag, too.
        self.leases = f"{prefix}:{{nodes}}:leases"
        self.reaper = f"{prefix}:{{nodes}}:caretaker"
        self.evictions = f"{self.leases}:burials"
        self.unreported = f"{self.leases}:behind"
        self.control = f"{prefix}:{{nodes}}:orders"
        self.revocations = f"{prefix}:{{nodes}}:revocations"
        self.sources = f"{prefix}:{{sources}}:all"
        self.sources_channel = f"{self._channels}:{{sources}}:replaced"
        self.control_channel = f"{self._channels}:{{nodes}}:orders"
        self.reports_channel = f"{self._channels}:{{nodes}}:reports"
        self.user_limit_channel = f"{self._channels}:{{nodes}}:user-limit"
        self.commands_channel = f"{self._channels}:{{nodes}}:commands"
        self.tenants_channel = f"{self._channels}:{{nodes}}:tenants"

    def account(self, name: str) -> str:
        """Return one of the keys about users of the pages; no tenant has keys that begin so.

        Args:
            name: as ``users``; ``account_keys.lua`` lists all, and derives them from that one.
        """
        return f"{self._prefix}:pages:{{accounts}}:{name}"

    def meta(self, tenant_id: str) -> str:
        """Return the key of the tenant's epoch and head; scripts derive the tenant's other keys from it."""
        return self.of(tenant_id, "meta")

    def of(self, tenant_id: str, name: str) -> str:
        """Return one of the tenant's keys.

        Args:
            name: the part after the tenant, as ``log`` or ``slots``; ``docs/scaling.rst``, "Keys in Redis", lists all.
        """
        return f"{self._prefix}:{{{_tag(tenant_id)}}}:{name}"

    def offline_due(self, tenant_id: str) -> str:
        """Return the key of the tenant's users who are to be announced offline, by time (``farewells``)."""
        return self.of(tenant_id, "farewells")

    def source(self, source: str) -> str:
        """Return the key of a registered source."""
        return f"{self.sources[:-3]}of:{source}"

    @property
    def sources_ending(self) -> str:
        """The hash of leases that have ended, for which ``source.down`` may not be published yet."""
        return f"{self.sources[:-3]}ending"

    def tenants_at(self, instance: str) -> str:
        """Return the key of the tenants that have had clients at a node."""
        return f"{self._prefix}:at:{instance}"

    def channel(self, tenant_id: str) -> str:
        """Return the channel on which the tenant's events are announced."""
        return f"{self._channels}:{{{_tag(tenant_id)}}}:live"

    def tenant_of(self, channel: str) -> str:
        """Return the tenant of a channel."""
        tag = channel[len(self._channels) + 2 : -len("}:live")]
        return tag.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")


def _tag(tenant_id: str) -> str:
    """Escape braces: a hash tag ends at the first closing brace."""
    return tenant_id.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
