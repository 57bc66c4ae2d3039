"""The same site over real sockets."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from http_world import HttpWorld, parse, request
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import capturedLogs, formatEvent
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers

from callcenter_ws.cli.tail_client import TailOptions, tail
from callcenter_ws.http.site import MAX_BODY_BYTES, GatewaySite
from callcenter_ws.runtime.clock import ReactorClock

DEADLINE = 30.0


@pytest.fixture
def reactor() -> Any:
    from twisted.internet import reactor

    return reactor


@pytest.fixture
def world(reactor: Any) -> HttpWorld:
    """A site whose turns are those of the reactor that serves the sockets."""
    return HttpWorld(clock=ReactorClock(reactor))


@pytest_twisted.async_yield_fixture
async def port(world: HttpWorld, reactor: Any, request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """The port of a site; a parameter is its handshake timeout in seconds."""
    timeout = getattr(request, "param", DEADLINE)
    site = GatewaySite(
        world.root, reactor, authenticator=world.tokens, handshake_timeout=timeout, idle_timeout=DEADLINE
    )
    listening = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
    yield listening.getHost().port
    await listening.stopListening()


class Collector(Protocol):
    """Collects all data until the connection closes."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Any) -> None:
        self.closed.callback(self.received)


async def body_of(response: Any) -> bytes:
    collector = Collector()
    response.deliverBody(collector)
    return await collector.closed


async def connect(reactor: Any, port: int) -> Collector:
    return await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(Factory.forProtocol(Collector))


@pytest_twisted.ensureDeferred
async def test_publish_and_read_stats_with_an_http_client(world: HttpWorld, reactor: Any, port: int) -> None:
    from io import BytesIO

    pool = HTTPConnectionPool(reactor)
    agent = Agent(reactor, pool=pool)
    headers = Headers({"Authorization": ["Bearer service:acme:u1"]})
    body = json.dumps([{"type": "alert", "payload": {"title": "t", "message": "x" * 500_000}}] * 5).encode()
    for seq in (5, 10):
        response = await agent.request(
            b"POST", f"http://127.0.0.1:{port}/ws/events".encode(), headers, FileBodyProducer(BytesIO(body))
        )
        assert response.code == 200
        assert json.loads(await body_of(response))["results"][-1]["seq"] == seq
    response = await agent.request(b"HEAD", f"http://127.0.0.1:{port}/ws/stats".encode(), headers)
    assert (response.code, response.headers.getRawHeaders("Content-Type")) == (200, ["application/json"])
    await pool.closeCachedConnections()
    assert len(world.delivered) == 10


@pytest_twisted.ensureDeferred
async def test_a_client_with_an_oversized_body_receives_413(reactor: Any, port: int) -> None:
    peer = await connect(reactor, port)
    peer.transport.write(request("POST", "/ws/events", "service:acme:u1", b"x" * (2 * MAX_BODY_BYTES)))
    raw = await peer.closed.addTimeout(DEADLINE, reactor)
    response, rest = parse(raw)
    assert (response.status, response.error, rest) == (413, "too_large", b"")


@pytest.mark.parametrize("port", [0.2], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_silent_connection_is_aborted(reactor: Any, port: int) -> None:
    peer = await connect(reactor, port)
    peer.transport.write(b"GET / HTTP/1.1\r\n")
    assert await peer.closed.addTimeout(DEADLINE, reactor) == b""


@pytest_twisted.ensureDeferred
async def test_connection_close(reactor: Any, port: int) -> None:
    peer = await connect(reactor, port)
    peer.transport.write(request("GET", "/metrics", Connection="close"))
    response, _ = parse(await peer.closed.addTimeout(DEADLINE, reactor))
    assert (response.status, response.body) == (200, b"up 1\n")


@pytest_twisted.ensureDeferred
async def test_a_tls_connection_to_a_port_without_tls_is_closed_at_once(reactor: Any, port: int) -> None:
    with capturedLogs() as logged:
        for _ in range(30):
            peer = await connect(reactor, port)
            peer.transport.write(bytes.fromhex("16030100c8010000c40303") + b"\x00" * 194)
            assert await peer.closed.addTimeout(DEADLINE / 2, reactor) == b""
    lines = [formatEvent(event) for event in logged if event.get("log_namespace") == "callcenter_ws"]
    # As many lines as any network causes in a minute.
    assert lines == [f"refused a TLS connection from 127.0.0.1: the port {port} has no TLS; use http:// or ws://"] * 20


@pytest_twisted.ensureDeferred
async def test_tail_explains_that_a_port_has_no_tls(reactor: Any, port: int) -> None:
    reason = await tail(reactor, TailOptions(url=f"wss://127.0.0.1:{port}/ws", token="t"), print)
    assert reason == (
        f"wss://127.0.0.1:{port}/ws has closed the connection without an answer; a port without TLS needs ws://"
    )
