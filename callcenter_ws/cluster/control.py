"""ControlMessages: has all nodes close a user's connections or refuse a token.

Control messages are in a stream, so that a node which has lost contact with Redis reads them later. Revocations are
stored in a hash as well (``revocation_sync.py``), for nodes that start.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from twisted.logger import Logger

from callcenter_ws.auth.revocation import MAX_REVOCATIONS, revocation_limit
from callcenter_ws.cluster.control_message import ControlMessage, ControlReport, decode_message
from callcenter_ws.cluster.control_reports import PendingReports
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.cluster.revocation_sync import RevocationSync
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.ulid import last_identifier
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Reply
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import CONTROL_ADD
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.single_flight import SingleFlight

CHUNK = 500
"""Control messages per XRANGE."""

LATE_SECONDS = 3.0
"""Age of a control message, by Redis's clock, after which it does not apply to all connections that are open.

It then applies to those that were opened before it: their identifiers are compared with the one that this node would
have made then. The age is measured by Redis's clock and the identifiers are made from this node's clock, so that no two
clocks are compared.
"""

RETRY_SECONDS = 1.0

_log = Logger()


class ControlMessages:
    """Sends control messages, and applies those of all nodes, this one included.

    Args:
        revoked: closes what else a revoked token is used for at this node, and returns how many that were.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        membership: Membership,
        hub: Hub,
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        revoked: Callable[[], int],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._membership = membership
        self._hub = hub
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._revoked = revoked
        self._reports = PendingReports(clock)
        self._revocations = RevocationSync(redis, keys, hub, clock)
        # The id of the last message that was applied; None: none has been read since this node was started.
        self._last_id: str | None = None
        self._must_read_revocations = False
        self._must_restore_revocations = False
        # Revoked subjects for which this node has a later time than Redis and the other nodes.
        self._later: dict[bytes, float] = {}
        # Repeated after a failure: Redis may be connected and refuse writes.
        self._reads = SingleFlight(self._read, clock, spawn, backoff=Backoff(RETRY_SECONDS, RETRY_SECONDS))

    # Sending

    async def send(
        self, tenant_id: str, user_id: str | None, jti: str | None, *, revoke: bool, for_all: bool = False
    ) -> int:
        """Send a control message; return how many connections were closed by the nodes that reported in time.

        Args:
            for_all: whether the credential that revokes is for all tenants.

        Raises:
            Refusal: ``unavailable``; ``overloaded`` if there is no room for another revocation.
        """
        if revoke:
            self._hub.revocations.check_room(tenant_id, jti, user_id, for_all=for_all)
        cutoff, instance = self._hub.revocations.cutoff(self._clock.time()), self._membership.instance
        message = ControlMessage(tenant_id, user_id, jti, revoke, cutoff, self._new_id(), instance)
        await self._membership.refresh()
        self._reports.expect(message.until, {instance, *self._membership.other_nodes()})
        try:
            limit = revocation_limit(for_all=for_all)
            if not await self._add(message, limit):
                raise Refusal(ErrorCode.OVERLOADED, f"the limit of {limit} revocations of all tenants is reached")
            self.request_read()
            return await self._reports.wait(message.until)
        finally:
            self._reports.cancel(message.until)

    async def _add(self, message: ControlMessage, limit: int = MAX_REVOCATIONS) -> bool:
        """Append a message to the stream; return whether there was room for its revocations."""
        subjects: list[bytes | str] = []
        for subject in message.subjects:
            subjects += [subject, repr(message.at)]
        added = await self._redis.run(
            CONTROL_ADD,
            [self._keys.control, self._keys.revocations],
            self._keys.control_channel,
            encode_json(message),
            limit,
            *subjects,
        )
        return added is not None

    def report_received(self, data: bytes) -> None:
        """Process a node's report."""
        self._reports.received(data)

    # Reading the stream

    def request_read(self) -> None:
        """Read and apply messages: there may be new ones."""
        self._reads.request(skip_backoff=True)

    def restore_revocations(self) -> None:
        """Write the revocations that are known to this node back to Redis, which may have lost them."""
        self._must_restore_revocations = not self._revocations.is_empty
        self.request_read()

    def stop(self) -> None:
        """Start no further read, and repeat none that failed."""
        self._reads.stop()

    async def _read(self) -> None:
        await self._read_messages()
        if self._must_read_revocations:
            await self._read_revocations()
        if self._must_restore_revocations:
            await self._restore_revocations()
        if self._later:
            await self._store_later()

    async def _read_messages(self) -> None:
        last_id = self._last_id
        if last_id is None or await self._is_lost(last_id):
            newest = await self._newest_id()
            await self._read_revocations()
            self._must_restore_revocations = last_id is not None and not self._revocations.is_empty
            # Messages from before the start of this node are about connections that are closed.
            self._last_id = last_id = newest if last_id is None else min(last_id, newest, key=_parse_id)
        while True:
            found = await self._redis.send("XRANGE", self._keys.control, f"({last_id}", "+", "COUNT", CHUNK)
            if found:
                self._apply_all(found, await self._redis_time())
                self._last_id = last_id = found[-1][0].decode()
            if len(found) < CHUNK:
                return

    async def _newest_id(self) -> str:
        newest = await self._redis.send("XREVRANGE", self._keys.control, "+", "-", "COUNT", 1)
        return newest[0][0].decode() if newest else "0-0"

    async def _is_lost(self, last_id: str) -> bool:
        """Return whether Redis lacks the last applied message: the stream was trimmed, or Redis has lost data."""
        if last_id == "0-0":
            return False
        return not await self._redis.send("XRANGE", self._keys.control, last_id, last_id)

    async def _redis_time(self) -> float:
        seconds, microseconds = await self._redis.send("TIME")
        return int(seconds) + int(microseconds) / 1e6

    async def _read_revocations(self) -> None:
        await self._revocations.read()
        self._must_read_revocations = False

    async def _restore_revocations(self) -> None:
        """Restore revocations, and have the other nodes read them if Redis did not have all of them."""
        self._must_restore_revocations = False
        try:
            restored = await self._revocations.restore()
            if restored:
                _log.warn("Redis had lost {restored} revocations; they were restored", restored=restored)
                await self._request_reading()
        except Refusal:
            self._must_restore_revocations = True
            raise

    async def _store_later(self) -> None:
        """Store the later times in Redis, and have the other nodes read them."""
        later = dict(self._later)
        if await self._revocations.store(later):
            await self._request_reading()
        self._later = {subject: at for subject, at in self._later.items() if later.get(subject) != at}

    async def _request_reading(self) -> None:
        """Have the other nodes read the list of revocations."""
        now, instance = self._clock.time(), self._membership.instance
        await self._add(ControlMessage("*", None, None, False, now, self._new_id(), instance))

    # Applying messages

    def _apply_all(self, found: Reply, now: float) -> None:
        for stream_id, fields in found:
            message = self._decode(fields[1])
            if message is None:
                continue
            if message.revoke or message.user_id is not None:
                sent_at = _parse_id(stream_id.decode())[0] / 1_000
                self._apply(message, sent_at, max(0.0, now - sent_at))
            elif message.by != self._membership.instance:
                self._must_read_revocations = True

    def _decode(self, text: bytes) -> ControlMessage | None:
        try:
            return decode_message(text)
        except msgspec.DecodeError:
            _log.error("a control message of another version is not understood and not applied")
            return None

    def _apply(self, message: ControlMessage, sent_at: float, age: float) -> None:
        """Apply a message that was sent at ``sent_at``, by Redis's clock, ``age`` seconds ago."""
        closed = 0
        opened_until = last_identifier(self._clock.time() - age) if age >= LATE_SECONDS else ""
        try:
            if message.revoke:
                closed = self._revoke(message, sent_at, opened_until)
            elif message.user_id is not None:
                closed = self._hub.disconnect_user(message.tenant_id, message.user_id, opened_until)
        except Refusal as refusal:
            _log.error("a control message cannot be applied: {reason}", reason=refusal.message)
        report = ControlReport(message.until, self._membership.instance, closed)
        if message.by == self._membership.instance:
            self._reports.add(report)
        else:
            self._spawn(self._report(encode_json(report)))

    def _revoke(self, message: ControlMessage, sent_at: float, opened_until: str) -> int:
        """Refuse the tokens and close their connections; return how many."""
        # The Hub has them from now on, however many it has: the sender has checked that there is room.
        subjects = message.subjects
        # A node whose clock is behind must not make a user's revocation weaker, nor one that has seen no token from a
        # clock that is ahead.
        sent = max(message.at, sent_at, *(self._revocations.revoked_at(subject) for subject in subjects[-1:]))
        at = sent if message.user_id is None else max(sent, self._hub.revocations.cutoff(sent_at))
        self._revocations.learn(dict.fromkeys(subjects, at))
        if at > sent:
            self._later.update(dict.fromkeys(subjects, at))
        closed = self._hub.revoke(
            message.tenant_id, jti=message.jti, user_id=message.user_id, at=at, opened_until=opened_until
        )
        return closed + self._revoked()

    async def _report(self, report: bytes) -> None:
        try:
            await self._redis.send("SPUBLISH", self._keys.reports_channel, report)
        except Refusal:
            return  # the sending node does not count these connections


def _parse_id(stream_id: str) -> tuple[int, int]:
    """Return the milliseconds and the sequence number of the id of a stream entry."""
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)
