"""LocalSources: the registry of a gateway that has its store for itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.capabilities import CHATS, has_other_commands
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.interfaces import CommandSource, SourceRecord, SourceStore
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.claim import Claim
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.registry import (
    ANNOUNCE_AGAIN_SECONDS,
    MAX_ENDED_PER_TICK,
    TICK_SECONDS,
    SourceCounters,
    description,
)
from callcenter_ws.sources.table import Key, SourceTable

_log = Logger("callcenter_ws.sources")


class LocalSources:
    """Implements ``SourceRegistry`` in memory, with the records in a SourceStore.

    Leases run by the monotonic clock of this process, and start anew with it, and when it has stood still for long: the
    time in which the gateway does not run does not count.

    Args:
        lease: seconds for which a source may be without a connection.
    """

    def __init__(
        self,
        store: SourceStore,
        announcer: SourceAnnouncer,
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        *,
        lease: float,
    ) -> None:
        self._store = store
        self._announcer = announcer
        self._clock = clock
        self._new_id = new_id
        self._table = SourceTable(lease)
        self._links: dict[str, SourceLink] = {}
        # Sources whose lease has ended, and its number: source.down is not published yet.
        self._lost: dict[Key, int] = {}
        self._maintenance = SingleFlight(self._maintain, clock, spawn)
        self._timer: Timer | None = None
        self._ticked_at = 0.0
        self.lease = lease
        self._drain_seconds = 0.0
        self.counters = SourceCounters()

    def start(self) -> None:
        """Restore the sources of an open store, and watch their leases from now on."""
        now = self._clock.monotonic()
        for record in self._store.load_sources():
            self._table.restore(record, now)
        self._ticked_at = now
        self._tick()

    def stop(self) -> None:
        """Stop renewing and ending leases."""
        if self._timer is not None:
            self._timer.cancel()
        self._maintenance.stop()

    # Connections

    async def register(self, claim: Claim, close: Callable[[str], None]) -> SourceLink:
        """Register a source that said ``Hello``; see ``SourceRegistry.register``."""
        known = self._table.get(claim.key)
        tenants = claim.tenants if known is None else (*claim.tenants, *known.record.claimed)
        highest, _ = await self._store.highest_number(claim.name, tenants)
        before = self._table.get(claim.key)
        old_link_id, old = (None, None) if before is None else (before.link_id, before.record)
        link_id = self._new_id()
        record = self._table.register(claim, highest, link_id)
        self._close_link(old_link_id)
        link = self._links[link_id] = SourceLink(record, link_id, close)
        self.counters.connected = len(self._links)
        try:
            await self._store.save_source(record)
            await self._announce(link, old)
            generation, seq = await self._store.highest_number(record.name, record.claimed)
        except BaseException:
            self.link_lost(link)
            raise
        link.source_seq = seq if generation == record.generation else 0
        return link

    async def _announce(self, link: SourceLink, before: SourceRecord | None) -> None:
        record = link.record
        left = () if before is None else [tenant for tenant in before.tenants if tenant not in record.tenants]
        if left:
            await self._announcer.lost(record, record.lease, "not_named", left)
        is_new = await self._announcer.connected(record, reports_health=link.reports_health)
        has_changed = before is not None and has_other_commands(before.capabilities, record.capabilities)
        # Without an instant it is not known when it was announced.
        if is_new or has_changed or not record.announced_at:
            await self._announced(link.key, again=not is_new)

    async def _announced(self, key: Key, *, again: bool) -> None:
        """Record that a source was announced, after announcing it again if so."""
        entry = self._table.get(key)
        if entry is None:
            return
        if again:
            await self._announcer.still_up(entry.record)
        self._table.update(replace(entry.record, announced_at=self._clock.time()))
        await self._save(key)

    def _close_link(self, link_id: str | None) -> None:
        link = None if link_id is None else self._links.pop(link_id, None)
        if link is not None:
            self.counters.connected = len(self._links)
            link.close("its source has connected again")

    def link_lost(self, link: SourceLink) -> None:
        """Start the lease of a source whose connection has ended."""
        self._links.pop(link.link_id, None)
        self.counters.connected = len(self._links)
        self._table.disconnected(link.key, link.link_id, self._clock.monotonic() + self._drain_seconds)

    def drain(self, seconds: float) -> None:
        """Give sources that lose their connection from now on so much more time."""
        self._drain_seconds = seconds

    # Leases

    def _tick(self) -> None:
        self._timer = self._clock.call_later(TICK_SECONDS, self._tick)
        now = self._clock.monotonic()
        if now - self._ticked_at > max(self.lease / 3, 2 * TICK_SECONDS):
            self._table.restart_leases(now)
        self._ticked_at = now
        self.counters.waiting = sum(entry.link_id is None and entry.record.instance != "" for entry in self._table)
        for key in self._table.due(now)[:MAX_ENDED_PER_TICK]:
            record = self._table.end(key)
            self._lost[key] = record.lease
            self.counters.lost += 1
            _log.warn("source {source!r} is down: its lease has ended", source=record.name)
        if self._maintenance.is_idle and (self._lost or self._links):
            self._maintenance.request()

    async def _maintain(self) -> None:
        """Publish what is due. What the store refuses is repeated at the next tick, and holds up nothing else."""
        for key, lease in list(self._lost.items()):
            with suppress(Refusal):
                await self._publish_lost(key, lease)
        announced_before = self._clock.time() - ANNOUNCE_AGAIN_SECONDS
        for link in list(self._links.values()):
            entry = self._table.get(link.key)
            if entry is not None and entry.link_id == link.link_id and entry.record.announced_at < announced_before:
                with suppress(Refusal):
                    await self._announced(link.key, again=True)

    async def _publish_lost(self, key: Key, lease: int) -> None:
        entry = self._table.get(key)
        if entry is not None:
            await self._announcer.lost(entry.record, lease, "lease_ended")
            # After the event: a gateway that is killed in between gives the source a new lease, and nothing is missing.
            await self._save(key)
        if self._lost.get(key) == lease:
            del self._lost[key]

    async def _save(self, key: Key) -> None:
        entry = self._table.get(key)
        if entry is not None:
            await self._store.save_source(entry.record)

    # For operators and others

    async def forget(self, name: str, tenant_id: str | None) -> int:
        """Release a name; see ``SourceRegistry.forget``."""
        scope = EVERY_TENANT if tenant_id is None else self._table.owner(tenant_id, name)
        entry = None if scope is None else self._table.get((scope, name))
        if entry is None or scope is None:
            return 0
        if entry.record.instance:
            raise Refusal(ErrorCode.SOURCE_IN_USE, f"source {name!r} is connected, or its lease has not ended")
        released = entry.record.claimed if tenant_id is None else (tenant_id,)
        await self._announcer.lost(entry.record, entry.record.lease, "forgotten", released)
        if self._table.get((scope, name)) is not entry or entry.record.instance:
            raise Refusal(ErrorCode.SOURCE_IN_USE, f"source {name!r} has connected meanwhile")
        left = self._table.forget((scope, name), released)
        if left is None:
            self._lost.pop((scope, name), None)
            await self._store.delete_source(scope, name)
        else:
            await self._store.save_source(left)
        return len(released)

    async def sources(self, tenant_id: str | None) -> Sequence[JsonObject]:
        """Return the sources of a tenant, or all."""
        entries = [entry for entry in self._table if tenant_id is None or tenant_id in entry.record.claimed]
        return [description(entry.record, connected=entry.link_id is not None) for entry in entries]

    async def chats_are_owned(self, tenant_id: str) -> bool:
        """Return whether a source with the capability ``chats`` is registered for the tenant."""
        return any(CHATS in record.capabilities for record in self._table.of_tenant(tenant_id))

    async def command_sources(self, tenant_id: str) -> Sequence[CommandSource]:
        """Return the sources that send events of the tenant."""
        found = []
        for record in self._table.of_tenant(tenant_id):
            entry = self._table.get((record.scope, record.name))
            if tenant_id in record.tenants:
                connected = entry is not None and entry.link_id is not None
                found.append(CommandSource(record.scope, record.name, record.capabilities, connected))
        return found
