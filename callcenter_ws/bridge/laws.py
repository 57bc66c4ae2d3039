"""Checks a sequence of events of one source against the laws that hold whatever an exchange sends.

``LawChecker`` is given the events in order. It reads the calls, the queues and the agents from nothing but the events,
as a client does, so that it shares no mistake with what made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from callcenter_ws.bridge.agent_laws import AgentLaws
from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import make_event
from callcenter_ws.runtime.json import JsonValue, rfc3339

TOLERANCE_SECONDS = 1.0
"""Sums of a call may exceed its duration by this: they are rounded, and measured on several events."""

SAME_RING_SECONDS = 0.2
"""Two rings at one agent that are closer are one."""

_WAITING = ("queue.left", "call.missed", "call.ended")
"""What may still come of a call that was abandoned."""


@dataclass(frozen=True, slots=True)
class Breach:
    """A law that an event breaks.

    Attributes:
        event: the event at which it shows; None: the end of the sequence.
        text: what is wrong, for people.
    """

    text: str
    event: BridgeEvent | None = None

    def __str__(self) -> str:
        if self.event is None:
            return f"at the end: {self.text}"
        return f"{rfc3339(self.event.time)} {self.event.type} {self.event.event_id}: {self.text}"


@dataclass(slots=True)
class _Call:
    """One call, as its events tell it.

    Attributes:
        queues: when it joined the queues in which it is.
        ringing: the agents at whom it rings, and since when.
        talking: the agents who are in it.
        left_abandoned: queues that it left as abandoned, for which no ``call.abandoned`` has come; less than 0: the
            other way round.
        holders: who holds it.
    """

    tenant_id: str
    time: float
    direction: str = ""
    is_ended: bool = False
    is_abandoned: bool = False
    is_answered: bool = False
    left_abandoned: int = 0
    queues: dict[str, float] = field(default_factory=dict)
    ringing: dict[str, float] = field(default_factory=dict)
    talking: set[str] = field(default_factory=set)
    holders: set[str] = field(default_factory=set)


class LawChecker:
    """Checks the events of one source.

    Attributes:
        breaches: the laws that were broken so far.
    """

    def __init__(self) -> None:
        self.breaches: list[Breach] = []
        self._ids: set[str] = set()
        self._calls: dict[str, _Call] = {}
        self._talks: dict[str, set[str]] = {}
        self._agents = AgentLaws(self._report)
        self._event: BridgeEvent | None = None
        self._checks: dict[str, Callable[[_Call, BridgeEvent, Mapping[str, JsonValue]], None]] = {
            "call.ringing": self._ringing,
            "call.answered": self._answered,
            "call.missed": self._missed,
            "call.hold": self._hold,
            "call.unhold": self._unhold,
            "call.transferred": self._transferred,
            "call.abandoned": self._abandoned,
            "call.ended": self._ended,
            "queue.joined": self._joined,
            "queue.left": self._left,
        }

    def check(self, event: BridgeEvent) -> None:
        """Check the next event."""
        self._event = event
        self._check_validity(event)
        if event.event_id in self._ids:
            self._report("another event has the same event_id")
        self._ids.add(event.event_id)
        if event.type.startswith(("call.", "queue.joined", "queue.left")):
            self._check_call(event)
        else:
            self._agents.check(event)

    def finish(self, *, is_idle: bool = False) -> None:
        """Check what shows only at the end.

        Args:
            is_idle: nothing goes on at the exchange any more.
        """
        self._event = None
        if is_idle:
            for call_id, call in self._calls.items():
                if not call.is_ended:
                    self._report(f"the call {call_id} has not ended")
        for call_id, call in self._calls.items():
            if call.left_abandoned > 0:
                self._report(f"the call {call_id} left a queue as abandoned, and there is no call.abandoned")
        self._agents.finish(is_idle=is_idle)

    # All events

    def _report(self, text: str) -> None:
        self.breaches.append(Breach(text, self._event))

    def _check_validity(self, event: BridgeEvent) -> None:
        try:
            make_event(
                tenant_id=event.tenant_id,
                type_=event.type,
                payload=dict(event.payload),
                event_id=event.event_id,
                user_id=event.user_id,
                timestamp=rfc3339(event.time),
                now=event.time,
                received_at=event.time,
            )
        except Refusal as refusal:
            self._report(f"the gateway would refuse it: {refusal.message}")

    # Calls

    def _check_call(self, event: BridgeEvent) -> None:
        payload = event.payload
        call_id = str(payload.get("call_id") or payload.get("unique_id") or "")
        call = self._calls.get(call_id)
        if event.type == "call.incoming":
            if call is not None:
                self._report("a second call.incoming of this call")
                return
            call = self._calls[call_id] = _Call(event.tenant_id, event.time)
        elif call is None:
            self._report("a call that was not introduced by call.incoming")
            call = self._calls[call_id] = _Call(event.tenant_id, event.time)
        elif call.is_ended:
            self._report("an event of a call that has ended")
            return
        self._check_common(call, event)
        check = self._checks.get(event.type)
        if check is not None:
            check(call, event, payload)

    def _check_common(self, call: _Call, event: BridgeEvent) -> None:
        if event.tenant_id != call.tenant_id:
            self._report(f"a call of tenant {call.tenant_id}")
        if event.time < call.time:
            self._report(f"{call.time - event.time:.3f} s earlier than the call's previous event")
        call.time = max(call.time, event.time)
        if call.is_abandoned and event.type not in _WAITING:
            self._report("the caller has abandoned the call")
        direction = str(event.payload.get("direction") or "")
        if call.direction and direction and direction != call.direction:
            self._report(f"the direction was {call.direction}")
        call.direction = call.direction or direction

    def _ringing(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        agent = str(payload.get("agent_id") or "")
        # A later one is another attempt: that a ring ended because another agent answered first is not told.
        if event.time - call.ringing.get(agent, 0.0) < SAME_RING_SECONDS:
            self._report(f"it rings at {agent} already")
        if self._talks_in(call, agent, payload):
            self._report(f"{agent} talks in this call")
        call.ringing[agent] = event.time

    def _missed(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        agent = str(payload.get("agent_id") or "")
        if self._talks_in(call, agent, payload):
            self._report(f"{agent} talks in this call")
        call.ringing.pop(agent, None)

    def _answered(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        agent = str(payload.get("agent_id") or "")
        if self._talks_in(call, agent, payload):
            self._report(f"{agent} has answered this call already")
        for other_id in self._talks.get(agent, ()):
            other = self._calls[other_id]
            if other is not call and not other.holders and self._agents.is_in(agent, other_id):
                self._report(f"{agent} talks in the call {other_id}, which is not held")
        call.ringing.clear()
        call.is_answered = True
        # No event of the call tells whether those who were in it before have left. Their states tell, if they have any.
        call_id = self._call_id(payload)
        for former in call.talking - {agent}:
            if not self._agents.has_state(former):
                self._leave(call, former, call_id, event.time)
        call.talking.add(agent)
        self._talks.setdefault(agent, set()).add(call_id)
        self._agents.answered(agent, call_id, _callers(payload), event.time)

    def _hold(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        holder = str(payload.get("held_by") or payload.get("agent_id") or "")
        if holder in call.holders:
            self._report(f"held by {holder or 'the same'} already")
        call.holders.add(holder)

    def _unhold(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        holder = str(payload.get("held_by") or payload.get("agent_id") or "")
        if holder not in call.holders:
            self._report("there was no call.hold before")
        call.holders.discard(holder)

    def _transferred(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        agent = str(payload.get("from_agent_id") or "")
        call.holders.clear()
        call.ringing.clear()
        call_id = self._call_id(payload)
        self._leave(call, agent, call_id, event.time)
        target = str(payload.get("to_agent_id") or "")
        if target and payload.get("transfer_type") == "attended":
            # It has answered the consultation.
            call.talking.add(target)
            self._talks.setdefault(target, set()).add(call_id)
            self._agents.answered(target, call_id, _callers(payload), event.time)

    def _talks_in(self, call: _Call, agent: str, payload: Mapping[str, JsonValue]) -> bool:
        return agent in call.talking and self._agents.is_in(agent, self._call_id(payload))

    def _leave(self, call: _Call, agent: str, call_id: str, time: float) -> None:
        call.talking.discard(agent)
        self._talks.get(agent, set()).discard(call_id)
        self._agents.left(agent, call_id, time)

    def _abandoned(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        call.is_abandoned = True
        call.left_abandoned -= 1
        if call.left_abandoned < 0 and str(payload.get("queue_name") or "") not in call.queues:
            self._report("the call was not waiting in this queue")
        self._check_wait(call, event, payload)

    def _ended(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        call.is_ended = True
        for queue in call.queues:
            self._report(f"it has not left the queue {queue}")
        duration = float(payload.get("duration") or 0)
        sums = {name: payload.get(f"{name}_seconds") for name in ("talk", "hold", "wait")}
        for name, seconds in sums.items():
            if seconds is not None and not 0 <= seconds <= duration + TOLERANCE_SECONDS:
                self._report(f"{name}_seconds is {seconds}, of a call of {duration} s")
        if payload.get("reconciled"):
            invented = [name for name, seconds in sums.items() if seconds is not None]
            if invented:
                self._report(f"{', '.join(invented)} of a call whose end was not seen")
        elif not call.is_answered and (sums["talk"] or 0) > TOLERANCE_SECONDS:
            self._report(f"talk_seconds is {sums['talk']} of a call that was not answered")
        call_id = self._call_id(payload)
        for talks in self._talks.values():
            talks.discard(call_id)
        self._agents.ended(call_id, event.time)

    # Queues

    def _joined(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        queue = str(payload.get("queue_name") or "")
        if queue in call.queues:
            self._report(f"it waits in the queue {queue} already")
        for agent in list(call.talking):
            # The caller waits: the agents who talked to it have left.
            self._leave(call, agent, self._call_id(payload), event.time)
        # One that is introduced by reconciling has waited before.
        call.queues[queue] = 0.0 if payload.get("reconciled") else event.time

    def _left(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        queue, reason = str(payload.get("queue_name") or ""), payload.get("reason")
        self._check_wait(call, event, payload)
        if call.queues.pop(queue, None) is None:
            self._report(f"it does not wait in the queue {queue}")
        if reason == "abandoned":
            call.left_abandoned += 1
        elif call.is_abandoned:
            self._report(f"it left the queue for another reason ({reason}) than its call.abandoned says")
        if reason == "unknown" and not payload.get("reconciled"):
            self._report("the reason is unknown, and it is not reconciled")
        call.ringing.clear()

    def _check_wait(self, call: _Call, event: BridgeEvent, payload: Mapping[str, JsonValue]) -> None:
        waited = payload.get("wait_seconds")
        joined = call.queues.get(str(payload.get("queue_name") or ""))
        if waited is not None and (
            waited < 0 or (joined is not None and waited > event.time - joined + TOLERANCE_SECONDS)
        ):
            self._report(f"wait_seconds is {waited}, and it waited {event.time - (joined or event.time):.3f} s")

    @staticmethod
    def _call_id(payload: Mapping[str, JsonValue]) -> str:
        return str(payload.get("call_id") or payload.get("unique_id") or "")


def _callers(payload: Mapping[str, JsonValue]) -> frozenset[str]:
    """Return what an agent may be known by who made this call; nothing for a call from outside."""
    if payload.get("direction") == "inbound":
        return frozenset()
    channel = str(payload.get("channel") or "")
    device = channel.rpartition("-")[0]
    return frozenset({str(payload.get("caller_id") or ""), device, device.rpartition("/")[2].partition("@")[0]})


def breaches(events: Iterable[BridgeEvent], *, is_idle: bool = False) -> list[Breach]:
    """Return the laws that the events of a source break.

    Args:
        is_idle: nothing goes on at the exchange after them.
    """
    checker = LawChecker()
    for event in events:
        checker.check(event)
    checker.finish(is_idle=is_idle)
    return checker.breaches
