"""The backlog of a connection: large messages are handed to the transport in pieces, and control frames pass them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from ws_world import CLOSE, CONTINUATION, PING, PONG, TEXT, Peer, WebSocketWorld, decode, encode, text

from callcenter_ws.delivery.outbox import MAX_DIRECT_BYTES
from callcenter_ws.errors import CloseCode
from callcenter_ws.ws.backlog import Backlog


def taken_from(backlog: Backlog) -> list[bytes]:
    pieces = []
    while backlog:
        pieces.append(backlog.take())
    return pieces


def test_small_frames_are_taken_together() -> None:
    backlog = Backlog()
    backlog.add([b"a" * (MAX_DIRECT_BYTES // 2)] * 5)
    assert [len(piece) for piece in taken_from(backlog)] == [MAX_DIRECT_BYTES, MAX_DIRECT_BYTES, MAX_DIRECT_BYTES // 2]
    assert backlog.size == 0


def test_a_large_frame_is_taken_in_pieces() -> None:
    backlog = Backlog()
    large = bytes(range(256)) * 1_500
    backlog.add([large, b"next"])
    pieces = taken_from(backlog)
    assert max(map(len, pieces)) <= MAX_DIRECT_BYTES
    assert b"".join(pieces) == large + b"next"


def test_a_control_frame_is_taken_after_the_rest_of_a_frame() -> None:
    backlog = Backlog()
    backlog.add([b"a" * (MAX_DIRECT_BYTES + 1), b"b" * MAX_DIRECT_BYTES])
    backlog.take()
    backlog.insert(b"ping")
    assert taken_from(backlog) == [b"a", b"ping", b"b" * MAX_DIRECT_BYTES]


def test_discarding_returns_the_rest_of_a_frame_only() -> None:
    backlog = Backlog()
    backlog.add([b"a" * (MAX_DIRECT_BYTES + 3), b"b"])
    backlog.take()
    assert backlog.discard() == b"aaa"
    assert not backlog and backlog.size == 0
    backlog.add([b"a", b"b"])
    assert backlog.discard() == b""


class Throttled:
    """A peer whose transport buffers one write only, until ``accept``."""

    def __init__(self, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.peer = peer
        self.stream = b""
        transport = peer.transport
        write = transport.write

        def throttled_write(data: bytes) -> None:
            write(data)
            transport.producer.pauseProducing()

        monkeypatch.setattr(transport, "write", throttled_write)

    def accept(self, world: WebSocketWorld) -> bytes:
        """Accept what is buffered; return it."""
        written: bytes = self.peer.transport.value()
        self.peer.transport.clear()
        self.peer.transport.producer.resumeProducing()
        world.turn()
        self.stream += written
        return written

    def accept_all(self, world: WebSocketWorld) -> None:
        while self.accept(world):
            pass


@pytest.fixture
def large(world: WebSocketWorld) -> WebSocketWorld:
    for number in range(1_000):
        fields = {"caller_id": "555", "destination": "100", "variables": {"note": "x" * 500}}
        world.publish("call.incoming", {"unique_id": f"c{number}", **fields})
    return world


@pytest.fixture
def throttled(large: WebSocketWorld, monkeypatch: pytest.MonkeyPatch) -> Throttled:
    """A peer that has requested a snapshot of 700 KB."""
    peer = Throttled(large.client("supervisor"), monkeypatch)
    peer.peer.feed(text("snapshot"))
    large.turn()
    return peer


def message_in(frames: list[Any]) -> Any:
    return json.loads(b"".join(frame.payload for frame in frames if frame.opcode in (TEXT, CONTINUATION)))


def test_the_transport_is_given_a_piece_at_a_time(large: WebSocketWorld, throttled: Throttled) -> None:
    sizes = []
    while piece := throttled.accept(large):
        sizes.append(len(piece))
    assert len(sizes) > 4 and max(sizes) <= MAX_DIRECT_BYTES
    assert len(message_in(decode(throttled.stream))["payload"]["events"]) == 1_000


def test_pings_and_pongs_pass_a_backlog(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept(large)
    throttled.peer.feed(encode(PING, b"are you there"))
    throttled.accept_all(large)
    frames = decode(throttled.stream)
    opcodes = [frame.opcode for frame in frames]
    assert 2 < opcodes.index(PONG) < 8 < len(frames)
    assert len(message_in(frames)["payload"]["events"]) == 1_000


def test_a_ping_that_confirms_mail_does_not_pass_a_backlog(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept(large)
    throttled.peer.transport.protocol.ping(b"mail-1")
    throttled.accept_all(large)
    assert decode(throttled.stream)[-1].opcode == PING


def test_events_follow_a_backlog(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept(large)
    large.publish()
    throttled.accept_all(large)
    frames = decode(throttled.stream)
    assert frames[-1].json["type"] == "alert"
    assert len(message_in(frames[:-1])["payload"]["events"]) == 1_000


def test_a_close_frame_follows_the_frame_that_is_being_written(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept(large)
    large.hub.disconnect_user("acme", "u1")
    throttled.accept_all(large)
    frames = decode(throttled.stream)
    assert frames[-1].close_code == CloseCode.REVOKED
    assert {frame.opcode for frame in frames[:-1]} == {TEXT, CONTINUATION}
    assert len(frames) < 8


def test_a_close_frame_does_not_interrupt_a_large_frame(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept_all(large)
    throttled.stream = b""
    large.publish("alert", {"title": "t", "message": "m" * 400_000})
    throttled.accept(large)
    large.hub.disconnect_user("acme", "u1")
    throttled.accept_all(large)
    event, close = decode(throttled.stream)
    assert event.json["type"] == "alert"
    assert close.opcode == CLOSE


def test_the_unsent_bytes_include_the_backlog(large: WebSocketWorld, throttled: Throttled) -> None:
    protocol = throttled.peer.transport.protocol
    before = protocol.unsent_bytes()
    throttled.accept(large)
    assert 0 < before - protocol.unsent_bytes() <= MAX_DIRECT_BYTES
    throttled.accept_all(large)
    assert protocol.unsent_bytes() == 0


def test_a_peer_that_reads_a_piece_in_each_timeout_is_sent_everything(
    large: WebSocketWorld, throttled: Throttled
) -> None:
    # Twice 120 KB in 28 s are more than the minimum rate.
    while throttled.accept(large):
        large.clock.advance(14)
    assert len(message_in(decode(throttled.stream))["payload"]["events"]) == 1_000
    assert large.log.closes == []


def test_a_peer_that_reads_nothing_of_a_backlog_is_closed(large: WebSocketWorld, throttled: Throttled) -> None:
    throttled.accept(large)
    large.clock.advance(61)
    assert [code for _, code in large.log.closes] == [CloseCode.SLOW_CONSUMER]
    throttled.accept_all(large)
    assert decode(throttled.stream)[-1].close_code == CloseCode.SLOW_CONSUMER


def test_the_work_of_many_backlogs_is_bounded_in_each_turn(large: WebSocketWorld) -> None:
    peers = [large.client("supervisor", f"u{number}") for number in range(40)]
    for peer in peers:
        peer.transport.protocol.dataReceived(text("snapshot"))
    for peer in peers:
        peer.transport.writes.clear()
    most = 0
    while large.clock.step():
        writes = sum(len(peer.transport.writes) for peer in peers)
        most = max(most, writes)
        for peer in peers:
            peer.transport.writes.clear()
    assert most <= 16
    assert all(len(message_in(peer.take())["payload"]["events"]) == 1_000 for peer in peers)
