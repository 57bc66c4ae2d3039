"""CallRecord: what is known of one call, folded from its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import msgspec

from callcenter_ws.call_log.step import Abandoned, Answered, Disposed, Ended, Facts, Left, Step, Transferred
from callcenter_ws.statistics.occurrence import MAX_SECONDS_MS, duration_ms, milliseconds, text_of
from callcenter_ws.statistics.records import NEVER

MAX_NAMES = 32
"""Queues, and agents, of one call that are kept; the first are forgotten."""

INCOMING, WAITING, RINGING, TALKING, HOLD, ENDED = "incoming", "waiting", "ringing", "talking", "hold", "ended"
STATES = (INCOMING, WAITING, RINGING, TALKING, HOLD, ENDED)
UNANSWERED = frozenset({INCOMING, WAITING, RINGING})

ANSWERED, ABANDONED, MISSED, UNKNOWN = "answered", "abandoned", "missed", "unknown"
"""Outcomes; a call that was none of these has the outcome ``ended``."""


class Disposition(msgspec.Struct, frozen=True, gc=False):
    """What came of a call."""

    code: str
    label: str | None
    note: str | None


class CallRecord(msgspec.Struct, gc=False):
    """What is known of a call. Instants are Unix milliseconds, ``NEVER`` if they have not come.

    It refers to texts and numbers only, and the garbage collector does not scan it: there are tens of thousands.

    Attributes:
        state: of ``STATES``; ``outcome``: why it ended, None before.
        queue_name: the queue that it joined last; ``queues``: all that it joined or was answered in.
        agent_id: the agent who talks or talked last; before an answer the one at which it rings or rang last.
        agents: the agents who answered it or to whom it was transferred.
        waited: milliseconds in queues, or until the answer of a call without a queue; None: not known yet.
        talked: milliseconds of the talks that have ended, without holds; ``talk_ms``: as reported at the end.
        joined: when it came into the queue where it waits; ``talking``: since when the caller talks.
        moved: whether an agent gave it away, and no other agent has answered it since.
        ended_received: when the gateway received the event of its end.
    """

    call_id: str
    first: int
    state: str = INCOMING
    outcome: str | None = None
    direction: str | None = None
    caller_id: str | None = None
    caller_name: str | None = None
    destination: str | None = None
    queue_name: str | None = None
    queues: tuple[str, ...] = ()
    agent_id: str | None = None
    agents: tuple[str, ...] = ()
    started: int = NEVER
    answered: int = NEVER
    ended: int = NEVER
    waited: int | None = None
    talked: int = 0
    talk_ms: int | None = None
    joined: int = NEVER
    talking: int = NEVER
    transfers: int = 0
    missed: bool = False
    moved: bool = False
    disposition: Disposition | None = None
    ended_received: int = NEVER

    def apply(self, step: Step) -> None:
        """Apply the next step of the call."""
        if isinstance(step.facts, Facts):
            self._identify(step, step.facts)
        _CHANGES[step.type.name](self, step)

    def _identify(self, step: Step, facts: Facts) -> None:
        """Learn who calls whom; what is known already stays, except for a name that was not known."""
        self.direction = self.direction or facts.direction
        self.caller_id = self.caller_id or text_of(facts.caller_id)
        self.caller_name = self.caller_name or facts.caller_name
        self.destination = self.destination or text_of(facts.destination)
        if self.started == NEVER:
            self.started = _instant(facts.started_at, step)
        queue_name = text_of(facts.queue_name)
        if queue_name is not None and queue_name not in self.queues:
            self.queues = (*self.queues, queue_name)[-MAX_NAMES:]
        # The event that a call left a queue may arrive after the one that it joined the next.
        if queue_name is not None and (self.queue_name is None or step.type.name != "queue.left"):
            self.queue_name = queue_name

    @property
    def begun(self) -> int:
        """When the call began, or the first event of it that is known happened."""
        return self.first if self.started == NEVER else min(self.started, self.first)

    @property
    def talk(self) -> int | None:
        """The milliseconds that the caller talked with agents; None before the end, and without an answer."""
        if self.answered == NEVER or self.state != ENDED:
            return None
        return self.talked if self.talk_ms is None else self.talk_ms

    # Changes

    def ring(self, step: Step) -> None:
        """Ring at an agent's phone; a ring at a consulted agent is none of the caller's."""
        if self.state in (TALKING, HOLD) and not self.moved:
            return
        self._stop_talking(step.at)
        self._become(RINGING)
        if self.answered == NEVER or self.moved:
            self.agent_id = _agent_of(step) or self.agent_id

    def miss(self, step: Step) -> None:
        """Ring no more at an agent's phone."""
        self.missed = True
        if self.answered == NEVER:
            self.agent_id = _agent_of(step) or self.agent_id
        if self.state == RINGING:
            self._become(INCOMING if self.joined == NEVER else WAITING)

    def join(self, step: Step) -> None:
        """Wait in a queue."""
        if self.joined == NEVER:
            self.joined = step.at
        self._stop_talking(step.at)
        self._become(WAITING)

    def leave(self, step: Step) -> None:
        """Wait in the queue no more."""
        facts = step.facts
        if not isinstance(facts, Left):
            return
        self._stop_waiting(step.at, facts.wait_seconds)
        if self.state in (WAITING, RINGING) and facts.reason != "answered":
            self._become(INCOMING)

    def answer(self, step: Step) -> None:
        """Talk with an agent."""
        facts = step.facts
        wait = facts.wait_seconds if isinstance(facts, Answered) else None
        self._stop_waiting(step.at, wait)
        if self.answered == NEVER:
            self.answered = step.at
            if self.waited is None:
                reported = duration_ms(wait)
                self.waited = max(step.at - self.begun, 0) if reported is None else max(reported, 0)
        self._hand_to(_agent_of(step))
        self._talk(step)

    def hold(self, step: Step) -> None:
        """Put the caller on hold."""
        self._stop_talking(step.at)
        self._become(HOLD)

    def _talk(self, step: Step) -> None:
        """Talk, also again after a hold."""
        self.moved = False
        if self.talking == NEVER and self.state != ENDED:
            self.talking = step.at
        self._become(TALKING)

    unhold = _talk

    def transfer(self, step: Step) -> None:
        """Give the call to another agent, queue or number."""
        self.transfers += 1
        facts = step.facts
        if not isinstance(facts, Transferred):
            return
        target = text_of(facts.to_agent_id)
        if facts.transfer_type == "attended":
            # The target has answered the consultation, and talks with the caller from now on.
            self._hand_to(target)
            if self.state == HOLD:
                self._talk(step)
        else:
            self.moved = True

    def abandon(self, step: Step) -> None:
        """End: the caller gave up."""
        facts = step.facts
        self._stop_waiting(step.at, facts.wait_seconds if isinstance(facts, Abandoned) else None)
        self._end(step)
        self.outcome = ABANDONED

    def end(self, step: Step) -> None:
        """End, with what the sender reports of the whole call."""
        facts = step.facts
        self._stop_waiting(step.at, None)
        self._end(step)
        if not isinstance(facts, Ended):
            return
        reported = duration_ms(facts.talk_seconds)
        if reported is not None:
            self.talk_ms = max(reported, 0)
        if self.waited is None and (wait := duration_ms(facts.wait_seconds)) is not None:
            self.waited = max(wait, 0)
        if self.outcome is None:
            self.outcome = self._outcome(facts.ended_by == UNKNOWN)

    def _outcome(self, is_lost: bool) -> str:
        if self.answered != NEVER:
            return ANSWERED
        if is_lost:
            return UNKNOWN
        return MISSED if self.missed else ENDED

    def dispose(self, step: Step) -> None:
        """Remember what came of it; a later disposition replaces the earlier one."""
        facts = step.facts
        if isinstance(facts, Disposed):
            self.disposition = Disposition(facts.code, facts.label, facts.note)

    def close(self, at: int) -> None:
        """End with what was seen until now: what followed may not be seen."""
        if self.state != ENDED:
            self._stop_talking(at)
            self.state, self.ended = ENDED, at
            self.outcome = self._outcome(is_lost=False)

    def _become(self, state: str) -> None:
        if self.state != ENDED:
            self.state = state

    def _end(self, step: Step) -> None:
        self._stop_talking(step.at)
        self.state, self.ended = ENDED, step.at
        if self.ended_received == NEVER:
            self.ended_received = step.received

    def _hand_to(self, agent_id: str | None) -> None:
        if agent_id is not None:
            self.agent_id = agent_id
            if agent_id not in self.agents:
                self.agents = (*self.agents, agent_id)[-MAX_NAMES:]

    def _stop_talking(self, at: int) -> None:
        if self.talking != NEVER:
            self.talked += max(at - self.talking, 0)
            self.talking = NEVER

    def _stop_waiting(self, at: int, reported: float | None) -> None:
        if self.joined != NEVER:
            wait = duration_ms(reported)
            self.waited = (self.waited or 0) + max(at - self.joined if wait is None else wait, 0)
            self.joined = NEVER


_CHANGES: dict[str, Callable[[CallRecord, Step], None]] = {
    "call.incoming": lambda record, step: None,
    "call.ringing": CallRecord.ring,
    "call.missed": CallRecord.miss,
    "queue.joined": CallRecord.join,
    "queue.left": CallRecord.leave,
    "call.answered": CallRecord.answer,
    "call.hold": CallRecord.hold,
    "call.unhold": CallRecord.unhold,
    "call.transferred": CallRecord.transfer,
    "call.abandoned": CallRecord.abandon,
    "call.ended": CallRecord.end,
    "call.disposition": CallRecord.dispose,
}


def fold(call_id: str, steps: Iterable[Step]) -> CallRecord | None:
    """Return the record of a call of which only these steps are known; None without any."""
    record: CallRecord | None = None
    for step in steps:
        if record is None:
            record = CallRecord(call_id, step.at)
        record.apply(step)
    return record


def _agent_of(step: Step) -> str | None:
    return text_of(step.facts.agent_id)


def _instant(text: str | None, step: Step) -> int:
    """Return an instant that a sender gave, never later than the event; ``NEVER`` without one, or long before it."""
    if text is None:
        return NEVER
    try:
        instant = min(milliseconds(datetime.fromisoformat(text)), step.at)
    except ValueError:
        return NEVER
    return instant if instant >= step.at - MAX_SECONDS_MS else NEVER
