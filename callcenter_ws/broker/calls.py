"""What a tenant's calls have told about themselves, so that who may see an event follows from the whole call.

Producers rarely repeat themselves: an Asterisk daemon names the agent when the call is answered and the queue when it
is joined, but neither when it is put on hold or ends.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from callcenter_ws.events.event import Event

CALL_LIFETIME = 86_400.0
"""Seconds after its last event that a call which nobody ended is remembered."""

MAX_CALLS = 50_000
"""Calls remembered per tenant; the one longest without an event is forgotten first."""

MAX_AGENTS = 100
"""Agents remembered per call; the one named first is forgotten first."""

_OF_ONE_AGENT = frozenset({"call.ringing", "call.missed"})
_LAST = frozenset({"call.ended", "call.abandoned"})


@dataclass(slots=True)
class Call:
    """What is known of one call.

    Attributes:
        agents: who handles it or is rung, the one named last at the end.
        touched_at: when its last event was received.
    """

    queue_name: str | None = None
    agents: tuple[str, ...] = ()
    touched_at: float = 0.0


class CallTable:
    """The queue and the agents of each call of one tenant.

    Agents are whom the call rings at, and once it is answered the one who answered and those it is transferred to or
    from. What one user alone is told (``user_id``) tells nothing about the call.
    """

    def __init__(self) -> None:
        # Ordered by last event: the front is what is forgotten first.
        self._calls: OrderedDict[str, Call] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def complete(self, event: Event) -> None:
        """Give an event the queue and the agents that its payload leaves out, and learn from those it names.

        Whoever handles the call, or is rung, sees its events even where they name another agent: who is rung has to
        learn that a colleague answered. ``call.ringing`` and ``call.missed`` are of the agent that they name. Only
        ``event.queue_name`` and ``event.agents`` change, which say who may see it; never the payload.
        """
        self.forget_before(event.received_at - CALL_LIFETIME)
        if event.call_id is None or event.user_id is not None:
            return
        call = self._calls.pop(event.call_id, None) or Call()
        named, known, queue_name = event.agents, call.agents, call.queue_name
        event.queue_name = event.queue_name or queue_name
        if not (named and event.type.name in _OF_ONE_AGENT):
            event.agents = _joined(known, named)
        if event.type.name in _LAST:
            return
        # That a call left a queue may be told after it joined the next one.
        if queue_name is None or event.type.name != "queue.left":
            call.queue_name = event.queue_name
        call.agents = _agents_after(event.type.name, known, named)
        call.touched_at = event.received_at
        if call.queue_name is None and not call.agents:
            return
        self._calls[event.call_id] = call
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)

    def restore(self, call_id: str, call: Call) -> None:
        """Put back what was known of a call, the one longest without an event first."""
        self._calls[call_id] = call

    def get(self, call_id: str) -> Call | None:
        """What is known of a call."""
        return self._calls.get(call_id)

    def forget_before(self, received_at: float) -> None:
        """Forget the calls whose last event was received before that monotonic time."""
        while self._calls and next(iter(self._calls.values())).touched_at < received_at:
            self._calls.popitem(last=False)


def _agents_after(type_: str, known: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """Who handles a call, or is rung, after an event of that type that names these agents."""
    if type_ == "call.answered":
        return named[:1]  # agent_id, which it requires: with that nobody else is rung
    if type_ == "call.missed":
        return tuple([agent for agent in known if agent not in named])
    return _joined(known, named)[-MAX_AGENTS:]


def _joined(known: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    if not named or known == named:
        return known
    return (*[agent for agent in known if agent not in named], *dict.fromkeys(named))
