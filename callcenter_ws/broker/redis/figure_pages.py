"""Reads the rows of folds from Redis in pages, so that neither Redis nor the reactor is kept busy for long."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from callcenter_ws.broker.figure_rows import limited
from callcenter_ws.broker.redis.tenant_store import TenantStore
from callcenter_ws.redis.connection import Argument, Reply
from callcenter_ws.redis.scripts import FIGURES_MOVE, FIGURES_PAGE
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.runtime.slicer import Slicer
from callcenter_ws.statistics.checkpoint import RowKey, RowPair
from callcenter_ws.statistics.store import FigureCheckpoint, FigurePosition

CALL_ROWS = 500
CALL_BYTES = 262_144
"""Rows, and bytes of values, of one call, so that Redis is not blocked for long."""

GROWTH = 4
"""A page has this many times more rows each time that rows were changed while they were read: the last one has all."""

_DECODED_PER_STEP = 200
_LAST_DAY = 2**31
_decode_field = msgspec.json.Decoder(tuple[str, str]).decode

# A reply of ``figures_page.lua``.
_Page = tuple[bytes, int, bytes, bytes, list[Reply]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows to read.

    Attributes:
        undated: whether rows without a day are wanted.
        first, last: the days; none if ``last`` is before ``first``.
        selection: how rows are selected: all, the names of fields, or their beginnings; see ``figures_page.lua``.
        limit: the most rows.
    """

    undated: bool
    first: int
    last: int
    selection: Sequence[Argument] = ("all",)
    limit: int = 2**62


def undated_and_since(day: int) -> Wanted:
    """Want rows without a day, and those of days from one on."""
    return Wanted(True, max(day, 1), _LAST_DAY)


def undated_of(kinds: Sequence[str]) -> Wanted:
    """Want rows without a day of some kinds."""
    return Wanted(bool(kinds), 1, 0, ("kinds", *[_beginning(kind) for kind in kinds]))


def days_of(kind: str, names: frozenset[str] | None, first: int, last: int, limit: int) -> list[Wanted]:
    """Want rows of days; names: at most ``CALL_ROWS`` in each part."""
    first = max(first, 1)
    if names is None:
        return [Wanted(False, first, last, ("kinds", _beginning(kind)), limit)]
    fields = [encode_json((kind, name)) for name in sorted(names)]
    parts = [fields[start : start + CALL_ROWS] for start in range(0, len(fields), CALL_ROWS)]
    return [Wanted(False, first, last, ("names", *part), limit) for part in parts]


async def read_rows(store: TenantStore, parts: Sequence[Wanted]) -> FigureCheckpoint | None:
    """Return rows of one moment, with their position; None: nothing was ever written.

    Raises:
        Refusal: ``too_large`` if there are more than ``Wanted.limit``.
    """
    slicer, most = Slicer(store.clock), CALL_ROWS
    while True:
        version, position = None, b""
        rows: dict[tuple[int, bytes], bytes] = {}
        async for page in _pages(store, parts, most):
            position, found = page[0], page[1]
            if found < 0 or version not in (None, found):
                break
            version = found
            await slicer.run(_collect(page[4], rows))
            limited(rows, parts[0].limit)
        else:
            if not position:
                return None
            decoded: list[RowPair] = []
            await slicer.run(_decode(rows, decoded))
            epoch, seq = position.decode().split(" ")
            return FigureCheckpoint(FigurePosition(epoch, int(seq)), decoded)
        if found < 0:
            await move_rows(store)
        else:
            most *= GROWTH


async def move_rows(store: TenantStore) -> None:
    """Move the rows of a committed write to where they are read; any process may do that."""
    while await store.run(FIGURES_MOVE, CALL_ROWS, CALL_BYTES):
        pass


async def _pages(store: TenantStore, parts: Sequence[Wanted], most: int) -> AsyncIterator[_Page]:
    most_bytes = CALL_BYTES * most // CALL_ROWS
    for wanted in parts:
        day, cursor = b"", b"0"
        while True:
            bounds = (wanted.first, wanted.last, int(wanted.undated))
            page = await store.run(FIGURES_PAGE, *bounds, day, cursor, most, most_bytes, *wanted.selection)
            yield page
            day, cursor = page[2], page[3]
            if not day:
                break


def _collect(found: list[Reply], rows: dict[tuple[int, bytes], bytes]) -> Iterator[None]:
    """Add the rows of a page; a row may be in two."""
    for day, fields in zip(found[::2], found[1::2], strict=True):
        for start in range(0, len(fields), 2 * _DECODED_PER_STEP):
            part = fields[start : start + 2 * _DECODED_PER_STEP]
            for field, value in zip(part[::2], part[1::2], strict=True):
                rows[int(day), field] = value
            yield


def _decode(rows: dict[tuple[int, bytes], bytes], decoded: list[RowPair]) -> Iterator[None]:
    for (day, field), value in rows.items():
        decoded.append((RowKey(*_decode_field(field), day), value))
        if not len(decoded) % _DECODED_PER_STEP:
            yield


def _beginning(kind: str) -> bytes:
    """Return how the fields of a kind begin: ``["kind",``."""
    return encode_json([kind])[:-1] + b","
