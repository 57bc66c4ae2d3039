"""/ws/stats."""

from __future__ import annotations

import json

import pytest
from http_world import MINE, OTHER, HttpWorld


def test_a_tenants_token_reads_its_own_stats(world: HttpWorld) -> None:
    stats = world.ask("GET", "/ws/stats", f"supervisor:{MINE}:u1").json
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
    assert stats["statistics"] == {"state": "current", "epoch": "e", "seq": 7, "behind": 0}
    assert "sources" not in stats
    assert OTHER not in json.dumps(stats)


def test_an_admin_for_all_tenants_reads_all_stats(world: HttpWorld) -> None:
    world.ask("POST", "/ws/events", f"service:{MINE}:u1", b'{"type": "nonsense"}')
    stats = world.ask("GET", "/ws/stats", "admin:*:u1").json
    assert world.people.asked == [None]
    assert stats["tenant_id"] is None
    assert stats["connections"]["by_tenant"] == {MINE: 2, OTHER: 1}
    assert stats["messages"]["refused"] == {"unknown_event": 1}
    assert (stats["messages"]["accepted"], stats["messages"]["duplicates"]) == (0, 0)
    assert stats["broker"] == world.broker.state()
    assert stats["sources"] == {"connected": 2, "lost": 1}
    assert stats["statistics"] == {"tenants": {"current": 1}, "behind": 3}


def test_a_tenant_whose_statistics_are_off_has_no_part_about_them(world: HttpWorld) -> None:
    assert "statistics" not in world.ask("GET", "/ws/stats", f"supervisor:{OTHER}:u1").json


@pytest.mark.parametrize("path", ["/ws/stats?tenant_id=globex", "/ws/stats?tenant_id=glob%65x"])
@pytest.mark.parametrize("token", ["admin:*:u1", "service:*:u1"])
def test_a_token_for_all_tenants_can_select_one(world: HttpWorld, token: str, path: str) -> None:
    assert world.ask("GET", path, token).json["tenant_id"] == OTHER
    assert world.people.asked == [OTHER]


@pytest.mark.parametrize(
    ("token", "query", "status"),
    [
        ("agent:acme:u1", "", 200),
        ("wallboard:acme:u1", "", 200),
        ("service:acme:u1", "", 200),
        ("agent:acme:u1", "?tenant_id=acme", 200),
        ("agent:acme:u1", "?tenant_id=globex", 403),
        ("admin:acme:u1", "?tenant_id=globex", 403),
        ("admin:acme:u1", "?tenant_id=*", 403),
        ("visitor:acme:u1", "", 403),
        ("service:*:u1", "", 403),
        ("admin:*:u1", "?tenant_id=*", 200),
        ("admin:*:u1", "?tenant_id=a&tenant_id=b", 400),
        ("admin:*:u1", "?tenant_id=%ff", 400),
        ("admin:*:u1", "?tenant_id=%zz", 400),
        ("admin:acme:u1", "?tenant_id=acme&x=%4", 400),
        ("admin:*:u1", "?tenant_id=", 400),
        ("admin:*:u1", "?tenant_id=" + "x" * 256, 400),
    ],
)
def test_roles_and_tenants(world: HttpWorld, token: str, query: str, status: int) -> None:
    assert world.ask("GET", f"/ws/stats{query}", token).status == status
    assert bool(world.people.asked) == (status == 200)
