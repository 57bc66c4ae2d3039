"""SharedSources: the registry of sources of all nodes that share a Redis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice

from twisted.internet.defer import Deferred, FirstError, gatherResults
from twisted.logger import Logger

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.capabilities import CHATS, has_other_commands
from callcenter_ws.events.principal import EVERY_TENANT
from callcenter_ws.events.source_rules import MAX_NUMBER
from callcenter_ws.interfaces import CommandSource
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.scripts import (
    SOURCE_CLAIM,
    SOURCE_END,
    SOURCE_FORGET,
    SOURCE_HELLO,
    SOURCE_RELEASE,
    SOURCE_RENEW,
    Script,
)
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import JsonObject, encode_json
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.claim import (
    MAX_SOURCES,
    MAX_SOURCES_PER_TENANT,
    MAX_TENANTS,
    Claim,
)
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.redis_records import (
    LISTED_FIELDS,
    Facts,
    check_unused,
    decode_facts,
    decode_text,
    decode_texts,
    ended_record,
    forgotten_record,
    left_tenants,
    listed_record,
    name_of,
    registered_record,
)
from callcenter_ws.sources.registry import (
    ANNOUNCE_AGAIN_SECONDS,
    MAX_ENDED_PER_TICK,
    TICK_SECONDS,
    SourceCounters,
    description,
)
from callcenter_ws.sources.table import Key, name_is_taken, too_many_names

LINKS_PER_CALL = 100
"""Sources, or tenants, for which Redis is called at once."""

_REPLACED = "its source has connected again"

_log = Logger("callcenter_ws.sources")


class SharedSources:
    """Implements ``SourceRegistry`` in Redis, by whose clock leases run.

    A node renews the leases of the sources that are connected to it. Any node ends a lease that is due, if it has been
    in contact with Redis for as long as a lease, and has not stood still meanwhile: the time in which no node runs, or
    Redis does not, does not count.

    Args:
        lease: seconds for which a source may be without a connection.
    """

    def __init__(
        self,
        broker: RedisBroker,
        announcer: SourceAnnouncer,
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        *,
        lease: float,
    ) -> None:
        self._broker = broker
        self._redis = broker.redis
        self._keys = broker.keys
        self._announcer = announcer
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._links: dict[str, SourceLink] = {}
        # The same by the key of the source, which has at most one at this node.
        self._link_of: dict[Key, SourceLink] = {}
        # Connections whose sources are to be announced again.
        self._announced_long_ago: set[str] = set()
        # By the monotonic clock, and by the system's.
        self._ticked_at: tuple[float, float] | None = None
        self._renewed_at: float | None = None
        self._in_contact_since: float | None = None
        # Apart: announcing may take long, and must not delay renewals.
        self._renewal = SingleFlight(self._renew, clock, spawn)
        self._ending = SingleFlight(self._end_leases, clock, spawn)
        self._announcing = SingleFlight(self._announce_again, clock, spawn)
        self._timer: Timer | None = None
        self.lease = lease
        self._drain_seconds = 0.0
        self.counters = SourceCounters()

    def start(self) -> None:
        """Renew leases and end those that are due, from now on."""
        self._broker.subscribe(self._keys.sources_channel, self._replaced)
        self._broker.on_connected(self._connected)
        self._tick()

    def stop(self) -> None:
        """Stop renewing and ending leases."""
        if self._timer is not None:
            self._timer.cancel()
        self._renewal.stop()
        self._ending.stop()
        self._announcing.stop()

    # Connections

    async def register(self, claim: Claim, close: Callable[[str], None]) -> SourceLink:
        """Register a source that said ``Hello``; see ``SourceRegistry.register``."""
        (highest, _), refused = await self._claim(claim, claim.tenants, take=False)
        _raise_any(refused)
        link_id = self._new_id()
        facts = Facts(claim.kind, claim.version, claim.tenants, claim.capabilities)
        reply = await self._run(
            SOURCE_HELLO,
            name_of(claim.key),
            claim.subject,
            claim.instance,
            link_id,
            "" if claim.generation is None else claim.generation,
            highest,
            repr(float(self.lease)),
            encode_json(claim.tenants),
            encode_json(facts),
            MAX_SOURCES,
            MAX_TENANTS,
            self._keys.sources_channel,
            MAX_NUMBER,
        )
        record, before, announced_ago = registered_record(claim, reply)
        old = self._link_of.get(claim.key)
        if old is not None:
            self._close(old.link_id, _REPLACED)
        link = self._links[link_id] = self._link_of[claim.key] = SourceLink(record, link_id, close)
        self.counters.connected = len(self._links)
        try:
            (generation, seq), refused = await self._claim(claim, record.claimed, take=True)
            if refused:
                # Another owner took the name meanwhile; this source must announce nothing there.
                await self._run(SOURCE_FORGET, name_of(claim.key), "remove", encode_json(list(refused)), link_id)
            _raise_any(refused)
            await self._announce(link, before, is_fresh=announced_ago >= 0)
        except BaseException:
            self.link_lost(link)
            raise
        link.source_seq = seq if generation == record.generation else 0
        return link

    async def _claim(
        self, claim: Claim, tenants: Sequence[str], *, take: bool
    ) -> tuple[tuple[int, int], dict[str, Refusal]]:
        """Take the name in tenants, or find out whether that is possible.

        Returns:
            The highest mark, and why the name cannot be taken in some of the tenants: ``forbidden``, ``overloaded``.
        """
        capabilities = encode_json(claim.capabilities) if take else b""
        marks = [(0, 0)]
        refused: dict[str, Refusal] = {}

        def claim_in(tenant_id: str) -> Deferred[Reply]:
            arguments = (claim.name, encode_json(claim.scope), capabilities, MAX_SOURCES_PER_TENANT)
            return self._broker.tenant_store(tenant_id).run(SOURCE_CLAIM, *arguments)

        for tenant_id, reply in await _each(tenants, claim_in):
            if reply[0] == b"taken":
                refused[tenant_id] = name_is_taken(tenant_id)
            elif reply[0] == b"full":
                refused[tenant_id] = too_many_names(tenant_id)
            elif reply[1]:
                generation, seq, _ = map(int, reply[1].split())
                marks.append((generation, seq))
        return max(marks), refused

    async def _announce(self, link: SourceLink, before: Facts | None, *, is_fresh: bool) -> None:
        record = link.record
        left = [] if before is None else left_tenants(before, record)
        if left:
            await self._announcer.lost(record, record.lease, "not_named", left)
        if before is not None and has_other_commands(before.capabilities, record.capabilities):
            is_fresh = False
        is_new = await self._announcer.connected(record, reports_health=link.reports_health)
        if not is_new and not is_fresh:
            await self._announcer.still_up(record)
        if is_new or not is_fresh:
            await self._report(link, "announced")

    def link_lost(self, link: SourceLink) -> None:
        """Start the lease of a source whose connection has ended."""
        if self._remove(link.link_id) is not None:
            # If Redis does not learn of it, the lease that was renewed last ends.
            self._spawn(self._report_lost(link))

    async def _report_lost(self, link: SourceLink) -> None:
        with suppress(Refusal):
            await self._report(link, "lost", self._drain_seconds)

    def drain(self, seconds: float) -> None:
        """Give sources that lose their connection from now on so much more time."""
        self._drain_seconds = seconds

    def _report(self, link: SourceLink, mark: str, more_seconds: float = 0.0) -> Deferred[Reply]:
        """Renew the lease of a source, with a mark; see ``source_renew.lua``."""
        return self._run(SOURCE_RENEW, repr(self.lease + more_seconds), name_of(link.key), link.link_id, mark)

    def _replaced(self, message: bytes) -> None:
        """Close a connection whose source has connected again, at any node."""
        self._close(message.decode(), _REPLACED)

    def _close(self, link_id: str, reason: str) -> None:
        link = self._remove(link_id)
        if link is not None:
            link.close(reason)

    def _remove(self, link_id: str) -> SourceLink | None:
        link = self._links.pop(link_id, None)
        if link is not None:
            del self._link_of[link.key]
            self.counters.connected = len(self._links)
        return link

    # Leases

    def _connected(self) -> None:
        self._in_contact_since = self._clock.monotonic()
        self._renewed_at = None
        self._renewal.request()

    def _tick(self) -> None:
        # Also with the shortest lease, some ticks come before it ends.
        self._timer = self._clock.call_later(min(TICK_SECONDS, self.lease / 6), self._tick)
        now, passed = self._clock.monotonic(), self._seconds_since_tick()
        if not self._redis.is_connected:
            self._in_contact_since = None
            return
        if passed > self.lease / 3:
            # This process stood still, and leases that it has not renewed may be over. They are not to end.
            self._in_contact_since, self._renewed_at = now, None
        if self._in_contact_since is None:
            self._in_contact_since = now
        if self._renewal.is_idle and (self._renewed_at is None or now - self._renewed_at >= self.lease / 3):
            self._renewal.request()
        if self._ending.is_idle:
            self._ending.request()

    def _seconds_since_tick(self) -> float:
        """Return the time since the last tick, by the clock that shows more; 0 at the first.

        The monotonic clock stands still while the machine is suspended, and Redis's clock may not.
        """
        before, self._ticked_at = self._ticked_at, (self._clock.monotonic(), self._clock.time())
        return 0.0 if before is None else max(now - at for now, at in zip(self._ticked_at, before, strict=True))

    @property
    def _can_end_leases(self) -> bool:
        """Whether every node that is alive has had the time to renew the leases of its sources."""
        since = self._in_contact_since
        return since is not None and self._clock.monotonic() - since >= self.lease and self._renewed_at is not None

    async def _renew(self) -> None:
        """Renew the leases of connected sources. What fails is repeated at the next tick."""
        started = self._clock.monotonic()
        try:
            links = list(self._links.values())
            for start in range(0, len(links), LINKS_PER_CALL):
                await self._renew_some(links[start : start + LINKS_PER_CALL])
        except Refusal:
            self._in_contact_since = self._renewed_at = None
            raise
        self._renewed_at = started

    async def _renew_some(self, links: Sequence[SourceLink]) -> None:
        arguments: list[Argument] = [repr(float(self.lease))]
        for link in links:
            arguments += [name_of(link.key), link.link_id, ""]
        ages = await self._run(SOURCE_RENEW, *arguments)
        for link, age in zip(links, ages, strict=True):
            if age < 0:
                # It has connected elsewhere, its lease was ended, or Redis has lost it: it must say Hello again.
                self._close(link.link_id, "its source is not registered with this connection any more")
            elif age > ANNOUNCE_AGAIN_SECONDS and link.link_id in self._links:
                self._announced_long_ago.add(link.link_id)
        if self._announced_long_ago and self._announcing.is_idle:
            self._announcing.request()

    async def _announce_again(self) -> None:
        """Announce sources that stay up. What fails is repeated after the next renewal."""
        for link_id in list(self._announced_long_ago):
            link = self._links.get(link_id)
            if link is not None:
                with suppress(Refusal):
                    await self._announcer.still_up(link.record)
                    await self._report(link, "announced")
            self._announced_long_ago.discard(link_id)

    async def _end_leases(self) -> None:
        """End the leases that are due. What fails is repeated later, at any node, and holds up nothing else.

        Redis is asked also while this node may end none: it counts the time in which leases could be renewed.
        """
        most_ended = MAX_ENDED_PER_TICK if self._can_end_leases else 0
        gap = max(self.lease / 3, 2 * TICK_SECONDS)
        ended, ending = await self._run(SOURCE_END, MAX_ENDED_PER_TICK, most_ended, repr(float(self.lease)), repr(gap))
        self.counters.lost += ended
        for name, text in zip(ending[::2], ending[1::2], strict=True):
            record = ended_record(name, text)
            with suppress(Refusal):
                await self._announcer.lost(record, record.lease, "lease_ended")
                await self._redis.send("HDEL", self._keys.sources_ending, name)
                _log.warn("source {source!r} is down: its lease has ended", source=record.name)

    # For operators and others

    async def forget(self, name: str, tenant_id: str | None) -> int:
        """Release a name; see ``SourceRegistry.forget``."""
        scope = EVERY_TENANT if tenant_id is None else await self._scope_of(name, tenant_id)
        if scope is None:
            return 0
        key = (scope, name)
        reply = await self._run(SOURCE_FORGET, name_of(key), "look", "", "")
        check_unused(reply, name)
        claimed: tuple[str, ...] = ()
        if reply[0] == b"ok":
            record = forgotten_record(key, reply)
            claimed = record.claimed if tenant_id is None else (tenant_id,)
            await self._announcer.lost(record, record.lease, "forgotten", claimed)
            check_unused(await self._run(SOURCE_FORGET, name_of(key), "remove", encode_json(claimed), ""), name)
        elif tenant_id is not None:
            claimed = (tenant_id,)

        def release(tenant: str) -> Deferred[Reply]:
            return self._broker.tenant_store(tenant).run(SOURCE_RELEASE, name, encode_json(scope))

        return sum(reply for _, reply in await _each(claimed, release))

    async def _scope_of(self, name: str, tenant_id: str) -> str | None:
        found = await self._redis.send("HGET", self._keys.of(tenant_id, "sources"), name)
        return None if found is None else decode_text(found.split(b"\n")[0])

    async def sources(self, tenant_id: str | None) -> Sequence[JsonObject]:
        """Return the sources of a tenant, or all."""
        names = [name.decode() for name in await self._redis.send("SMEMBERS", self._keys.sources)]

        def read(name: str) -> Deferred[Reply]:
            return self._redis.send("HMGET", self._keys.source(name), *LISTED_FIELDS)

        found = []
        for name, reply in await _each(sorted(names), read):
            if reply[0] is not None and (tenant_id is None or tenant_id in decode_texts(reply[4])):
                found.append(description(listed_record(name, reply), connected=reply[6] != b""))
        return found

    async def chats_are_owned(self, tenant_id: str) -> bool:
        """Return whether a source with the capability ``chats`` is registered for the tenant, at any node."""
        found = await self._redis.send("HVALS", self._keys.of(tenant_id, "sources"))
        return any(CHATS in decode_texts(value.split(b"\n", 1)[1]) for value in found)

    async def command_sources(self, tenant_id: str) -> Sequence[CommandSource]:
        """Return the sources that send events of the tenant."""
        found = await self._redis.send("HGETALL", self._keys.of(tenant_id, "sources"))
        keys = {}
        for name, value in zip(found[::2], found[1::2], strict=True):
            key = decode_text(value.split(b"\n", 1)[0]), name.decode()
            keys[name_of(key)] = key

        def read(name: str) -> Deferred[Reply]:
            return self._redis.send("HMGET", self._keys.source(name), "facts", "link")

        sources = []
        for name, (facts, link) in await _each(sorted(keys), read):
            known = None if facts is None else decode_facts(facts)
            if known is not None and tenant_id in known.tenants:
                sources.append(CommandSource(*keys[name], known.capabilities, link not in (None, b"")))
        return sources

    def _run(self, script: Script, *arguments: Argument) -> Deferred[Reply]:
        return self._redis.run(script, [self._keys.sources], *arguments)


async def _each(names: Sequence[str], call: Callable[[str], Deferred[Reply]]) -> list[tuple[str, Reply]]:
    """Call Redis for each name, for some at once; return the replies.

    Raises:
        Refusal: one of the calls failed.
    """
    replies: list[tuple[str, Reply]] = []
    remaining = iter(names)
    while some := list(islice(remaining, LINKS_PER_CALL)):
        try:
            replies += zip(some, await gatherResults([call(name) for name in some], consumeErrors=True), strict=True)
        except FirstError as error:
            error.subFailure.raiseException()
    return replies


def _raise_any(refused: dict[str, Refusal]) -> None:
    for refusal in refused.values():
        raise refusal
