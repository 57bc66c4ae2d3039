"""The state of a fold: settings, queues, agents and calls, each table with a bound."""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heappush
from typing import NamedTuple

import msgspec

from callcenter_ws.statistics.occurrence import AHEAD_MS
from callcenter_ws.statistics.records import NEVER, Agent, Call, Heard, Member, Queue
from callcenter_ws.statistics.settings import SettingsTable
from callcenter_ws.statistics.sums import DAY_MS, TENANT_FIELDS, Series

CALL_KEPT_MS = DAY_MS
"""How long a call is followed after its last event; a stay that is still open then is lost."""

OLD_CALL_KEPT_MS = 2 * DAY_MS + AHEAD_MS
"""How long after its last event the packed record of a call is kept; repetitions of its events are late then."""

MAX_CALLS = 50_000
"""Calls that are followed; the one whose last event is oldest gives way, as if it had no event for 24 hours.

At most as many packed records of old calls are kept.
"""

MAX_QUEUES = 2_000
MAX_AGENTS = 20_000
MAX_MEMBERS = 5_000
"""Members of a queue. New queues, agents and members beyond these bounds are not folded, and counted."""

MAX_STAYS = 64
"""Queues that are remembered of a call."""

MAX_HEARD = 512
"""Agents that are remembered of a call; of more, the first are forgotten."""

MAX_LEGS = 64
"""Agents who are in one call at the same time; the first is taken for gone when one more answers."""

DIAGNOSTICS = (
    "late_events", "negative_waits", "forgotten_calls", "refused_queues", "refused_agents", "refused_members",
    "unreadable_events",
)  # fmt: skip
"""Counters of what was not folded, or not as it came. They are no figures: repetitions raise them."""


encode_call = msgspec.msgpack.Encoder().encode
decode_call = msgspec.msgpack.Decoder(Call).decode


class OldCall(NamedTuple):
    """The packed record of a call; ``last`` is when its last event was received."""

    last: int
    data: bytes


class State:
    """What a fold knows after its last event.

    Attributes:
        clock: the newest time at which an event was received.
        seq: the position of the last event.
        touched: how often a call was touched; orders calls by their last event.
        kept_from: events before this instant are late, because their days were forgotten.
        calls: in the order of their last event, oldest first.
        old_calls: those without events for 24 hours, oldest first; nothing of them is open.
        dirty: ids of what changed since the last checkpoint, by kind of row.
        gone: keys of rows to delete at the next checkpoint.
    """

    def __init__(self) -> None:
        self.settings = SettingsTable()
        self.queues: dict[str, Queue] = {}
        self.agents: dict[str, Agent] = {}
        # Of a plain dict, the first would be found ever more slowly as those before it are moved or removed.
        self.calls: OrderedDict[str, Call] = OrderedDict()
        self.old_calls: OrderedDict[str, OldCall] = OrderedDict()
        self.tenant = Series(len(TENANT_FIELDS))
        self.diagnostics = dict.fromkeys(DIAGNOSTICS, 0)
        self.clock = self.seq = self.touched = self.kept_from = 0
        self.dirty: dict[str, set[str]] = {kind: set() for kind in ("call", "queue", "members", "agent")}
        self.gone: set[tuple[str, str]] = set()

    def queue(self, name: str | None) -> Queue | None:
        """Return a queue, made if it is new; None for no name, or if there are too many."""
        if name is None:
            return None
        queue = self.queues.get(name)
        if queue is None:
            if len(self.queues) >= MAX_QUEUES:
                self.diagnostics["refused_queues"] += 1
                return None
            queue = self.queues[name] = Queue(name)
            self.gone.discard(("queue", name))
        self.dirty["queue"].add(name)
        return queue

    def agent(self, agent_id: str | None) -> Agent | None:
        """Return an agent, made if new; None for no id, or if there are too many."""
        if agent_id is None:
            return None
        agent = self.agents.get(agent_id)
        if agent is None:
            if len(self.agents) >= MAX_AGENTS:
                self.diagnostics["refused_agents"] += 1
                return None
            agent = self.agents[agent_id] = Agent(agent_id)
            self.gone.discard(("agent", agent_id))
        self.dirty["agent"].add(agent_id)
        return agent

    def member(self, queue: Queue, agent: Agent) -> Member | None:
        """Return a member, absent if it is new; None if the queue has too many."""
        member = queue.members.get(agent.agent_id)
        if member is None:
            if len(queue.members) >= MAX_MEMBERS:
                self.diagnostics["refused_members"] += 1
                return None
            member = queue.members[agent.agent_id] = Member(False)
            agent.queues.add(queue.name)
        self.dirty["members"].add(queue.name)
        return member

    def touch(self, call_id: str, received: int) -> Call:
        """Return a call, made if it is new, as the one with the newest event."""
        call = self.calls.get(call_id)
        if call is None:
            call = self.calls[call_id] = self._new_call(call_id)
        else:
            self.calls.move_to_end(call_id)
        self.touched += 1
        call.touched = self.touched
        if received > call.last:
            call.last = received
        self.dirty["call"].add(call_id)
        return call

    def _new_call(self, call_id: str) -> Call:
        old = self.old_calls.pop(call_id, None)
        if old is None:
            self.gone.discard(("call", call_id))
            return Call(call_id)
        call = decode_call(old.data)
        call.old = False
        return call

    def put_away(self, call: Call) -> None:
        """Follow a call no more: keep its packed record, so that repetitions of its events are recognized."""
        del self.calls[call.call_id]
        if len(self.old_calls) >= MAX_CALLS:
            self.forget_old_call(next(iter(self.old_calls)))
        call.old = True
        self.old_calls[call.call_id] = OldCall(call.last, encode_call(call))
        self.dirty["call"].add(call.call_id)

    def forget_old_call(self, call_id: str) -> None:
        """Remove the record of a call."""
        del self.old_calls[call_id]
        self.dirty["call"].discard(call_id)
        self.gone.add(("call", call_id))


def heard_of(call: Call, agent_id: str | None) -> Heard:
    """Return the times of the last events of a call and an agent."""
    name = agent_id or ""
    heard = call.heard.get(name)
    if heard is None:
        if len(call.heard) >= MAX_HEARD:
            del call.heard[next(iter(call.heard))]
        heard = call.heard[name] = Heard()
    return heard


def start_waiting(queue: Queue, call_id: str, opened: int) -> None:
    """Add a waiting call to its queue."""
    queue.waiting[call_id] = opened
    heappush(queue.heap, (opened, call_id))
    if len(queue.heap) > 2 * len(queue.waiting) + 64:
        rebuild_heap(queue)


def rebuild_heap(queue: Queue) -> None:
    """Make the heap of what waits now."""
    queue.heap = [(opened, call_id) for call_id, opened in queue.waiting.items()]
    heapify(queue.heap)


def oldest_waiting(queue: Queue) -> int:
    """Return when the call that waits longest came in, or ``NEVER``."""
    heap = queue.heap
    while heap and queue.waiting.get(heap[0][1]) != heap[0][0]:
        heappop(heap)
    return heap[0][0] if heap else NEVER
