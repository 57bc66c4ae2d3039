"""Checkpoints: the state of a fold as rows, and back.

There is one row for each entity and day of sums, one for each call, agent and queue that is known, and one for the
rest. Only rows that changed are written; with the position in the row ``fold`` they are the state at that position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import NamedTuple

import msgspec

from callcenter_ws.statistics.agents import settle
from callcenter_ws.statistics.expiry import expire
from callcenter_ws.statistics.records import Agent, AgentStatus, Call, Member, Queue, Stage
from callcenter_ws.statistics.settings import SettingsTable
from callcenter_ws.statistics.state import OldCall, State, decode_call, encode_call, rebuild_heap
from callcenter_ws.statistics.sums import DAY_MS, Series, decode_quarters

VERSION = 1
"""The version of the rows."""

DAYS_KEPT = 3
"""UTC days of sums that a fold needs in memory: events of the last two days may change them."""

ROWS_PER_SLICE = 64
"""Entities whose rows ``change_slices`` encodes at once: about a millisecond."""

SLICE = 200
"""Calls or agents that ``forget_days`` handles at once, and rows that ``load_slices`` does."""

OPEN_KINDS = frozenset(("call", "queue", "members", "agent"))
"""The kinds of rows of what is true now, which another epoch ends: events are missing between."""

NO_DAY = 0
"""The day in the key of a row that is not the sums of a day."""


class RowKey(NamedTuple):
    """The key of a row.

    Attributes:
        kind: ``fold``, ``call``, ``agent``, ``queue``, ``members``, ``agent-day``, ``queue-day`` or ``tenant-day``.
        name: the id of the entity; empty for ``fold`` and the tenant.
        day: the number of the UTC day since 1970, else ``NO_DAY``.
    """

    kind: str
    name: str
    day: int


RowPair = tuple[RowKey, bytes]

Rows = dict[RowKey, bytes | None]
"""Rows to write; None: to delete."""


class UnknownVersion(Exception):
    """The rows were written by another version."""


class _Fold(msgspec.Struct, array_like=True):
    version: int
    seq: int
    clock: int
    touched: int
    kept_from: int
    settings: SettingsTable
    diagnostics: dict[str, int]


FOLD = RowKey("fold", "", NO_DAY)

_encode = msgspec.msgpack.Encoder().encode
_decode_fold = msgspec.msgpack.Decoder(_Fold).decode
_decode_status = msgspec.msgpack.Decoder(AgentStatus).decode
decode_members = msgspec.msgpack.Decoder(dict[str, Member]).decode
"""Return the members of a queue by their ids, from a row ``members``."""


def take_changes(state: State) -> Rows:
    """Return the rows that changed since the last call, with the position that they belong to."""
    rows: Rows = {}
    for part in change_slices(state):
        rows.update(part)
    return rows


def change_slices(state: State) -> Iterator[Rows]:
    """Yield what ``take_changes`` returns in parts, each of little work; apply no events in between."""
    rows: Rows = {RowKey(kind, name, NO_DAY): None for kind, name in state.gone}
    rows[FOLD] = _encode(
        _Fold(
            VERSION, state.seq, state.clock, state.touched, state.kept_from, state.settings, state.diagnostics
        )
    )  # fmt: skip
    _take_days(rows, "tenant-day", "", state.tenant)
    yield rows
    for kind, names in state.dirty.items():
        taken = iter(names)
        while part := list(islice(taken, ROWS_PER_SLICE)):
            rows = {}
            for name in part:
                rows[RowKey(kind, name, NO_DAY)] = _encode_open(state, kind, name)
                if kind == "queue":
                    _take_days(rows, "queue-day", name, state.queues[name].series)
                elif kind == "agent":
                    _take_days(rows, "agent-day", name, state.agents[name].series)
            yield rows
    state.gone.clear()
    for names in state.dirty.values():
        names.clear()


def _encode_open(state: State, kind: str, name: str) -> bytes:
    if kind == "call":
        old = state.old_calls.get(name)
        return encode_call(state.calls[name]) if old is None else old.data
    if kind == "agent":
        return _encode(state.agents[name].status)
    queue = state.queues[name]
    return _encode(queue.members if kind == "members" else queue.minutes)


def _take_days(rows: Rows, kind: str, name: str, series: Series) -> None:
    for day, data in series.take_dirty():
        rows[RowKey(kind, name, day)] = data


def load(rows: Iterable[tuple[RowKey, bytes]]) -> State:
    """Return the state that rows hold: all of them, days older than ``DAYS_KEPT`` left out.

    Raises:
        UnknownVersion: another version wrote the rows.
        msgspec.DecodeError: a row is damaged.
    """
    state = State()
    for _ in load_slices(state, rows):
        pass
    return state


def load_slices(state: State, rows: Iterable[tuple[RowKey, bytes]]) -> Iterator[None]:
    """Do what ``load`` does with a new state, in parts of little work; yield after each.

    Raises:
        UnknownVersion, msgspec.DecodeError: as ``load``.
    """
    calls: list[tuple[Call, bytes]] = []
    for number, (key, data) in enumerate(rows):
        if number % SLICE == SLICE - 1:
            yield
        if key.kind == "fold":
            _load_fold(state, data)
        elif key.kind == "call":
            calls.append((decode_call(data), data))
        else:
            _load_entity(state, key, data)
    for number, (call, data) in enumerate(sorted(calls, key=lambda row: row[0].touched)):
        if number % SLICE == SLICE - 1:
            yield
        if call.old:
            state.old_calls[call.call_id] = OldCall(call.last, data)
        else:
            state.calls[call.call_id] = call
            _index_call(state, call)
    for queue in state.queues.values():
        rebuild_heap(queue)
        for agent_id in queue.members:
            state.agents[agent_id].queues.add(queue.name)
        yield


def _load_fold(state: State, data: bytes) -> None:
    # The version is read first: the other fields of another version may differ.
    if msgspec.msgpack.decode(data)[0] != VERSION:
        raise UnknownVersion("the statistics were written by another version")
    fold = _decode_fold(data)
    state.seq, state.clock, state.touched = fold.seq, fold.clock, fold.touched
    state.kept_from, state.settings = fold.kept_from, fold.settings
    state.diagnostics.update(fold.diagnostics)


def _load_entity(state: State, key: RowKey, data: bytes) -> None:
    if key.kind == "tenant-day":
        state.tenant.put(key.day, data)
    elif key.kind in ("agent", "agent-day"):
        agent = state.agents.get(key.name)
        if agent is None:
            agent = state.agents[key.name] = Agent(key.name)
        if key.kind == "agent":
            agent.status = _decode_status(data)
        else:
            agent.series.put(key.day, data)
    else:
        queue = state.queues.get(key.name)
        if queue is None:
            queue = state.queues[key.name] = Queue(key.name)
        if key.kind == "queue":
            queue.minutes = decode_quarters(data)
        elif key.kind == "members":
            queue.members = decode_members(data)
        else:
            queue.series.put(key.day, data)


def _index_call(state: State, call: Call) -> None:
    for name, stay in call.stays.items():
        if stay.stage is Stage.WAITING and name in state.queues:
            state.queues[name].waiting[call.call_id] = stay.opened
    if call.queue_name is not None and call.queue_name in state.queues:
        state.queues[call.queue_name].interacting.add(call.call_id)


def forget_days(state: State, now: int) -> Iterator[None]:
    """Drop days that no event can change any more; yield after each slice of work.

    Only days whose rows have been taken are dropped, so this is called after rows were written, and drops the others
    when it is called again. First, calls without events are removed, and the seconds of present states are put into
    buckets: both may belong to such a day. Events may be applied between the slices.
    """
    before = now // DAY_MS - DAYS_KEPT + 1
    while expire(state, now, SLICE):
        yield
    left = _drop_days(state.tenant, before)
    for number, agent in enumerate(list(state.agents.values())):
        if agent.status.state is not None and agent.status.settled < before * DAY_MS:
            settle(agent, before * DAY_MS)
            state.dirty["agent"].add(agent.agent_id)
        left |= _drop_days(agent.series, before)
        if number % SLICE == SLICE - 1:
            yield
    for number, queue in enumerate(list(state.queues.values())):
        left |= _drop_days(queue.series, before)
        _drop_members(state, queue, before * DAY_MS)
        _drop_queue(state, queue)
        if number % SLICE == SLICE - 1:
            yield
    yield
    for number, agent in enumerate(list(state.agents.values())):
        _drop_agent(state, agent, before * DAY_MS)
        if number % SLICE == SLICE - 1:
            yield
    if not left:
        state.kept_from = max(state.kept_from, before * DAY_MS)


def _drop_days(series: Series, before: int) -> bool:
    """Drop the days before one; return whether some are left, because their rows are not taken."""
    old = [day for day in series.numbers() if day < before]
    for day in old:
        if day not in series.dirty:
            series.drop(day)
    return any(day in series.dirty for day in old)


def _drop_members(state: State, queue: Queue, before: int) -> None:
    """Drop those who are no members any more; repetitions of what they were are late."""
    for agent_id in [name for name, member in queue.members.items() if not member.present and member.changed < before]:
        del queue.members[agent_id]
        state.agents[agent_id].queues.discard(queue.name)
        state.dirty["members"].add(queue.name)


def _drop_queue(state: State, queue: Queue) -> None:
    """Drop a queue without sums, calls and members: its name may not occur again. An event creates it again."""
    # Those who were members within the last days are kept: an older event must not make them members again.
    if queue.series.numbers() or queue.waiting or queue.interacting or queue.members:
        return
    del state.queues[queue.name]
    _drop_rows(state, ("queue", "members"), queue.name)


def _drop_agent(state: State, agent: Agent, before: int) -> None:
    """Drop an agent who is logged out, has no sums, and is a member of no queue; older events are late."""
    status = agent.status
    if (
        status.state is None
        and not agent.series.numbers()
        and not agent.queues
        and max(status.heard, status.login) < before
    ):
        del state.agents[agent.agent_id]
        _drop_rows(state, ("agent",), agent.agent_id)


def _drop_rows(state: State, kinds: tuple[str, ...], name: str) -> None:
    for kind in kinds:
        state.dirty[kind].discard(name)
        state.gone.add((kind, name))
