"""Large response bodies: written in pieces, at a minimum rate, and counted with everything that waits."""

from __future__ import annotations

from typing import Any

import pytest
from http_world import HttpWorld, parse, request
from twisted.internet.error import ConnectionDone
from twisted.python.failure import Failure
from twisted.web.server import Request

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.outgoing import OutgoingBytes
from callcenter_ws.http.large_body import PIECE_BYTES, BodyWriting
from callcenter_ws.http.responses import JsonResource, Response
from callcenter_ws.runtime.slicer import Slicer

BODY = bytes(range(256)) * 2_000


class LargeWorld(HttpWorld):
    """An HttpWorld with a large resource at ``/large``."""

    def __post_init__(self) -> None:
        super().__post_init__()
        slicer = Slicer(self.clock)
        self.outgoing = OutgoingBytes(self.clock, slicer, 1 << 30, lambda: None)
        self.site.body_writing = BodyWriting(self.clock, slicer, self.outgoing, Limits())
        self.root.putChild(b"large", JsonResource(get=self._large))

    async def _large(self, request: Request) -> Response:
        return Response(BODY)

    def begin(self, method: str = "GET") -> tuple[Any, Any]:
        """Request the large body."""
        channel, transport = self.connect()
        channel.dataReceived(request(method, "/large"))
        return channel, transport


@pytest.fixture
def large() -> LargeWorld:
    return LargeWorld()


def test_a_large_body_arrives_in_pieces(large: LargeWorld) -> None:
    _, transport = large.begin()
    sizes, before = [], len(transport.value())
    while large.clock._due and not large.clock._due[0][0] > large.clock.monotonic():
        large.clock.advance(0)
        sizes.append(len(transport.value()) - before)
        before = len(transport.value())
    response, rest = parse(transport.value())
    assert (response.body, rest) == (BODY, b"")
    assert large.outgoing.peers == 0


def test_nothing_is_written_while_the_transport_is_paused(large: LargeWorld) -> None:
    _, transport = large.begin()
    transport.producer.pauseProducing()
    large.clock.advance(1)
    assert len(transport.value()) < PIECE_BYTES
    assert large.outgoing.peers == 1
    assert large.outgoing.total == len(BODY)
    transport.producer.resumeProducing()
    large.clock.advance(1)
    assert parse(transport.value())[0].body == BODY
    assert large.outgoing.peers == 0


def test_a_peer_that_reads_nothing_is_cut_off(large: LargeWorld) -> None:
    _, transport = large.begin()
    transport.producer.pauseProducing()
    large.clock.advance(29)
    assert not transport.disconnected
    large.clock.advance(2)
    assert transport.disconnected


def test_a_connection_that_is_lost_is_counted_no_longer(large: LargeWorld) -> None:
    channel, transport = large.begin()
    transport.producer.pauseProducing()
    channel.connectionLost(Failure(ConnectionDone()))
    assert large.outgoing.peers == 0
    large.clock.advance(100)
    assert not transport.disconnected


def test_head_has_no_body(large: LargeWorld) -> None:
    _, transport = large.begin("HEAD")
    large.clock.advance(1)
    response, _ = parse(transport.value(), head_only=True)
    assert response.headers["content-length"] == str(len(BODY))
    assert large.outgoing.peers == 0


def test_the_connection_serves_the_next_request(large: LargeWorld) -> None:
    channel, transport = large.begin()
    large.clock.advance(1)
    _, rest = parse(transport.value())
    assert rest == b""
    transport.clear()
    channel.dataReceived(request("GET", "/livez"))
    assert parse(transport.value())[0].status == 200
