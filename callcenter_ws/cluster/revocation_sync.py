"""RevocationSync: keeps this node's revocations and those in Redis the same.

A revocation travels between nodes in three ways. The control message that revokes (``control.py``) reaches every
running node, and its script stores the revocation in a hash in Redis. A node that starts reads the hash. Each node
knows all of the hash, and writes it back when Redis may have lost it; a control message then makes the other nodes
read it.
"""

from __future__ import annotations

import msgspec

from callcenter_ws.auth.revocation import MAX_REVOCATIONS
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.interfaces import REVOCATION_LIFETIME_SECONDS, Revocation
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import REVOCATIONS_EXPIRE, REVOCATIONS_RESTORE
from callcenter_ws.runtime.clock import Clock

CHUNK = 500
"""Revocations per command."""

_decode_subject = msgspec.json.Decoder(tuple[str, str, str]).decode


class RevocationSync:
    """The revocations that this node knows to be in Redis. Until they have been read once, it accepts no token."""

    def __init__(self, redis: RedisClient, keys: Keys, hub: Hub, clock: Clock) -> None:
        self._redis = redis
        self._keys = keys
        self._hub = hub
        self._clock = clock
        # Times by subject, as in the hash.
        self._revoked: dict[bytes, float] = {}
        self._max_revoked = MAX_REVOCATIONS
        hub.revocations.are_read = False

    @property
    def is_empty(self) -> bool:
        """Whether no revocation is known."""
        return not self._revoked

    def revoked_at(self, subject: bytes) -> float:
        """Return the time of a revocation, Unix seconds; 0 if it is not known."""
        return self._revoked.get(subject, 0.0)

    async def read(self) -> None:
        """Read all revocations from Redis, and close the connections of revoked tokens.

        Raises:
            Refusal: ``unavailable``.
        """
        cursor = b"0"
        while True:
            cursor, found = await self._redis.send("HSCAN", self._keys.revocations, cursor, "COUNT", CHUNK)
            pairs = zip(found[::2], found[1::2], strict=True)
            self.learn({subject: float(at) for subject, at in pairs})
            if cursor == b"0":
                break
        self._hub.close_revoked("*")
        self._hub.revocations.are_read = True

    def learn(self, revoked: dict[bytes, float]) -> None:
        """Refuse what is revoked in Redis from now on; of two times for one subject the later one is kept."""
        news = {subject: at for subject, at in revoked.items() if at > self.revoked_at(subject)}
        self._revoked.update(news)
        self._hub.revocations.merge([_revocation(subject, at) for subject, at in news.items()])
        if len(self._revoked) > self._max_revoked:
            self._forget_expired()
            self._max_revoked = max(MAX_REVOCATIONS, 2 * len(self._revoked))

    def _forget_expired(self) -> None:
        """Forget what has been deleted from Redis; the Hub continues to refuse it."""
        oldest = self._clock.time() - REVOCATION_LIFETIME_SECONDS
        self._revoked = {subject: at for subject, at in self._revoked.items() if at >= oldest}

    async def restore(self) -> int:
        """Write all revocations to Redis; return how many it did not have.

        Raises:
            Refusal: ``unavailable``.
        """
        self._forget_expired()
        return await self.store(self._revoked)

    async def store(self, revoked: dict[bytes, float]) -> int:
        """Write revocations to Redis; return how many it did not have or had with an earlier time.

        Raises:
            Refusal: ``unavailable``.
        """
        known, stored = list(revoked.items()), 0
        for start in range(0, len(known), CHUNK):
            pairs: list[bytes | str] = []
            for subject, at in known[start : start + CHUNK]:
                pairs += [subject, repr(at)]
            stored += await self._redis.run(REVOCATIONS_RESTORE, [self._keys.revocations], *pairs)
        return stored


class RevocationExpiry:
    """Deletes expired revocations from Redis; one node does that for all."""

    def __init__(self, redis: RedisClient, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys
        self._cursor = b"0"

    async def expire_some(self, count: int) -> None:
        """Check about ``count`` revocations, and delete those that have expired.

        Raises:
            Refusal: ``unavailable``.
        """
        self._cursor = await self._redis.run(
            REVOCATIONS_EXPIRE, [self._keys.revocations], self._cursor, count, REVOCATION_LIFETIME_SECONDS
        )


def _revocation(subject: bytes, at: float) -> Revocation:
    tenant_id, kind, name = _decode_subject(subject)
    return Revocation(tenant_id, name if kind == "token" else None, name if kind == "user" else None, at)
