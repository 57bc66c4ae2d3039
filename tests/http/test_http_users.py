"""/ws/users/{user_id}/online."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from http_world import MINE, OTHER, HttpWorld

from callcenter_ws.interfaces import UserPresence


def test_online(world: HttpWorld) -> None:
    world.people.present[MINE, "42"] = UserPresence(True, 2, 1_800_000_000.5, 1_800_000_009)
    response = world.ask("GET", "/ws/users/42/online", f"agent:{MINE}:u1")
    assert response.status == 200
    assert response.json == {
        "user_id": "42",
        "online": True,
        "connections": 2,
        "since": "2027-01-15T08:00:00.500Z",
        "last_seen": "2027-01-15T08:00:09.000Z",
    }


def test_unknown_is_offline(world: HttpWorld) -> None:
    assert world.ask("GET", "/ws/users/9/online", f"agent:{MINE}:u1").json == {
        "user_id": "9",
        "online": False,
        "connections": 0,
        "since": None,
        "last_seen": None,
    }


def test_a_tenant_sees_only_its_own_users(world: HttpWorld) -> None:
    world.people.present[OTHER, "42"] = UserPresence(True, 1, None, None)
    assert not world.ask("GET", "/ws/users/42/online", f"admin:{MINE}:u1").json["online"]
    assert world.ask("GET", "/ws/users/42/online?tenant_id=globex", f"admin:{MINE}:u1").status == 403
    assert world.ask("GET", "/ws/users/42/online?tenant_id=globex", "admin:*:u1").json["online"]


@pytest.mark.parametrize("user_id", ["a/b", "zoë", "100%", "a b", "..", "x" * 255, "日本", "?", "online"])
def test_ids_are_percent_decoded(world: HttpWorld, user_id: str) -> None:
    world.people.present[MINE, user_id] = UserPresence(True, 1, None, None)
    response = world.ask("GET", f"/ws/users/{quote(user_id, safe='')}/online", f"agent:{MINE}:u1")
    assert (response.json["user_id"], response.json["online"]) == (user_id, True)


@pytest.mark.parametrize(
    ("path", "token", "status"),
    [
        ("/ws/users//online", "agent:acme:u1", 400),
        ("/ws/users/%ff/online", "agent:acme:u1", 400),
        ("/ws/users/%zz/online", "agent:acme:u1", 400),
        ("/ws/users/42%/online", "agent:acme:u1", 400),
        ("/ws/users/" + "x" * 256 + "/online", "agent:acme:u1", 400),
        ("/ws/users/42/online", "admin:*:u1", 400),
        ("/ws/users/42/online", "visitor:acme:u1", 403),
        ("/ws/users/42/online/more", "agent:acme:u1", 404),
        ("/ws/users/42/offline", "agent:acme:u1", 404),
        ("/ws/users/42/x/online", "agent:acme:u1", 404),
        ("/ws/users/%ff/online", None, 401),
    ],
)
def test_refusals(world: HttpWorld, path: str, token: str | None, status: int) -> None:
    assert world.ask("GET", path, token).status == status


@pytest.mark.parametrize("user", ["%00", "a%0Ab", "%7F", "%ff%fe", "%C2%80", "x" * 256])
def test_a_user_id_that_is_no_identifier_is_refused(world: HttpWorld, user: str) -> None:
    response = world.ask("GET", f"/ws/users/{user}/online", "agent:acme:u1")
    assert (response.status, response.error) == (400, "invalid_message")
    assert "user_id" in response.json["error"]["message"]


@pytest.mark.parametrize("tenant", ["", "%00", "%ff%fe", "a%1Fb", "x" * 256])
def test_a_tenant_id_that_is_no_identifier_is_refused(world: HttpWorld, tenant: str) -> None:
    for path in ("/ws/users/u1/online", "/ws/stats"):
        response = world.ask("GET", f"{path}?tenant_id={tenant}", "admin:*:root")
        assert (response.status, response.error) == (400, "invalid_message")
