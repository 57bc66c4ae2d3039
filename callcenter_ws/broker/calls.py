"""Queue and agents of each call, remembered because later events of the call may omit them.

An Asterisk daemon names the queue when the call joins it and the agent when the call is answered, but neither when the
call is put on hold or ends. Which clients may see an event depends on the queue and agents of its whole call.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from callcenter_ws.events.event import Event

CALL_LIFETIME = 86_400.0
"""Seconds after its last event for which a call without an end is remembered."""

MAX_CALLS = 50_000
"""Calls remembered per tenant; the one longest without an event is removed first."""

MAX_AGENTS = 100
"""Agents remembered per call; the one named first is removed first."""

_ONE_AGENT_TYPES = frozenset({"call.ringing", "call.missed"})
_FINAL_TYPES = frozenset({"call.ended", "call.abandoned"})
_DISPOSITION = "call.disposition"
"""It may come after the call has ended: it changes what is remembered of a call as little as it can."""


class CallRecord(msgspec.Struct, gc=False):
    """Queue and agents of one call; not scanned by the garbage collector, since it refers to texts and numbers only.

    Attributes:
        agents: the agents that handle the call or at which it rings, in the order of their last mention.
        touched_at: when its last event was received, in seconds of the monotonic clock.
    """

    queue_name: str | None = None
    agents: tuple[str, ...] = ()
    touched_at: float = 0.0


class CallTable:
    """The queue and the agents of each call of one tenant.

    The agents of a call are those at which it rings; once it is answered, the agent that answered and those it is
    transferred to or from. Events for one user (``user_id``) change nothing here.
    """

    def __init__(self) -> None:
        # Ordered by last event, the oldest first.
        self._calls: OrderedDict[str, CallRecord] = OrderedDict()

    def __len__(self) -> int:
        return len(self._calls)

    def complete(self, event: Event) -> None:
        """Add the queue and the agents of its call to an event, and remember those that it names.

        The agents of a call see its events even if these name another agent: an agent at whose phone it rings must
        learn that a colleague answered. ``call.ringing`` and ``call.missed`` concern only the agent that they name.
        ``call.disposition`` adds nothing to what is remembered, except the queue of a call without one.
        Changes ``event.queue_name`` and ``event.agents``, which determine who may see it; never the payload.
        """
        self.forget_before(event.received_at - CALL_LIFETIME)
        if event.call_id is None or event.user_id is not None:
            return
        found = self._calls.pop(event.call_id, None)
        call = found or CallRecord()
        named, known, queue_name = event.agents, call.agents, call.queue_name
        event.queue_name = event.queue_name or queue_name
        if not (named and event.type.name in _ONE_AGENT_TYPES):
            event.agents = _joined(known, named)
        if event.type.name in _FINAL_TYPES or (found is None and event.type.name == _DISPOSITION):
            return
        # The event that a call left a queue may arrive after the one that it joined the next.
        if queue_name is None or event.type.name not in ("queue.left", _DISPOSITION):
            call.queue_name = event.queue_name
        call.agents = _agents_after(event.type.name, known, named)
        call.touched_at = event.received_at
        if call.queue_name is None and not call.agents:
            return
        self._calls[event.call_id] = call
        if len(self._calls) > MAX_CALLS:
            self._calls.popitem(last=False)

    def restore(self, call_id: str, call: CallRecord) -> None:
        """Add a call read from the store; calls must be added in the order of ``touched_at``."""
        self._calls[call_id] = call

    def get(self, call_id: str) -> CallRecord | None:
        """Return a call; None when it is not remembered."""
        return self._calls.get(call_id)

    def forget_before(self, received_at: float) -> None:
        """Remove calls whose last event was received before this time of the monotonic clock."""
        while self._calls and next(iter(self._calls.values())).touched_at < received_at:
            self._calls.popitem(last=False)


def _agents_after(type_: str, known: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    """Return the agents of a call after an event of type ``type_`` that names the agents ``named``."""
    if type_ == "call.answered":
        return named[:1]  # agent_id, which the type requires: it rings at no other agent any more
    if type_ == _DISPOSITION:
        return known
    if type_ == "call.missed":
        return tuple([agent for agent in known if agent not in named])
    return _joined(known, named)[-MAX_AGENTS:]


def _joined(known: tuple[str, ...], named: tuple[str, ...]) -> tuple[str, ...]:
    if not named or known == named:
        return known
    return (*[agent for agent in known if agent not in named], *dict.fromkeys(named))
