"""Live figures: their order among events, who sees them, and clients that do not read."""

from __future__ import annotations

import json
from typing import Any

import pytest
from world import ACME, World

from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode
from callcenter_ws.events.principal import Role
from callcenter_ws.figures.plan import Plan, TenantPlan
from callcenter_ws.statistics.store import LiveFigure


class Store:
    """The live figures of a store."""

    def __init__(self) -> None:
        self.figures: list[LiveFigure] = []

    async def live(self, tenant_id: str) -> list[LiveFigure]:
        return self.figures


def figure(key: str, seq: int, **payload: Any) -> LiveFigure:
    type_, _, name = key.partition(":")
    about = {"queue.stats": {"queue_name": name}, "agent.stats": {"user_id": name}}.get(type_, {})
    payload = {"epoch": "e", "as_of_seq": seq, "generated_at": "2026-11-23T09:00:00.000Z", **about, **payload}
    return LiveFigure(key, json.dumps({"type": type_, "tenant_id": ACME, "payload": payload}).encode())


ALL = [
    figure("queue.stats:sales", 1),
    figure("queue.stats:help", 1),
    figure("agent.stats:7", 1, queues=["sales"]),
    figure("agent.stats:8", 1, queues=["help"]),
    figure("tenant.stats:", 1),
]


@pytest.fixture
def figures_of(world: World) -> World:
    world.hub.use_figures(Store(), Plan(default=TenantPlan()))  # type: ignore[arg-type]
    return world


def keys(messages: list[Any]) -> set[str]:
    found = set()
    for message in messages:
        payload = message["payload"]
        name = payload.get("queue_name") or payload.get("user_id") or ""
        found.add(f"{message['type']}:{name}")
        assert "seq" not in message
        assert "id" not in message
    return found


@pytest.mark.parametrize(
    ("role", "claims", "seen"),
    [
        (Role.SUPERVISOR, {}, {figure.key for figure in ALL}),
        (Role.ADMIN, {"queues": frozenset(["sales"])}, {"queue.stats:sales", "agent.stats:7"}),
        (Role.AGENT, {}, {"queue.stats:sales", "queue.stats:help", "agent.stats:7", "tenant.stats:"}),
        (Role.AGENT, {"queues": frozenset(["help"])}, {"queue.stats:help", "agent.stats:7"}),
        (Role.WALLBOARD, {}, {"queue.stats:sales", "queue.stats:help", "tenant.stats:"}),
        (Role.WALLBOARD, {"queues": frozenset(["help"])}, {"queue.stats:help"}),
        (Role.VISITOR, {"session_id": "s-1"}, set()),
    ],
)  # fmt: skip
def test_who_sees_them_as_they_change_and_on_connecting(
    figures_of: World, role: Role, claims: dict[str, Any], seen: set[str]
) -> None:
    world = figures_of
    peer = world.live(role, user_id="7", **claims)
    world.hub.announce_figures(ACME, ALL)
    world.turn()
    assert keys(peer.read()) == seen
    late = world.connect(role, user_id="7", **claims).read()
    assert late[0]["type"] == "welcome"
    assert keys(late[1:]) == seen


def test_a_client_that_does_not_read_is_sent_the_newest_of_each_once(figures_of: World) -> None:
    world = figures_of
    peer = world.live()
    world.hub.announce_figures(ACME, ALL)
    world.turn()
    peer.read()
    peer.client.pause()
    for seq in range(2, 50):
        world.hub.announce_figures(ACME, [figure("queue.stats:sales", seq)])
        world.turn()
    peer.client.drained()
    world.turn()
    assert [message["payload"]["as_of_seq"] for message in peer.read()] == [49]


def test_three_hundred_queues_do_not_make_a_healthy_client_lag(figures_of: World) -> None:
    world = figures_of
    peer = world.live()
    for seq in (1, 2):
        world.hub.announce_figures(ACME, [figure(f"queue.stats:q{number}", seq) for number in range(300)])
        world.turn()
        assert len(peer.read()) == 300
    assert world.hub.counters.lags == 0


def test_they_follow_resumed_and_are_in_the_snapshot_but_not_among_its_events(figures_of: World) -> None:
    world = figures_of
    world.live()
    world.publish_alerts(2)
    world.publish_queue_stats(3)
    world.hub.announce_figures(ACME, ALL)
    world.turn()
    types = [message["type"] for message in world.resume(1).read()]
    assert types[:3] == ["welcome", "alert", "resumed"]
    assert sorted(types[3:]) == sorted(json.loads(one.message)["type"] for one in ALL)
    messages = world.connect(Role.SUPERVISOR, ConnectOptions(snapshot=True)).read()
    assert [message["type"] for message in messages] == ["welcome", "snapshot"]
    assert keys(messages[1]["payload"]["figures"]) == {one.key for one in ALL}
    assert not [event for event in messages[1]["payload"]["events"] if event["type"] == "queue.stats"]


def test_the_first_client_after_a_pause_is_sent_no_figures_of_before(world: World) -> None:
    store = Store()
    world.hub.use_figures(store, Plan(default=TenantPlan()))  # type: ignore[arg-type]
    first = world.live()
    world.hub.announce_figures(ACME, ALL)
    world.turn()
    assert keys(first.read()) == {one.key for one in ALL}
    first.client.close(CloseCode.NORMAL)
    # This node is not informed of what happens meanwhile: the queue "sales" has other figures, "help" is gone.
    store.figures = [figure("queue.stats:sales", 2)]
    second = world.connect(Role.SUPERVISOR)
    world.turn()
    assert [(one["type"], one["payload"].get("as_of_seq")) for one in second.read()[1:]] == [("queue.stats", 2)]


def test_clients_of_one_interest_stay_one_group(figures_of: World) -> None:
    world = figures_of
    for number in range(5):
        world.live(Role.AGENT, user_id=str(number))
    world.hub.announce_figures(ACME, ALL)
    world.turn()
    assert len(world.hub.tenant_to_read(ACME)._groups) == 1
