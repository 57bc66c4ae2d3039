"""The rows of folds in Redis, beside the events of ``RedisBroker``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

import msgspec

from callcenter_ws.broker.figure_rows import limited, of_days, of_kinds
from callcenter_ws.broker.redis.tenant_store import NO_EVENT, TenantStore
from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import HistoryPage
from callcenter_ws.redis.client import RedisClient
from callcenter_ws.redis.connection import Argument
from callcenter_ws.redis.keys import Keys
from callcenter_ws.redis.scripts import FIGURES_END, FIGURES_LEASE, FIGURES_READ, FIGURES_STORE
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.statistics.checkpoint import RowKey
from callcenter_ws.statistics.store import (
    FigureCheckpoint,
    FigureClaim,
    FigurePosition,
    FiguresAnnounced,
    FigureWrite,
    LiveFigure,
    ignore_figures,
)

LEASE_SECONDS = 15
"""For how long a claim holds a tenant without being extended."""

ANNOUNCED_BYTES = 65_536
"""Bytes of live figures in one announcement."""

_LAST_DAY = 2**31
_decode_field = msgspec.json.Decoder(tuple[str, str]).decode
_decode_live = msgspec.json.Decoder(list[tuple[str, str]]).decode


class RedisFigures:
    """Implements ``FigureStore`` in Redis.

    Args:
        instance: of this process; claims are made in its name.
        max_events, max_bytes: the limits of a log that is held.
    """

    def __init__(
        self,
        redis: RedisClient,
        keys: Keys,
        tenant_store: Callable[[str], TenantStore],
        instance: str,
        *,
        max_events: int,
        max_bytes: int,
    ) -> None:
        self._redis = redis
        self._keys = keys
        self._tenant_store = tenant_store
        self._instance = instance
        self._limits = (max_events, max_bytes)
        self._claims: dict[str, int] = {}
        self.announced: FiguresAnnounced = ignore_figures

    async def tenants(self) -> Sequence[str]:
        """Return the tenants that have rows."""
        return [name.decode() for name in await self._redis.send("SMEMBERS", self._keys.figure_tenants)]

    async def claim(self, tenant_id: str) -> FigureClaim:
        """Take the tenant or extend the claim; see ``FigureStore.claim``."""
        fence, is_held = await self._tenant_store(tenant_id).run(FIGURES_LEASE, self._instance, LEASE_SECONDS, "")
        if is_held:
            self._claims[tenant_id] = fence
        else:
            self._claims.pop(tenant_id, None)
        return FigureClaim(fence, bool(is_held))

    async def release(self, tenant_id: str, fence: int) -> None:
        """Give the tenant back."""
        self._claims.pop(tenant_id, None)
        await self._tenant_store(tenant_id).run(FIGURES_LEASE, self._instance, LEASE_SECONDS, fence)

    async def stop(self) -> None:
        """Give back all tenants, if Redis answers."""
        with suppress(Refusal):
            for tenant_id, fence in list(self._claims.items()):
                await self.release(tenant_id, fence)

    async def remove_live(self, tenant_id: str) -> None:
        """Remove the live figures and the hold of a tenant."""
        await self._tenant_store(tenant_id).run(FIGURES_END, self._keys.channel(tenant_id))

    async def load(self, tenant_id: str, since_day: int) -> FigureCheckpoint | None:
        """Return the rows without a day, and those of days from ``since_day`` on."""
        return await self._read(tenant_id, max(since_day, 1), _LAST_DAY, undated=True)

    async def write(self, tenant_id: str, write: FigureWrite) -> bool:
        """Take a write; see ``FigureStore.write``."""
        store = self._tenant_store(tenant_id)
        announcements = _announcements(write.live)
        arguments: list[Argument] = [*store.history_arguments(NO_EVENT), self._instance, write.fence]
        arguments += ["" if write.after is None else f"{write.after.epoch} {write.after.seq}"]
        arguments += [write.position.epoch, write.position.seq, write.hold, *self._limits]
        arguments += [len(write.rows), len(write.live), len(announcements)]
        for key, value in write.rows.items():
            arguments += [key.day, encode_json((key.kind, key.name)), b"" if value is None else b"=" + value]
        for figure in write.live:
            arguments += [figure.key, figure.message]
        is_taken = bool(await store.run(FIGURES_STORE, *arguments, *announcements))
        if is_taken and write.after is None:
            await self._redis.send("SADD", self._keys.figure_tenants, tenant_id)
        return is_taken

    async def days(
        self, tenant_id: str, kind: str, names: Iterable[str] | None, first_day: int, last_day: int, limit: int
    ) -> Sequence[tuple[RowKey, bytes]]:
        """Return rows of sums; see ``FigureStore.days``."""
        found = await self._read(tenant_id, max(first_day, 1), last_day, undated=False)
        if found is None:
            return []
        is_wanted = of_days(kind, None if names is None else frozenset(names), first_day, last_day)
        return list(limited([row for row in found.rows if is_wanted(row[0])], limit))

    async def head(self, tenant_id: str, kinds: Sequence[str]) -> FigureCheckpoint | None:
        """Return the rows without a day of some kinds, with the position that they belong to."""
        found = await self._read(tenant_id, 1, 0, undated=True)
        if found is None:
            return None
        is_wanted = of_kinds(frozenset(kinds))
        return FigureCheckpoint(found.position, [row for row in found.rows if is_wanted(row[0])])

    async def live(self, tenant_id: str) -> Sequence[LiveFigure]:
        """Return the current live figures."""
        found = await self._redis.send("HGETALL", self._keys.of(tenant_id, "figurelive"))
        return [LiveFigure(key.decode(), message) for key, message in zip(found[::2], found[1::2], strict=True)]

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

    async def _read(self, tenant_id: str, first: int, last: int, *, undated: bool) -> FigureCheckpoint | None:
        position, found = await self._tenant_store(tenant_id).run(FIGURES_READ, first, last, int(undated))
        if not position:
            return None
        epoch, seq = position.decode().split(" ")
        rows = []
        for day, fields in zip(found[::2], found[1::2], strict=True):
            for field, value in zip(fields[::2], fields[1::2], strict=True):
                if field != b"!":
                    rows.append((RowKey(*_decode_field(field), int(day)), value))
        return FigureCheckpoint(FigurePosition(epoch, int(seq)), rows)


def _announcements(live: Sequence[LiveFigure]) -> list[bytes]:
    """Return the announcements of live figures, each of about ``ANNOUNCED_BYTES`` at most."""
    parts: list[list[tuple[str, str]]] = []
    size = ANNOUNCED_BYTES
    for figure in live:
        if size + len(figure.message) > ANNOUNCED_BYTES:
            parts.append([])
            size = 0
        parts[-1].append((figure.key, figure.message.decode()))
        size += len(figure.message)
    return [b"=\n" + encode_json(part) for part in parts]
