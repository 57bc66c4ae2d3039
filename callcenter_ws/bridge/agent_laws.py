"""The laws of agents and queue members (``laws``)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.runtime.json import JsonValue

GRACE_SECONDS = 2.0
"""So long after the end of its last call an agent may still be shown in a call: its state comes with another event."""

_IN_CALL = ("talking", "hold")
_ENGAGED = ("talking", "hold", "ringing")


@dataclass(slots=True)
class _Agent:
    """One user, as the events of one tenant tell it.

    Attributes:
        user_id: that of the user.
        state: the last one; empty if none was published.
        calls: the answered calls that it is in, of any tenant.
        free_since: the end of the last of them, while its state still says that it is in one; None otherwise.
    """

    user_id: str
    calls: set[str]
    state: str = ""
    reason: str = ""
    username: str = ""
    extension: str = ""
    is_logged_in: bool | None = None
    free_since: float | None = None


class AgentLaws:
    """Checks the published events of agents and members.

    Args:
        report: called with the text of each breach.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._agents: dict[tuple[str, str], _Agent] = {}
        self._calls: dict[str, set[str]] = {}
        self._members: dict[tuple[str, ...], tuple[bool, str] | None] = {}
        # What a caller may be known by, of each answered call that an agent may have made.
        self._callers: dict[str, frozenset[str]] = {}
        self._free: set[tuple[str, str]] = set()
        self._checks: dict[str, Callable[[str, Mapping[str, JsonValue]], None]] = {
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
            check(event.tenant_id, event.payload)
        self.check_time(event.time)

    def check_time(self, time: float) -> None:
        """Check that no agent is shown in a call long after its end."""
        for key in [key for key in self._free if self._is_overdue(key, time)]:
            self._free.discard(key)
            self._report(f"agent {key[1]} is still {self._agents[key].state}, and its call is over")

    def finish(self, *, is_idle: bool) -> None:
        """Check what shows only at the end."""
        for agent in self._agents.values():
            if is_idle and agent.state in _ENGAGED:
                self._report(f"agent {agent.user_id} is {agent.state}")

    # What calls say of agents

    def answered(self, user_id: str, call_id: str, callers: frozenset[str], time: float) -> None:
        """Note that an agent has answered a call, and who may have called."""
        self._callers[call_id] = callers
        self._calls.setdefault(user_id, set()).add(call_id)
        for key, agent in self._agents.items():
            if agent.user_id == user_id:
                agent.free_since = None
                self._free.discard(key)
        self.check_time(time)

    def left(self, user_id: str, call_id: str, time: float) -> None:
        """Note that an agent is no longer in a call."""
        calls = self._calls.get(user_id)
        if calls is not None:
            calls.discard(call_id)
            self._watch(time)

    def ended(self, call_id: str, time: float) -> None:
        """Note that a call has ended."""
        self._callers.pop(call_id, None)
        for calls in self._calls.values():
            calls.discard(call_id)
        self._watch(time)
        self.check_time(time)

    def is_in(self, user_id: str, call_id: str) -> bool:
        """Return whether an agent that has answered a call is still in it, as far as its states tell."""
        return call_id in self._calls.get(user_id, ())

    def has_state(self, user_id: str) -> bool:
        """Return whether the activity of an agent is published: not that of a device without a user."""
        return any(agent.user_id == user_id and agent.state for agent in self._agents.values())

    def _watch(self, time: float) -> None:
        for key, agent in self._agents.items():
            if agent.state in _IN_CALL and agent.free_since is None and not self._may_talk(agent):
                agent.free_since = time
                self._free.add(key)

    def _is_overdue(self, key: tuple[str, str], time: float) -> bool:
        since = self._agents[key].free_since
        return since is not None and time > since + GRACE_SECONDS

    def _may_talk(self, agent: _Agent) -> bool:
        names = {agent.user_id, agent.extension} - {""}
        return bool(agent.calls) or any(names & callers for callers in self._callers.values())

    # Agents

    def _agent(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> tuple[tuple[str, str], _Agent]:
        user_id = str(payload.get("user_id") or "")
        key = (tenant_id, user_id)
        agent = self._agents.get(key)
        if agent is None:
            agent = self._agents[key] = _Agent(user_id, self._calls.setdefault(user_id, set()))
        agent.username = str(payload.get("username") or "")
        agent.extension = str(payload.get("extension") or agent.extension)
        return key, agent

    def _login(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        _, agent = self._agent(tenant_id, payload)
        if agent.is_logged_in:
            self._report("logged in already")
        agent.is_logged_in = True
        agent.state, agent.reason = str(payload.get("state") or "available"), str(payload.get("reason") or "")

    def _logout(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        key, agent = self._agent(tenant_id, payload)
        if agent.is_logged_in is False:
            self._report("not logged in")
        agent.is_logged_in = False
        agent.state, agent.reason = "", ""
        self._free.discard(key)

    def _state(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        before = self._agents.get((tenant_id, str(payload.get("user_id") or "")))
        names = None if before is None else (before.username, before.extension)
        key, agent = self._agent(tenant_id, payload)
        state, reason = str(payload.get("state") or ""), str(payload.get("reason") or "")
        previous = str(payload.get("previous_state") or "")
        if agent.state and previous and previous != agent.state:
            self._report(f"previous_state is {previous}, and the last state was {agent.state}")
        if (state, reason) == (agent.state, agent.reason) and names == (agent.username, agent.extension):
            self._report("nothing has changed")
        agent.state, agent.reason = state, reason
        agent.free_since = None
        self._free.discard(key)
        if state not in _IN_CALL:
            agent.calls.clear()
        elif state in _IN_CALL and not self._may_talk(agent):
            self._report(f"{state} without an answered call")

    # Members

    def _member(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> tuple[str, ...]:
        return (
            tenant_id,
            str(payload.get("queue_name") or ""),
            str(payload.get("interface") or payload.get("user_id") or ""),
        )

    def _added(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        member = self._member(tenant_id, payload)
        if self._members.get(member) is not None:
            self._report("a member already")
        self._members[member] = (bool(payload.get("paused")), str(payload.get("reason") or ""))

    def _removed(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        member = self._member(tenant_id, payload)
        if self._members.get(member, ()) is None:
            self._report("no member any more")
        self._members[member] = None

    def _paused(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        self._change_pause((True, str(payload.get("reason") or "")), self._member(tenant_id, payload))

    def _unpaused(self, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        self._change_pause((False, ""), self._member(tenant_id, payload))

    def _change_pause(self, pause: tuple[bool, str], member: tuple[str, ...]) -> None:
        if member in self._members:
            before = self._members[member]
            if before is None:
                self._report("no member")
            elif before == pause or (not pause[0] and not before[0]):
                self._report("nothing has changed")
        self._members[member] = pause
