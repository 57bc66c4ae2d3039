"""Membership: which nodes there are. Each renews its lease; one that does not is dead when it runs out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import BURY, LEASE
from callcenter_ws.runtime.background import Spawn
from callcenter_ws.runtime.clock import Clock, Timer

RENEWAL = 1.0
"""Seconds between two renewals."""

FRESH = 1.5
"""Seconds since its last renewal for which a node certainly lives."""


class _Leases(msgspec.Struct, array_like=True, frozen=True):
    """What the script tells.

    Attributes:
        was_known: Redis knew the node, and nothing of what it had told was struck off.
        now: Redis's clock.
        until: when each lease runs out.
        behind: nodes that have not told of all their users.
        burials: nodes that somebody has begun to bury.
    """

    was_known: bool
    is_caretaker: bool
    now: float
    until: dict[str, float]
    behind: list[str]
    burials: list[str]


_NO_LEASES = _Leases(False, False, 0.0, {}, [], [])

_decode = msgspec.json.Decoder(_Leases).decode


class Membership:
    """This node's lease, and what is known of the others'.

    Args:
        instance: this node, in this life: another life has another name.
        lease: seconds for which one is good.
        unknown: is told that the others know nothing of this node, so that it has to tell everything anew.
        has_told: says whether this node has told of all its users.

    Attributes:
        is_caretaker: this node looks after what dead ones have left.
        settled_at: the monotonic clock when contact with Redis was taken up again for the last time, or Redis did not
            know this node.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        clock: Clock,
        spawn: Spawn,
        instance: str,
        lease: float,
        unknown: Callable[[], None],
        has_told: Callable[[], bool],
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._clock = clock
        self._spawn = spawn
        self.lease = lease
        self._unknown = unknown
        self._has_told = has_told
        # In the slot of the leases, so that one script can work on all of them.
        self._burials = f"{keys.leases}:burials"
        self._behind = f"{keys.leases}:behind"
        self._last = _NO_LEASES
        self._leases: dict[str, float] = {}
        self._offset = 0.0
        self._is_in_touch = False
        # Nodes that were there before contact was taken up again, with their leases as they were found then.
        self._awaited: dict[str, float] = {}
        self._renewed_at: float | None = None
        self._timer: Timer | None = None
        self._is_renewing = False
        self._stopped = True
        self.instance = instance
        self.is_caretaker = False
        self.settled_at = 0.0

    def start(self) -> None:
        """Renew the lease from now on."""
        self._stopped = False
        self._tick()

    async def stop(self, *, give_back: bool) -> None:
        """Renew the lease no more, and give it back if nothing has to be done when it runs out."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if not give_back:
            return
        try:
            await self._redis.send("DEL", self._keys.tenants_at(self.instance))
            await self._redis.send("HDEL", self._burials, self.instance)
            await self._redis.send("SREM", self._behind, self.instance)
            await self._redis.send("ZREM", self._keys.leases, self.instance)
            if self.is_caretaker:
                await self._redis.send("DEL", self._keys.caretaker)
        except Refusal:
            return  # it runs out by itself

    def resume(self) -> None:
        """Renew the lease now: Redis is there again, and what happened meanwhile has not been told."""
        self._is_in_touch = False
        self.renew()

    def renew(self) -> None:
        """Renew the lease now."""
        if not self._stopped and not self._is_renewing:
            self._is_renewing = True
            self._spawn(self._try_to_renew())

    def _tick(self) -> None:
        self._timer = self._clock.call_later(RENEWAL, self._tick)
        self.renew()

    async def _try_to_renew(self) -> None:
        with suppress(Refusal):  # the next one may succeed
            await self._renew()

    async def _renew(self) -> None:
        try:
            reply = await self._redis.run(
                LEASE,
                [self._keys.leases, self._keys.caretaker, self._burials, self._behind],
                self.instance,
                repr(float(self.lease)),
                int(self._has_told()),
            )
        except Refusal:
            self.is_caretaker = False
            self._is_in_touch = False
            raise
        finally:
            self._is_renewing = False
        self._take(_decode(reply))

    def _take(self, found: _Leases) -> None:
        now = self._clock.monotonic()
        if self._has_been_away(found, now) or not found.was_known:
            self.settled_at = now
            self._await_others(found)
        self._is_in_touch = True
        self._last, self._renewed_at, self._offset = found, now, found.now - now
        self._leases, self.is_caretaker = found.until, found.is_caretaker
        self._awaited = {
            name: until
            for name, until in self._awaited.items()
            if found.until.get(name, 0.0) == until or name in found.behind
        }
        if not found.was_known:
            self._unknown()

    def _has_been_away(self, found: _Leases, now: float) -> bool:
        """Whether there is a gap before this renewal: by the clock here, or by Redis's, if both have slept."""
        if self._renewed_at is None or not self._is_in_touch:
            return True
        return max(now - self._renewed_at, found.now - self._last.now) > self.lease / 2

    def _await_others(self, found: _Leases) -> None:
        """Those that were alive before are heard out before anything is said of their users.

        One whose lease was given back meanwhile is not awaited, unless Redis has lost all of them.
        """
        alive = {name for name, until in self._leases.items() if until > self._last.now and name != self.instance}
        kept = {name for name in alive if name in found.until or not found.was_known}
        self._awaited = {name: found.until.get(name, 0.0) for name in kept | self._awaited.keys()}

    # Burying

    async def bury(self, instance: str, step: str) -> bool:
        """Take a node's lease away, if its time is over by Redis's clock; return whether that is so.

        Until the end, the node stands among those that are being buried, so that the next caretaker goes on if this one
        dies. A node that comes back meanwhile has to tell everything anew.

        Args:
            step: ``begin``; ``go on``, before anything is struck off; ``end``.

        Raises:
            Refusal: ``unavailable``.
        """
        return bool(await self._redis.run(BURY, [self._keys.leases, self._burials, self._behind], instance, step))

    @property
    def is_settled(self) -> bool:
        """Whether every node has had the time of a lease to renew its own."""
        return self._clock.monotonic() - self.settled_at >= self.lease

    # What is known

    @property
    def is_informed(self) -> bool:
        """Whether what is known here, and in Redis, is recent enough to be told."""
        renewed_at = self._renewed_at
        if self._redis.trouble is not None:
            # It may be readable: but what has happened since could not be written.
            return False
        return renewed_at is not None and self._clock.monotonic() - renewed_at < self.lease

    def check_informed(self) -> None:
        """Let pass whoever needs to know.

        Raises:
            Refusal: ``unavailable``.
        """
        if not self.is_informed:
            raise _not_informed()

    async def look(self) -> None:
        """Find out which nodes there are now: one may have come since the last renewal.

        Raises:
            Refusal: ``unavailable``.
        """
        if self._stopped:
            raise _not_informed()
        await self._renew()
        self.check_informed()

    async def vouches(self, instances: Iterable[str]) -> bool:
        """Whether what Redis has just said of the users of these nodes may be told.

        If not, the nodes have been looked at anew, and Redis should be asked once more. After contact was taken up
        again, or when Redis had lost everything, all nodes that were known before have to renew their leases, and to
        say that they have told of all their users; whoever does not within the time of a lease is not there.

        Raises:
            Refusal: ``unavailable``: not all of them have yet.
        """
        if not self._is_waiting and all(map(self.knows, instances)) and await self._is_registered():
            return True
        await self.look()
        if self._is_waiting:
            raise _not_informed()
        return False

    @property
    def _is_waiting(self) -> bool:
        return bool(self._awaited) and not self.is_settled

    async def _is_registered(self) -> bool:
        """Whether Redis still knows this node: if not, it may have lost everything since the last renewal."""
        return await self._redis.send("ZSCORE", self._keys.leases, self.instance) is not None

    def knows(self, instance: str) -> bool:
        """Whether anything is known of a node."""
        return instance == self.instance or instance in self._leases or instance in self._last.burials

    def lives(self, instance: str) -> bool:
        """Whether a node's lease has not run out, as far as is known."""
        return instance == self.instance or self._until(instance) > 0

    def certainly_lives(self, instance: str) -> bool:
        """Whether a node was heard of a moment ago."""
        return instance == self.instance or self._until(instance) > self.lease - FRESH - RENEWAL

    def _until(self, instance: str) -> float:
        """For how many more seconds a lease is good."""
        return self._leases.get(instance, 0.0) - (self._clock.monotonic() + self._offset)

    def others(self) -> set[str]:
        """The other nodes that live."""
        return {name for name in self._leases if name != self.instance and self.lives(name)}

    def dead(self) -> list[str]:
        """Nodes whose leases have run out, and who have not been buried yet."""
        expired = [name for name in self._leases if not self.lives(name)]
        return [*expired, *(name for name in self._last.burials if name not in expired)]


def _not_informed() -> Refusal:
    return Refusal(ErrorCode.UNAVAILABLE, "it is not known what the other nodes do", retry_after=1)
