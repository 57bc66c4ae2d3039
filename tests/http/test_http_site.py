"""The limits of the site on the size and duration of requests."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import HttpWorld, connect_to_site, parse, request
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, formatEvent
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from callcenter_ws.http.http_connection import CLOSE_TIMEOUT_SECONDS, LINGER_TIMEOUT_SECONDS
from callcenter_ws.http.site import MAX_BODY_BYTES, MAX_UNTRUSTED_BODY_BYTES, GatewaySite
from callcenter_ws.runtime.peer_limits import PeerLimits, PeerLimitValues

HEAD = request("GET", "/livez")


def lose(channel: Any) -> None:
    channel.connectionLost(Failure(ConnectionDone()))


def test_a_slowly_sent_head_is_aborted_at_the_deadline(world: HttpWorld) -> None:
    channel, transport = world.connect()
    trickle = b"GET / HTTP/1.1\r\nX: ".ljust(99, b"y")
    for at in range(99):
        channel.dataReceived(trickle[at : at + 1])
        world.reactor.advance(0.1)
    assert not transport.disconnected
    world.reactor.advance(0.2)
    assert transport.disconnected


def test_a_connection_without_data_is_aborted(world: HttpWorld) -> None:
    _, transport = world.connect()
    world.reactor.advance(9.9)
    assert not transport.disconnected
    world.reactor.advance(0.2)
    assert transport.disconnected


@pytest.mark.parametrize("stop_at", range(0, len(HEAD), 7))
def test_an_incomplete_head_is_aborted(world: HttpWorld, stop_at: int) -> None:
    channel, transport = world.connect()
    channel.dataReceived(HEAD[:stop_at])
    world.reactor.advance(10)
    assert transport.disconnected


def test_a_later_head_has_the_same_deadline_from_its_first_byte(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(HEAD)
    world.reactor.advance(40)
    assert not transport.disconnected
    for _ in range(10):
        assert not transport.disconnected
        channel.dataReceived(b"G")
        world.reactor.advance(1)
    assert transport.disconnected


def test_an_incomplete_pipelined_head_has_the_deadline_too(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(HEAD + b"GET /")
    world.reactor.advance(9.9)
    assert not transport.disconnected
    world.reactor.advance(0.2)
    assert transport.disconnected


def test_many_requests_on_one_connection(world: HttpWorld) -> None:
    channel, transport = world.connect()
    for _ in range(20):
        channel.dataReceived(HEAD)
        assert parse(transport.value())[0].status == 200
        transport.clear()
        world.reactor.advance(30)
    assert not transport.disconnecting


def test_an_idle_connection_is_closed(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(HEAD)
    world.reactor.advance(60)
    assert transport.disconnecting
    world.reactor.advance(CLOSE_TIMEOUT_SECONDS)
    assert transport.disconnected


def test_a_slowly_sent_body_is_aborted(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(b"POST /ws/events HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(30):
        assert not transport.disconnected
        channel.dataReceived(b" ")
        world.reactor.advance(1)
    assert transport.disconnected


def test_no_delayed_call_remains_after_a_connection(world: HttpWorld) -> None:
    for sent in (b"", HEAD, HEAD[:9], HEAD + b"G", b"\x00\r\n\r\n", request("POST", "/x", body=b"x" * 20_000)):
        channel, _ = world.connect()
        channel.dataReceived(sent)
        lose(channel)
        assert world.running() == []


class UpgradingResource(Resource):
    """Takes over the transport of the channel, as the WebSocket endpoint does."""

    def render(self, request: Any) -> int:
        channel = request.channel
        channel.transport = None
        channel.setTimeout(None)
        return NOT_DONE_YET


def test_an_upgraded_connection_has_no_deadline(world: HttpWorld) -> None:
    world.root.putChild(b"upgrade", UpgradingResource())
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/upgrade", Connection="Upgrade", Upgrade="websocket"))
    assert world.running() == []
    world.reactor.advance(3600)
    assert not transport.disconnecting


def test_a_peer_that_does_not_read_the_last_bytes_is_aborted(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/livez", Connection="close"))
    assert transport.disconnecting
    assert not transport.disconnected
    world.reactor.advance(CLOSE_TIMEOUT_SECONDS)
    assert transport.disconnected


def test_a_declared_oversized_body_is_refused_before_it_arrives(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(
        b"POST /ws/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
        % (MAX_BODY_BYTES + 1)
    )
    response, rest = parse(transport.value())
    assert rest == b""
    assert (response.status, response.error) == (413, "too_large")
    assert response.headers["connection"] == "close"
    assert response.headers["server"] == "callcenter-ws"
    channel.dataReceived(b"x" * 65_536)
    assert not transport.disconnecting
    world.reactor.advance(LINGER_TIMEOUT_SECONDS)
    assert transport.disconnected


def test_the_rest_of_a_refused_body_is_discarded_then_the_connection_closes(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(b"POST /ws/events HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BODY_BYTES + 1))
    for _ in range(MAX_BODY_BYTES // 65_536):
        channel.dataReceived(b"x" * 65_536)
    assert channel.requests[0].content.getbuffer().nbytes == 0
    assert not transport.disconnecting
    channel.dataReceived(b"x" + HEAD)
    assert transport.disconnecting
    assert parse(transport.value())[1] == b""


def chunks(total: int, size: int = 65_536) -> list[bytes]:
    return [b"%x\r\n" % size + b" " * size + b"\r\n"] * (total // size)


def test_a_streamed_body_is_refused_as_soon_as_it_is_too_large(world: HttpWorld) -> None:
    channel, transport = world.connect()
    channel.dataReceived(request("POST", "/ws/events", "service:acme:u1", Transfer_Encoding="chunked"))
    for chunk in chunks(MAX_BODY_BYTES):
        channel.dataReceived(chunk)
    assert transport.value() == b""
    channel.dataReceived(b"1\r\nx\r\n")
    assert parse(transport.value())[0].status == 413
    channel.dataReceived(b"0\r\n\r\n")
    assert transport.disconnecting


def test_a_body_at_the_limit_is_accepted(world: HttpWorld) -> None:
    spaces = b" " * (MAX_BODY_BYTES - 2)
    assert world.ask("POST", "/ws/events", "service:acme:u1", spaces + b"[]").json == {"results": []}


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(None, 401, "unauthorized"), ("nonsense", 401, "unauthorized"), ("agent:acme:u1", 403, "forbidden")],
)
@pytest.mark.parametrize("declared", [True, False])
def test_a_large_body_without_a_publishers_token_is_refused(
    world: HttpWorld, token: str | None, status: int, code: str, declared: bool
) -> None:
    channel, transport = world.connect()
    size = MAX_UNTRUSTED_BODY_BYTES + 1
    length = {"Content_Length": str(size)} if declared else {"Transfer_Encoding": "chunked"}
    channel.dataReceived(request("POST", "/ws/events", token, **length))
    if not declared:
        assert transport.value() == b""
        channel.dataReceived(b"%x\r\n" % size + b" " * size)
    response, rest = parse(transport.value())
    assert rest == b""
    assert (response.status, response.error) == (status, code)


def test_without_an_authenticator_no_body_is_large() -> None:
    site = GatewaySite(Resource(), Clock())
    transport = StringTransport()
    connect_to_site(site, transport).dataReceived(
        request("POST", "/", "service:acme:u1", b" " * (MAX_UNTRUSTED_BODY_BYTES + 1))
    )
    assert parse(transport.value())[0].error == "too_large"


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: \x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: y\r\n z\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: " + b"9" * 5_000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_a_malformed_request_is_refused_and_closes_the_connection(
    world: HttpWorld, logged: list[dict[str, Any]], sent: bytes
) -> None:
    channel, transport = world.connect()
    channel.dataReceived(sent + HEAD)
    assert transport.disconnecting
    response, rest = parse(transport.value())
    assert (response.status, response.error, rest) == (400, "invalid_message", b"")
    assert response.headers["connection"] == "close"
    assert world.site.limits.refused == {"invalid_message": 1}
    assert [formatEvent(event) for event in logged if "refused a request" in formatEvent(event)]
    assert not [event for event in logged if event["log_level"] >= LogLevel.warn]
    lose(channel)
    assert world.running() == []


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 101 + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 16_000 + b"\r\nZ: " + b"y" * 1_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nAuthorization: Bearer " + b"y" * 17_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nCookie: " + b"y" * 17_000,
        b"GET /" + b"y" * 17_000,
        b"GET /" + b"y" * 17_000 + b" HTTP/1.1\r\n\r\n",
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_a_head_that_is_too_large_is_refused_with_json(
    world: HttpWorld, logged: list[dict[str, Any]], sent: bytes
) -> None:
    channel, transport = world.connect()
    channel.dataReceived(sent)
    response, rest = parse(transport.value())
    assert (response.status, response.error, rest) == (431, "headers_too_large", b"")
    assert world.site.limits.refused == {"headers_too_large": 1}
    (line,) = [formatEvent(event) for event in logged if "refused a request" in formatEvent(event)]
    assert "headers_too_large" in line and "yyy" not in line
    # The peer may still be sending: what it sends is discarded before the connection is closed.
    channel.dataReceived(b"y" * 100_000 + HEAD)
    assert not transport.disconnecting
    world.reactor.advance(LINGER_TIMEOUT_SECONDS)
    assert transport.disconnecting
    lose(channel)
    assert world.running() == []


class Broken(Resource):
    """A resource that raises an exception."""

    def render(self, request: Any) -> int:
        raise ZeroDivisionError("secret detail")


@pytest.mark.logs_errors
def test_an_unhandled_error_in_a_resource_is_logged_and_responds_with_json(
    world: HttpWorld, logged: list[dict[str, Any]]
) -> None:
    world.root.putChild(b"broken", Broken())
    response = world.ask("GET", "/broken?token=hidden")
    assert (response.status, response.error) == (500, "internal_error")
    assert b"secret" not in response.body
    (event,) = [event for event in logged if "log_failure" in event]
    assert event["path"] == "/broken"


@pytest.mark.logs_errors
def test_an_unhandled_error_after_a_partial_response_closes_the_connection(world: HttpWorld) -> None:
    class HalfBroken(Resource):
        def render(self, request: Any) -> int:
            request.write(b"half")
            raise ZeroDivisionError

    world.root.putChild(b"half", HalfBroken())
    channel, transport = world.connect()
    channel.dataReceived(request("GET", "/half"))
    assert transport.disconnecting


@pytest.mark.logs_errors
def test_query_strings_are_never_logged(world: HttpWorld, logged: list[dict[str, Any]]) -> None:
    world.root.putChild(b"broken", Broken())
    for path in ("/livez", "/nowhere", "/broken", "/ws/stats", "/%0a\x7f"):
        for method in ("GET", "HEAD", "POST", "BREW"):
            channel, _ = world.connect()
            channel.dataReceived(request(method, f"{path}?access_token=hidden"))
    channel, _ = world.connect()
    channel.dataReceived(request("POST", "/livez?token=hidden", body=b"x" * 20_000))
    lines = [formatEvent(event) for event in logged]
    assert any("/broken" in line for line in lines)
    assert not [line for line in lines if "hidden" in line]
    assert not [event for event in logged if "hidden" in repr(event)]


def test_http2_is_never_negotiated(world: HttpWorld) -> None:
    assert IProtocolNegotiationFactory.providedBy(world.site)
    assert world.site.acceptableProtocols() == [b"http/1.1"]


def test_the_site_opens_no_access_log_and_starts_no_delayed_call(world: HttpWorld) -> None:
    world.site.doStart()
    assert world.running() == []
    world.site.doStop()


def send_unfinished(channel: Any, size: int, tenant: str = "acme") -> None:
    head = f"POST /ws/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer service:{tenant}:u1\r\nContent-Length: {size}"
    channel.dataReceived(head.encode() + b"\r\n\r\n")
    channel.dataReceived(b" " * (size - 1))


def test_unfinished_bodies_of_one_tenant_are_bounded_and_others_are_served(world: HttpWorld) -> None:
    incoming = world.site.limits.incoming
    other, other_transport = world.connect()
    send_unfinished(other, MAX_BODY_BYTES, "globex")
    transports = []
    for _ in range(20):
        channel, transport = world.connect()
        send_unfinished(channel, MAX_BODY_BYTES)
        transports.append(transport)
        assert incoming.total <= incoming.bound
    refused = [transport for transport in transports if transport.value()]
    assert refused == transports[: len(refused)]
    assert len(refused) == incoming.refused > 0
    response = parse(refused[0].value())[0]
    assert (response.status, response.error, response.headers["retry-after"]) == (503, "overloaded", "5")
    world.reactor.advance(LINGER_TIMEOUT_SECONDS)
    assert refused[0].disconnected
    other.dataReceived(b" ")
    assert parse(other_transport.value())[0].status == 400


def test_bodies_are_not_counted_after_their_request(world: HttpWorld) -> None:
    incoming = world.site.limits.incoming
    channel, transport = world.connect()
    for _ in range(2):
        send_unfinished(channel, 100_000)
        assert incoming.total > 90_000
        channel.dataReceived(b" ")
        assert parse(transport.value())[0].status == 400
        assert incoming.total == 0
    send_unfinished(channel, 100_000)
    lose(channel)
    assert incoming.total == 0


def test_authenticated_connections_beyond_their_number_count_as_unauthenticated() -> None:
    world = HttpWorld()
    world.site.limits = limits = PeerLimits.create(world.clock, PeerLimitValues(authenticated_http=1))
    channels = [world.connect()[0] for _ in range(3)]
    for channel in channels:
        channel.dataReceived(request("GET", "/ws/stats", "agent:acme:u1"))
    assert limits.budget.sockets == 2
    lose(channels[0])
    assert not limits.authenticated_http
    channels[1].dataReceived(request("GET", "/ws/stats", "agent:acme:u1"))
    assert limits.budget.sockets == 1
