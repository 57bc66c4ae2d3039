"""Answers questions about the calls of today, in slices, with what the asker may see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from callcenter_ws.call_log.callers import caller_key, digits_of
from callcenter_ws.call_log.day import Call, CallDay, searched_texts
from callcenter_ws.call_log.record import ENDED, CallRecord
from callcenter_ws.call_log.slices import Slices
from callcenter_ws.call_log.step import Facts, Step
from callcenter_ws.call_log.visible import Viewer
from callcenter_ws.runtime.json import JsonObject, encode_json
from callcenter_ws.statistics.occurrence import instant_text
from callcenter_ws.statistics.records import NEVER

WORK_PER_STEP = 500
"""What is looked at in one step: calls, each with its agents and, for who sees only a part, with its events."""

WORK_OF_CALL = 4
WORK_OF_EVENT = 3
WORK_OF_DESCRIPTION = 100

NAMES_PER_STEP = 200
"""Names of agents that are compared in one step."""

EARLIER_PER_STEP = 1_000
"""Earlier calls of a caller that are counted in one step."""

MAX_EARLIER = 5
"""Earlier calls of a caller that are described."""

MIN_DIGITS = 3
"""Digits of a search that are also compared with those of numbers alone."""

_NUMBER_CHARACTERS = frozenset("0123456789+()-./ ")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFilter:
    """Which calls are asked for; None: all.

    Attributes:
        search: part of a caller's number or name, an agent's id or name, a call's id or destination.
        agent: id of an agent, or part of its name.
        queue: a queue that the call was in.
        state: of ``record.STATES``.
    """

    search: str | None = None
    caller_id: str | None = None
    agent: str | None = None
    queue: str | None = None
    state: str | None = None


class _Matcher:
    """Decides whether calls match a filter."""

    def __init__(self, wanted: CallFilter) -> None:
        self._wanted = wanted
        self._search = (wanted.search or "").strip().casefold()
        self._digits = _digits_to_compare(self._search)
        self._agent = (wanted.agent or "").strip().casefold()
        self._searched_agents: set[str] = set()
        self._agents = {wanted.agent or ""}

    def compare_names(self, names: dict[str, str]) -> Iterator[None]:
        """Find the agents of whose names a part is searched, in steps; before calls are matched."""
        if not self._search and not self._agent:
            return
        for number, (agent_id, name) in enumerate(list(names.items()), 1):
            folded = name.casefold()
            if self._search and self._search in folded:
                self._searched_agents.add(agent_id)
            if self._agent and self._agent in folded:
                self._agents.add(agent_id)
            if number % NAMES_PER_STEP == 0:
                yield

    def may_match(self, call: Call, *, in_part: bool) -> bool:
        """Return False if no part of a call matches: what a user sees is never more than the call.

        Args:
            in_part: whether the user may see only some of its events.
        """
        wanted, record = self._wanted, call.record
        if wanted.state not in (None, ENDED, record.state) and record.state == ENDED:
            return False
        if wanted.queue is not None and wanted.queue not in record.queues:
            return False
        if not self._search or self._has_text(record, call.texts):
            return True
        return in_part and any(map(self._step_has_text, call.steps))

    def _step_has_text(self, step: Step) -> bool:
        """Return whether an event has a text that the record may not have: an agent at which it rang, a later name."""
        search, facts = self._search, step.facts
        if isinstance(facts, Facts):
            for text in (facts.caller_id, facts.caller_name, facts.destination):
                if text is not None and search in str(text).casefold():
                    return True
        return any(search in agent.casefold() or agent in self._searched_agents for agent in step.agents)

    def matches(self, record: CallRecord, texts: Callable[[], tuple[str, str]]) -> bool:
        """Return whether what a user sees of a call matches."""
        wanted = self._wanted
        if wanted.state is not None and record.state != wanted.state:
            return False
        if wanted.queue is not None and wanted.queue not in record.queues:
            return False
        if wanted.agent is not None and self._agents.isdisjoint([record.agent_id, *record.agents]):
            return False
        if wanted.caller_id is not None and caller_key(record.caller_id) != caller_key(wanted.caller_id):
            return False
        return not self._search or self._has_text(record, texts())

    def _has_text(self, record: CallRecord, texts: tuple[str, str]) -> bool:
        text, digits = texts
        if (self._search) in text or (self._digits and self._digits in digits):
            return True
        return bool(self._searched_agents) and not self._searched_agents.isdisjoint([record.agent_id, *record.agents])


def _digits_to_compare(search: str) -> str:
    """Return the digits of a search for a number, without the prefix of a country or of long distance."""
    if not _NUMBER_CHARACTERS.issuperset(search):
        return ""
    digits = digits_of(search).lstrip("0")
    return digits if len(digits) >= MIN_DIGITS else ""


class _Search:
    """One search, in steps that ``Slices`` takes.

    Attributes:
        found: the calls that were found, as JSON: what they were when they matched.
        more: whether there are more.
    """

    def __init__(self, day: CallDay, viewer: Viewer, wanted: CallFilter, limit: int) -> None:
        self._day = day
        self._viewer = viewer
        self._wanted = wanted
        self._limit = limit
        self.found: list[msgspec.Raw] = []
        self.more = False

    def steps(self) -> Iterator[None]:
        """Look at the calls, until there are more than wanted."""
        matcher = _Matcher(self._wanted)
        yield from matcher.compare_names(self._day.names)
        work = 0
        for call in _candidates(self._day, self._wanted):
            work += WORK_OF_CALL + len(call.record.agents)
            if self._viewer.is_restricted:
                work += WORK_OF_EVENT * len(call.steps)
            record = _matching(call, self._viewer, matcher) if call.is_of(self._day.start) else None
            if record is not None:
                if len(self.found) == self._limit:
                    self.more = True
                    return
                self.found.append(msgspec.Raw(encode_json(described(record, self._day.names))))
                work += WORK_OF_DESCRIPTION
            if work >= WORK_PER_STEP:
                work = 0
                yield


async def find(
    day: CallDay, viewer: Viewer, wanted: CallFilter, limit: int, slices: Slices
) -> tuple[Sequence[msgspec.Raw], bool]:
    """Return the newest calls of a day that a user sees and that match, as JSON, and whether there are more."""
    search = _Search(day, viewer, wanted, limit)
    await slices.run(search.steps())
    return search.found, search.more


def _candidates(day: CallDay, wanted: CallFilter) -> Sequence[Call]:
    """Return the calls that may match, newest first."""
    key = caller_key(wanted.caller_id)
    return day.newest_first() if key is None else list(reversed(day.by_caller.get(key, ())))


def _matching(call: Call, viewer: Viewer, matcher: _Matcher) -> CallRecord | None:
    """Return what a user sees of a call; None if that is nothing, or does not match."""
    if not matcher.may_match(call, in_part=viewer.is_restricted):
        return None
    record = viewer.record(call)
    if record is None:
        return None
    texts = (lambda: call.texts) if record is call.record else (lambda: searched_texts(record))
    return record if matcher.matches(record, texts) else None


def described(record: CallRecord, names: dict[str, str]) -> JsonObject:
    """Return a call as ``GET /ws/calls`` has it."""
    disposition = record.disposition
    return {
        "call_id": record.call_id,
        "state": record.state,
        "outcome": record.outcome,
        "direction": record.direction,
        "caller_id": record.caller_id,
        "caller_name": record.caller_name,
        "destination": record.destination,
        "queue_name": record.queue_name,
        "queues": list(record.queues),
        "agent_id": record.agent_id,
        "agent_name": names.get(record.agent_id or ""),
        "agents": [{"id": agent_id, "name": names.get(agent_id)} for agent_id in record.agents],
        "started_at": instant_text(record.begun),
        "answered_at": _instant(record.answered),
        "ended_at": _instant(record.ended),
        "wait_seconds": _seconds(record.waited),
        "talk_seconds": _seconds(record.talk),
        "transfers": record.transfers,
        "disposition": None
        if disposition is None
        else {"code": disposition.code, "label": disposition.label, "note": disposition.note},
    }


async def earlier(day: CallDay, call: Call, seen: CallRecord, slices: Slices) -> JsonObject:
    """Return the earlier calls of the same caller, as ``GET /ws/calls/earlier`` has them.

    Calls of the whole tenant count, also those that the asker may not see. The response has their time, queue, outcome,
    agent and disposition, and never a note.
    """
    key = None if seen.direction == "outbound" else caller_key(seen.caller_id)
    if key is None:
        return {"call_id": seen.call_id, "caller_id": None, "today": 0, "calls": []}
    found: list[Call] = []
    await slices.run(_earlier_steps(day, call, list(day.by_caller.get(key, ())), found))
    return {
        "call_id": seen.call_id,
        "caller_id": seen.caller_id,
        "today": len(found),
        "calls": [_earlier_call(one.record, day.names) for one in reversed(found[-MAX_EARLIER:])],
    }


def _earlier_steps(day: CallDay, call: Call, of_caller: Sequence[Call], found: list[Call]) -> Iterator[None]:
    """Add those of the calls of a caller to ``found`` that came before ``call``: a caller may have all of a day."""
    for number, one in enumerate(of_caller, 1):
        if one.seq < call.seq and one.record.direction != "outbound" and one.is_of(day.start):
            found.append(one)
        if number % EARLIER_PER_STEP == 0:
            yield


def _earlier_call(record: CallRecord, names: dict[str, str]) -> JsonObject:
    disposition = record.disposition
    return {
        "started_at": instant_text(record.begun),
        "queue_name": record.queue_name,
        "outcome": record.outcome,
        "agent_name": names.get(record.agent_id or "", record.agent_id),
        "disposition": None if disposition is None else {"code": disposition.code, "label": disposition.label},
    }


def _instant(at: int) -> str | None:
    return None if at == NEVER else instant_text(at)


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
