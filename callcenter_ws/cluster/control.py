"""ControlMessages: what all nodes have to do: end a user's connections, refuse a token.

They stand in a stream, so that a node which is away for a moment finds them when it is back. What was revoked stands in
a list besides, for nodes that begin. Each node knows that list, and writes it back when Redis may have lost it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.auth.revocation import MAX_REVOCATIONS
from callcenter_ws.cluster.membership import Membership
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Revocation
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import ORDER, RESTORE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer
from callcenter_ws.runtime.json import encode_json

PATIENCE = 2.0
"""Seconds for which the other nodes may report what they have done."""

CHUNK = 500

REVOCATIONS_KEPT = 30 * 86_400
"""Seconds after which a revocation may be forgotten, for the list to have room again.

A revoked user's tokens were issued before the revocation, and nobody knows when a ``jti`` ends: so each is kept for as
long as any token may be good. Tokens are usually good for hours; 30 days leave a wide margin. Whoever issues tokens
that are good for longer has to be aware that a revoked one is accepted again afterwards, by nodes that were started
since.
"""

LIVE = 3.0
"""Seconds, by Redis's clock, for which an order is about what is there now.

Later it is about what was there then, which is found out by comparing identifiers. Those are made from the clocks of
two nodes: one whose clock is ahead spares connections of the last moments.
"""

RETRY = 1.0

_log = Logger("callcenter_ws.broker")


class ControlMessage(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        tenant_id: ``*`` for a token of every tenant.
        user_id, jti: whose connections to close.
        revoke: refuse the tokens, too. If it is not set, and nobody is named: look at the list of what was revoked, for
            something was written back.
        at: Unix time.
        until: an identifier; connections whose own is later are none of it, for who finds the order late.
        by: the node that waits for the reports.
    """

    tenant_id: str
    user_id: str | None
    jti: str | None
    revoke: bool
    at: float
    until: str
    by: str


class ControlReport(msgspec.Struct, frozen=True):
    """What a node has done about an order: how many connections it closed."""

    order: str
    node: str
    closed: int


_decode_order = msgspec.json.Decoder(ControlMessage).decode
_decode_report = msgspec.json.Decoder(ControlReport).decode
_decode_subject = msgspec.json.Decoder(tuple[str, str, str]).decode


class _Count:
    """The reports about one order."""

    def __init__(self, nodes: set[str]) -> None:
        self.missing = nodes
        self.closed = 0
        self.done: Deferred[None] = Deferred()

    def take(self, report: ControlReport) -> None:
        if report.node in self.missing:
            self.missing.discard(report.node)
            self.closed += report.closed
            if not self.missing:
                self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class ControlMessages:
    """Gives orders, and carries out those of all nodes, this one included.

    Args:
        also: closes what else a revoked token is used for here, and returns how many that were.
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
        also: Callable[[], int],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._membership = membership
        self._hub = hub
        self._clock = clock
        self._spawn = spawn
        self._new_id = new_id
        self._also = also
        # The last order that was carried out; None: this node has just begun.
        self._done: str | None = None
        self._is_reading = False
        self._there_is_more = False
        self._is_to_recall = False
        self._is_to_restore = False
        self._retry: Timer | None = None
        self._is_stopped = False
        # What is known to be revoked, as the list in Redis has it.
        self._revoked: dict[bytes, float] = {}
        self._most_revoked = MAX_REVOCATIONS
        self._counts: dict[str, _Count] = {}

    # Giving

    async def give(self, tenant_id: str, user_id: str | None, jti: str | None, *, revoke: bool) -> int:
        """Have every node do it; return how many connections those closed that reported in time.

        Raises:
            Refusal: ``unavailable``; ``overloaded`` when there is no room for another revocation.
        """
        now = self._clock.time()
        order = ControlMessage(tenant_id, user_id, jti, revoke, now, self._new_id(), self._membership.instance)
        subjects: list[bytes | str] = []
        for subject in _subjects(order):
            subjects += [subject, repr(now)]
        await self._membership.look()
        count = self._counts[order.until] = _Count({self._membership.instance, *self._membership.others()})
        try:
            if not await self._enter(order, subjects):
                raise Refusal(ErrorCode.OVERLOADED, f"{MAX_REVOCATIONS} tokens are revoked already, no room for more")
            self.look()
            timer = self._clock.call_later(PATIENCE, count.end)
            await count.done
            timer.cancel()
        finally:
            del self._counts[order.until]
        if count.missing:
            _log.warn(
                "nodes that did not report about an order in time: {nodes}", nodes=", ".join(sorted(count.missing))
            )
        return count.closed

    def reported(self, data: bytes) -> None:
        """A node has reported."""
        if not data:
            return
        try:
            report = _decode_report(data)
        except msgspec.DecodeError:
            return  # another version's, whose order is another's, too
        count = self._counts.get(report.order)
        if count is not None:
            count.take(report)

    # Carrying out

    def look(self) -> None:
        """There may be orders."""
        self._there_is_more = True
        if not self._is_reading:
            self._is_reading = True
            self._spawn(self._read())

    def restore(self) -> None:
        """Redis may have lost what was revoked: write back what is known here."""
        self._is_to_restore = bool(self._revoked)
        self.look()

    def stop(self) -> None:
        """Write nothing back any more."""
        self._is_stopped = True
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    async def _read(self) -> None:
        try:
            while self._there_is_more:
                self._there_is_more = False
                await self._catch_up()
                if self._is_to_recall:
                    await self._recall()
                if self._is_to_restore:
                    await self._write_back()
        except Refusal:
            # It looks again when Redis is back; but it may be there, and only not take anything.
            if self._is_to_restore and self._retry is None and not self._is_stopped:
                self._retry = self._clock.call_later(RETRY, self._look_again)
        finally:
            self._is_reading = False

    def _look_again(self) -> None:
        self._retry = None
        self.look()

    async def _catch_up(self) -> None:
        done = self._done
        if done is None or await self._are_forgotten(done):
            last = await self._last_given()
            await self._recall()
            self._is_to_restore = done is not None and bool(self._revoked)
            # What was ordered before this node began concerned connections that are no more.
            self._done = done = last if done is None else min(done, last, key=_place)
        while True:
            found = await self._redis.send("XRANGE", self._keys.orders, f"({done}", "+", "COUNT", CHUNK)
            if found:
                self._carry_out_all(found, await self._redis_time())
                self._done = done = found[-1][0].decode()
            if len(found) < CHUNK:
                return

    async def _last_given(self) -> str:
        last = await self._redis.send("XREVRANGE", self._keys.orders, "+", "-", "COUNT", 1)
        return last[0][0].decode() if last else "0-0"

    async def _are_forgotten(self, done: str) -> bool:
        """Whether Redis does not have the last order any more: there were very many since, or it has lost something."""
        if done == "0-0":
            return False
        return not await self._redis.send("XRANGE", self._keys.orders, done, done)

    # The list of what was revoked

    async def _recall(self) -> None:
        """Learn what was revoked, from the list in Redis."""
        cursor = b"0"
        while True:
            cursor, found = await self._redis.send("HSCAN", self._keys.revocations, cursor, "COUNT", CHUNK)
            pairs = zip(found[::2], found[1::2], strict=True)
            self._learn({subject: float(at) for subject, at in pairs})
            if cursor == b"0":
                break
        self._is_to_recall = False
        self._hub.close_revoked("*")

    def _learn(self, revoked: dict[bytes, float]) -> None:
        news = {subject: at for subject, at in revoked.items() if at > self._revoked.get(subject, 0.0)}
        self._revoked.update(news)
        self._hub.revocations.recall([_revocation(subject, at) for subject, at in news.items()])
        if len(self._revoked) > self._most_revoked:
            self._forget_old()
            self._most_revoked = max(MAX_REVOCATIONS, 2 * len(self._revoked))

    def _forget_old(self) -> None:
        """Forget what the list in Redis was swept of; the Hub may go on refusing it."""
        oldest = self._clock.time() - REVOCATIONS_KEPT
        self._revoked = {subject: at for subject, at in self._revoked.items() if at >= oldest}

    async def _write_back(self) -> None:
        """Write what is known to the list, and have the others look at it if that was news."""
        self._is_to_restore = False
        try:
            restored = await self._restore_all()
            if restored:
                _log.warn("Redis had lost {restored} revocations; they were written back", restored=restored)
                now = self._clock.time()
                await self._enter(
                    ControlMessage("*", None, None, False, now, self._new_id(), self._membership.instance), []
                )
        except Refusal:
            self._is_to_restore = True
            raise

    async def _restore_all(self) -> int:
        self._forget_old()
        known, restored = list(self._revoked.items()), 0
        for begin in range(0, len(known), CHUNK):
            pairs: list[bytes | str] = []
            for subject, at in known[begin : begin + CHUNK]:
                pairs += [subject, repr(at)]
            restored += await self._redis.run(RESTORE, [self._keys.revocations], *pairs)
        return restored

    async def _enter(self, order: ControlMessage, subjects: list[bytes | str]) -> bool:
        """Give an order; return whether there was room for what it revokes."""
        given = await self._redis.run(
            ORDER,
            [self._keys.orders, self._keys.revocations],
            self._keys.orders_channel,
            encode_json(order),
            MAX_REVOCATIONS,
            *subjects,
        )
        return given is not None

    # Each order

    async def _redis_time(self) -> float:
        seconds, microseconds = await self._redis.send("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def _carry_out_all(self, found: list[Any], now: float) -> None:
        for order_id, fields in found:
            order = self._order(fields[1])
            if order is None:
                continue
            if order.revoke or order.user_id is not None:
                given_at = _place(order_id.decode())[0] / 1_000
                self._carry_out(order, is_live=now - given_at < LIVE)
            elif order.by != self._membership.instance:
                self._is_to_recall = True

    def _order(self, text: bytes) -> ControlMessage | None:
        try:
            return _decode_order(text)
        except msgspec.DecodeError:
            _log.error("an order that another version gave is not understood and not carried out")
            return None

    def _carry_out(self, order: ControlMessage, *, is_live: bool) -> None:
        closed = 0
        try:
            if order.revoke:
                # The Hub, which forgets nothing, has room for whatever it knows of already.
                subjects = _subjects(order)
                self._learn(dict.fromkeys(subjects, order.at))
                # The user is the last of them. A node whose clock is behind takes nothing back.
                at = max([order.at, *(self._revoked.get(subject, 0.0) for subject in subjects[-1:])])
                closed = self._hub.revoke(order.tenant_id, jti=order.jti, user_id=order.user_id, at=at)
                closed += self._also()
            elif order.user_id is not None:
                closed = self._hub.disconnect_user(order.tenant_id, order.user_id, "" if is_live else order.until)
        except Refusal as refusal:
            _log.error("an order cannot be carried out: {reason}", reason=refusal.message)
        report = ControlReport(order.until, self._membership.instance, closed)
        if order.by == self._membership.instance:
            self.reported(encode_json(report))
        else:
            self._spawn(self._report(encode_json(report)))

    async def _report(self, report: bytes) -> Any:
        try:
            await self._redis.send("SPUBLISH", self._keys.reports_channel, report)
        except Refusal:
            return  # it was done all the same


def _place(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)


def _subjects(order: ControlMessage) -> list[bytes]:
    """What an order revokes, as the list names it."""
    if not order.revoke:
        return []
    named = [("token", order.jti), ("user", order.user_id)]
    return [encode_json((order.tenant_id, kind, name)) for kind, name in named if name is not None]


def _revocation(subject: bytes, at: float) -> Revocation:
    tenant_id, kind, name = _decode_subject(subject)
    return Revocation(tenant_id, name if kind == "token" else None, name if kind == "user" else None, at)
