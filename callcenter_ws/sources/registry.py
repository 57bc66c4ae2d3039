"""The registry of sources, as the edges use it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from callcenter_ws.interfaces import CommandSource, SourceRecord
from callcenter_ws.runtime.histogram import DELAY_BOUNDS, Histogram
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.sources.claim import Claim
from callcenter_ws.sources.link import SourceLink

ANNOUNCE_AGAIN_SECONDS = 6 * 3_600.0
"""How often a source that stays up is announced again: the state forgets what has not changed for a day."""

DESCRIBED_TENANTS = 20
"""Tenants of a source that are listed for operators."""

MAX_ENDED_PER_TICK = 100
"""Leases that are ended at once: after a restart, those of all sources that do not return end together."""

TICK_SECONDS = 1.0
"""How often leases are checked."""


@dataclass(slots=True)
class SourceCounters:
    """For the metrics.

    Attributes:
        connected: sources that are connected to this process.
        lost: leases that this process has ended.
        waiting: sources without a connection whose lease has not ended; None: not known, because nodes share them.
        syncs: ``SyncState`` that took effect, or were known.
        reconciled_events: the events that they published.
        delay_seconds: from the time that a source gave an event to when the event was stored; one event of each call.
    """

    connected: int = 0
    lost: int = 0
    waiting: int | None = None
    syncs: int = 0
    reconciled_events: int = 0
    delay_seconds: Histogram = field(default_factory=lambda: Histogram(DELAY_BOUNDS))


class SourceRegistry(Protocol):
    """Knows the sources: of this process, or of all nodes that share a store.

    The methods that return an Awaitable raise ``Refusal``, ``unavailable``, when the store does not accept writes.
    """

    @property
    def lease(self) -> float:
        """Seconds for which a source may be without a connection."""

    @property
    def counters(self) -> SourceCounters:
        """The counters of this process."""

    async def register(self, claim: Claim, close: Callable[[str], None]) -> SourceLink:
        """Register a source that said ``Hello``, and announce it; return its connection.

        Args:
            close: closes the connection; its argument is the reason, for the log.

        Raises:
            Refusal: ``forbidden``, ``source_in_use``, ``stale_generation``, ``overloaded``.
        """

    def link_lost(self, link: SourceLink) -> None:
        """Start the lease of a source whose connection has ended."""

    def drain(self, seconds: float) -> None:
        """Give sources that lose their connection from now on so much more time: this process closes it, and stops.

        A daemon on the same machine can connect again only when the next process is started.

        Args:
            seconds: within which this process ends.
        """

    def forget(self, name: str, tenant_id: str | None) -> Awaitable[int]:
        """Release a name in a tenant, or, if that is None, a source of the installation in all of its tenants.

        Returns:
            In how many tenants the name was released.

        Raises:
            Refusal: ``source_in_use``: its lease has not ended.
        """

    def sources(self, tenant_id: str | None) -> Awaitable[Sequence[JsonObject]]:
        """Return the sources of a tenant, or all, for operators."""

    def chats_are_owned(self, tenant_id: str) -> Awaitable[bool]:
        """Return whether a source with the capability ``chats`` is registered; see ``SourceCapabilities``."""

    def command_sources(self, tenant_id: str) -> Awaitable[Sequence[CommandSource]]:
        """Return the sources that send events of the tenant, to route commands; see ``SourceCapabilities``."""


def description(record: SourceRecord, *, connected: bool) -> JsonObject:
    """Return a source, for operators."""
    return {
        "source": record.name,
        "kind": record.kind,
        "version": record.version,
        "owner": "installation" if not record.subject else record.subject,
        "tenants": list(record.claimed[:DESCRIBED_TENANTS]),
        "tenant_count": len(record.claimed),
        "capabilities": list(record.capabilities),
        "generation": record.generation,
        "state": "connected" if connected else "waiting" if record.instance else "down",
    }
