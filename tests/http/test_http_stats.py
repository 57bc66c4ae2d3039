"""/ws/stats."""

from __future__ import annotations

import json

import pytest
from http_world import MINE, OTHER, World


def test_a_tenant_sees_itself(world: World) -> None:
    stats = world.ask("GET", "/ws/stats", f"supervisor@{MINE}").json
    assert world.people.asked == [MINE]
    assert stats["node"] == "node-1"
    assert stats["worker"] is None
    assert stats["version"] == "1.2.3"
    assert stats["uptime"] == 90
    assert stats["started_at"].endswith("Z")
    assert stats["tenant_id"] == MINE
    assert stats["messages"] == {"in": 7, "delivered": 21, "dropped": 1}
    assert stats["lagging"] == 1
    assert stats["broker"] == {"kind": "memory", "ready": True}
    assert OTHER not in json.dumps(stats)


def test_an_admin_of_every_tenant_sees_all(world: World) -> None:
    world.ask("POST", "/ws/events", f"service@{MINE}", b'{"type": "nonsense"}')
    stats = world.ask("GET", "/ws/stats", "admin@*").json
    assert world.people.asked == [None]
    assert stats["tenant_id"] is None
    assert stats["connections"]["by_tenant"] == {MINE: 2, OTHER: 1}
    assert stats["messages"]["refused"] == {"unknown_event": 1}
    assert (stats["messages"]["accepted"], stats["messages"]["duplicates"]) == (0, 0)
    assert stats["broker"] == world.broker.state()


@pytest.mark.parametrize("path", ["/ws/stats?tenant_id=globex", "/ws/stats?tenant_id=glob%65x"])
@pytest.mark.parametrize("token", ["admin@*", "service@*"])
def test_a_token_of_every_tenant_narrows_to_one(world: World, token: str, path: str) -> None:
    assert world.ask("GET", path, token).json["tenant_id"] == OTHER
    assert world.people.asked == [OTHER]


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        ("agent@acme", "", 200),
        ("wallboard@acme", "", 200),
        ("service@acme", "", 200),
        ("agent@acme", "?tenant_id=acme", 200),
        ("agent@acme", "?tenant_id=globex", 403),
        ("admin@acme", "?tenant_id=globex", 403),
        ("admin@acme", "?tenant_id=*", 403),
        ("visitor@acme", "", 403),
        ("service@*", "", 403),
        ("admin@*", "?tenant_id=*", 200),
        ("admin@*", "?tenant_id=a&tenant_id=b", 400),
        ("admin@*", "?tenant_id=%ff", 400),
        ("admin@*", "?tenant_id=", 400),
        ("admin@*", "?tenant_id=" + "x" * 256, 400),
    ],
)
def test_who_may_ask(world: World, token: str, query: str, status: int) -> None:
    assert world.ask("GET", f"/ws/stats{query}", token).status == status
    assert bool(world.people.asked) == (status == 200)
