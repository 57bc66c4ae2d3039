"""Occurrences and reports without a store, for tests of folds."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from callcenter_ws.statistics.occurrence import AHEAD_MS, Facts, Occurrence
from callcenter_ws.statistics.period import Period
from callcenter_ws.statistics.reading import Reading
from callcenter_ws.statistics.report import AGENTS, QUEUES, TENANT, Entity, Names, Report, parts_of
from callcenter_ws.statistics.state import State


def make_occurrence(
    type_: str, payload: Mapping[str, object], *, timestamp: int, received: int, seq: int
) -> Occurrence:
    """Return the occurrence of a payload that is decoded already.

    Raises:
        msgspec.ValidationError: a field has a type that the catalogue does not allow.
    """
    facts = msgspec.convert(payload, Facts)
    return Occurrence(type_, facts, min(timestamp, received + AHEAD_MS), received, seq, timestamp)


def report_of_state(
    state: State,
    now: int,
    period: Period,
    *,
    tenant_id: str,
    epoch: str,
    queues: Names = None,
    agents: Names = None,
    incomplete_since: str | None = None,
) -> Report:
    """Return the report of a fold in memory; names of queues without names of agents leave out the agents."""
    reading = Reading(state, now)
    parts = parts_of(queues, agents)
    entities: list[Entity] = []
    for part, asked, known in ((QUEUES, queues, state.queues), (AGENTS, agents, state.agents)):
        if part in parts:
            names = known if asked is None else asked
            entities += [Entity(part, name, lambda: reading, asked is not None) for name in sorted(names)]
    if TENANT in parts:
        entities.append(Entity(TENANT, "", lambda: reading))
    return Report(tenant_id, epoch, reading, period, entities, parts, None, incomplete_since)
