"""A call of the model, and the queue in which it waits."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.demo.agents import Agent
from callcenter_ws.demo.scheduler import ScheduledCall, Scheduler

_ALERT_WAITING_CALLS = 4
_ALERT_INTERVAL_SECONDS = 90.0


@dataclass(slots=True, eq=False)
class SimulatedCall:
    """One call. All times are model seconds.

    Attributes:
        direction: ``outbound`` and ``internal`` calls are those that an agent has dialed.
        course: what happens to the call after it was answered, one of ``_COURSES``.
        waited, held, talked: total seconds of waiting in queues, on hold, and connected to an agent (hold included).
        held_since: when the caller was put on hold; None: the caller is not on hold.
        abandoning: the scheduled end of the caller's wait.
        ringing: the scheduled end of the ringing.
        progress: the scheduled next step of a call that neither waits nor rings.
        is_persons: whether the agent was a person when the call was answered.
        missed_by: the persons who have not answered it, and are not rung again.
        other: a second agent who is called, and talks with the agent: consulted during the call, or dialed.
        other_answers: the scheduled answer of ``other``, or the end of its ringing; None: they talk.
        recording: the name of its file; None: it is not recorded.
        is_recording_paused: whether the recording is paused.
    """

    unique_id: str
    caller_id: str
    caller_name: str
    destination: str
    channel: str
    arrived: float
    started_at: str
    course: str = "plain"
    direction: str = "inbound"
    queue: Queue | None = None
    queued: float = 0.0
    waited: float = 0.0
    agent: Agent | None = None
    rang: float = 0.0
    answered: float = 0.0
    answered_at: str | None = None
    held: float = 0.0
    talked: float = 0.0
    held_since: float | None = None
    abandoning: ScheduledCall | None = None
    ringing: ScheduledCall | None = None
    progress: ScheduledCall | None = None
    is_persons: bool = False
    missed_by: set[str] = field(default_factory=set)
    other: Agent | None = None
    other_answers: ScheduledCall | None = None
    recording: str | None = None
    is_recording_paused: bool = False

    @property
    def waits(self) -> bool:
        """Whether it is in its queue."""
        return self.queue is not None and self in self.queue.waiting

    @property
    def is_connected(self) -> bool:
        """Whether an agent has answered it and is still in it."""
        return self.agent is not None and self.ringing is None

    @property
    def consults(self) -> bool:
        """Whether a colleague was called while the other party waits."""
        return self.other is not None and self.direction != "internal"

    def cancel_steps(self) -> None:
        """Make none of the scheduled steps."""
        for step in (self.abandoning, self.ringing, self.progress, self.other_answers):
            if step is not None:
                step.cancel()
        self.abandoning = self.ringing = self.progress = self.other_answers = None

    def fields(self, **more: object) -> dict[str, object]:
        """Return the fields that all events of the call have in common, as far as they are known, and ``more``."""
        known = {
            "unique_id": self.unique_id,
            "call_id": self.unique_id,
            "direction": self.direction,
            "caller_id": self.caller_id,
            "caller_name": self.caller_name,
            "destination": self.destination,
            "channel": self.channel,
            "started_at": self.started_at,
        }
        if self.queue is not None:
            known["queue_name"] = self.queue.name
        if self.agent is not None:
            known |= {"agent_id": self.agent.user_id, "agent_name": self.agent.person.name}
        if self.answered_at is not None:
            known["answered_at"] = self.answered_at
        return known | more


class Queue:
    """One queue of calls; the gateway derives its figures."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.waiting: list[SimulatedCall] = []
        self._scheduler = scheduler
        self._alerted_at = -_ALERT_INTERVAL_SECONDS

    def enter(self, call: SimulatedCall) -> None:
        """Append a call to the queue."""
        self.waiting.append(call)
        alert_is_due = self._scheduler.now - self._alerted_at >= _ALERT_INTERVAL_SECONDS
        if len(self.waiting) >= _ALERT_WAITING_CALLS and alert_is_due:
            self._alerted_at = self._scheduler.now
            message = f"{len(self.waiting)} calls are waiting in {self.name}."
            self._scheduler.emit(
                "alert",
                {"title": f"Queue {self.name} is filling up", "message": message, "severity": "warning"},
            )

    def leave(self, call: SimulatedCall) -> None:
        """Remove a call from the queue."""
        self.waiting.remove(call)
