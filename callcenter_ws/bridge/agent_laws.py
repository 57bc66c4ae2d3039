"""The laws of agents and queue members (``laws``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.runtime.json import JsonValue

GRACE_SECONDS = 2.0
"""So long after the end of its last call an agent may still be shown in a call: its state comes with another event."""

_IN_CALL = ("talking", "hold")
_ENGAGED = ("talking", "hold", "ringing")
_OUT_OF_CALLS = ("available", "away", "break", "offline", "wrap_up")


@dataclass(slots=True)
class _Agent:
    """One user, as its events tell it.

    Attributes:
        state: the last one; empty if none was told.
        calls: the answered calls that it is in.
        free_since: the end of the last of them, while its state still says that it is in one; None otherwise.
    """

    state: str = ""
    reason: str = ""
    extension: str = ""
    is_logged_in: bool | None = None
    calls: set[str] = field(default_factory=set)
    free_since: float | None = None


class AgentLaws:
    """Checks what is told of agents and members.

    Args:
        report: called with the text of each breach.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._agents: dict[str, _Agent] = {}
        self._members: dict[tuple[str, str], tuple[bool, str] | None] = {}
        # What a caller may be known by, of each answered call that an agent may have made.
        self._callers: dict[str, frozenset[str]] = {}
        self._free: set[str] = set()
        self._checks: dict[str, Callable[[Mapping[str, JsonValue]], None]] = {
            "agent.login": self._login,
            "agent.logout": self._logout,
            "agent.state.changed": self._state,
            "queue.member.added": self._added,
            "queue.member.removed": self._removed,
            "queue.member.paused": self._paused,
            "queue.member.unpaused": self._unpaused,
        }

    def check(self, event: BridgeEvent) -> None:
        """Check an event that is not of a call."""
        check = self._checks.get(event.type)
        if check is not None:
            check(event.payload)
        self.check_time(event.time)

    def check_time(self, time: float) -> None:
        """Check that no agent is shown in a call long after its end."""
        for user_id in [user_id for user_id in self._free if self._is_overdue(user_id, time)]:
            self._free.discard(user_id)
            self._report(f"agent {user_id} is still {self._agents[user_id].state}, and its call is over")

    def finish(self, *, is_idle: bool) -> None:
        """Check what shows only at the end."""
        for user_id, agent in self._agents.items():
            if is_idle and agent.state in _ENGAGED:
                self._report(f"agent {user_id} is {agent.state}")

    # What calls say of agents

    def answered(self, user_id: str, call_id: str, callers: frozenset[str], time: float) -> None:
        """Note that an agent has answered a call, and who may have called."""
        self._callers[call_id] = callers
        agent = self._agents.setdefault(user_id, _Agent())
        agent.calls.add(call_id)
        agent.free_since = None
        self._free.discard(user_id)
        self.check_time(time)

    def left(self, user_id: str, call_id: str, time: float) -> None:
        """Note that an agent is no longer in a call."""
        agent = self._agents.get(user_id)
        if agent is not None:
            agent.calls.discard(call_id)
            self._watch(user_id, agent, time)

    def ended(self, call_id: str, time: float) -> None:
        """Note that a call has ended."""
        self._callers.pop(call_id, None)
        for user_id, agent in self._agents.items():
            agent.calls.discard(call_id)
            self._watch(user_id, agent, time)
        self.check_time(time)

    def is_in(self, user_id: str, call_id: str) -> bool:
        """Return whether an agent that has answered a call is still in it, as far as its states tell."""
        agent = self._agents.get(user_id)
        return agent is not None and call_id in agent.calls

    def _watch(self, user_id: str, agent: _Agent, time: float) -> None:
        if agent.state in _IN_CALL and agent.free_since is None and not self._may_talk(user_id, agent):
            agent.free_since = time
            self._free.add(user_id)

    def _is_overdue(self, user_id: str, time: float) -> bool:
        since = self._agents[user_id].free_since
        return since is not None and time > since + GRACE_SECONDS

    def _may_talk(self, user_id: str, agent: _Agent) -> bool:
        names = {user_id, agent.extension} - {""}
        return bool(agent.calls) or any(names & callers for callers in self._callers.values())

    # Agents

    def _agent(self, payload: Mapping[str, JsonValue]) -> tuple[str, _Agent]:
        user_id = str(payload.get("user_id") or "")
        agent = self._agents.setdefault(user_id, _Agent())
        agent.extension = str(payload.get("extension") or agent.extension)
        return user_id, agent

    def _login(self, payload: Mapping[str, JsonValue]) -> None:
        _, agent = self._agent(payload)
        if agent.is_logged_in:
            self._report("logged in already")
        agent.is_logged_in = True
        agent.state, agent.reason = str(payload.get("state") or "available"), ""

    def _logout(self, payload: Mapping[str, JsonValue]) -> None:
        user_id, agent = self._agent(payload)
        if agent.is_logged_in is False:
            self._report("not logged in")
        agent.is_logged_in = False
        agent.state, agent.reason = "", ""
        self._free.discard(user_id)

    def _state(self, payload: Mapping[str, JsonValue]) -> None:
        user_id, agent = self._agent(payload)
        state, reason = str(payload.get("state") or ""), str(payload.get("reason") or "")
        previous = str(payload.get("previous_state") or "")
        if agent.state and previous and previous != agent.state:
            self._report(f"previous_state is {previous}, and the last state was {agent.state}")
        if (state, reason) == (agent.state, agent.reason):
            self._report("nothing has changed")
        agent.state, agent.reason = state, reason
        agent.free_since = None
        self._free.discard(user_id)
        if state in _OUT_OF_CALLS:
            agent.calls.clear()
        elif state in _IN_CALL and not self._may_talk(user_id, agent):
            self._report(f"{state} without an answered call")

    # Members

    def _member(self, payload: Mapping[str, JsonValue]) -> tuple[str, str]:
        return str(payload.get("queue_name") or ""), str(payload.get("interface") or payload.get("user_id") or "")

    def _added(self, payload: Mapping[str, JsonValue]) -> None:
        member = self._member(payload)
        if self._members.get(member) is not None:
            self._report("a member already")
        self._members[member] = (bool(payload.get("paused")), str(payload.get("reason") or ""))

    def _removed(self, payload: Mapping[str, JsonValue]) -> None:
        member = self._member(payload)
        if self._members.get(member, ()) is None:
            self._report("no member any more")
        self._members[member] = None

    def _paused(self, payload: Mapping[str, JsonValue]) -> None:
        self._change_pause((True, str(payload.get("reason") or "")), payload)

    def _unpaused(self, payload: Mapping[str, JsonValue]) -> None:
        self._change_pause((False, ""), payload)

    def _change_pause(self, pause: tuple[bool, str], payload: Mapping[str, JsonValue]) -> None:
        member = self._member(payload)
        if member in self._members:
            before = self._members[member]
            if before is None:
                self._report("no member")
            elif before == pause or (not pause[0] and not before[0]):
                self._report("nothing has changed")
        self._members[member] = pause
