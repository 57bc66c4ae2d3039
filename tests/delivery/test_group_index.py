"""The groups that an event is shown to are all among those that are looked at, and few others are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from core_stage import Stage
from core_world import event
from hypothesis import given
from hypothesis import strategies as st

from callcenter_ws.delivery.group_index import GroupIndex
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls, may_see

QUEUES = ["sales", "support", "billing"]
USERS = ["ada", "bob", "eve"]
ROLES = [role for role in Role if role is not Role.VISITOR]

principals = st.builds(
    Principal,
    tenant_id=st.just("acme"),
    user_id=st.sampled_from(USERS),
    role=st.sampled_from(ROLES),
    queues=st.none() | st.frozensets(st.sampled_from(QUEUES)),
)


def group_of(principal: Principal) -> Any:
    class Group(SimpleNamespace):
        __hash__ = object.__hash__

    return Group(principal=principal)


@given(
    st.lists(principals, max_size=12),
    st.sets(st.integers(0, 11)),
    st.sampled_from(sorted(CATALOGUE.keys() - {"notification"})),
    st.sampled_from(QUEUES),
    st.sampled_from([None, *USERS]),
    st.sampled_from(["all", "own"]),
)
def test_whoever_may_see_it_is_a_candidate(
    people: list[Principal], gone: set[int], type_: str, queue: str, agent: str | None, policy: AgentCalls
) -> None:
    audience = GroupIndex(policy)
    groups = [group_of(principal) for principal in people]
    for group in groups:
        audience.add(group)
    for place in sorted(gone):
        if place < len(groups):
            audience.remove(groups[place])
    staying = {id(group) for place, group in enumerate(groups) if place not in gone}
    more = {"queue_name": queue} if agent is None else {"queue_name": queue, "agent_id": agent}
    told = event(type_, more if "queue_name" not in type_ else {})
    candidates = [id(group) for group in audience.candidates(told)]
    assert len(candidates) == len(set(candidates))
    assert set(candidates) <= staying
    seeing = {id(group) for group in groups if may_see(group.principal, told, policy)}
    assert seeing & staying <= set(candidates)


def test_when_all_are_gone_nothing_is_kept() -> None:
    audience = GroupIndex("own")
    groups = [
        group_of(Principal("acme", user, Role.AGENT, queues=frozenset(QUEUES) if user == "ada" else None))
        for user in USERS
    ]
    for group in groups:
        audience.add(group)
    for group in groups:
        audience.remove(group)
    assert not any(value for name, value in vars(audience).items() if name != "_agent_calls")


@pytest.mark.parametrize("policy", ["all", "own"])
def test_an_event_of_a_queue_looks_at_those_of_that_queue(policy: AgentCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    from callcenter_ws.delivery import tenant

    stage = Stage(agent_calls=policy)
    sockets = [
        stage.live(role=Role.AGENT, user_id=f"a-{number}", queues=frozenset([f"queue-{number}"]))
        for number in range(50)
    ]
    for socket in sockets:
        socket.take()
    looked: list[Principal] = []
    judge = tenant.may_see
    monkeypatch.setattr(tenant, "may_see", lambda who, *rest: looked.append(who) or judge(who, *rest))
    payload = {"unique_id": "1", "caller_id": "1", "destination": "2", "queue_name": "queue-7"}
    stage.publish("call.incoming", payload)
    stage.settle()
    assert [who.user_id for who in looked] == ["a-7"]
    assert [number for number, socket in enumerate(sockets) if socket.take()] == [7]
