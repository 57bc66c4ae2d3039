"""Recently published event identifiers, so that a repeated event is answered but not published twice.

The identifiers of the last five minutes at the rate of the fastest sender are millions: a record has 20 bytes, where a
dict would need 200. The records are in buckets by hash, and the buckets in spans of time, which expire as a whole.
"""

from __future__ import annotations

from struct import Struct

from twisted.logger import Logger

WINDOW_SECONDS = 300.0
"""How long an ``event_id`` is remembered (``docs/senders.rst``, "The commands")."""

MAX_IDS = 8_000_000
"""Identifiers remembered per tenant, in 240 MB: 20,000 a second. Above that the oldest are removed too early."""

MAX_CLIENT_IDS = 200_000
"""The same for messages of clients, which are counted apart: they must not make a daemon's identifiers expire."""

_SPAN_SECONDS = 100.0
_SPAN_IDS = 8
"""A span ends after so many seconds, or with this part of the largest number."""

_BUCKET_MASK = 0x7FFF
_pack_key = Struct("<q").pack
_RECORD = Struct("<qQf")
_RECORD_BYTES = _RECORD.size
_pack_record, _unpack_record = _RECORD.pack, _RECORD.unpack_from

_log = Logger("callcenter_ws.broker")


class _Span:
    """The identifiers that were published since ``begun_at``, until the next span begins."""

    __slots__ = ("begun_at", "buckets", "count", "last_at")

    def __init__(self, begun_at: float) -> None:
        self.begun_at = self.last_at = begun_at
        self.buckets: dict[int, bytearray] = {}
        self.count = 0


class RecentIds:
    """The event identifiers of one tenant from the last ``WINDOW_SECONDS``, each with the ``seq`` it was given.

    Two identifiers count as one if the 64 bits of their hashes agree. The hash is keyed, so that peers cannot choose
    such identifiers; by chance it happens once in years of 20,000 events a second.

    Attributes:
        removed_early: how many identifiers were removed before their window ended.
    """

    __slots__ = ("_max_ids", "_spans", "removed_early")

    def __init__(self, max_ids: int = MAX_IDS) -> None:
        self._max_ids = max_ids
        # The newest first.
        self._spans: list[_Span] = []
        self.removed_early = 0

    def __len__(self) -> int:
        return sum(span.count for span in self._spans)

    def seq_of(self, event_id: str, now: float) -> int | None:
        """Return the ``seq`` of the event; None when it was not published within the window."""
        hashed = hash(event_id)
        index, key = hashed & _BUCKET_MASK, _pack_key(hashed)
        for span in self._spans:
            bucket = span.buckets.get(index)
            if bucket is None:
                continue
            at = bucket.find(key)
            while at >= 0:
                if at % _RECORD_BYTES == 0:
                    _, seq, after = _unpack_record(bucket, at)
                    return None if span.begun_at + after < now - WINDOW_SECONDS else int(seq)
                at = bucket.find(key, at + 1)
        return None

    def remember(self, event_id: str, seq: int, now: float) -> None:
        """Add an event that was published at ``now``, in seconds of the monotonic clock."""
        span = self._spans[0] if self._spans else None
        if span is None or now - span.begun_at >= _SPAN_SECONDS or span.count * _SPAN_IDS >= self._max_ids:
            span = self._begin_span(now)
        hashed, after = hash(event_id), now - span.begun_at
        bucket = span.buckets.get(hashed & _BUCKET_MASK)
        if bucket is None:
            bucket = span.buckets[hashed & _BUCKET_MASK] = bytearray()
        bucket += _pack_record(hashed, seq, after)
        span.count += 1
        span.last_at = now

    def _begin_span(self, now: float) -> _Span:
        self.forget_before(now - WINDOW_SECONDS)
        while self._spans and len(self) + self._max_ids // _SPAN_IDS > self._max_ids:
            removed = self._spans.pop().count
            if not self.removed_early:
                _log.warn(
                    "more than {most} event ids of a tenant in {seconds:g} s: an event that is sent again later than"
                    " after {kept:.0f} s may be published twice",
                    most=self._max_ids,
                    seconds=WINDOW_SECONDS,
                    kept=now - self._spans[-1].begun_at if self._spans else 0,
                )
            self.removed_early += removed
        span = _Span(now)
        self._spans.insert(0, span)
        return span

    def forget_before(self, published_at: float) -> None:
        """Remove identifiers that were published before this time of the monotonic clock, by whole spans."""
        while self._spans and self._spans[-1].last_at < published_at:
            self._spans.pop()
