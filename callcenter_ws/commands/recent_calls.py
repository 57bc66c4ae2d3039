"""RecentCalls: of the calls that this node has delivered events of, what the state does not have.

The state has the last phone at which a call rings and its last answer, and forgets a call at its end. An agent at whose
phone it rings may reject it; those who handled it may record its disposition, also after they have transferred it, and
after its end.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Final

from callcenter_ws.events.publication import Publication
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_trusted_json

WRAP_UP_SECONDS = 600.0
"""For how long after its end a call may be given a disposition."""

MAX_CALLS = 20_000
"""Calls of all tenants that are remembered, of each kind; above that the one longest without an event is forgotten."""

MAX_PHONES = 1_000
"""Agents of one call that are remembered; a call that has rung at more phones is known to the last one only."""

MAX_ANSWERS = 100
"""Agents who have answered one call that are remembered; above that only those in the state have handled it."""

_RINGING: Final = "call.ringing"
_MISSED: Final = "call.missed"
_ANSWERED: Final = "call.answered"
_ENDS: Final = frozenset({"call.ended", "call.abandoned"})

CallKey = tuple[str, str]
"""Tenant and call."""


@dataclass(frozen=True, slots=True)
class EndedCall:
    """A call that has ended, and the agents who had handled it; ``ended_at``: seconds of the monotonic clock."""

    queue_name: str | None
    agents: frozenset[str]
    ended_at: float


class RecentCalls:
    """Remembers at which phones calls ring, who has answered them, and who handled the calls that have ended."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        # Each ordered by last event, the oldest first.
        # Of each agent at whose phone a call has rung: whether it still does.
        self._ringing: OrderedDict[CallKey, dict[str, bool]] = OrderedDict()
        self._answered: OrderedDict[CallKey, set[str]] = OrderedDict()
        self._ended: OrderedDict[CallKey, EndedCall] = OrderedDict()

    def delivered(self, publications: Sequence[Publication]) -> None:
        """Learn from delivered publications. Implements ``interfaces.Deliver``."""
        for publication in publications:
            event = publication.event
            if event.call_id is None or event.user_id is not None:
                continue
            key = (event.tenant_id, event.call_id)
            if event.type.name in (_RINGING, _MISSED):
                phones = self._ringing.setdefault(key, {})
                if len(phones) < MAX_PHONES:
                    phones[_agent_of(publication)] = event.type.name == _RINGING
                self._ringing.move_to_end(key)
                _limit(self._ringing)
            elif event.type.name == _ANSWERED or event.type.name in _ENDS:
                self._ringing.pop(key, None)
                if event.type.name == _ANSWERED:
                    self._answer(key, _agent_of(publication))
                else:
                    self._answered.pop(key, None)
                    self._end(key, EndedCall(event.queue_name, frozenset(event.agents), self._clock.monotonic()))

    def _answer(self, key: CallKey, agent: str) -> None:
        agents = self._answered.setdefault(key, set())
        if agent and len(agents) < MAX_ANSWERS:
            agents.add(agent)
        self._answered.move_to_end(key)
        _limit(self._answered)

    def _end(self, key: CallKey, call: EndedCall) -> None:
        self._ended.pop(key, None)
        self._ended[key] = call
        _limit(self._ended)

    def ringing(self, tenant_id: str, call_id: str) -> Mapping[str, bool]:
        """Return the agents at whose phones a call has rung, and whether it still does."""
        return self._ringing.get((tenant_id, call_id), {})

    def answered(self, tenant_id: str, call_id: str) -> Set[str]:
        """Return the agents who have answered a call that goes on."""
        return self._answered.get((tenant_id, call_id), frozenset())

    def ended(self, tenant_id: str, call_id: str) -> EndedCall | None:
        """Return a call that ended at most ``WRAP_UP_SECONDS`` ago; None if it is not known."""
        call = self._ended.get((tenant_id, call_id))
        if call is None or call.ended_at + WRAP_UP_SECONDS < self._clock.monotonic():
            return None
        return call


def _agent_of(publication: Publication) -> str:
    return str(decode_trusted_json(publication.event.payload).get("agent_id") or "")


def _limit(
    calls: OrderedDict[CallKey, dict[str, bool]] | OrderedDict[CallKey, set[str]] | OrderedDict[CallKey, EndedCall],
) -> None:
    while len(calls) > MAX_CALLS:
        calls.popitem(last=False)
