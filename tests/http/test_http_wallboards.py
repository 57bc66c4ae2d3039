"""``/ws/wallboards``: who may read which wallboard, and with which of its queues."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import MINE, OTHER, HttpWorld

from callcenter_ws.config.wallboards import Thresholds, WaitingLimits, WallboardSettings
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.wallboards import WallboardsResource

FLOOR = WallboardSettings(
    name="floor",
    title="Sales floor",
    queues=("sales", "support"),
    figures=("waiting", "agents"),
    rows=4,
    thresholds=Thresholds(waiting=WaitingLimits(breach=20)),
)
ALL = WallboardSettings(name="all")


@pytest.fixture
def options(world: HttpWorld) -> PageOptions:
    options = PageOptions(wallboards={MINE: (FLOOR, ALL), OTHER: (WallboardSettings(name="theirs"),)})
    world.root.children[b"ws"].putChild(b"wallboards", WallboardsResource(world.tokens, options))
    return options


def limited_to(world: HttpWorld, *queues: str) -> str:
    """Return a token that may see these queues only."""
    world.tokens.principals["limited"] = Principal(MINE, "w1", Role.WALLBOARD, 2e9, 1e9, queues=frozenset(queues))
    return "limited"


def names(answer: Any) -> list[str]:
    return [board["name"] for board in answer.json["wallboards"]]


@pytest.mark.usefixtures("options")
def test_a_wallboard_has_all_its_settings(world: HttpWorld) -> None:
    for role in ("wallboard", "agent", "supervisor", "admin", "service"):
        answer = world.ask("GET", "/ws/wallboards/floor", f"{role}:{MINE}:w1")
        assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
        assert answer.json == {
            "name": "floor",
            "title": "Sales floor",
            "queues": ["sales", "support"],
            "figures": ["waiting", "agents"],
            "rows": 4,
            "page_seconds": 12,
            "theme": "dark",
            "chart": True,
            "thresholds": {
                "service_level": {"warning": 0, "breach": 10},
                "longest_wait": {"warning": 1, "breach": 3},
                "waiting": {"warning": 5, "breach": 20},
                "abandon_rate": {"warning": 5, "breach": 10},
            },
        }


@pytest.mark.usefixtures("options")
def test_the_list_has_names_and_titles_in_the_order_of_the_settings(world: HttpWorld) -> None:
    for path in ("/ws/wallboards", "/ws/wallboards/"):
        answer = world.ask("GET", path, f"wallboard:{MINE}:w1")
        assert answer.json == {"wallboards": [{"name": "floor", "title": "Sales floor"}, {"name": "all", "title": ""}]}
    assert names(world.ask("GET", "/ws/wallboards", "wallboard:other:w1")) == []


@pytest.mark.usefixtures("options")
def test_a_screen_of_some_queues_sees_these_only(world: HttpWorld) -> None:
    token = limited_to(world, "support", "billing")
    assert world.ask("GET", "/ws/wallboards/floor", token).json["queues"] == ["support"]
    assert world.ask("GET", "/ws/wallboards/all", token).json["queues"] == []
    assert names(world.ask("GET", "/ws/wallboards", token)) == ["floor", "all"]
    token = limited_to(world, "billing")
    refused = world.ask("GET", "/ws/wallboards/floor", token)
    assert (refused.status, refused.error) == (403, "forbidden")
    assert names(world.ask("GET", "/ws/wallboards", token)) == ["all"]


@pytest.mark.usefixtures("options")
@pytest.mark.parametrize(
    ("path", "token", "status", "code"),
    [
        ("/ws/wallboards/theirs", f"wallboard:{MINE}:w1", 404, "not_found"),
        ("/ws/wallboards/floor/more", f"wallboard:{MINE}:w1", 404, "not_found"),
        ("/ws/wallboards/%ff", f"wallboard:{MINE}:w1", 400, "invalid_message"),
        ("/ws/wallboards/floor", f"visitor:{MINE}:w1", 403, "forbidden"),
        ("/ws/wallboards/floor", "", 401, "unauthorized"),
        ("/ws/wallboards", "", 401, "unauthorized"),
        ("/ws/wallboards/floor", "admin:*:w1", 400, "invalid_message"),
        (f"/ws/wallboards/floor?tenant_id={OTHER}", f"admin:{MINE}:w1", 403, "forbidden"),
    ],
)
def test_others_are_refused(world: HttpWorld, path: str, token: str, status: int, code: str) -> None:
    refused = world.ask("GET", path, token or None)
    assert (refused.status, refused.error) == (status, code)


@pytest.mark.usefixtures("options")
def test_a_token_for_all_tenants_names_one(world: HttpWorld) -> None:
    assert names(world.ask("GET", f"/ws/wallboards?tenant_id={OTHER}", "admin:*:w1")) == ["theirs"]


def test_a_reload_changes_them(world: HttpWorld, options: PageOptions) -> None:
    options.wallboards = {MINE: (ALL,)}
    assert names(world.ask("GET", "/ws/wallboards", f"wallboard:{MINE}:w1")) == ["all"]
    assert world.ask("GET", "/ws/wallboards/floor", f"wallboard:{MINE}:w1").status == 404
