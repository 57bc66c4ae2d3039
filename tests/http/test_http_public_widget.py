"""``/ws/public/widget``: what pages without a token learn of a tenant, and when a chat is offered."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from http_world import MINE, OTHER, HttpWorld
from twisted.internet.defer import Deferred

from callcenter_ws.cluster import availability
from callcenter_ws.cluster.availability import CACHED_SECONDS, AgentsThere
from callcenter_ws.config.widget import WidgetSettings
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Origin, make_event
from callcenter_ws.http.public_widget import PublicWidget, PublicWidgetResource, WidgetOptions
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.testing import run

SITE = "https://www.acme.example"
_ids = (f"e{number}" for number in itertools.count())


@pytest.fixture
def options(world: HttpWorld) -> WidgetOptions:
    def check_origin(tenant_id: str, origin: str | None) -> None:
        if origin not in (None, SITE):
            raise Refusal(ErrorCode.FORBIDDEN, f"the Origin {origin} is not listed for {tenant_id}")

    options = WidgetOptions({MINE: PublicWidget(True, WidgetSettings()), OTHER: PublicWidget(False, WidgetSettings())})
    there = AgentsThere(world.broker, world.clock)
    public = JsonNotFound()
    public.putChild(b"widget", PublicWidgetResource(options, there, check_origin))
    world.root.children[b"ws"].putChild(b"public", public)
    return options


def publish(world: HttpWorld, type_: str, payload: dict[str, Any]) -> None:
    event = make_event(
        tenant_id=MINE,
        type_=type_,
        payload=payload,
        event_id=next(_ids),
        now=0.0,
        received_at=world.clock.monotonic(),
        origin=Origin.GATEWAY,
    )
    (outcome,) = run(world.broker.publish([event]))
    assert not isinstance(outcome, Refusal)


def agent(world: HttpWorld, state: str, user: str = "1") -> None:
    publish(world, "agent.state.changed", {"user_id": user, "username": "ana", "state": state})


def present(world: HttpWorld, online: bool, user: str = "1") -> None:
    publish(world, "presence.changed", {"user_id": user, "online": online})


def available(world: HttpWorld, *, later: bool = True) -> bool:
    if later:
        world.clock.advance(CACHED_SECONDS)
    answer = world.ask("GET", f"/ws/public/widget?tenant_id={MINE}")
    assert answer.status == 200
    return bool(answer.json["available"])


def test_it_has_the_settings_and_says_whether_visitors_need_a_token(world: HttpWorld, options: WidgetOptions) -> None:
    answer = world.ask("GET", f"/ws/public/widget?tenant_id={MINE}", Origin=SITE)
    assert (answer.status, answer.headers["cache-control"]) == (200, "no-store")
    assert answer.headers["access-control-allow-origin"] == "*"
    nothing = dict.fromkeys(("title", "greeting", "offline_text", "color", "language", "queue_name"))
    assert answer.json == {
        "tenant_id": MINE,
        "available": False,
        "anonymous": True,
        "widget": {**nothing, "position": "right", "ask_name": False},
    }
    # A reload replaces the settings.
    own = WidgetSettings(
        title="Acme", color="#1a5fb4", position="left", language="de", queue_name="web", queues=("vip",), ask_name=True
    )
    options.widgets = {MINE: PublicWidget(False, own)}
    assert world.ask("GET", f"/ws/public/widget?tenant_id={MINE}").json == {
        "tenant_id": MINE,
        "available": False,
        "anonymous": False,
        "widget": {
            "title": "Acme", "greeting": None, "offline_text": None, "color": "#1a5fb4", "position": "left",
            "language": "de", "ask_name": True, "queue_name": "web",
        },
    }  # fmt: skip


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("?tenant_id=initech", {}, 404),
        ("?tenant_id=*", {}, 404),
        ("", {}, 400),
        ("?tenant_id=", {}, 400),
        (f"?tenant_id={MINE}&tenant_id={MINE}", {}, 400),
        ("?tenant_id=%ff", {}, 400),
        ("?tenant_id=%zz", {}, 400),
        ("?tenant_id=" + "x" * 256, {}, 400),
        (f"?tenant_id={MINE}", {"Origin": "https://evil.example"}, 403),
        (f"?tenant_id={MINE}", {"Origin": "null"}, 403),
        ("/more?tenant_id=acme", {}, 404),
    ],
)
@pytest.mark.usefixtures("options")
def test_others_are_refused(world: HttpWorld, path: str, headers: dict[str, str], status: int) -> None:
    answer = world.ask("GET", f"/ws/public/widget{path}", **headers)
    assert answer.status == status
    assert b"available" not in answer.body
    # Its page may read why.
    assert ("access-control-allow-origin" in answer.headers) is not path.startswith("/more")


@pytest.mark.usefixtures("options")
def test_it_can_only_be_read(world: HttpWorld) -> None:
    for method in ("POST", "DELETE", "OPTIONS"):
        assert world.ask(method, f"/ws/public/widget?tenant_id={MINE}").status == 405


@pytest.mark.usefixtures("options")
def test_an_agent_must_be_connected_and_take_work(world: HttpWorld) -> None:
    assert not available(world)
    agent(world, "available")
    assert not available(world)
    # A supervisor, or a wallboard, takes no chats.
    present(world, True, user="boss")
    assert not available(world)
    present(world, True)
    assert available(world)
    for state, expected in {
        "busy": True, "talking": True, "wrap_up": True, "break": False, "away": False, "offline": False,
    }.items():  # fmt: skip
        agent(world, state)
        assert available(world) is expected, state
    publish(world, "agent.login", {"user_id": "1", "username": "ana"})
    assert available(world)
    publish(world, "agent.logout", {"user_id": "1", "username": "ana"})
    assert not available(world)
    agent(world, "available")
    present(world, False)
    assert not available(world)


def test_a_tenant_may_count_agents_who_are_not_connected_or_none(world: HttpWorld, options: WidgetOptions) -> None:
    options.widgets = {MINE: PublicWidget(True, WidgetSettings(available="agents"))}
    assert not available(world)
    agent(world, "available")
    assert available(world)
    agent(world, "break")
    assert not available(world)
    options.widgets = {MINE: PublicWidget(True, WidgetSettings(available="always"))}
    assert available(world)


@pytest.mark.usefixtures("options")
def test_the_store_is_asked_once_for_many_visitors(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Deferred[Any]] = []

    async def entities(tenant_id: str, kind: str) -> Any:
        asked.append(Deferred())
        return await asked[-1]

    monkeypatch.setattr(world.broker, "entities", entities)
    there = AgentsThere(world.broker, world.clock)
    answers: list[Any] = []

    def ask(times: int) -> None:
        for _ in range(times):
            Deferred.fromCoroutine(there.is_available(MINE, "agents")).addBoth(answers.append)

    ask(5)
    assert len(asked) == 1
    asked[0].errback(Refusal(ErrorCode.UNAVAILABLE))
    assert [failure.check(Refusal) for failure in answers] == [Refusal] * 5
    answers.clear()
    ask(5)
    asked[1].callback([])
    ask(1)
    assert (answers, len(asked)) == ([False] * 6, 2)


@pytest.mark.usefixtures("options")
def test_many_agents_are_looked_at_in_several_turns(world: HttpWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(availability, "AGENTS_PER_TURN", 2)
    for number in range(5):
        agent(world, "break", str(number))
    agent(world, "available", "last")
    answers: list[bool] = []
    answer = Deferred.fromCoroutine(AgentsThere(world.broker, world.clock).is_available(MINE, "agents"))
    answer.addCallback(answers.append)
    assert answers == []
    for _ in range(3):
        world.clock.advance(0)
    assert answers == [True]
