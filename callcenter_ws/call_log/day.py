"""CallDay: the calls of one tenant since the start of its local day."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec

from callcenter_ws.call_log.callers import caller_key, digits_of
from callcenter_ws.call_log.counters import CallLogCounters
from callcenter_ws.call_log.record import CallRecord
from callcenter_ws.call_log.step import CALL_TYPES, NAME_TYPES, Facts, Step, agent_name_of, memory_of, step_of
from callcenter_ws.events.publication import Publication
from callcenter_ws.statistics.records import NEVER

MAX_CALLS: Final = 50_000
"""Calls of a tenant that are kept; above that, the oldest is removed first, and the answers say so."""

MAX_BYTES: Final = 536_870_912
"""Memory of a tenant's calls, about; above that, the oldest is removed first, too."""

MAX_STEPS = 100
"""Events of a call that are kept for those who may not see all of them; of more, the middle ones are removed."""

MAX_AGENT_NAMES = 20_000
"""Agents of a tenant whose names are kept; a further one has the name that the events of calls give it."""


MAX_SHARED_TEXTS = 50_000
"""Names of queues and ids of agents of which one copy is kept."""


MANY_CALLS = 100
"""Calls of a caller above which adding one must not copy the others."""


class Call(msgspec.Struct, eq=False, gc=False):
    """A call, with the steps from which its record was made; see ``CallRecord`` on the garbage collector.

    Attributes:
        seq: the position of its first event.
        record: what a user sees who may see all of its events.
        steps: its events, in the order of the stream.
        queues: the queues of its events by which it is decided who may see them; None: an event without one.
        memory: about how many bytes the steps take.
    """

    seq: int
    record: CallRecord
    steps: tuple[Step, ...] = ()
    queues: tuple[str | None, ...] = ()
    memory: int = 0
    # Not a tuple, which the garbage collector would scan until it has seen it once.
    _text: str | None = None
    _digits: str = ""

    def apply(self, step: Step) -> None:
        """Apply the next event."""
        self._text = None
        self.record.apply(step)
        self._share_texts(step)
        self.steps = (*self.steps, step)
        self.memory += memory_of(step)
        if step.queue_name not in self.queues:
            self.queues = (*self.queues, step.queue_name)
        if len(self.steps) > MAX_STEPS:
            middle = MAX_STEPS // 2
            self.memory -= memory_of(self.steps[middle])
            self.steps = (*self.steps[:middle], *self.steps[middle + 1 :])

    def _share_texts(self, step: Step) -> None:
        """Have equal texts in memory once: most events of a call repeat them."""
        facts, record = step.facts, self.record
        if self.steps and self.steps[-1].agents == step.agents:
            step.agents = self.steps[-1].agents
        if not isinstance(facts, Facts):
            return
        if facts.caller_id == record.caller_id:
            facts.caller_id = record.caller_id
        if facts.caller_name == record.caller_name:
            facts.caller_name = record.caller_name
        if facts.destination == record.destination:
            facts.destination = record.destination
        if facts.started_at is not None:
            last = next((one.facts for one in reversed(self.steps) if isinstance(one.facts, Facts)), None)
            if last is not None and last.started_at == facts.started_at:
                facts.started_at = last.started_at

    @property
    def texts(self) -> tuple[str, str]:
        """The texts of the record that are searched, and its digits; made again after a change."""
        if self._text is None:
            self._text, self._digits = searched_texts(self.record)
        return self._text, self._digits

    def is_of(self, day_start: int) -> bool:
        """Return whether the call belongs to a day: it had not ended before."""
        ended = self.record.ended_received
        return ended == NEVER or ended >= day_start


def searched_texts(record: CallRecord) -> tuple[str, str]:
    """Return the texts of a record that are searched, in one case and each on its line; likewise its digits."""
    texts = (record.call_id, record.caller_id, record.caller_name, record.destination, record.agent_id, *record.agents)
    digits = digits_of(record.caller_id), digits_of(record.destination)
    return "\n".join([text.casefold() for text in texts if text]), "\n".join(digits)


class CallDay:
    """The calls of one tenant; ``seq`` is the last position that they contain.

    Args:
        start, end: the first instant of the local day and that of the next, in Unix milliseconds.
        label: ``start`` as local time with its offset.
        seq: the position after which events are applied.

    Attributes:
        incomplete_since: calls that began before this instant may be missing; None: none is.
        memory: about how many bytes the calls take.
        names: of agents, by id.
        by_caller: the calls of each caller, oldest first. Tuples, which the garbage collector does not scan for long,
            except for the callers of very many calls.
        is_reading: whether events are being read from the store, so that deliveries are left to it.
        must_check: whether deliveries were interrupted, so that ``epoch`` may be another.
        asked_at: when a user asked for it last, in seconds of the monotonic clock.
    """

    def __init__(
        self, tenant_id: str, epoch: str, start: int, end: int, label: str, seq: int, counters: CallLogCounters
    ) -> None:
        self.tenant_id = tenant_id
        self.epoch = epoch
        self.start, self.end, self.label = start, end, label
        self.seq = seq
        self.incomplete_since: int | None = None
        self.memory = 0
        self.calls: dict[str, Call] = {}
        # The same by their first events, the oldest first.
        self._order: deque[Call] = deque()
        self.names: dict[str, str] = {}
        self.by_caller: dict[str, tuple[Call, ...] | list[Call]] = {}
        self._texts: dict[str, str] = {}
        self.is_reading = False
        self.must_check = False
        self.asked_at = 0.0
        self._counters = counters

    def __len__(self) -> int:
        return len(self.calls)

    def apply(self, publications: Sequence[Publication]) -> None:
        """Apply the publications that follow ``seq``, without gaps."""
        for publication in publications:
            event = publication.event
            name = event.type.name
            if event.user_id is None:
                if name in CALL_TYPES:
                    self._apply_call(publication)
                elif name in NAME_TYPES:
                    self._name(publication)
        self.seq = publications[-1].seq

    def _apply_call(self, publication: Publication) -> None:
        event = publication.event
        if event.call_id is None:
            return
        call = self.calls.get(event.call_id)
        if call is None and event.type.name == "call.disposition":
            return  # of a call that ended before
        try:
            step = step_of(publication, self._shared)
        except msgspec.DecodeError:
            # A later version may have stored it.
            self._counters.unreadable += 1
            return
        if call is None:
            call = self.calls[event.call_id] = Call(publication.seq, CallRecord(event.call_id, step.at))
            self._order.append(call)
            self._counters.calls += 1
        known, memory = call.record.caller_id, call.memory
        call.apply(step)
        self._use(call.memory - memory)
        self._keep_name(step)
        if known is None and call.record.caller_id is not None:
            self._add_caller(call)
        while len(self.calls) > MAX_CALLS or (self.memory > MAX_BYTES and len(self.calls) > 1):
            self._forget_oldest()

    def _use(self, memory: int) -> None:
        self.memory += memory
        self._counters.memory += memory

    def _shared(self, text: str) -> str:
        """Return a text that is equal, and in memory once: few queues and agents are named by many events."""
        found = self._texts.get(text)
        if found is None and len(self._texts) < MAX_SHARED_TEXTS:
            self._texts[text] = text
        return text if found is None else found

    def _keep_name(self, step: Step) -> None:
        facts = step.facts
        if isinstance(facts, Facts) and facts.agent_name and facts.agent_id is not None:
            agent_id = str(facts.agent_id)
            if self.names.get(agent_id) == facts.agent_name:
                facts.agent_name = self.names[agent_id]
            else:
                self._set_name(agent_id, facts.agent_name)

    def _name(self, publication: Publication) -> None:
        named = agent_name_of(publication)
        if named is not None:
            self._set_name(*named)

    def _set_name(self, agent_id: str, name: str) -> None:
        if agent_id in self.names or len(self.names) < MAX_AGENT_NAMES:
            self.names[agent_id] = name

    def _forget_oldest(self) -> None:
        call = self._order.popleft()
        del self.calls[call.record.call_id]
        self._counters.calls -= 1
        self._use(-call.memory)
        self._remove_caller(call)
        if call.is_of(self.start):
            self._counters.forgotten += 1
            self.incomplete_since = max(self.incomplete_since or 0, self._order[0].record.first)

    def _add_caller(self, call: Call) -> None:
        key = caller_key(call.record.caller_id)
        if key is None:
            return
        known = self.by_caller.get(key, ())
        if isinstance(known, list):
            known.append(call)
        else:
            self.by_caller[key] = (*known, call) if len(known) < MANY_CALLS else [*known, call]

    def _remove_caller(self, call: Call) -> None:
        """Remove the oldest call of all from those of its caller."""
        key = caller_key(call.record.caller_id)
        known = self.by_caller.get(key or "")
        if key is None or known is None:
            return
        if len(known) == 1:
            del self.by_caller[key]
        elif isinstance(known, list):
            known.remove(call)
        else:
            self.by_caller[key] = tuple([one for one in known if one is not call])

    def newest_first(self) -> list[Call]:
        """Return the calls by their first event, also those that had ended when the day began (``Call.is_of``)."""
        return list(reversed(self._order))
