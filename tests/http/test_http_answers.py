"""What every resource has in common."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import Response, World, parse, request
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.answers import Answer, JsonResource, json_answer


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/ws/nothing", "/livez/deeper", "/x/livez", "/ws/users", "/ws/users/1", "//livez", "/%00"]
)
def test_everything_else_is_json_404(world: World, path: str) -> None:
    for method in ("GET", "POST", "BREW"):
        response = world.ask(method, path)
        assert (response.status, response.error) == (404, "not_found")
        assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/ws/stats", "GET, HEAD"),
        ("GET", "/ws/events", "POST"),
        ("DELETE", "/ws/users/1/online", "GET, HEAD"),
        ("OPTIONS", "/livez", "GET, HEAD"),
        ("BREW", "/readyz", "GET, HEAD"),
    ],
)
def test_405_says_what_is_allowed(world: World, method: str, path: str, allow: str) -> None:
    response = world.ask(method, path)
    assert (response.status, response.error) == (405, "method_not_allowed")
    assert response.headers["allow"] == allow


def test_every_answer_has_the_common_headers(world: World) -> None:
    for path in ("/livez", "/nowhere", "/ws/stats"):
        headers = world.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["server"] == "callcenter-ws"


def test_head_has_the_headers_of_get_and_no_body(world: World) -> None:
    for path in ("/livez", "/nowhere", "/ws/stats"):
        get, head = world.ask("GET", path), world.ask("HEAD", path)
        assert head.status == get.status
        assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer nonsense", "Bearer \xe9\xe9", "bearer", "Bearer,admin@acme"],
)
def test_401_names_no_token(world: World, header: str) -> None:
    response = world.ask("GET", "/ws/stats", Authorization=header)
    assert (response.status, response.error) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert b"nonsense" not in response.body


def test_two_authorization_headers_are_refused(world: World) -> None:
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/ws/stats", "admin@acme", Authorization="Bearer agent@globex"))
    assert parse(transport.value())[0].status == 401


def test_the_scheme_is_case_insensitive(world: World) -> None:
    assert world.ask("GET", "/ws/stats", Authorization="bEARER   agent@acme").status == 200


def test_retry_after(world: World) -> None:
    async def busy(request: Request) -> Answer:
        raise Refusal(ErrorCode.OVERLOADED, retry_after=1.2)

    world.root.putChild(b"busy", JsonResource(get=busy))
    response = world.ask("GET", "/busy")
    assert (response.status, response.headers["retry-after"]) == (503, "2")


@pytest.mark.logs_errors
def test_a_bug_is_logged_and_not_shown(world: World, logged: list[dict[str, Any]]) -> None:
    async def broken(request: Request) -> Answer:
        raise ZeroDivisionError("secret detail")

    world.root.putChild(b"broken", JsonResource(get=broken))
    response = world.ask("GET", "/broken?access_token=hidden")
    assert (response.status, response.error) == (500, "internal_error")
    assert b"secret" not in response.body
    (event,) = [event for event in logged if "log_failure" in event]
    assert event["log_failure"].check(ZeroDivisionError)
    assert event["path"] == "/broken"


class Waiting:
    """A resource that answers when the test says so."""

    def __init__(self, world: World) -> None:
        self.answer: Deferred[None] = Deferred()
        self.finished = False
        world.root.putChild(b"wait", JsonResource(get=self._get))

    async def _get(self, request: Request) -> Answer:
        await self.answer
        self.finished = True
        return json_answer({})


def test_a_client_that_left_gets_no_answer_and_harms_nothing(world: World, logged: list[dict[str, Any]]) -> None:
    waiting = Waiting(world)
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/wait"))
    channel.connectionLost(Failure(ConnectionDone()))
    waiting.answer.callback(None)
    assert waiting.finished
    assert transport.value() == b""
    assert not [event for event in logged if "log_failure" in event]


def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    waiting = Waiting(world)
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/wait") + request("GET", "/livez") + request("GET", "/nowhere"))
    assert transport.value() == b""
    waiting.answer.callback(None)
    raw = transport.value()
    statuses = []
    while raw:
        response, raw = parse(raw)
        statuses.append(response.status)
    assert statuses == [200, 200, 404]


def test_a_request_cut_at_every_byte_gets_the_same_answer(world: World) -> None:
    whole = request("GET", "/ws/stats", "agent@acme")

    def answer(*pieces: bytes) -> Response:
        channel, transport = world.connect()
        for piece in pieces:
            channel.dataReceived(piece)
        return parse(transport.value())[0]

    expected = answer(whole)
    assert expected.status == 200
    for at in range(1, len(whole)):
        assert answer(whole[:at], whole[at:]).body == expected.body
