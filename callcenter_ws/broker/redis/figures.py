"""The rows of folds in Redis, beside the events of ``RedisBroker``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain

import msgspec

from callcenter_ws.broker.redis.figure_pages import (
    CALL_BYTES,
    CALL_ROWS,
    days_of,
    move_rows,
    read_rows,
    undated_and_since,
    undated_of,
)
from callcenter_ws.broker.redis.tenant_store import NO_EVENT, TenantStore
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import FIGURES_END, FIGURES_LEASE, FIGURES_LIVE, FIGURES_STAGE, FIGURES_STORE, Script
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.store import (
    FigureCheckpoint,
    FigureClaim,
    FiguresAnnounced,
    FigureWrite,
    LiveFigure,
    ignore_figures,
)

ANNOUNCED_BYTES = 65_536
"""Bytes of live figures in one announcement."""

LIVE_PART = 200
"""Live figures that are read in one call, about: some hundred kilobytes. A large tenant has tens of thousands."""

_decode_live = msgspec.json.Decoder(list[tuple[str, str]]).decode


class RedisFigures:
    """Implements ``FigureStore`` in Redis.

    Args:
        new_id: returns an id that no other process returns.
        max_events, max_bytes: the limits of a log that is held.
        lease: seconds for which a claim holds a tenant without being extended.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        tenant_store: Callable[[str], TenantStore],
        new_id: Callable[[], str],
        *,
        max_events: int,
        max_bytes: int,
        lease: float,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._tenant_store = tenant_store
        self._new_id = new_id
        # Claims are made in its name.
        self._instance = new_id()
        self._limits = (max_events, max_bytes)
        self._lease = repr(float(lease))
        # Tenants that are in the set, as far as this process knows.
        self._known: set[str] = set()
        self._claims: dict[str, int] = {}
        # How often the connection was made.
        self._connections = 0
        self.announced: FiguresAnnounced = ignore_figures

    def connected(self) -> None:
        """Forget which tenants are in the set: it may be another Redis, or one that has lost data."""
        self._known.clear()
        self._connections += 1

    async def tenants(self) -> Sequence[str]:
        """Return the tenants that have rows."""
        return [name.decode() for name in await self._redis.send("SMEMBERS", self._keys.figure_tenants)]

    async def claim(self, tenant_id: str) -> FigureClaim:
        """Take the tenant or extend the claim; see ``FigureStore.claim``."""
        fence, is_held = await self._tenant_store(tenant_id).run(FIGURES_LEASE, self._instance, self._lease, "")
        if is_held:
            self._claims[tenant_id] = fence
        else:
            self._claims.pop(tenant_id, None)
        return FigureClaim(fence, bool(is_held))

    async def release(self, tenant_id: str, fence: int) -> None:
        """Release the claim of the tenant."""
        self._claims.pop(tenant_id, None)
        await self._tenant_store(tenant_id).run(FIGURES_LEASE, self._instance, self._lease, fence)

    async def stop(self) -> None:
        """Release all claims, if Redis answers."""
        with suppress(Refusal):
            for tenant_id, fence in list(self._claims.items()):
                await self.release(tenant_id, fence)

    async def remove_live(self, tenant_id: str) -> None:
        """Remove the live figures, the hold and the claim of a tenant, unless another process has the claim."""
        self._claims.pop(tenant_id, None)
        await self._tenant_store(tenant_id).run(FIGURES_END, self._instance, self._keys.channel(tenant_id))

    async def load(self, tenant_id: str, since_day: int) -> FigureCheckpoint | None:
        """Return the rows without a day, and those of days from ``since_day`` on."""
        found = await read_rows(self._tenant_store(tenant_id), [undated_and_since(since_day)])
        if found is None:
            return None
        # Redis loses rows only together with the events of their position. So the rows are of a prefix of the log that
        # it had when the epoch began; if it began with nothing, that is 0.
        begun = await self._redis.send("HGET", self._keys.of(tenant_id, "meta"), "begun")
        return replace(found, common=int(begun or 0))

    async def write(self, tenant_id: str, write: FigureWrite) -> bool:
        """Take a write; see ``FigureStore.write``.

        Rows that are too many for one call are kept apart first. The last call commits all of them with the position;
        they are moved afterwards, by this process or by the next that reads or writes.
        """
        store = self._tenant_store(tenant_id)
        if write.after is None or tenant_id not in self._known:
            # First: rows of a tenant that is not in the set would be found by no process.
            await self._redis.send("SADD", self._keys.figure_tenants, tenant_id)
            self._known.add(tenant_id)
        calls = _calls(write)
        first, second = next(calls), next(calls, None)
        write_id = self._new_id() if second else ""
        kept = 0
        for call in chain((first, second), calls) if second else ():
            if not await self._run(store, FIGURES_STAGE, self._instance, write.fence, write_id, kept, *call):
                return False
            kept += len(call) // 3
        arguments: list[Argument] = [*store.history_arguments(NO_EVENT), self._instance, write.fence]
        arguments += ["" if write.after is None else f"{write.after.epoch} {write.after.seq}"]
        arguments += [write.position.epoch, write.position.seq, write.hold, *self._limits, write_id]
        arguments += [kept] if write_id else [len(first) // 3, *first]
        if not await self._run(store, FIGURES_STORE, *arguments):
            return False
        if write_id:
            await move_rows(store)
        for part in _announcements(write.live):
            text = b"=\n" + encode_json([(figure.key, figure.message.decode()) for figure in part])
            figures = [argument for figure in part for argument in (figure.key, figure.message)]
            channel = self._keys.channel(tenant_id)
            await store.run(FIGURES_LIVE, self._instance, write.fence, channel, text, *figures)
        return True

    async def _run(self, store: TenantStore, script: Script, *arguments: Argument) -> bool:
        """Run a script of a write; if rows of an earlier one have to be moved, do that first."""
        while (reply := await store.run(script, *arguments)) < 0:
            await move_rows(store)
        return bool(reply)

    async def days(
        self, tenant_id: str, kind: str, names: Iterable[str] | None, first_day: int, last_day: int, limit: int
    ) -> Sequence[tuple[RowKey, bytes]]:
        """Return rows of sums; see ``FigureStore.days``."""
        parts = days_of(kind, None if names is None else frozenset(names), first_day, last_day, limit)
        found = await read_rows(self._tenant_store(tenant_id), parts) if parts else None
        return [] if found is None else found.rows

    async def head(self, tenant_id: str, kinds: Sequence[str]) -> FigureCheckpoint | None:
        """Return the rows without a day of some kinds, with the position that they belong to."""
        return await read_rows(self._tenant_store(tenant_id), [undated_of(kinds)])

    async def live(self, tenant_id: str) -> Sequence[LiveFigure]:
        """Return the current live figures, read in parts.

        What changes meanwhile is announced: it may be in what is returned as before, as after or not at all.
        """
        name = self._keys.of(tenant_id, "figurelive")
        figures: dict[bytes, LiveFigure] = {}
        cursor, connection = b"0", self._connections
        while True:
            cursor, found = await self._redis.send("HSCAN", name, cursor, "COUNT", LIVE_PART)
            if self._connections != connection:
                # The cursor may be of another Redis, which has the fields in another order.
                figures.clear()
                cursor, connection = b"0", self._connections
                continue
            # A field may come more than once; the last time it is newest.
            for key, message in zip(found[::2], found[1::2], strict=True):
                figures[key] = LiveFigure(key.decode(), message)
            if cursor == b"0":
                return list(figures.values())

    async def forget_days(self, tenant_id: str, before: int) -> None:
        """Remove the rows of days before one: first the rows, so that a repetition finds what is left."""
        days = self._keys.of(tenant_id, "figuredays")
        for day in await self._redis.send("ZRANGEBYSCORE", days, 1, before - 1):
            await self._redis.send("UNLINK", self._keys.of(tenant_id, f"figures:{int(day)}"))
            await self._redis.send("ZREM", days, day)

    async def read_log(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        """Return what Redis has after a position; see ``FigureStore.read_log``."""
        store = self._tenant_store(tenant_id)
        found = await store.read_log(after, limit)
        epoch = found.epoch or (await store.stream_status(NO_EVENT, "")).epoch
        is_whole = after >= found.head or (bool(found.publications) and found.publications[0].seq == after + 1)
        return HistoryPage(epoch, found.publications if is_whole else [], is_whole, found.head)

    async def oldest_in_log(self, tenant_id: str) -> int:
        """Return the position before the oldest event in Redis."""
        found = await self._tenant_store(tenant_id).read_log(0, 1)
        return found.publications[0].seq - 1 if found.publications else found.head

    def receive(self, tenant_id: str, text: bytes) -> None:
        """Report an announcement on the tenant's channel."""
        figures = [LiveFigure(key, message.encode()) for key, message in _decode_live(text)] if text else None
        self.announced(tenant_id, figures)


def _calls(write: FigureWrite) -> Iterator[list[Argument]]:
    """Yield the rows of a write in parts of about ``CALL_ROWS`` and ``CALL_BYTES`` at most; one part if none."""
    call: list[Argument] = []
    size = 0
    for key, value in write.rows.items():
        field, text = encode_json((key.kind, key.name)), b"" if value is None else b"=" + value
        if call and (len(call) >= 3 * CALL_ROWS or size + len(field) + len(text) > CALL_BYTES):
            yield call
            call, size = [], 0
        call += [key.day, field, text]
        size += len(field) + len(text)
    yield call


def _announcements(live: Sequence[LiveFigure]) -> list[list[LiveFigure]]:
    """Return live figures in parts, each of about ``ANNOUNCED_BYTES`` and ``CALL_ROWS`` at most."""
    parts: list[list[LiveFigure]] = []
    size = ANNOUNCED_BYTES
    for figure in live:
        if size + len(figure.message) > ANNOUNCED_BYTES or len(parts[-1]) >= CALL_ROWS:
            parts.append([])
            size = 0
        parts[-1].append(figure)
        size += len(figure.message)
    return parts
