"""Orders: what all nodes have to do: end a user's connections, refuse a token.

They stand in a stream, so that a node which is away for a moment finds them when it is back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.broker.redis.engine import Engine
from callcenter_ws.broker.redis.keys import Keys
from callcenter_ws.broker.redis.membership import Membership
from callcenter_ws.broker.redis.scripts import ORDER
from callcenter_ws.core.frames import encode_json
from callcenter_ws.core.hub import Hub
from callcenter_ws.core.revocation import MAX_REVOCATIONS
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Clock, Revocation, Spawn

PATIENCE = 2.0
"""Seconds for which the other nodes may report what they have done."""

CHUNK = 500

_log = Logger("callcenter_ws.broker")


class Order(msgspec.Struct, frozen=True):
    """What to do.

    Attributes:
        tenant_id: ``*`` for a token of every tenant.
        user_id, jti: whose connections to close.
        revoke: refuse the tokens, too.
        at: Unix time.
        until: an identifier; connections whose own is later are none of it.
        by: the node that waits for the reports.
    """

    tenant_id: str
    user_id: str | None
    jti: str | None
    revoke: bool
    at: float
    until: str
    by: str


class Report(msgspec.Struct, frozen=True):
    """What a node has done about an order: how many connections it closed."""

    order: str
    node: str
    closed: int


_decode_order = msgspec.json.Decoder(Order).decode
_decode_report = msgspec.json.Decoder(Report).decode
_decode_subject = msgspec.json.Decoder(tuple[str, str, str]).decode


class _Count:
    """The reports about one order."""

    def __init__(self, nodes: set[str]) -> None:
        self.missing = nodes
        self.closed = 0
        self.done: Deferred[None] = Deferred()

    def take(self, report: Report) -> None:
        if report.node in self.missing:
            self.missing.discard(report.node)
            self.closed += report.closed
            if not self.missing:
                self.end()

    def end(self) -> None:
        if not self.done.called:
            self.done.callback(None)


class Orders:
    """Gives orders, and carries out those of all nodes, this one included.

    Args:
        also: closes what else a revoked token is used for here, and returns how many that were.
    """

    def __init__(
        self,
        engine: Engine,
        keys: Keys,
        membership: Membership,
        hub: Hub,
        clock: Clock,
        spawn: Spawn,
        new_id: Callable[[], str],
        also: Callable[[], int],
    ) -> None:
        self._engine = engine
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
        self._counts: dict[str, _Count] = {}

    # Giving

    async def give(self, tenant_id: str, user_id: str | None, jti: str | None, *, revoke: bool) -> int:
        """Have every node do it; return how many connections those closed that reported in time.

        Raises:
            Refusal: ``unavailable``; ``overloaded`` when there is no room for another revocation.
        """
        now = self._clock.time()
        order = Order(tenant_id, user_id, jti, revoke, now, self._new_id(), self._membership.instance)
        subjects: list[bytes | str] = []
        if revoke:
            named = [("token", jti), ("user", user_id)]
            for kind, name in named:
                if name is not None:
                    subjects += [encode_json((tenant_id, kind, name)), repr(now)]
        await self._membership.look()
        count = self._counts[order.until] = _Count({self._membership.instance, *self._membership.others()})
        try:
            given = await self._engine.run(
                ORDER,
                [self._keys.orders, self._keys.revocations],
                self._keys.orders_channel,
                encode_json(order),
                MAX_REVOCATIONS,
                *subjects,
            )
            if given is None:
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

    async def _read(self) -> None:
        try:
            while self._there_is_more:
                self._there_is_more = False
                await self._catch_up()
        except Refusal:
            return  # it looks again when Redis is back
        finally:
            self._is_reading = False

    async def _catch_up(self) -> None:
        if self._done is None or await self._are_forgotten(self._done):
            # Revocations are kept besides; what else was ordered concerned connections that are no more.
            last = await self._engine.send("XREVRANGE", self._keys.orders, "+", "-", "COUNT", 1)
            await self._recall()
            self._done = last[0][0].decode() if last else "0-0"
        while True:
            found = await self._engine.send("XRANGE", self._keys.orders, f"({self._done}", "+", "COUNT", CHUNK)
            for order_id, fields in found:
                self._done = order_id.decode()
                self._carry_out(fields[1])
            if len(found) < CHUNK:
                return

    async def _are_forgotten(self, done: str) -> bool:
        """Whether there were more orders since than the stream holds."""
        first = await self._engine.send("XRANGE", self._keys.orders, "-", "+", "COUNT", 1)
        if not first:
            # It is empty: nothing was ordered, or Redis has lost it.
            return done != "0-0"
        return _place(first[0][0].decode()) > _place(done) and done != "0-0"

    async def _recall(self) -> None:
        cursor = b"0"
        while True:
            cursor, found = await self._engine.send("HSCAN", self._keys.revocations, cursor, "COUNT", CHUNK)
            pairs = zip(found[::2], found[1::2], strict=True)
            self._hub.revocations.recall([_revocation(subject, at) for subject, at in pairs])
            if cursor == b"0":
                break
        self._hub.close_revoked("*")

    def _carry_out(self, text: bytes) -> None:
        try:
            order = _decode_order(text)
        except msgspec.DecodeError:
            _log.error("an order that another version gave is not understood and not carried out")
            return
        closed = 0
        try:
            if order.revoke:
                closed = self._hub.revoke(order.tenant_id, jti=order.jti, user_id=order.user_id, at=order.at)
                closed += self._also()
            elif order.user_id is not None:
                closed = self._hub.disconnect_user(order.tenant_id, order.user_id, order.until)
        except Refusal as refusal:
            _log.error("an order cannot be carried out: {reason}", reason=refusal.message)
        report = Report(order.until, self._membership.instance, closed)
        if order.by == self._membership.instance:
            self.reported(encode_json(report))
        else:
            self._spawn(self._report(encode_json(report)))

    async def _report(self, report: bytes) -> Any:
        try:
            await self._engine.send("SPUBLISH", self._keys.reports_channel, report)
        except Refusal:
            return  # it was done all the same


def _place(stream_id: str) -> tuple[int, int]:
    milliseconds, _, number = stream_id.partition("-")
    return int(milliseconds), int(number)


def _revocation(subject: bytes, at: bytes) -> Revocation:
    tenant_id, kind, name = _decode_subject(subject)
    return Revocation(tenant_id, name if kind == "token" else None, name if kind == "user" else None, float(at))
