"""GroupIndex: the candidates of an event contain every group that may see it, and few others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_events import event
from world import World

from callcenter_ws.delivery import tenant
from callcenter_ws.delivery.group_index import GroupIndex
from callcenter_ws.delivery.subscription import Subscription
from callcenter_ws.events.catalogue import CATALOGUE
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls, group_may_see, may_see

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


@dataclass(eq=False)
class FakeGroup:
    """The part of a Group that the index reads."""

    principal: Principal
    queues: frozenset[str] | None = None


def subscription(group: FakeGroup) -> Subscription:
    """Return the subscription of a group's clients: all event types, of the group's queues."""
    made = Subscription(Role.SUPERVISOR)
    made.names = frozenset(CATALOGUE)
    made.queues = group.queues
    return made


@given(
    st.lists(st.tuples(principals, st.none() | st.frozensets(st.sampled_from(QUEUES))), max_size=12),
    st.sets(st.integers(0, 11)),
    st.sampled_from(sorted(CATALOGUE.keys() - {"notification", "command.done", "command.failed"})),
    st.sampled_from([None, *QUEUES]),
    st.sampled_from([None, *USERS]),
    st.sampled_from(["all", "own"]),
)
def test_every_group_that_may_see_an_event_is_a_candidate(
    interests: list[tuple[Principal, frozenset[str] | None]],
    removed: set[int],
    type_: str,
    queue: str | None,
    agent: str | None,
    policy: AgentCalls,
) -> None:
    index = GroupIndex(policy, "own")
    groups: list[Any] = [FakeGroup(*interest) for interest in interests]
    for group in groups:
        index.add(group)
    for number in sorted(removed):
        if number < len(groups):
            index.remove(groups[number])
    remaining = {group for number, group in enumerate(groups) if number not in removed}
    fields = {name: value for name, value in (("queue_name", queue), ("agent_id", agent)) if value is not None}
    made = event(type_, fields)
    candidates = list(index.candidates(made))
    assert len(candidates) == len(set(candidates))
    assert set(candidates) <= remaining
    subscribed = {group for group in groups if subscription(group).admits(made)}
    assert set(candidates) <= subscribed
    # Agents to whom a chat is assigned are found by their user, and not by this index.
    seeing = {group for group in subscribed if group_may_see(group.principal, made, policy, "own")}
    assert seeing & remaining <= set(candidates)


def test_after_the_last_group_was_removed_the_index_is_empty() -> None:
    index = GroupIndex("own", "own")
    groups: list[Any] = [
        FakeGroup(Principal("acme", user, Role.AGENT, queues=frozenset(QUEUES) if user == "ada" else None))
        for user in USERS
    ]
    for group in groups:
        index.add(group)
    for group in groups:
        index.remove(group)
    assert not any(value for name, value in vars(index).items() if name not in ("agent_calls", "agent_chats"))


@pytest.mark.parametrize("policy", ["all", "own"])
def test_an_event_of_a_queue_examines_only_the_groups_of_that_queue(
    policy: AgentCalls, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(agent_calls=policy)
    peers = [
        world.live(Role.AGENT, user_id=f"a-{number}", queues=frozenset([f"queue-{number}"])) for number in range(50)
    ]
    for peer in peers:
        peer.take()
    examined: list[Principal] = []
    monkeypatch.setattr(tenant, "may_see", lambda user, *rest: examined.append(user) or may_see(user, *rest))
    payload = {"unique_id": "1", "caller_id": "1", "destination": "2", "queue_name": "queue-7"}
    world.publish("call.incoming", payload)
    world.turn()
    assert [user.user_id for user in examined] == ["a-7"]
    assert [number for number, peer in enumerate(peers) if peer.take()] == [7]
