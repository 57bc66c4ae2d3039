"""/ws/commands: accepting, waiting for the outcome, and asking later."""

from __future__ import annotations

import json
from typing import Any

import pytest
from http_world import MINE, HttpWorld, ReceivedResponse, parse, request
from msgspec.structs import replace as struct_replace
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure

from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.service import CommandService
from callcenter_ws.http.commands import CommandsResource
from callcenter_ws.http.places import ResponseLimits
from callcenter_ws.interfaces import CommandSource
from callcenter_ws.runtime.background import spawn
from callcenter_ws.testing import run

SERVICE = f"service:{MINE}:dialer"
PAUSE = {"name": "agent.state.set", "state": "break", "user_id": "anna"}


class Sources:
    """The registry of a tenant with one source, which is connected and is sent nothing."""

    def __init__(self) -> None:
        self.known = [CommandSource(MINE, "pbx1", ("agent.state.set", "call.originate"), connected=True)]

    async def command_sources(self, tenant_id: str) -> list[CommandSource]:
        return self.known if tenant_id == MINE else []

    async def chats_are_owned(self, tenant_id: str) -> bool:
        return False


class CommandWorld(HttpWorld):
    """A site with ``/ws/commands``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.sources = Sources()
        self.wait = 0.0
        self.service = CommandService(
            self.broker,
            self.sources,
            self.clock,
            spawn,
            CommandPolicy(enabled=True),
            charge=lambda asker: self.wait,
            new_id=lambda: "made-here",
        )
        self.resource = CommandsResource(self.tokens, self.service, self.clock)
        self.root.children[b"ws"].putChild(b"commands", self.resource)

    def issue(self, fields: Any, token: str | None = SERVICE, query: str = "") -> ReceivedResponse:
        return self.ask("POST", f"/ws/commands{query}", token, json.dumps(fields).encode())

    def begin(self, fields: Any, query: str = "?wait=1", token: str = SERVICE) -> Any:
        """Send a request whose response does not come at once; return the transport."""
        channel, transport = self.connect()
        channel.dataReceived(request("POST", f"/ws/commands{query}", token, json.dumps(fields).encode()))
        return channel, transport


@pytest.fixture
def world() -> CommandWorld:
    return CommandWorld()


def test_an_accepted_command_has_its_source_and_deadline(world: CommandWorld) -> None:
    response = world.issue(PAUSE)
    assert response.status == 202
    fields = response.json
    assert fields.pop("deadline").endswith("Z")
    assert fields == {"command_id": "made-here", "source": "pbx1", "state": "accepted"}
    assert world.issue({**PAUSE, "command_id": "c-2"}).json["command_id"] == "c-2"


def test_a_repeated_command_gets_the_stored_answer(world: CommandWorld) -> None:
    first = world.issue({**PAUSE, "command_id": "c"})
    world.clock.advance(1)
    again = world.issue({**PAUSE, "command_id": "c"})
    assert (again.status, again.json) == (202, first.json)
    other = world.issue({**PAUSE, "command_id": "c", "state": "away"})
    assert (other.status, other.error) == (409, "conflict")


def test_a_command_that_comes_after_its_time_is_not_accepted_but_its_repetition_is_answered(
    world: CommandWorld,
) -> None:
    until = {**PAUSE, "expires_at": "2027-01-15T09:00:10+01:00"}
    assert world.issue({**until, "command_id": "c"}).status == 202
    world.clock.advance(11)
    late = world.issue({**until, "command_id": "d"})
    assert (late.status, late.error) == (410, "expired")
    assert world.issue({**until, "command_id": "c"}).json["command_id"] == "c"
    assert world.ask("GET", "/ws/commands/d", SERVICE).status == 404


@pytest.mark.parametrize("instant", [1, "now", "2027-01-15T08:00:00", "9999-99-99T00:00:00Z", True, []])
def test_an_instant_that_cannot_be_read_is_refused(world: CommandWorld, instant: object) -> None:
    refused = world.issue({**PAUSE, "expires_at": instant})
    assert (refused.status, refused.error) == (400, "invalid_message")
    assert "expires_at" in refused.json["error"]["message"]


def test_waiting_ends_with_the_outcome(world: CommandWorld) -> None:
    world.service.start()
    _, transport = world.begin({**PAUSE, "command_id": "c"})
    world.clock.advance(5)
    assert transport.value() == b""
    for _ in range(10):
        world.clock.advance(1)
    response, rest = parse(transport.value())
    assert (response.status, rest) == (200, b"")
    assert response.json["state"] == "failed"
    assert response.json["code"] == "timeout"
    assert "nothing was done" in response.json["message"]
    # Later, and to a repetition, the same.
    again = world.issue({**PAUSE, "command_id": "c"}, query="?wait=1")
    assert (again.status, again.json) == (200, response.json)
    asked = world.ask("GET", "/ws/commands/c", SERVICE)
    assert (asked.status, asked.json) == (200, {"name": "agent.state.set", **response.json})


def test_a_command_without_an_outcome_is_answered_after_all(world: CommandWorld) -> None:
    # Without its sweep nothing closes it.
    _, transport = world.begin({**PAUSE, "command_id": "c"})
    for _ in range(30):
        world.clock.advance(0.5)
    response, _ = parse(transport.value())
    assert (response.status, response.json["state"]) == (202, "accepted")


def test_a_client_that_disconnects_while_it_waits_leaves_nothing_behind(world: CommandWorld) -> None:
    channel, _ = world.begin({**PAUSE, "command_id": "c"})
    channel.connectionLost(Failure(ConnectionDone()))
    for _ in range(30):
        world.clock.advance(0.5)
    assert len(world.resource.places) == 0


def test_places_for_waiting_are_bounded_and_nothing_is_accepted_beyond(world: CommandWorld) -> None:
    world.resource.places.limits = ResponseLimits(2, 2, 1)
    world.begin({**PAUSE, "command_id": "c"})
    refused = world.issue({**PAUSE, "command_id": "d"}, query="?wait=true")
    assert (refused.status, refused.error) == (503, "try_later")
    assert world.ask("GET", "/ws/commands/d", SERVICE).status == 404
    assert world.issue({**PAUSE, "command_id": "d"}).status == 202


@pytest.mark.parametrize(
    ("fields", "token", "query", "status", "code"),
    [
        (PAUSE, None, "", 401, "unauthorized"),
        (PAUSE, f"agent:{MINE}:u1", "", 403, "forbidden"),
        (PAUSE, f"supervisor:{MINE}:u1", "", 403, "forbidden"),
        (PAUSE, f"wallboard:{MINE}:u1", "", 403, "forbidden"),
        (PAUSE, "service:*:root", "", 400, "invalid_message"),
        (PAUSE, SERVICE, "?tenant_id=globex", 403, "forbidden"),
        (PAUSE, "service:*:root", "?tenant_id=globex", 501, "no_source"),
        (PAUSE, SERVICE, "?wait=maybe", 400, "invalid_message"),
        (PAUSE, SERVICE, "?wait=1&wait=1", 400, "invalid_message"),
        (PAUSE, SERVICE, "?wiat=1", 400, "invalid_message"),
        ([PAUSE], SERVICE, "", 400, "invalid_message"),
        ({}, SERVICE, "", 400, "invalid_message"),
        ({**PAUSE, "name": "agent.state.st"}, SERVICE, "", 400, "invalid_message"),
        ({**PAUSE, "extra": 1}, SERVICE, "", 400, "invalid_message"),
        ({**PAUSE, "reason": "a\r\nAction: Originate"}, SERVICE, "", 400, "invalid_message"),
        ({"name": "call.originate", "destination": "1,2"}, SERVICE, "", 400, "invalid_message"),
        ({"name": "call.hangup", "call_id": "none"}, SERVICE, "", 404, "not_found"),
        ({"name": "queue.member.pause", "queue_name": "sales", "user_id": "anna"}, SERVICE, "", 501, "no_source"),
        ({**PAUSE, "reason": "x" * 20_000}, SERVICE, "", 413, "too_large"),
    ],
)
def test_refusals(world: CommandWorld, fields: Any, token: str | None, query: str, status: int, code: str) -> None:
    response = world.issue(fields, token, query)
    assert (response.status, response.error) == (status, code)


def test_a_token_for_all_tenants_names_one(world: CommandWorld) -> None:
    assert world.issue(PAUSE, "service:*:root", "?tenant_id=acme").status == 202
    assert world.ask("GET", "/ws/commands/made-here?tenant_id=acme", "service:*:root").status == 200
    assert world.ask("GET", "/ws/commands/made-here", "service:*:root").status == 400


def test_only_own_commands_are_shown(world: CommandWorld) -> None:
    world.issue({**PAUSE, "command_id": "c/1"})
    assert world.ask("GET", "/ws/commands/c%2F1", SERVICE).status == 200
    for token, status in (
        (f"service:{MINE}:other", 404),
        ("service:globex:dialer", 404),
        (f"agent:{MINE}:u1", 404),
        (f"wallboard:{MINE}:dialer", 403),
        (f"visitor:{MINE}:dialer", 403),
    ):
        assert world.ask("GET", "/ws/commands/c%2F1", token).status == status
    assert world.ask("GET", "/ws/commands/%00", SERVICE).status == 400
    assert world.ask("GET", "/ws/commands", SERVICE).status == 405


def test_a_source_that_is_down_and_a_rate_that_is_exceeded(world: CommandWorld) -> None:
    (source,) = world.sources.known
    world.sources.known = [struct_replace(source, connected=False)]
    assert world.issue(PAUSE).error == "source_down"
    world.wait = 1.5
    limited = world.issue(PAUSE)
    assert (limited.status, limited.error, limited.headers["retry-after"]) == (429, "rate_limited", "2")


def test_without_commands_there_are_none(world: CommandWorld) -> None:
    world.service.policy = CommandPolicy(enabled=False)
    assert (world.issue(PAUSE).status, world.issue(PAUSE).error) == (404, "commands_off")
    assert world.ask("GET", "/ws/commands/c", SERVICE).error == "commands_off"
    world.root.children[b"ws"].putChild(b"commands", CommandsResource(world.tokens, None, world.clock))
    assert world.issue(PAUSE).error == "commands_off"
    assert run(world.broker.commands.overdue(2**53, 10)) == []
