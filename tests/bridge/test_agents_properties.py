"""Whatever happens in whatever order, what is told of agents and members is consistent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from callcenter_ws.bridge.outgoing import BridgeEvent
from callcenter_ws.bridge.settings import AgentEntry, TenantRule
from tests.bridge.agent_world import ALICE, GLOBEX, AgentWorld

_QUEUES = st.sampled_from(["support", "sales", "globex-desk"])
_INTERFACES = st.sampled_from(["PJSIP/201", "PJSIP/202", "Local/201@agents/n", "Local/1@robots/n"])
_STATUSES = st.sampled_from(["unknown", "idle", "in_use", "ringing", "unreachable", None])
_FACTS = st.fixed_dictionaries(
    {"status": _STATUSES, "paused": st.booleans(), "reason": st.sampled_from(["", "Lunch"]), "penalty": st.just(1)}
)
_MAPS = st.sampled_from([{}, ALICE, {"PJSIP/202": AgentEntry(user_id="201")}])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), _QUEUES, _INTERFACES, _FACTS),
        st.tuples(st.just("pause"), _QUEUES, _INTERFACES, _FACTS),
        st.tuples(st.just("remove"), _QUEUES, _INTERFACES),
        st.tuples(
            st.just("act"),
            st.sampled_from(["201", "202", "203"]),
            st.sampled_from(["call-1", "call-2"]),
            st.sampled_from(["", "busy", "ringing", "talking", "hold"]),
        ),
        st.tuples(st.just("list"), st.lists(st.tuples(_QUEUES, _INTERFACES, _FACTS), max_size=4)),
        st.tuples(st.just("reload"), _MAPS, st.booleans()),
        st.tuples(st.just("restart")),
    ),
    max_size=30,
)


class _Checked:
    """A world that restarts, with what was told by all its runs, checked as a client would."""

    def __init__(self) -> None:
        self.agents: dict[str, AgentEntry] = dict(ALICE)
        self.rules: tuple[TenantRule, ...] = (GLOBEX,)
        self.world = AgentWorld(self.rules, self.agents)
        self.activities: dict[tuple[str, str], str] = {}
        self.states: dict[tuple[str, str], str] = {}
        self.members: dict[tuple[str, str, str], tuple[bool, str]] = {}

    def do(self, kind: str, *details: Any) -> None:  # Any: the details of a step
        world = self.world
        world.time += 1
        if kind == "update":
            world.members.update(world.facts(details[0], details[1], **details[2]), world.time)
        elif kind == "pause":
            world.members.change_pause(world.facts(details[0], details[1], **details[2]), world.time)
        elif kind == "remove":
            member = world.members.get(*details)
            if member is not None:
                world.members.remove(member, world.time)
        elif kind == "act":
            user_id, call_id, activity = details
            self.activities[user_id, call_id] = activity
            world.agents.set_activity(user_id, call_id, activity, world.time)
        elif kind == "list":
            self._synchronize(details[0])
        elif kind == "reload":
            self._reload(*details)
        else:
            self._restart()
        self.check(self.world.events())

    def _synchronize(self, listed: Sequence[tuple[str, str, dict[str, Any]]]) -> None:  # Any: fields of facts
        self.world.agents.wait()
        facts = {(queue, interface): (queue, interface, details) for queue, interface, details in listed}
        self.world.members.synchronize(
            [self.world.facts(queue, interface, **details) for queue, interface, details in facts.values()],
            self.world.time,
        )
        self.world.agents.resume(self.world.time)

    def _reload(self, agents: dict[str, AgentEntry], with_globex: bool) -> None:
        self.agents, self.rules = agents, (GLOBEX,) if with_globex else ()
        self.world.directory.reload(agents, "PJSIP/(?P<user_id>[0-9]+)")
        self.world.rules.replace(self.rules, "acme")
        self.world.members.remap(self.world.time)

    def _restart(self) -> None:
        known = [
            (member.queue, member.interface, {"paused": member.paused, "reason": member.reason, "status": "idle"})
            for member in self.world.members._members.values()
        ]
        time, records = self.world.time, self.world.records
        self.world = AgentWorld(self.rules, self.agents, records=records)
        self.world.time = time
        for (user_id, call_id), activity in self.activities.items():
            self.world.agents.set_activity(user_id, call_id, activity, time)  # type: ignore[arg-type]  # it is one
        assert self.world.told() == [] or not records
        self._synchronize(known)

    def check(self, events: Sequence[BridgeEvent]) -> None:
        for event in events:
            payload = event.payload
            agent = (event.tenant_id, str(payload["user_id"]))
            if event.type == "agent.login":
                assert agent not in self.states
                self.states[agent] = payload["state"]
            elif event.type == "agent.logout":
                del self.states[agent]
            elif event.type == "agent.state.changed":
                assert self.states[agent] == payload["previous_state"]
                self.states[agent] = payload["state"]
            else:
                self._check_member(event)
        for (_, user_id), state in self.states.items():
            doing = {activity for (user, _), activity in self.activities.items() if user == user_id}
            assert (state == "talking") == ("talking" in doing)
            assert (state == "hold") == ("hold" in doing and "talking" not in doing)
        users = {(tenant, user) for tenant, user in self.states}
        assert users == {
            (member.agent_tenant, member.user.user_id)
            for member in self.world.members._members.values()
            if member.user is not None
        }

    def _check_member(self, event: BridgeEvent) -> None:
        payload = event.payload
        member = (event.tenant_id, payload["queue_name"], payload["interface"])
        pause = (payload["paused"], payload.get("reason", "") if payload["paused"] else "")
        if event.type == "queue.member.added":
            assert member not in self.members
        else:
            assert member in self.members
        if event.type == "queue.member.removed":
            del self.members[member]
            return
        if event.type in ("queue.member.paused", "queue.member.unpaused"):
            assert self.members[member] != pause
            assert payload["paused"] == (event.type == "queue.member.paused")
        self.members[member] = pause


@settings(max_examples=150, deadline=None)
@given(_STEPS)
def test_any_sequence_is_told_consistently(steps: list[tuple[Any, ...]]) -> None:  # Any: the details of steps
    checked = _Checked()
    for step in steps:
        checked.do(*step)


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_all_are_logged_out_when_all_members_are_gone(steps: list[tuple[Any, ...]]) -> None:  # Any: as above
    checked = _Checked()
    for step in steps:
        checked.do(*step)
    checked.do("list", [])
    assert (checked.states, checked.members) == ({}, {})
    for user_id, call_id in list(checked.activities):
        checked.do("act", user_id, call_id, "")
    assert checked.world.records == {}
    assert checked.world.agents._agents == {}
