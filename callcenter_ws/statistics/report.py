"""Reports: the figures of a period, as ``GET /ws/statistics`` and ``callcenter-ws statistics`` give them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

import msgspec

from callcenter_ws.statistics.figures import Figures, agent_figures, queue_figures, tenant_figures
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.period import Period
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.service_level import METHODS
from callcenter_ws.statistics.settings import Settings, settings_payload
from callcenter_ws.statistics.sums import (
    AGENT_FIELDS,
    FLOW_OUT_REASONS,
    MINUTE_MS,
    QUEUE_FIELDS,
    STATES,
    TENANT_FIELDS,
    Bucket,
)

QUEUES, AGENTS, TENANT = "queues", "agents", "tenant"

ROWS_OF_PIECE = 8
"""Intervals that one piece of a report holds at most: about a millisecond."""

Names = Collection[str] | None
"""Names that were asked for; None: all."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class Entity:
    """A queue, an agent or the tenant in a report.

    Attributes:
        part: ``queues``, ``agents`` or ``tenant``.
        reading: returns a reading that knows it.
        asked: whether it was named, and is in the report even without figures.
        now: returns the present figures; None: the reading knows them.
        producer: whether a producer's ``queue.stats`` are shown for this queue: it has no derived figures of now.
    """

    part: str
    name: str
    reading: Callable[[], Reading]
    asked: bool = False
    now: Callable[[], Figures] | None = None
    producer: bool = False


class Entities(Protocol):
    """The entities of a report; those of a store are made one by one, since there may be 10,000."""

    def __len__(self) -> int:
        """Return how many there are."""

    def __iter__(self) -> Iterator[Entity]:
        """Yield them."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a report is made of; ``json_pieces`` and ``csv_pieces`` write it.

    Attributes:
        head: a reading with the settings, the position and the diagnostics.
        entities: queues first, then agents, then the tenant.
        parts: those that were asked for.
        queues: the queues whose settings are shown; None: all.
        incomplete_since: from when events are missing, as text.
    """

    tenant_id: str
    epoch: str
    head: Reading
    period: Period
    entities: Entities
    parts: tuple[str, ...]
    queues: Names = None
    incomplete_since: str | None = None


def parts_of(queues: Names, agents: Names) -> tuple[str, ...]:
    """Return the parts of a report: of what is named, or all if nothing is."""
    if queues is None and agents is None:
        return QUEUES, AGENTS, TENANT
    return tuple(part for part, names in ((QUEUES, queues), (AGENTS, agents)) if names is not None)


class _Rows:
    """The intervals of a period, found once for all entities."""

    def __init__(self, period: Period, now: int) -> None:
        self._period = period
        self._found: list[tuple[int, int]] = []
        self._more = period.windows(now)
        self.covers_now = period.start <= now < period.end

    def of(self, entity: Entity, reading: Reading) -> Iterator[Figures]:
        """Yield the figures of an entity in each interval."""
        for start, end in self._windows():
            head = {"start": self._period.zone.label(start), "minutes": (end - start) // MINUTE_MS}
            if entity.part == QUEUES:
                yield head | reading.queue_between(entity.name, start, end)
            elif entity.part == AGENTS:
                yield head | reading.agent_between(entity.name, start, end)
            else:
                yield head | reading.tenant_between(start, end)

    def _windows(self) -> Iterator[tuple[int, int]]:
        yield from self._found
        for window in self._more:
            self._found.append(window)
            yield window


def _entries(report: Report) -> Iterator[tuple[Entity, Figures, Iterator[Figures]] | None]:
    """Yield each entity that has figures, with what names it and its intervals; None for one that is left out."""
    rows = _Rows(report.period, report.head.now)
    for entity in report.entities:
        reading = entity.reading()
        now = _present(entity, reading) if rows.covers_now else None
        if entity.asked or entity.part == TENANT or _is_present(now) or _has_figures(report.period, entity, reading):
            yield entity, _name(entity, reading, now), rows.of(entity, reading)
        else:
            yield None


def _present(entity: Entity, reading: Reading) -> Figures | None:
    if entity.part == TENANT or entity.producer:
        return None
    if entity.now is not None:
        return entity.now()
    return reading.queue_now(entity.name) if entity.part == QUEUES else reading.agent_now(entity.name)


def _is_present(now: Figures | None) -> bool:
    """Return whether a queue has calls or agents now, or an agent is logged in."""
    return now is not None and bool(
        now.get("calls_waiting") or now.get("interacting_calls") or now.get("logged_in_agents") or now.get("since")
    )


def _has_figures(period: Period, entity: Entity, reading: Reading) -> bool:
    if entity.part == QUEUES:
        return reading.queue_has_figures(entity.name, period.start, period.end)
    return reading.agent_has_figures(entity.name, period.start, period.end)


def _name(entity: Entity, reading: Reading, now: Figures | None) -> Figures:
    if entity.part == QUEUES:
        label = {"queue_stats": "producer"} if entity.producer else {}
        return {"queue_name": entity.name, **label, "now": now}
    return {"user_id": entity.name, "username": reading.username(entity.name), "now": now}


def _head(report: Report) -> Figures:
    reading, period = report.head, report.period
    settings = reading.settings
    queues = {name: one for name, one in settings.queues.items() if report.queues is None or name in report.queues}
    return {
        "tenant_id": report.tenant_id,
        "epoch": report.epoch,
        "as_of_seq": reading.seq,
        "generated_at": instant_text(reading.now),
        "time_zone": period.zone.name,
        "interval": period.interval,
        "from": period.zone.label(period.start),
        "to": period.zone.label(period.end),
        "settings": settings_payload(settings.tenant, queues),
        "incomplete_since": report.incomplete_since,
        "diagnostics": reading.diagnostics(),
    }


def json_pieces(report: Report) -> Iterator[bytes]:
    """Yield the report as one JSON object, in pieces of little work each; some are empty."""
    yield _encode(_head(report))[:-1]
    open_part = -1
    between = b""
    for entry in _entries(report):
        if entry is None:
            yield b""
            continue
        entity, name, rows = entry
        number = _PARTS.index(entity.part)
        if number != open_part:
            yield _open_parts(open_part, number)
            open_part, between = number, b""
        if entity.part == TENANT:
            yield from _row_pieces(rows)
        else:
            yield between + _encode(name)[:-1] + b',"intervals":['
            yield from _row_pieces(rows)
            yield b"]}"
        between = b","
    yield _open_parts(open_part, len(_PARTS)) + b"}"


_PARTS = (QUEUES, AGENTS, TENANT)


def _open_parts(last: int, number: int) -> bytes:
    """Return the end of the list of one part, the empty lists before another, and the beginning of that."""
    closing = b"]" if last >= 0 else b""
    names = _PARTS[last + 1 : number + 1]
    return closing + b"]".join(f',"{name}":['.encode() for name in names) + (b"]" if _ends(last, number) else b"")


def _ends(last: int, number: int) -> bool:
    return number == len(_PARTS) and last + 1 < len(_PARTS)


def _row_pieces(rows: Iterator[Figures]) -> Iterator[bytes]:
    between = b""
    while piece := list(islice(rows, ROWS_OF_PIECE)):
        yield between + b",".join(map(_encode, piece))
        between = b","


def csv_pieces(report: Report) -> Iterator[bytes]:
    """Yield the report as CSV (RFC 4180): one line for each entity and interval, after a line with the names."""
    columns = ["part", "name", "start", "minutes", *_columns(report.parts)]
    yield _csv_lines([columns])
    for entry in _entries(report):
        if entry is None:
            yield b""
            continue
        entity, _, rows = entry
        while piece := list(islice(rows, ROWS_OF_PIECE)):
            lines = [{"part": entity.part, "name": entity.name} | flattened(row) for row in piece]
            yield _csv_lines([[cell(line.get(column)) for column in columns] for line in lines])


def _columns(parts: tuple[str, ...]) -> list[str]:
    """Return the names of the figures of some parts, each once."""
    names: dict[str, None] = {}
    if QUEUES in parts:
        reasons = [f"flow_out_reasons.{reason}" for reason in FLOW_OUT_REASONS]
        for name in queue_figures(Bucket([0] * len(QUEUE_FIELDS)), Settings()):
            names |= dict.fromkeys(
                reasons if name == "flow_out_reasons"
                else [f"{name}.{method}" for method in METHODS] if name == "service_levels"
                else [name]
            )  # fmt: skip
    if AGENTS in parts:
        states = [f"state_seconds.{state}" for state in STATES]
        for name in agent_figures(Bucket([0] * len(AGENT_FIELDS))):
            names |= dict.fromkeys(states if name == "state_seconds" else [name])
    if TENANT in parts:
        names |= dict.fromkeys(tenant_figures(Bucket([0] * len(TENANT_FIELDS))))
    return list(names)


_ZERO_MAPS = {
    "flow_out_reasons": FLOW_OUT_REASONS,
    "state_seconds": STATES,
}
"""Maps in which what is missing is 0."""


def flattened(figures: Figures) -> Figures:
    """Return figures without maps: ``flow_out_reasons.timeout`` in place of a map with ``timeout``.

    Dispositions become a JSON text: which codes there are is not known before the last row.
    """
    flat: Figures = {}
    for name, value in figures.items():
        if name == "dispositions":
            flat[name] = _encode(value).decode()
        elif isinstance(value, dict):
            flat |= {f"{name}.{key}": 0 for key in _ZERO_MAPS.get(name, ())}
            flat |= {f"{name}.{key}": one for key, one in value.items()}
        else:
            flat[name] = value
    return flat


def cell(value: object) -> str:
    """Return a value as the text of a cell; a text that a spreadsheet would take for a formula gets an apostrophe."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _csv_lines(rows: Iterable[list[str]]) -> bytes:
    return "".join(",".join(map(_quoted, row)) + "\r\n" for row in rows).encode()


def _quoted(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
