"""Reports from the rows of a store: what is read for them, and how it becomes a report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from callcenter_ws.statistics.checkpoint import RowPair, decode_members, load
from callcenter_ws.statistics.figures import Figures, seconds
from callcenter_ws.statistics.occurrence import milliseconds
from callcenter_ws.statistics.period import Period
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.report import AGENTS, QUEUES, TENANT, Entity, Names, Report
from callcenter_ws.statistics.state import State
from callcenter_ws.statistics.store import FigureCheckpoint, LiveFigure

FOLD_KIND, AGENT_KIND, MEMBERS_KIND = "fold", "agent", "members"
"""The kinds of rows without a day that reports need."""

DAY_KINDS = {QUEUES: "queue-day", AGENTS: "agent-day", TENANT: "tenant-day"}
"""The kinds of the sums of each part of a report."""

_NOW_FIELDS = tuple(Reading(State(), 0).queue_now(""))


class _Message(msgspec.Struct):
    payload: dict[str, object]


_decode_payload = msgspec.json.Decoder(_Message).decode


@dataclass(frozen=True, slots=True)
class Question:
    """What a report is about.

    Attributes:
        queues, agents: names that were asked for, which are reported even without figures; None: all.
        queues_allowed: the queues that the reader may see; None: all.
        agents_allowed: the agents; None: all.
    """

    parts: tuple[str, ...]
    queues: Names = None
    agents: Names = None
    queues_allowed: Names = None
    agents_allowed: Names = None


def shows_derived(_queue_name: str) -> bool:
    """Return False: the ``queue.stats`` of producers are not shown."""
    return False


class StoredFigures:
    """The figures of a tenant in a store, read in two steps: first the head, then the days of a period.

    Args:
        head: the row ``fold``, those of agents if the report has them, and those of members if the reader has a
            ``queues`` claim; None: nothing was folded yet.
    """

    def __init__(self, head: FigureCheckpoint | None, now: int) -> None:
        rows = () if head is None else head.rows
        self.epoch = "" if head is None else head.position.epoch
        self._base = load(row for row in rows if row[0].kind == FOLD_KIND)
        self._agents = {key.name: (key, data) for key, data in rows if key.kind == AGENT_KIND}
        self._members = {key.name: data for key, data in rows if key.kind == MEMBERS_KIND}
        self.head = Reading(self._base, now)

    def members_of(self, queues: Iterable[str]) -> frozenset[str]:
        """Return the agents who are members of any of some queues."""
        found: set[str] = set()
        for name in queues:
            members = decode_members(self._members[name]) if name in self._members else {}
            found.update(agent_id for agent_id, member in members.items() if member.present)
        return frozenset(found)

    def report(
        self,
        tenant_id: str,
        period: Period,
        question: Question,
        days: Mapping[str, Sequence[RowPair]],
        live: Iterable[LiveFigure],
        producers: Callable[[str], bool] = shows_derived,
    ) -> Report:
        """Return the report.

        Args:
            days: for each part, the rows of sums of the days of the period.
            live: the live figures of the tenant.
            producers: whether the ``queue.stats`` of producers are shown for a queue.
        """
        figures = {figure.key: figure.message for figure in live}
        entities = _Entities()
        if QUEUES in question.parts:
            self._add_queues(entities, question, days[QUEUES], figures, producers)
        if AGENTS in question.parts:
            self._add_agents(entities, question, days[AGENTS])
        if TENANT in question.parts:
            entities.add([""], lambda name: Entity(TENANT, name, partial(self._reading, days[TENANT])))
        since = _incomplete_since(figures)
        return Report(
            tenant_id, self.epoch, self.head, period, entities, question.parts, question.queues_allowed, since
        )

    def _add_queues(
        self,
        entities: _Entities,
        question: Question,
        days: Sequence[RowPair],
        live: Mapping[str, bytes],
        producers: Callable[[str], bool],
    ) -> None:
        rows = _by_name(days)
        known = {key.partition(":")[2] for key in live if key.startswith("queue.stats:")} | rows.keys()
        asked = question.queues is not None

        def entity(name: str) -> Entity:
            reading = partial(self._reading, rows.get(name, ()))
            now = partial(self._queue_now, live.get(f"queue.stats:{name}"))
            return Entity(QUEUES, name, reading, asked, now, producers(name))

        entities.add(_names(known, question.queues, question.queues_allowed), entity)

    def _add_agents(self, entities: _Entities, question: Question, days: Sequence[RowPair]) -> None:
        rows, status = _by_name(days), self._agents
        asked = question.agents is not None

        def entity(name: str) -> Entity:
            state = [status[name]] if name in status else []
            return Entity(AGENTS, name, partial(self._reading, (*rows.get(name, ()), *state)), asked)

        entities.add(_names(status.keys() | rows.keys(), question.agents, question.agents_allowed), entity)

    def _reading(self, rows: Iterable[RowPair]) -> Reading:
        """Return a reading of some rows, with the settings of the tenant."""
        state = load(rows)
        state.settings = self._base.settings
        return Reading(state, self.head.now)

    def _queue_now(self, message: bytes | None) -> Figures:
        """Return the present figures of a live figure, whose wait goes on."""
        payload: Figures = self.head.queue_now("") if message is None else _decode_payload(message).payload
        since = payload.get("longest_wait_since")
        if isinstance(since, str):
            waited = max(self.head.now - milliseconds(datetime.fromisoformat(since)), 0)
            payload = {**payload, "longest_wait_time": seconds(waited)}
        return {name: payload.get(name) for name in _NOW_FIELDS}


class _Entities:
    """Implements ``Entities``: names, and for each part what makes an entity of a name."""

    def __init__(self) -> None:
        self._parts: list[tuple[Sequence[str], Callable[[str], Entity]]] = []

    def add(self, names: Sequence[str], make: Callable[[str], Entity]) -> None:
        """Append the entities of a part."""
        self._parts.append((names, make))

    def __len__(self) -> int:
        return sum(len(names) for names, _ in self._parts)

    def __iter__(self) -> Iterator[Entity]:
        return (make(name) for names, make in self._parts for name in names)


def _by_name(rows: Iterable[RowPair]) -> dict[str, list[RowPair]]:
    found: dict[str, list[RowPair]] = {}
    for row in rows:
        found.setdefault(row[0].name, []).append(row)
    return found


def _names(known: Iterable[str], asked: Names, allowed: Names) -> list[str]:
    names = known if asked is None else asked
    return sorted(name for name in names if allowed is None or name in allowed)


def _incomplete_since(live: Mapping[str, bytes]) -> str | None:
    message = live.get("tenant.stats:")
    since = None if message is None else _decode_payload(message).payload.get("incomplete_since")
    return since if isinstance(since, str) else None
