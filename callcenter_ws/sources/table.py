"""The registered sources of a gateway that has its store for itself: names, generations and leases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.source_rules import MAX_NUMBER
from callcenter_ws.interfaces import SourceRecord
from callcenter_ws.sources.claim import MAX_SOURCES, MAX_SOURCES_PER_TENANT, MAX_TENANTS, Claim

Key = tuple[str, str]
"""Scope and name of a source."""


@dataclass(slots=True)
class Entry:
    """One source.

    Attributes:
        link_id: its connection; None if it has none.
        ends_at: when its lease ends, in seconds of the monotonic clock; None while it is connected, and after the end.
    """

    record: SourceRecord
    link_id: str | None = None
    ends_at: float | None = None


class SourceTable:
    """The sources, and the tenants in which their names are taken.

    Args:
        lease: seconds for which a source may be without a connection.
    """

    def __init__(self, lease: float) -> None:
        self._lease = lease
        self._entries: dict[Key, Entry] = {}
        self._owners: dict[str, dict[str, str]] = {}
        # The highest number of a lease of a source that has lost a tenant: what is said about it late must not count
        # for one that takes the name afterwards.
        self._released_lease = 0

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Entry | None:
        """Return a source; None if there is none with this key."""
        return self._entries.get(key)

    def owner(self, tenant_id: str, name: str) -> str | None:
        """Return the scope of the source that has a name in a tenant; None if the name is free."""
        return self._owners.get(tenant_id, {}).get(name)

    def of_tenant(self, tenant_id: str) -> Iterator[SourceRecord]:
        """Return the sources that have a name in a tenant."""
        for name, scope in self._owners.get(tenant_id, {}).items():
            yield self._entries[scope, name].record

    def restore(self, record: SourceRecord, now: float) -> None:
        """Add a source from before this start; if its lease had not ended, it starts anew."""
        entry = self._entries[record.scope, record.name] = Entry(record)
        self._take_names(record)
        if record.instance:
            entry.ends_at = now + self._lease

    def register(self, claim: Claim, highest_generation: int, link_id: str) -> SourceRecord:
        """Give a source a connection; return its new record.

        Args:
            highest_generation: that of the stored events of this name in the source's tenants.

        Raises:
            Refusal: ``forbidden``, ``source_in_use``, ``stale_generation``, ``overloaded``; nothing is changed.
        """
        entry = self._entries.get(claim.key)
        known = None if entry is None else entry.record
        self._check_names(claim)
        record = next_record(known, claim, highest_generation, first_lease=self._released_lease + 1)
        if entry is None:
            if len(self._entries) >= MAX_SOURCES:
                raise Refusal(ErrorCode.OVERLOADED, f"{MAX_SOURCES} sources are registered")
            entry = self._entries[claim.key] = Entry(record)
        entry.record, entry.link_id, entry.ends_at = record, link_id, None
        self._take_names(record)
        return record

    def _check_names(self, claim: Claim) -> None:
        for tenant_id in claim.tenants:
            names = self._owners.get(tenant_id, {})
            if names.get(claim.name, claim.scope) != claim.scope:
                raise name_is_taken(tenant_id)
            if claim.name not in names and len(names) >= MAX_SOURCES_PER_TENANT:
                raise too_many_names(tenant_id)

    def _take_names(self, record: SourceRecord) -> None:
        for tenant_id in record.claimed:
            self._owners.setdefault(tenant_id, {})[record.name] = record.scope

    def disconnected(self, key: Key, link_id: str, now: float) -> bool:
        """Start the lease of a source whose connection was lost; return whether it was its current connection."""
        entry = self._entries.get(key)
        if entry is None or entry.link_id != link_id:
            return False
        entry.link_id, entry.ends_at = None, now + self._lease
        return True

    def restart_leases(self, now: float) -> None:
        """Start the leases of all sources without a connection anew: they could not connect until now."""
        for entry in self._entries.values():
            if entry.ends_at is not None:
                entry.ends_at = now + self._lease

    def due(self, now: float) -> list[Key]:
        """Return the sources whose lease has ended."""
        return [key for key, entry in self._entries.items() if entry.ends_at is not None and entry.ends_at <= now]

    def end(self, key: Key) -> SourceRecord:
        """End the lease of a source; return its record from before."""
        entry = self._entries[key]
        before = entry.record
        entry.record, entry.ends_at = ended(before), None
        return before

    def update(self, record: SourceRecord) -> None:
        """Replace the record of a registered source."""
        self._entries[record.scope, record.name].record = record

    def forget(self, key: Key, tenants: Iterable[str]) -> SourceRecord | None:
        """Release a source's name in these tenants; return the new record, None if the source has no tenant left."""
        released = set(tenants)
        entry = self._entries[key]
        self._released_lease = max(self._released_lease, entry.record.lease)
        for tenant_id in released:
            names = self._owners.get(tenant_id, {})
            names.pop(key[1], None)
            if not names:
                self._owners.pop(tenant_id, None)
        record = without_tenants(entry.record, released)
        if record is None:
            del self._entries[key]
        else:
            entry.record = record
        return record


def next_record(known: SourceRecord | None, claim: Claim, highest_generation: int, *, first_lease: int) -> SourceRecord:
    """Return the record of a source that said ``Hello``.

    Args:
        known: its record before.
        highest_generation: that of the stored events of this name.
        first_lease: the number of the lease of a source that is not known.

    Raises:
        Refusal: see ``SourceTable.register``.
    """
    if known is not None and known.subject != claim.subject:
        raise name_is_taken(claim.scope)
    if known is not None and known.instance not in ("", claim.instance):
        raise Refusal(ErrorCode.SOURCE_IN_USE)
    highest = max(highest_generation, 0 if known is None else known.generation)
    generation = highest + 1 if claim.generation is None else claim.generation
    if generation < highest:
        raise stale_generation(highest)
    if generation > MAX_NUMBER:
        raise Refusal(ErrorCode.INVALID_EVENT, "generation: there is no higher one")
    claimed = tuple(dict.fromkeys((*claim.tenants, *(() if known is None else known.claimed))))
    if len(claimed) > MAX_TENANTS:
        raise Refusal(ErrorCode.INVALID_EVENT, f"tenants: more than {MAX_TENANTS} with those named before")
    return SourceRecord(
        scope=claim.scope,
        subject=claim.subject,
        name=claim.name,
        kind=claim.kind,
        version=claim.version,
        instance=claim.instance,
        generation=generation,
        lease=first_lease if known is None else known.lease,
        tenants=claim.tenants,
        claimed=claimed,
        capabilities=claim.capabilities,
        announced_at=0.0 if known is None else known.announced_at,
    )


def ended(record: SourceRecord) -> SourceRecord:
    """Return the record of a source whose lease has ended: any instance may connect."""
    return replace(record, instance="", lease=record.lease + 1, announced_at=0.0)


def without_tenants(record: SourceRecord, released: set[str]) -> SourceRecord | None:
    """Return a record without some tenants; None if there is none left."""
    claimed = tuple(tenant for tenant in record.claimed if tenant not in released)
    if not claimed:
        return None
    return replace(record, claimed=claimed, tenants=tuple(tenant for tenant in record.tenants if tenant in claimed))


def name_is_taken(tenant_id: str) -> Refusal:
    """Return the refusal of a name that another owner has."""
    return Refusal(ErrorCode.FORBIDDEN, f"source: the name has another owner in tenant {tenant_id[:64]!r}")


def too_many_names(tenant_id: str) -> Refusal:
    """Return the refusal of a further name in a tenant."""
    return Refusal(
        ErrorCode.OVERLOADED, f"{MAX_SOURCES_PER_TENANT} sources are registered in tenant {tenant_id[:64]!r}"
    )


def stale_generation(highest: int) -> Refusal:
    """Return the refusal of a generation below the highest."""
    return Refusal(ErrorCode.STALE_GENERATION, f"the source has been started in generation {highest}")
