"""The behaviour that all resources share."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import HttpWorld, ReceivedResponse, parse, request
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.responses import JsonResource, Response, json_response


@pytest.mark.parametrize(
    "path", ["/", "/nowhere", "/ws/nothing", "/livez/deeper", "/x/livez", "/ws/users", "/ws/users/1", "//livez", "/%00"]
)
def test_other_paths_respond_with_json_404(world: HttpWorld, path: str) -> None:
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
def test_405_lists_the_allowed_methods(world: HttpWorld, method: str, path: str, allow: str) -> None:
    response = world.ask(method, path)
    assert (response.status, response.error) == (405, "method_not_allowed")
    assert response.headers["allow"] == allow


def test_every_response_has_the_common_headers(world: HttpWorld) -> None:
    for path in ("/livez", "/nowhere", "/ws/stats"):
        headers = world.ask("GET", path).headers
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["server"] == "callcenter-ws"


def test_head_has_the_headers_of_get_and_no_body(world: HttpWorld) -> None:
    for path in ("/livez", "/nowhere", "/ws/stats"):
        get, head = world.ask("GET", path), world.ask("HEAD", path)
        assert head.status == get.status
        assert head.headers["content-length"] == str(len(get.body))


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer nonsense", "Bearer \xe9\xe9", "bearer", "Bearer,admin:acme:u1"],
)
def test_401_does_not_contain_the_token(world: HttpWorld, header: str) -> None:
    response = world.ask("GET", "/ws/stats", Authorization=header)
    assert (response.status, response.error) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert b"nonsense" not in response.body


def test_two_authorization_headers_are_refused(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/ws/stats", "admin:acme:u1", Authorization="Bearer agent:globex:u1"))
    assert parse(transport.value())[0].status == 401


def test_the_scheme_is_case_insensitive(world: HttpWorld) -> None:
    assert world.ask("GET", "/ws/stats", Authorization="bEARER   agent:acme:u1").status == 200


def test_retry_after(world: HttpWorld) -> None:
    async def busy(request: Request) -> Response:
        raise Refusal(ErrorCode.OVERLOADED, retry_after=1.2)

    world.root.putChild(b"busy", JsonResource(get=busy))
    response = world.ask("GET", "/busy")
    assert (response.status, response.headers["retry-after"]) == (503, "2")


@pytest.mark.logs_errors
def test_an_unhandled_error_is_logged_and_its_details_are_not_sent(
    world: HttpWorld, logged: list[dict[str, Any]]
) -> None:
    async def broken(request: Request) -> Response:
        raise ZeroDivisionError("secret detail")

    world.root.putChild(b"broken", JsonResource(get=broken))
    response = world.ask("GET", "/broken?access_token=hidden")
    assert (response.status, response.error) == (500, "internal_error")
    assert b"secret" not in response.body
    (event,) = [event for event in logged if "log_failure" in event]
    assert event["log_failure"].check(ZeroDivisionError)
    assert event["path"] == "/broken"


class Waiting:
    """A resource that responds when the test fires ``answer``."""

    def __init__(self, world: HttpWorld) -> None:
        self.answer: Deferred[None] = Deferred()
        self.finished = False
        world.root.putChild(b"wait", JsonResource(get=self._get))

    async def _get(self, request: Request) -> Response:
        await self.answer
        self.finished = True
        return json_response({})


def test_the_handler_of_a_disconnected_client_completes(world: HttpWorld, logged: list[dict[str, Any]]) -> None:
    waiting = Waiting(world)
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/wait"))
    channel.connectionLost(Failure(ConnectionDone()))
    waiting.answer.callback(None)
    assert waiting.finished
    assert transport.value() == b""
    assert not [event for event in logged if "log_failure" in event]


def test_pipelined_requests_are_answered_in_order(world: HttpWorld) -> None:
    waiting = Waiting(world)
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/wait") + request("GET", "/livez") + request("GET", "/nowhere"))
    assert transport.value() == b""
    waiting.answer.callback(None)
    world.run_turns()
    raw = transport.value()
    statuses = []
    while raw:
        response, raw = parse(raw)
        statuses.append(response.status)
    assert statuses == [200, 200, 404]


def test_a_request_split_at_any_byte_gets_the_same_response(world: HttpWorld) -> None:
    whole = request("GET", "/ws/stats", "agent:acme:u1")

    def answer(*pieces: bytes) -> ReceivedResponse:
        channel, transport = world.connect()
        for piece in pieces:
            channel.dataReceived(piece)
        return parse(transport.value())[0]

    expected = answer(whole)
    assert expected.status == 200
    for at in range(1, len(whole)):
        assert answer(whole[:at], whole[at:]).body == expected.body
