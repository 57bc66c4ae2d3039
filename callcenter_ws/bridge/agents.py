"""Agents: the users of devices, whether each is logged in, and their states.

A user is logged in while it is a member of a queue, or is logged in as an agent of the exchange by a call. Only those
have ``agent.*`` events; calls of other users have ``call.*`` alone, so that no user is shown whom no logout
would ever remove. A user in queues of two tenants is an agent of both; each receives its own queues only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from callcenter_ws.bridge.activities import Activity
from callcenter_ws.bridge.agent_states import Device, Member, merged_state
from callcenter_ws.bridge.directory import Directory, User
from callcenter_ws.bridge.outgoing import Outgoing
from callcenter_ws.runtime.json import JsonValue, encode_json, rfc3339

RECORD_PREFIX = "agent/"

_MAX_USERS = 20_000
"""Users of one exchange. Activities and memberships of further ones make no agent, and are counted."""

_STEP_AGENTS = 20
"""Agents whose changes are published in one step after a comparison."""

_MAX_CALLS = 32
"""Calls of one user at the same time. Further ones do not change its state, and are counted."""


class AgentRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The published state of an agent who is logged in: that of the last event."""

    tenant_id: str
    user_id: str
    username: str
    state: str
    reason: str = ""
    extension: str = ""

    @property
    def key(self) -> str:
        """The key of the record."""
        return f"{RECORD_PREFIX}{self.tenant_id}/{self.user_id}"


class _Agent:
    """A user of devices.

    Attributes:
        changed_at: the time of the last fact.
        activities: what it does, by call.
        logins: the tenants of its logins by calls, by the name of the exchange's agent.
        told: what was published, by tenant.
    """

    __slots__ = ("activities", "changed_at", "logins", "members", "told", "user")

    def __init__(self, user: User) -> None:
        self.user = user
        self.changed_at = 0.0
        self.activities: dict[str, Activity] = {}
        self.members: set[Member] = set()
        self.logins: dict[str, str] = {}
        self.told: dict[str, AgentRecord] = {}

    @property
    def is_unused(self) -> bool:
        return not (self.activities or self.members or self.logins or self.told)

    def devices(self) -> list[Device]:
        """Return the devices that count: while it is logged in by a call, its phone is in use by that call."""
        members = (member for member in self.members if member.needs_login or not self.logins)
        return list({member.device for member in members if member.is_logged_in})

    def doings(self) -> list[Activity]:
        """Return the activities that count: the call by which it is logged in does not."""
        return [activity for activity in self.activities.values() if activity != "busy" or not self.logins]


class Agents:
    """Publishes logins, logouts and changes of state. ``settle`` publishes them, after all facts of one moment.

    Attributes:
        dropped: what was over a limit, counted by kind (``users``, ``agent_calls``).
    """

    def __init__(self, outgoing: Outgoing, directory: Directory) -> None:
        self.dropped: dict[str, int] = {}
        self._outgoing = outgoing
        self._directory = directory
        self._agents: dict[str, _Agent] = {}
        self._changed: dict[str, _Agent] = {}
        self._wrapping: dict[str, float] = {}
        self._number = 0
        self._is_waiting = False

    # Restart and reconciliation

    def restore(self, records: Mapping[str, bytes]) -> None:
        """Take over what an earlier process published. Nothing is published before ``resume``."""
        for record in self._outgoing.restored(records, RECORD_PREFIX, AgentRecord):
            agent = self._agent(User(record.user_id, record.username, record.extension))
            if agent is not None:
                agent.told[record.tenant_id] = record
                self._changed[record.user_id] = agent
                self._is_waiting = True

    def wait(self) -> None:
        """Tell nothing until ``resume``: calls and members are being compared with the lists of the exchange."""
        self._is_waiting = True

    def resume(self, time: float) -> None:
        """Tell what has changed since ``wait``."""
        for _ in self.resuming(time):
            pass

    def resuming(self, time: float) -> Iterator[None]:
        """Do the same in steps; each takes about a millisecond."""
        self._is_waiting = False
        changed, self._changed = self._changed, {}
        for number, (user_id, agent) in enumerate(changed.items()):
            if number % _STEP_AGENTS == 0:
                yield
            agent.changed_at = time
            self._settle(user_id, agent)

    # Facts

    def set_activity(self, user_id: str, call_id: str, activity: Activity, time: float) -> None:
        """Note what a user does in a call; empty: nothing any more."""
        agent = self._agents.get(user_id)
        if not activity:
            if agent is not None and agent.activities.pop(call_id, None) is not None:
                self._release_devices(agent)
                self._touch(agent, time)
            return
        agent = agent or self._agent(User(user_id))
        if agent is None or agent.activities.get(call_id) == activity:
            return
        if call_id not in agent.activities and len(agent.activities) >= _MAX_CALLS:
            self._drop("agent_calls")
            return
        agent.activities[call_id] = activity
        self._touch(agent, time)

    def log_in(self, user: User, name: str, tenant_id: str, time: float) -> None:
        """Note that a user logged in as an agent of the exchange, by a call.

        Args:
            name: that of the exchange's agent.
            tenant_id: that of the user while it is in no queue; empty: it has none.
        """
        agent = self._agent(user)
        if agent is not None:
            agent.user = user
            agent.logins[name] = tenant_id
            self._touch(agent, time)

    def log_out(self, user_id: str, name: str, time: float) -> None:
        """Note that a login by a call is over."""
        agent = self._agents.get(user_id)
        if agent is not None and agent.logins.pop(name, None) is not None:
            # The call of the login is over as well.
            agent.activities = {call: activity for call, activity in agent.activities.items() if activity != "busy"}
            self._release_devices(agent)
            self._touch(agent, time)

    def add_member(self, member: Member, time: float) -> None:
        """Note a membership of a queue."""
        agent = self._agent(member.user) if member.user is not None else None
        if agent is not None and member.user is not None:
            agent.user = member.user
            agent.members.add(member)
            self._touch(agent, time)

    def remove_member(self, member: Member, time: float) -> None:
        """Note the end of a membership."""
        agent = self._agents.get(member.user.user_id) if member.user is not None else None
        if agent is not None:
            agent.members.discard(member)
            self._touch(agent, time)

    def memberships(self, user_id: str) -> Iterable[Member]:
        """Return the memberships of a user, in any order."""
        agent = self._agents.get(user_id)
        return () if agent is None else tuple(agent.members)

    def state_of(self, tenant_id: str, user_id: str) -> str:
        """Return the state of a user as it was published; empty: it is not logged in."""
        agent = self._agents.get(user_id)
        told = None if agent is None else agent.told.get(tenant_id)
        return "" if told is None else told.state

    def change_member(self, member: Member, time: float) -> None:
        """Note that the status of a member, its pause or its work after a call has changed."""
        agent = self._agents.get(member.user.user_id) if member.user is not None else None
        if agent is not None:
            if member.wraps_up_until > time:
                self._wrapping[agent.user.user_id] = member.wraps_up_until
            self._touch(agent, time)

    def advance(self, time: float) -> None:
        """End the time for work after a call where it is over."""
        if not self._wrapping:
            return
        for user_id, until in list(self._wrapping.items()):
            if until <= time:
                del self._wrapping[user_id]
                agent = self._agents.get(user_id)
                if agent is not None:
                    self._touch(agent, until)
        self.settle()

    # Events

    def settle(self) -> None:
        """Publish what the facts since the last call have changed."""
        if self._is_waiting or not self._changed:
            return
        changed, self._changed = self._changed, {}
        for user_id, agent in changed.items():
            self._settle(user_id, agent)

    def _settle(self, user_id: str, agent: _Agent) -> None:
        self._publish(agent)
        if agent.is_unused:
            self._agents.pop(user_id, None)

    def _publish(self, agent: _Agent) -> None:
        by_tenant: dict[str, list[Member]] = {}
        for member in agent.members:
            if member.is_logged_in and member.agent_tenant:
                by_tenant.setdefault(member.agent_tenant, []).append(member)
        if not by_tenant:
            by_tenant = {tenant_id: [] for tenant_id in agent.logins.values() if tenant_id}
        for tenant_id in [tenant_id for tenant_id in agent.told if tenant_id not in by_tenant]:
            self._publish_logout(agent, agent.told.pop(tenant_id))
        for tenant_id in sorted(by_tenant):
            self._publish_state(agent, tenant_id, by_tenant[tenant_id])

    def _publish_state(self, agent: _Agent, tenant_id: str, members: list[Member]) -> None:
        user = agent.user
        told = agent.told.get(tenant_id)
        state, reason = merged_state(agent.doings(), members, agent.devices(), agent.changed_at)
        # A name that comes of queue members stays: they may be named differently in each queue.
        name = self._directory.name_of(user) if told is None or user.username else told.username
        record = AgentRecord(tenant_id, user.user_id, name, state, reason, user.extension)
        if record == told:
            return
        payload: dict[str, JsonValue] = {"user_id": user.user_id, "username": record.username}
        if user.extension:
            payload["extension"] = user.extension
        if told is None:
            payload["state"] = state
            payload["queues"] = sorted({member.queue for member in members})
            payload["interface"] = _interface_of(members)
            type_ = "agent.login"
        else:
            payload["state"], payload["previous_state"] = state, told.state
            payload["since_at"] = rfc3339(agent.changed_at)
            type_ = "agent.state.changed"
        if reason:
            payload["reason"] = reason
        agent.told[tenant_id] = record
        self._emit(type_, agent, tenant_id, payload)
        self._outgoing.record(record.key, encode_json(record))

    def _publish_logout(self, agent: _Agent, told: AgentRecord) -> None:
        self._emit("agent.logout", agent, told.tenant_id, {"user_id": told.user_id, "username": told.username})
        self._outgoing.record(told.key, None)

    def _emit(self, type_: str, agent: _Agent, tenant_id: str, payload: Mapping[str, JsonValue]) -> None:
        self._number += 1
        # The time keeps the ids of two processes apart, as the number begins again with each.
        entity = f"{tenant_id[:40]}/{agent.user.user_id[:60]}@{agent.changed_at:.3f}"
        self._outgoing.publish(type_, tenant_id, agent.changed_at, entity, self._number, payload)

    # The table

    def _agent(self, user: User) -> _Agent | None:
        """Return the entry of a user, made if it is new; None if there are too many."""
        agent = self._agents.get(user.user_id)
        if agent is None:
            if len(self._agents) >= _MAX_USERS:
                self._drop("users")
                return None
            agent = self._agents[user.user_id] = _Agent(user)
        return agent

    def _touch(self, agent: _Agent, time: float) -> None:
        agent.changed_at = time
        self._changed[agent.user.user_id] = agent

    def _release_devices(self, agent: _Agent) -> None:
        """Ignore the status of the devices of a user without calls until the exchange tells a new one."""
        if not agent.doings():
            for member in agent.members:
                member.device.is_explained = True

    def _drop(self, kind: str) -> None:
        self.dropped[kind] = self.dropped.get(kind, 0) + 1


def _interface_of(members: Iterable[Member]) -> str:
    """Return the device that gives most members of a user their status, the first of them by name."""
    counts: dict[str, int] = {}
    for member in members:
        counts[member.device.name] = counts.get(member.device.name, 0) + 1
    return min(counts, key=lambda name: (-counts[name], name), default="")
