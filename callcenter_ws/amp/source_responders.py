"""The responders of the commands about sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.amp.audit_fields import asked_by
from callcenter_ws.amp.session import PeerSession
from callcenter_ws.broker.batch import decode_slices, is_long_list
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.audit import AuditAction
from callcenter_ws.events.principal import Principal
from callcenter_ws.events.source_rules import MAX_NUMBER
from callcenter_ws.events.state_sync import scope_named
from callcenter_ws.interfaces import Audit, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, JsonValue, decode_json, encode_json
from callcenter_ws.sources.claim import Claim, claim_of, owner_of
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import Growth, SourcePublisher
from callcenter_ws.sources.registry import SourceRegistry
from callcenter_ws.sources.sync_parts import SyncPart
from callcenter_ws.sources.syncing import StateSync

_AGAIN: Final = "Hello was already sent on this connection"

MAX_LISTED = 500
"""Sources in one answer of ``ListSources``."""

_log = Logger()


def source_of(peer: PeerSession, command: str) -> SourceLink:
    """Return the link of a peer that has called ``Hello``.

    Args:
        command: the AMP command for which that is needed.

    Raises:
        Refusal: ``forbidden``; ``unavailable``: ``Hello`` is being answered.
    """
    if peer.source is not None:
        return peer.source
    if peer.says_hello:
        raise Refusal(ErrorCode.UNAVAILABLE, "Hello is not answered yet")
    raise Refusal(ErrorCode.FORBIDDEN, f"{command} is for sources: call Hello first")


class SourceResponders:
    """Answers ``Hello``, and publishes the events of peers that have said it."""

    def __init__(
        self,
        sources: SourceRegistry,
        publisher: SourcePublisher,
        state_sync: StateSync,
        clock: Clock,
        audit: Audit,
    ) -> None:
        self._sources = sources
        self._publisher = publisher
        self._state_sync = state_sync
        self._clock = clock
        self._audit = audit

    async def hello(
        self,
        peer: PeerSession,
        *,
        tenants: bytes | None,
        capabilities: bytes | None,
        source: str,
        kind: str,
        instance: str,
        generation: int | None,
        version: str | None,
    ) -> dict[str, object]:
        """Register the source of the connection."""
        if peer.source is not None or peer.says_hello or peer.principal is None:
            raise Refusal(ErrorCode.INVALID_EVENT, _AGAIN)
        claim = claim_of(
            peer.principal,
            source=source,
            kind=kind,
            instance=instance,
            generation=generation,
            tenants=_decoded("tenants", tenants),
            capabilities=_decoded("capabilities", capabilities),
            version=version,
        )
        link = await self._register(peer, claim)
        _log.info("AMP peer {peer} is source {source!r}", peer=peer.name, source=claim.name)
        return {
            "lease": float(self._sources.lease),
            "generation": link.record.generation,
            "source_seq": link.source_seq,
            "server_time_ms": int(self._clock.time() * 1_000),
        }

    async def _register(self, peer: PeerSession, claim: Claim) -> SourceLink:
        peer.says_hello = True
        registering = Deferred.fromCoroutine(self._sources.register(claim, peer.disconnect))
        if not registering.called:
            # Events that follow at once must not be refused: others that follow later would overtake them.
            peer.pause_reading("hello")
        try:
            link = await registering
        finally:
            peer.says_hello = False
            peer.resume_reading("hello")
        if peer.is_over:
            self._sources.link_lost(link)
        else:
            peer.source = link
        return link

    async def publish(
        self, peer: PeerSession, drafts: Sequence[object], growth: Growth | None = None
    ) -> list[PublishResult | Refusal]:
        """Publish events of a peer that has said ``Hello``, or is saying it; see ``SourcePublisher.publish``."""
        if peer.source is None:
            # For good, the number would be lost.
            refusal = Refusal(ErrorCode.UNAVAILABLE, "Hello is not answered yet")
            return [refusal for _ in drafts]
        return await self._publisher.publish(peer.source, drafts, growth)

    async def sync_state(
        self,
        peer: PeerSession,
        *,
        tenant_id: str,
        scope: str,
        source_seq: int,
        part: int,
        last: bool,
        entities: bytes,
        timestamp: str | None,
    ) -> dict[str, object]:
        """Take a part of what a source tells of its state; with the last one, publish the difference."""
        link = source_of(peer, "SyncState")
        if not 1 <= source_seq <= MAX_NUMBER:
            raise Refusal(ErrorCode.INVALID_EVENT, f"source_seq: expected an integer of 1 to {MAX_NUMBER}")
        # What follows must not overtake it.
        peer.pause_reading("sync")
        try:
            with peer.in_flight(events=1):
                decoded, problem = await self._decode_entities(entities)
                taken = SyncPart(
                    tenant_id, scope_named(scope), source_seq, part, last, decoded, len(entities), timestamp, problem
                )
                done = await self._state_sync.take(link, taken)
        finally:
            peer.resume_reading("sync")
        return {"epoch": done.result.epoch, "seq": done.result.seq if done.events else 0, "published": done.events}

    async def _decode_entities(self, text: bytes) -> tuple[list[JsonValue], Refusal | None]:
        """Return the entities of a part, and why they could not be decoded."""
        try:
            if is_long_list(text):
                return [entity for piece in await decode_slices(text, self._clock) for entity in piece], None
            entities = decode_json(text, MAX_BATCH_CONTAINERS)
        except Refusal as refusal:
            return [], Refusal(refusal.code, f"entities: {refusal.message}")
        if isinstance(entities, list):
            return entities, None
        return [], Refusal(ErrorCode.INVALID_EVENT, "entities: expected a list")

    async def list_sources(self, peer: PeerSession, *, tenant_id: str | None) -> dict[str, object]:
        """Return the registered sources of a tenant, or of all."""
        principal = peer.principal
        if principal is None or (not principal.every_tenant and tenant_id != principal.tenant_id):
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: the token is for one tenant only")
        found = await self._sources.sources(tenant_id)
        return {"sources": encode_json(found[:MAX_LISTED]), "left_out": max(0, len(found) - MAX_LISTED)}

    async def forget_source(self, peer: PeerSession, *, source: str, tenant_id: str | None) -> dict[str, object]:
        """Release the name of a source."""
        if peer.principal is None or not peer.principal.every_tenant:
            raise Refusal(ErrorCode.FORBIDDEN, "token: it must be for all tenants")
        released = await self._sources.forget(source, tenant_id)
        self._audit.record(
            AuditAction.SOURCE_FORGOTTEN, source=source, tenant_id=tenant_id, released=released, **asked_by(peer)
        )
        _log.info("AMP peer {peer} released the name of source {source!r}", peer=peer.name, source=source[:128])
        return {"released": released}

    def check_owner(self, peer: PeerSession, principal: Principal) -> None:
        """Refuse a principal that does not own the source of the connection."""
        source = peer.source
        if peer.says_hello or (
            source is not None and owner_of(principal) != (source.record.scope, source.record.subject)
        ):
            raise Refusal(ErrorCode.FORBIDDEN, "token: the source of this connection has another owner")


def _decoded(name: str, text: bytes | None) -> JsonValue:
    if text is None:
        return None
    try:
        return decode_json(text)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"{name}: {refusal.message}") from None
