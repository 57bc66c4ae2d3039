"""All forms of request targets, with all methods, are answered; what a peer makes fail ends its connection."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import DESK, HttpWorld, parse
from twisted.internet.defer import fail
from twisted.logger import LogLevel, capturedLogs
from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.request_target import RequestTarget, read_target
from callcenter_ws.http.responses import JsonResource, Response
from callcenter_ws.runtime.refusal_log import WINDOW_SECONDS

TARGETS = [
    "/livez", "/", "//", "/ws", "/ws/", "/ws/stats", "/ws/nothing", "/?", "/%zz", "*", "**", "?", "?a=b", "#", "x",
    "x:y", "http:", "http:/", "http://", "http:///", "http://x", "http://x/", "http://x/livez", "HTTPS://x:443/livez?y",
    "http://x?y", "http://u@x/livez", "ftp://x/livez", "a:80", "[::1]:80", "http:/livez", "\\", "%", "ws", ".", "..",
]  # fmt: skip
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "TRACE", "x", "!"]


def ask(world: HttpWorld, method: str, target: str, headers: str = "") -> tuple[Any, Any, bytes]:
    channel, transport = world.connect()
    channel.dataReceived(f"{method} {target} HTTP/1.1\r\nHost: a\r\n{headers}\r\n".encode())
    response, rest = parse(transport.value(), head_only=method == "HEAD")
    assert rest == b""
    return response, transport, channel


@pytest.mark.parametrize("origin", ["", f"Origin: {DESK}\r\n"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_answered(world: HttpWorld, target: str, method: str, origin: str) -> None:
    with capturedLogs() as events:
        response, _, _ = ask(world, method, target, origin)
    assert [event for event in events if event["log_level"] >= LogLevel.error] == []
    assert 200 <= response.status < 500
    assert response.headers["content-type"] == "application/json" or response.status == 204
    if response.body:
        assert isinstance(response.json, dict)
    if response.status >= 400 and method != "HEAD":
        assert response.error


@pytest.mark.parametrize("target", ["http://x/livez", "HTTP://x/livez", "https://x:8443/livez?a=b"])
def test_the_absolute_form_is_served_by_its_path(world: HttpWorld, target: str) -> None:
    response, transport, _ = ask(world, "GET", target)
    assert response.status == 200
    assert not transport.disconnecting


@pytest.mark.parametrize("target", ["x", "?", "http:", "http://", "x:y", "a:80", "http://u@x/livez", "**"])
def test_other_forms_are_refused(world: HttpWorld, target: str) -> None:
    response, transport, channel = ask(world, "GET", target)
    assert (response.status, response.error, response.headers["connection"]) == (400, "invalid_message", "close")
    assert transport.disconnecting or channel.persistent is False


def test_the_server_as_a_whole(world: HttpWorld) -> None:
    response, transport, _ = ask(world, "OPTIONS", "*")
    assert (response.status, response.json) == (200, {})
    assert not transport.disconnecting
    response, _, _ = ask(world, "GET", "*")
    assert (response.status, response.error, response.headers["allow"]) == (405, "method_not_allowed", "OPTIONS")


def test_the_host_of_the_absolute_form() -> None:
    assert read_target(b"http://desk.example:81?a=b") == RequestTarget(b"/?a=b", b"desk.example:81")
    assert read_target(b"/livez") == RequestTarget(b"/livez")


def test_a_refused_head_request_has_no_body(world: HttpWorld) -> None:
    response, _, _ = ask(world, "HEAD", "x")
    assert response.status == 400


@pytest.mark.parametrize("path", ["/ws", "/ws/stats", "/schemas/", "/schemas/nothing", "/livez", "x"])
@pytest.mark.parametrize("name", [b"Origin", b"If-None-Match", b"Authorization", b"X-Forwarded-For", b"Cookie"])
def test_headers_that_are_not_utf_8(world: HttpWorld, path: str, name: bytes) -> None:
    channel, transport = world.connect()
    channel.dataReceived(b"GET %b HTTP/1.1\r\nHost: a\r\n%b: \xff\xfe\r\n\r\n" % (path.encode(), name))
    response, _ = parse(transport.value())
    assert response.status < 500


async def rate_limited(request: Request) -> Response:
    raise Refusal(ErrorCode.RATE_LIMITED, retry_after=2)


def test_the_reason_phrase_of_429(world: HttpWorld) -> None:
    world.root.putChild(b"busy", JsonResource(get=rate_limited))
    channel, transport = world.connect()
    channel.dataReceived(b"GET /busy HTTP/1.1\r\nHost: a\r\n\r\n")
    assert transport.value().startswith(b"HTTP/1.1 429 Too Many Requests\r\n")


class FailingResource(JsonResource):
    """Fails while the response is sent."""

    async def _respond(self, request: Request) -> Response:
        await fail(LookupError("made up")) if request.method == b"POST" else None
        return Response(b"", headers={"X": None})  # type: ignore[dict-item]  # no header value: sending fails


@pytest.mark.logs_errors
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_error_while_sending_ends_the_connection(world: HttpWorld, method: str) -> None:
    world.root.putChild(b"failing", FailingResource())
    with capturedLogs() as events:
        channel, transport = world.connect()
        channel.dataReceived(f"{method} /failing HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert transport.disconnecting
    assert len([event for event in events if event["log_level"] >= LogLevel.error]) == 1


@pytest.mark.logs_errors
def test_unhandled_errors_are_logged_once_in_a_minute(world: HttpWorld) -> None:
    world.root.putChild(b"failing", FailingResource())
    with capturedLogs() as events:
        for _ in range(50):
            channel, _ = world.connect()
            channel.dataReceived(b"GET /failing HTTP/1.1\r\nHost: a\r\n\r\n")
        assert len([event for event in events if event.get("log_failure")]) == 1
        world.reactor.advance(WINDOW_SECONDS)
    assert events[-1]["count"] == 49
