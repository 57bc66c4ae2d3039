"""Which calls a user sees, and what of them: what the events say that the stream would have shown the user."""

from __future__ import annotations

from callcenter_ws.call_log.day import Call
from callcenter_ws.call_log.record import ENDED, UNANSWERED, CallRecord, fold
from callcenter_ws.call_log.step import Step
from callcenter_ws.events.catalogue import EventType
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls, may_see


class _SeenStep:
    """A step as ``events.visibility`` judges it. One is used for all steps: it only names the fields."""

    __slots__ = ("agents", "private", "queue_name", "session_id", "tenant_id", "type", "user_id")

    def __init__(self, tenant_id: str, step: Step) -> None:
        self.tenant_id = tenant_id
        self.type: EventType = step.type
        self.queue_name = step.queue_name
        self.agents = step.agents
        self.user_id: str | None = None
        self.session_id: str | None = None
        self.private = False


class Viewer:
    """A user, by whose rights calls are shown.

    Args:
        asker: of one tenant.
        agent_calls: the policy for agents.
    """

    def __init__(self, asker: Principal, agent_calls: AgentCalls) -> None:
        self._asker = asker
        self._agent_calls = agent_calls
        self._is_own = asker.role is Role.AGENT and agent_calls == "own"

    @property
    def is_restricted(self) -> bool:
        """Whether there may be calls of which the user sees only a part."""
        return self._is_own or self._asker.queues is not None

    def record(self, call: Call) -> CallRecord | None:
        """Return what the user sees of a call; None: nothing.

        A call whose newest event the user may not see has ended for it, with the last event that it saw.
        """
        if self._sees_all(call):
            return call.record
        if self._sees_nothing(call):
            return None
        seen = [step for step in call.steps if self._sees(step)]
        if not seen or not self._is_concerned(call):
            return None
        record = fold(call.record.call_id, seen)
        if record is not None and (seen[-1] is not call.steps[-1] or call.record.state == ENDED):
            record.close(seen[-1].at)
        return record

    def _sees_all(self, call: Call) -> bool:
        return not self._is_own and (self._asker.queues is None or self._asker.queues.issuperset(call.queues))

    def _sees_nothing(self, call: Call) -> bool:
        """Return True for most calls that the user does not see; agents may also see calls of other queues."""
        return (
            self._asker.role is not Role.AGENT
            and self._asker.queues is not None
            and self._asker.queues.isdisjoint(call.queues)
        )

    def _sees(self, step: Step) -> bool:
        return may_see(self._asker, _SeenStep(self._asker.tenant_id, step), self._agent_calls)

    def _is_concerned(self, call: Call) -> bool:
        """Return whether a call is one of the agent's own, or still waits for an agent, where agents see only these."""
        if not self._is_own or call.record.state in UNANSWERED:
            return True
        return any(self._asker.user_id in step.agents for step in call.steps)
