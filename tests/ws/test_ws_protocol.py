"""GatewayProtocol behind the real site, over in-memory transports."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
from typing import Any

import pytest
from sample_events import ACME
from ws_world import (
    BINARY,
    CLOSE,
    CONTINUATION,
    KEY,
    PING,
    PONG,
    TEXT,
    Frame,
    Peer,
    WebSocketWorld,
    decode,
    encode,
    request,
    text,
)

from callcenter_ws.delivery.hub import CLOSED_PER_STEP
from callcenter_ws.delivery.user_probes import PROBE_TIMEOUT_SECONDS, RETRY_SECONDS
from callcenter_ws.errors import CLOSES, CloseCode
from callcenter_ws.runtime.slicer import STEPS_PER_TURN
from callcenter_ws.testing import run
from callcenter_ws.ws.protocol import CLOSE_TIMEOUT_SECONDS, MAX_AUTH_BYTES

HANDSHAKE = request(Authorization="Bearer agent:acme:u1", Sec_WebSocket_Protocol="callcenter.v1, bearer.forged")


def test_the_response_contains_the_accept_value_of_the_key(world: WebSocketWorld) -> None:
    answer = world.peer().ask(HANDSHAKE)
    accept = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())  # noqa: S324 - RFC 6455
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == accept.decode()
    assert answer.headers["upgrade"].lower() == "websocket"
    assert answer.headers["connection"].lower() == "upgrade"


def test_the_response_names_the_subprotocol_but_not_the_token(world: WebSocketWorld) -> None:
    peer = world.peer()
    answer = peer.ask(request(Sec_WebSocket_Protocol="bearer.agent:acme:u1, callcenter.v1"))
    assert answer.status == 101
    assert answer.headers["sec-websocket-protocol"] == "callcenter.v1"
    assert "acme:" not in str(answer.headers)
    assert b"acme:" not in answer.rest


def test_without_an_offer_the_response_names_no_subprotocol(world: WebSocketWorld) -> None:
    answer = world.peer().ask(request(Authorization="Bearer agent:acme:u1"))
    assert "sec-websocket-protocol" not in answer.headers
    assert "sec-websocket-extensions" not in answer.headers


def test_small_messages_are_sent_without_delay(world: WebSocketWorld) -> None:
    assert world.client().transport.no_delay is True


def conversation() -> bytes:
    """A handshake with frames in the same data: a ping, a fragmented request, and a request of an unknown type."""
    fragments = [
        encode(TEXT, b'{"type":"ping",', fin=False),
        encode(PING, b"between"),
        encode(CONTINUATION, b'"id":"b"}'),
    ]
    return b"".join([HANDSHAKE, text("ping", id="a"), *fragments, text("nonsense", id="c"), encode(CLOSE, b"\x03\xe8")])


def spoken(stream: bytes) -> tuple[list[Any], list[Frame]]:
    """Return the responses to requests in order, and the other frames."""
    head, _, rest = stream.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    frames = decode(rest)
    replies = [frame.json.get("in_reply_to") for frame in frames if frame.opcode == TEXT]
    return replies, [frame for frame in frames if frame.opcode != TEXT]


def converse(*pieces: bytes) -> bytes:
    world = WebSocketWorld()
    peer = world.peer()
    for piece in pieces:
        peer.feed(piece)
    assert peer.transport.disconnecting
    peer.disconnect()
    assert world.hub.connections() == 0 and world.admission.sockets == 0
    return peer.transport.value()


def test_a_conversation_may_be_split_at_any_byte() -> None:
    whole = conversation()
    others = [Frame(PONG, b"between"), Frame(CLOSE, b"\x03\xe8")]
    for at in range(len(HANDSHAKE) - 5, len(whole) - 1):
        replies, rest = spoken(converse(whole[:at], whole[at:]))
        assert rest == others, at
        # Frames in the same segment as the close frame are not answered.
        assert replies == [None, "a", "b", "c"][: len(replies)], at


def test_a_handshake_may_be_split_at_any_byte() -> None:
    for at in range(1, len(HANDSHAKE)):
        peer = WebSocketWorld().peer()
        peer.feed(HANDSHAKE[:at])
        assert peer.transport.value() == b""
        answer = peer.ask(HANDSHAKE[at:])
        assert [frame.json["type"] for frame in answer.frames] == ["welcome"], at


def test_a_conversation_may_arrive_byte_by_byte() -> None:
    whole = conversation()
    replies, rest = spoken(converse(*[whole[at : at + 1] for at in range(len(whole))]))
    assert replies == [None, "a", "b", "c"]
    assert rest == [Frame(PONG, b"between"), Frame(CLOSE, b"\x03\xe8")]


def test_a_first_frame_in_one_segment_with_the_handshake_is_read(world: WebSocketWorld) -> None:
    peer = world.peer()
    token = {"token": "agent:acme:u1"}
    answer = peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1") + text("auth", token) + text("ping", id="p"))
    assert [frame.json["type"] for frame in answer.frames] == ["welcome", "pong"]


def test_requests_before_the_handshake_on_the_same_connection(world: WebSocketWorld) -> None:
    peer = world.peer()
    peer.feed(b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n" + HANDSHAKE + text("ping", id="p"))
    first, _, rest = peer.transport.value().partition(b"HTTP/1.1 101")
    assert first.startswith(b"HTTP/1.1 404")
    assert [frame.json["type"] for frame in decode(rest.partition(b"\r\n\r\n")[2])] == ["welcome", "pong"]


def test_each_message_is_a_frame_of_its_own(world: WebSocketWorld) -> None:
    peer = world.client()
    for number in range(50):
        world.publish(payload={"title": str(number), "message": "m"})
    peer.feed(text("ping", id="p"))
    messages = peer.messages()
    assert [message["seq"] for message in messages[:-1]] == list(range(1, 51))
    assert all(isinstance(message, dict) for message in messages)


def test_all_messages_of_a_turn_are_one_write(world: WebSocketWorld) -> None:
    peer = world.client()
    before = len(peer.transport.writes)
    peer.feed(b"".join(text("ping", id=str(number)) for number in range(10)))
    assert len(peer.transport.writes) == before + 1
    assert [message["in_reply_to"] for message in peer.messages()] == [str(number) for number in range(10)]


# Violations of RFC 6455


TWO_HALVES = encode(TEXT, b" " * 300_000, fin=False) + encode(CONTINUATION, b" " * 300_000)


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param(encode(TEXT, b"{}", masked=False), 1002, id="unmasked"),
        pytest.param(encode(TEXT, b"{}", rsv=4), 1002, id="rsv1 without an extension"),
        pytest.param(encode(TEXT, b"{}", rsv=1), 1002, id="rsv3"),
        pytest.param(encode(3, b"{}"), 1002, id="reserved data opcode"),
        pytest.param(encode(11, b""), 1002, id="reserved control opcode"),
        pytest.param(encode(PING, b"", fin=False), 1002, id="fragmented ping"),
        pytest.param(encode(PING, b"x" * 126), 1002, id="long ping"),
        pytest.param(encode(CONTINUATION, b"{}"), 1002, id="continuation of nothing"),
        pytest.param(encode(TEXT, b"{", fin=False) + encode(TEXT, b"}"), 1002, id="text within a text"),
        pytest.param(encode(CLOSE, b"\x03"), 1002, id="close with half a code"),
        pytest.param(encode(CLOSE, b"\x03\xed"), 1002, id="close with a reserved code"),
        pytest.param(encode(CLOSE, b"\x13\x88"), 1002, id="close with a code out of range"),
        pytest.param(encode(CLOSE, b"\x03\xe8\xff"), 1007, id="close with a reason that is not UTF-8"),
        pytest.param(b"\x81\xfe\x00\x02mask{}", 1002, id="length not in its shortest form"),
        pytest.param(b"\x81\xff" + b"\xff" * 8 + b"mask", 1002, id="length over 2^63"),
        pytest.param(encode(TEXT, b'{"type":"\xff"}'), 1007, id="not UTF-8"),
        pytest.param(encode(TEXT, b"\xed\xa0\x80"), 1007, id="not UTF-8, a surrogate"),
        pytest.param(encode(TEXT, b"\xe2\x82"), 1007, id="ends within a character"),
        pytest.param(encode(BINARY, b"{}"), 1003, id="binary"),
        pytest.param(encode(BINARY), 1003, id="binary, empty"),
        pytest.param(encode(TEXT, b" " * 524_289), 1009, id="too large"),
        pytest.param(b"\x81\xff" + (2**62).to_bytes(8, "big") + b"mask", 1009, id="announces 2^62 bytes"),
        pytest.param(encode(TEXT, b"", fin=False) + 64 * encode(CONTINUATION, b"", fin=False), 1009, id="65 fragments"),
        pytest.param(TWO_HALVES, 1009, id="too large over fragments"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("authenticated", [True, False])
def test_the_close_code_reports_a_violation(frames: bytes, code: int, authenticated: bool) -> None:
    world = WebSocketWorld()
    peer = world.client() if authenticated else world.unauthenticated()
    neighbour = world.client(user="u2")
    peer.feed(frames)
    (close,) = peer.take()
    assert close.close_code == code
    assert close.payload[2:].decode() == CLOSES[CloseCode(code)].text
    assert world.log.lines == [f"closed {code}"]
    assert world.hub.connections("acme") == 1
    world.publish()
    assert peer.transport.value() == b""
    assert [message["type"] for message in neighbour.messages()] == ["alert"]


@pytest.mark.parametrize(
    "frames", [64 * [b" " * 8192], [b'{"type":"ping","id":"x"}'] + 63 * [b""], [b'{"type":"ping","id":"x"}']]
)
def test_a_message_at_the_limits_is_accepted(world: WebSocketWorld, frames: list[bytes]) -> None:
    peer = world.client()
    last = len(frames) - 1
    peer.feed(b"".join(encode(CONTINUATION if at else TEXT, part, fin=at == last) for at, part in enumerate(frames)))
    (message,) = peer.messages()
    assert message["type"] in ("pong", "error")
    peer.feed(text("ping", id="y"))
    assert peer.messages()[0]["in_reply_to"] == "y"


def test_fragments_are_counted_for_each_message(world: WebSocketWorld) -> None:
    peer = world.client()
    for number in range(3):
        message = json.dumps({"type": "ping", "id": str(number)}).encode()
        peer.feed(
            encode(TEXT, message, fin=False) + 40 * encode(CONTINUATION, b"", fin=False) + encode(CONTINUATION, b"")
        )
    assert [message["in_reply_to"] for message in peer.messages()] == ["0", "1", "2"]


def test_incomplete_messages_of_all_clients_are_bounded(world: WebSocketWorld) -> None:
    incoming = world.peer_limits.incoming
    incoming.bound = 700_000
    first, second = world.client(user="u1"), world.client(user="u2")
    message = encode(TEXT, b'{"type":"ping","id":"' + b"x" * 400_000 + b'"}')
    first.feed(message[:-1])
    assert incoming.total > 400_000
    second.feed(message[:-1])
    assert first.only_close() == CloseCode.TRY_LATER
    assert incoming.total < 500_000
    second.feed(message[-1:])
    assert second.messages()
    assert incoming.total == 0


def test_an_unauthenticated_peer_may_send_a_token_only(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    peer.feed(encode(TEXT, b" " * (MAX_AUTH_BYTES + 1)))
    assert peer.only_close() == CloseCode.TOO_LARGE


# Closing


def test_nothing_is_written_after_the_close_frame(world: WebSocketWorld) -> None:
    peer = world.client()
    world.publish()
    assert world.hub.disconnect_user("acme", "u1") == 1
    world.publish()
    world.advance(1)
    assert [frame.opcode for frame in peer.take()] == [TEXT, CLOSE]
    peer.feed(text("ping", id="late") + encode(PING, b"late"))
    assert peer.take() == []


def test_queued_messages_are_sent_before_the_close_frame(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.transport.protocol.dataReceived(text("ping", id="a"))
    world.hub.disconnect_user("acme", "u1")
    world.turn()
    pong, close = peer.take()
    assert pong.json["in_reply_to"] == "a"
    assert close.close_code == CloseCode.REVOKED


def test_a_peers_close_is_answered_and_the_socket_closed(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(CLOSE, b"\x03\xe9going"))
    assert peer.only_close() == CloseCode.NORMAL
    assert peer.transport.disconnecting and not peer.transport.aborted
    assert world.log.lines == []
    peer.disconnect()
    world.advance(CLOSE_TIMEOUT_SECONDS + 1)
    assert not peer.transport.aborted


def test_an_empty_close_is_answered(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(CLOSE))
    assert peer.only_close() == CloseCode.NORMAL


def test_a_peer_that_closes_and_does_not_read_is_aborted(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(CLOSE, b"\x03\xe8"))
    world.advance(CLOSE_TIMEOUT_SECONDS - 1)
    assert not peer.transport.aborted
    world.advance(2)
    assert peer.transport.aborted


def test_a_peer_that_does_not_answer_a_close_is_aborted(world: WebSocketWorld) -> None:
    peer = world.client()
    world.hub.disconnect_user("acme", "u1")
    world.advance(CLOSE_TIMEOUT_SECONDS - 2)
    assert not peer.transport.aborted
    world.advance(4)
    assert peer.transport.aborted


def test_an_orderly_close_does_not_abort(world: WebSocketWorld) -> None:
    peer = world.client()
    world.hub.disconnect_user("acme", "u1")
    peer.feed(encode(CLOSE, (4503).to_bytes(2, "big")))
    assert peer.transport.disconnecting and not peer.transport.aborted


def test_an_invalid_close_code_does_not_overtake_its_own_answer(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(CLOSE, b"\x00\x01"))
    assert peer.only_close() == CloseCode.PROTOCOL_ERROR
    assert peer.transport.disconnecting and not peer.transport.aborted


def test_a_second_violation_does_not_drop_the_first_close_frame(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(TEXT, b"{}", masked=False))
    peer.feed(encode(TEXT, b"{}", masked=False) + encode(3, b"") + encode(TEXT, b"\xff"))
    assert peer.only_close() == CloseCode.PROTOCOL_ERROR
    assert not peer.transport.disconnecting and not peer.transport.aborted
    peer.feed(encode(CLOSE, b"\x03\xea"))
    assert peer.transport.disconnecting
    assert world.log.lines == ["closed 1002"]


def buffered_input(peer: Peer) -> int:
    """Return the number of received bytes that the protocol buffers."""
    protocol = peer.transport.protocol
    lists = [getattr(protocol, name, None) or [] for name in ("control_frame_data", "message_data", "frame_data")]
    return len(protocol.data) + sum(len(piece) for pieces in lists for piece in pieces)


@pytest.mark.parametrize("opcode", [PING, TEXT, 11])
def test_an_endless_frame_is_not_buffered(world: WebSocketWorld, opcode: int) -> None:
    peer = world.client()
    peer.feed(bytes([0x80 | opcode, 0xFF]) + (2**60).to_bytes(8, "big") + b"mask")
    for _ in range(64):
        peer.feed(b"x" * 65_536)
    assert buffered_input(peer) <= 65_536


def test_a_closed_connection_buffers_no_bytes(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(CLOSE, b"\x03\xe8"))
    for _ in range(64):
        peer.feed(b"x" * 65_536)
    assert len(peer.transport.protocol.data) == 0


def test_a_lost_connection_leaves_no_state(world: WebSocketWorld) -> None:
    for peer in (world.client(), world.unauthenticated()):
        peer.disconnect()
    assert world.hub.connections() == 0
    assert world.admission.sockets == 0
    world.advance(120)
    assert world.log.lines == []
    assert world.time.getDelayedCalls() == []


# Timeouts


def test_a_peer_that_sends_no_token_in_time_is_closed(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    world.advance(9)
    assert peer.take() == []
    world.advance(2)
    assert peer.only_close() == CloseCode.AUTH_TIMEOUT
    assert world.log.lines == ["closed 4502"]
    peer.feed(text("auth", {"token": "agent:acme:u1"}))
    assert peer.take() == [] and world.hub.connections() == 0


def test_a_token_in_time_cancels_the_timeout(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    world.advance(9)
    peer.feed(text("auth", {"token": "agent:acme:u1"}))
    assert [message["type"] for message in peer.messages()] == ["welcome"]
    world.advance(20)
    assert peer.take() == []


def test_a_peer_that_answers_no_ping_is_closed(world: WebSocketWorld) -> None:
    peer = world.client()
    world.advance(55)
    (ping,) = peer.take()
    assert ping.opcode == PING
    world.advance(7)
    assert peer.only_close() == CloseCode.KEEPALIVE_TIMEOUT
    assert world.log.lines == ["closed 4002"]
    assert world.hub.connections() == 0
    world.advance(CLOSE_TIMEOUT_SECONDS + 1)
    assert peer.transport.aborted


def test_a_peer_whose_ping_is_queued_behind_data_is_not_closed(
    world: WebSocketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = world.client()
    backlog = iter(range(9_000, 0, -1_000))
    monkeypatch.setattr(peer.transport.protocol, "unsent_bytes", lambda: next(backlog, 1_000))
    world.advance(55)
    peer.take()
    for _ in range(6):
        world.advance(6)
        assert peer.take() == []
    # From here on the amount of unsent data does not change.
    world.advance(30)
    assert peer.only_close() == CloseCode.KEEPALIVE_TIMEOUT


@pytest.mark.parametrize("answer", ["pong", "message"])
def test_a_responsive_peer_is_not_closed(world: WebSocketWorld, answer: str) -> None:
    peer = world.client()
    for _ in range(5):
        world.advance(55)
        ping = next(frame for frame in peer.take() if frame.opcode == PING)
        peer.feed(encode(PONG, ping.payload) if answer == "pong" else text("ping"))
        peer.take()
    assert world.hub.connections() == 1
    assert world.log.lines == []


def test_unsolicited_pongs_are_ignored(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(encode(PONG, b"x") + encode(PONG))
    world.advance(55)
    peer.feed(encode(PONG, b"wrong"))
    assert [frame.opcode for frame in peer.take()] == [PING]
    world.advance(7)
    assert peer.only_close() == CloseCode.KEEPALIVE_TIMEOUT


def test_mail_is_delivered_by_the_pong_to_a_ping_behind_it(world: WebSocketWorld) -> None:
    peer = world.client(user="7")
    world.publish("notification", user_id="7", event_id="a")
    mail, ping = peer.take()
    assert (mail.json["id"], ping.opcode) == ("a", PING)

    def waiting() -> list[str]:
        page = run(world.broker.read_mailbox(ACME, "7", 0, 10))
        return [item.publication.event.event_id for item in page.items]

    # A message and a ping that may have been sent before the mail arrived.
    peer.feed(text("ping") + encode(PING, b"x") + encode(PONG, b"x"))
    assert waiting() == ["a"]
    peer.feed(encode(PONG, ping.payload))
    assert waiting() == []


def test_mail_is_delivered_by_the_pong_to_a_keepalive_ping(world: WebSocketWorld) -> None:
    peer = world.client(user="7")
    world.publish("notification", user_id="7", event_id="a")
    peer.take()
    world.advance(55)
    (ping,) = peer.take()
    peer.feed(encode(PONG, ping.payload))
    assert run(world.broker.read_mailbox(ACME, "7", 0, 10)).items == []


# Back-pressure


def test_nothing_is_written_to_a_paused_client(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.transport.producer.pauseProducing()
    for _ in range(10):
        world.publish()
    assert peer.take() == []
    peer.transport.producer.resumeProducing()
    world.turn()
    assert [message["seq"] for message in peer.messages()] == list(range(1, 11))


def test_a_paused_client_loses_nothing_when_its_outbox_overflows() -> None:
    world = WebSocketWorld(outbox=8)
    peer, neighbour = world.client(), world.client(user="u2")
    peer.transport.producer.pauseProducing()
    for _ in range(100):
        world.publish()
    assert [message["seq"] for message in neighbour.messages()] == list(range(1, 101))
    peer.transport.producer.resumeProducing()
    for _ in range(100):
        world.turn()
    world.publish()
    assert [message["seq"] for message in peer.messages()] == list(range(1, 102))


def test_a_client_that_reads_nothing_is_closed(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.transport.producer.pauseProducing()
    world.advance(29)
    assert peer.take() == []
    world.advance(2)
    assert peer.only_close() == CloseCode.SLOW_CONSUMER
    assert world.log.lines == ["closed 4001"]


def test_a_peer_that_pings_but_does_not_read_uses_no_memory(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.transport.producer.pauseProducing()
    for number in range(90):
        peer.feed(encode(PING, b"%d" % number))
    assert peer.take() == []
    peer.transport.producer.resumeProducing()
    assert peer.take() == [Frame(PONG, b"89")]
    peer.feed(encode(PING, b"next"))
    assert peer.take() == [Frame(PONG, b"next")]


@pytest.mark.parametrize("opcode", [PING, PONG])
@pytest.mark.parametrize("authenticated", [True, False])
def test_a_flood_of_control_frames_is_discarded(world: WebSocketWorld, opcode: int, authenticated: bool) -> None:
    peer = world.client() if authenticated else world.unauthenticated()
    peer.feed(encode(opcode, b"") * 10_000)
    *pongs, close = peer.take()
    assert close.close_code == CloseCode.RATE_LIMITED
    assert len(pongs) == (100 if authenticated and opcode == PING else 0)
    peer.feed(encode(opcode, b"") * 10_000)
    assert peer.take() == []
    assert peer.transport.protocol.data == b""


def test_a_peer_whose_input_is_discarded_need_not_wait_for_the_timeout(world: WebSocketWorld) -> None:
    flooding, large, other = world.client(), world.unauthenticated(), world.client()
    flooding.feed(encode(PING, b"") * 200)
    large.feed(encode(TEXT, b"x" * (MAX_AUTH_BYTES + 1)))
    other.feed(encode(BINARY, b"x"))
    codes = [peer.take()[-1].close_code for peer in (flooding, large, other)]
    assert codes == [CloseCode.RATE_LIMITED, CloseCode.TOO_LARGE, CloseCode.UNSUPPORTED_DATA]
    assert [peer.transport.finished_writing for peer in (flooding, large, other)] == [True, True, False]


def test_unauthenticated_peers_get_no_pong(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    peer.feed(encode(PING, b"hello"))
    assert peer.take() == []


def test_a_flood_after_a_refusal_is_discarded(world: WebSocketWorld) -> None:
    peer = world.unauthenticated()
    stats = peer.transport.protocol.trafficStats
    before = stats.incomingWebSocketFrames
    peer.feed(encode(TEXT, b"x") * 10_000)
    assert peer.take()[-1].close_code == CloseCode.UNAUTHORIZED
    assert peer.transport.protocol.data == b""
    assert stats.incomingWebSocketFrames - before < 100
    world.advance(CLOSE_TIMEOUT_SECONDS + 1)
    assert peer.transport.aborted


def test_input_after_a_flood_of_messages_is_discarded(world: WebSocketWorld) -> None:
    peer = world.client()
    peer.feed(text("ping") * 10_000)
    frames = peer.take()
    assert frames[-1].close_code == CloseCode.RATE_LIMITED
    assert peer.transport.protocol.data == b""
    assert world.hub.counters.received < 100


# Admission


@pytest.mark.parametrize(
    "frame",
    [
        encode(TEXT, b"not json"),
        encode(TEXT, b"[]"),
        encode(TEXT, b"null"),
        text("ping"),
        text("auth"),
        text("auth", {"token": 7}),
        text("auth", {"token": ""}),
        text("auth", {"token": "forged"}),
        encode(TEXT, b'{"type":"auth","payload":[]}'),
        text("auth", {"token": "visitor:acme:u1"}),
        encode(TEXT, b"[" * 10_000),
    ],
    ids=range(11),
)
def test_an_invalid_first_frame_gets_an_error_and_a_close(world: WebSocketWorld, frame: bytes) -> None:
    peer = world.unauthenticated()
    peer.feed(frame + text("ping", id="more"))
    error, close = peer.take()
    assert error.json["type"] == "error"
    assert error.json["payload"]["code"] in ("unauthorized", "forbidden")
    assert close.close_code == CloseCode.UNAUTHORIZED
    assert len(world.log.lines) == 1
    assert "forged" not in str(error)
    assert world.hub.connections() == 0 and world.hub.counters.opened == 0


def test_a_refused_browser_gets_an_error_and_is_not_registered(world: WebSocketWorld) -> None:
    peer = world.peer()
    answer = peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1, bearer.forged"))
    assert answer.status == 101
    error, close = answer.frames
    assert error.json["payload"]["code"] == "unauthorized"
    assert close.close_code == CloseCode.UNAUTHORIZED
    assert world.log.lines == ["handshake 192.0.2.1 unauthorized"]
    assert world.hub.counters.opened == 0
    world.publish()
    assert peer.take() == []


def test_a_refused_client_without_subprotocol_gets_401(world: WebSocketWorld) -> None:
    answer = world.peer().ask(request(Authorization="Bearer forged"))
    assert answer.status == 401
    assert answer.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert json.loads(answer.rest)["error"]["code"] == "unauthorized"
    assert world.log.lines == ["handshake 192.0.2.1 unauthorized"]
    assert world.admission.sockets == 0


BROWSER = request(Sec_WebSocket_Protocol="callcenter.v1, bearer.agent:acme:u1")


def test_the_limit_per_user() -> None:
    world = WebSocketWorld(connections_per_user=2)
    first, _ = world.client(), world.client()
    refused = world.peer().ask(request(Authorization="Bearer agent:acme:u1"))
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 0
    browser = world.peer().ask(BROWSER)
    assert browser.frames[-1].close_code == CloseCode.TRY_LATER
    world.client(user="u2")
    first.disconnect()
    world.client()


def test_connections_that_do_not_answer_make_room_for_a_new_one() -> None:
    """Two of three connections are half open: their peers have vanished without closing them."""
    world = WebSocketWorld(connections_per_user=3)
    living, *dead = [world.client() for _ in range(3)]
    error, close = world.peer().ask(BROWSER).frames
    assert (error.json["payload"]["code"], error.json["payload"]["retry_after_ms"]) == ("rate_limited", 6000)
    assert close.close_code == CloseCode.TRY_LATER
    world.advance(1)
    (ping,) = living.take()
    living.feed(encode(PONG, ping.payload))
    # They are closed within the announced time.
    world.advance(5)
    assert [peer.take()[-1].close_code for peer in dead] == [CloseCode.KEEPALIVE_TIMEOUT] * 2
    assert living.take() == []
    assert [world.peer().ask(BROWSER).frames[0].json["type"] for _ in range(2)] == ["welcome", "welcome"]


def test_the_limit_reached_by_living_connections_is_final() -> None:
    world = WebSocketWorld(connections_per_user=2)
    peers = [world.client() for _ in range(2)]
    assert world.peer().ask(BROWSER).frames[-1].close_code == CloseCode.TRY_LATER
    # A message is an answer, too.
    (ping,) = peers[0].take()
    peers[0].feed(encode(PONG, ping.payload))
    peers[1].feed(text("ping"))
    world.advance(int(RETRY_SECONDS))
    error, close = world.peer().ask(BROWSER).frames
    assert "retry_after_ms" not in error.json["payload"]
    assert close.close_code == CloseCode.CONNECTION_LIMIT
    assert world.hub.connections() == 2


def test_a_probe_spares_a_peer_that_reads_slowly(world: WebSocketWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    peer = world.client()
    backlog = iter([9_000, 5_000])
    monkeypatch.setattr(peer.transport.protocol, "unsent_bytes", lambda: next(backlog, 5_000))
    peer.transport.protocol.probe()
    peer.transport.protocol.probe()
    world.advance(int(PROBE_TIMEOUT_SECONDS) + 1)
    assert [frame.opcode for frame in peer.take()] == [PING]
    peer.transport.protocol.probe()
    world.advance(int(PROBE_TIMEOUT_SECONDS) + 1)
    assert peer.take()[-1].close_code == CloseCode.KEEPALIVE_TIMEOUT


def test_a_connection_that_is_lost_while_it_is_probed_is_released(world: WebSocketWorld) -> None:
    peer = world.client()
    protocol = peer.transport.protocol
    protocol.probe()
    peer.disconnect()
    assert "dataReceived" not in vars(protocol)
    world.advance(int(PROBE_TIMEOUT_SECONDS) + 1)
    protocol.probe()
    assert protocol._probe_timer is None


def test_the_limit_per_address_counts_unauthenticated_peers() -> None:
    world = WebSocketWorld(connections_per_ip=2)
    peer, _ = world.unauthenticated(), world.unauthenticated()
    refused = world.peer().ask(request(Authorization="Bearer agent:acme:u1"))
    assert refused.status == 429 and int(refused.headers["retry-after"]) > 0
    # A browser cannot read the status, and is told that it may return.
    browser = world.peer().ask(HANDSHAKE)
    assert browser.status == 101
    error, close = browser.frames
    assert error.json["payload"]["code"] == "unavailable" and error.json["payload"]["retry_after_ms"] > 0
    assert close.close_code == CloseCode.TRY_LATER
    assert world.peer("192.0.2.9").ask(HANDSHAKE).status == 101
    peer.disconnect()
    assert world.peer().ask(HANDSHAKE).status == 101


def test_refused_handshakes_do_not_count_against_the_address() -> None:
    world = WebSocketWorld(connections_per_ip=1)
    for _ in range(3):
        assert world.peer().ask(request(Authorization="Bearer forged")).status == 401
    assert world.peer().ask(HANDSHAKE).status == 101


def test_the_address_is_that_of_a_trusted_proxys_client() -> None:
    world = WebSocketWorld(connections_per_ip=1, proxies=("192.0.2.0/24",))
    handshake = request(Authorization="Bearer agent:acme:u1")
    for client, status in (
        ("203.0.113.1:1001", 101),
        ("203.0.113.2", 101),
        ("203.0.113.1", 429),
        ("[2001:db8::1]:443", 101),
        ("2001:db8::2", 429),
        ("2001:db8:0:1::1", 101),
    ):
        assert world.peer().ask(handshake[:-2] + f"X-Forwarded-For: {client}\r\n\r\n".encode()).status == status


def test_the_node_limit() -> None:
    world = WebSocketWorld(connections=1)
    world.unauthenticated()
    assert world.peer("198.51.100.1").ask(request(Authorization="Bearer agent:acme:u1")).status == 429
    assert world.peer("198.51.100.1").ask(HANDSHAKE).frames[-1].close_code == CloseCode.TRY_LATER


def test_a_draining_node_accepts_no_connections(world: WebSocketWorld) -> None:
    waiting = world.unauthenticated()
    world.admission.draining = True
    answer = world.peer().ask(HANDSHAKE)
    assert answer.status == 503 and int(answer.headers["retry-after"]) > 0
    waiting.feed(text("auth", {"token": "agent:acme:u1"}))
    error, close = waiting.take()
    assert error.json["payload"]["code"] == "unavailable"
    assert close.close_code == CloseCode.DRAINING


def test_a_drain_closes_those_that_have_not_authenticated_in_slices() -> None:
    world = WebSocketWorld(connections_per_ip=0)
    peers = [world.unauthenticated() for _ in range(200)]
    written = [len(peer.transport.writes) for peer in peers]

    def closed() -> int:
        return sum(len(peer.transport.writes) > before for peer, before in zip(peers, written, strict=True))

    counts = [0]
    world.factory.drain()
    while world.clock.step():
        counts.append(closed())
    assert counts[-1] == 200
    assert max(later - earlier for earlier, later in itertools.pairwise(counts)) <= STEPS_PER_TURN * CLOSED_PER_STEP
    assert {peer.only_close() for peer in peers} == {CloseCode.DRAINING}


def test_an_unhandled_error_closes_one_connection_and_is_logged(
    world: WebSocketWorld, monkeypatch: pytest.MonkeyPatch, error_log: Any
) -> None:
    peer = world.unauthenticated()

    def fail(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(world.handshake_authenticator, "principal_of_frame", fail)
    peer.feed(text("auth", {"token": "agent:acme:u1"}))
    assert peer.only_close() == CloseCode.INTERNAL_ERROR
    assert "agent:acme" not in str(error_log)
    assert len(error_log.events) == 1
    error_log.events.clear()


@pytest.mark.parametrize(
    ("header", "status"),
    [("Origin", 403), ("X-Forwarded-For", 101), ("Authorization", 401), ("Cookie", 101), ("Sec-WebSocket-Key", 400)],
)  # fmt: skip
def test_headers_that_are_not_ascii_are_handled(world: WebSocketWorld, header: str, status: int) -> None:
    name = header.replace("-", "_")
    token = {} if header == "Authorization" else {"Authorization": "Bearer agent:acme:u1"}
    assert world.peer().ask(request(**{**token, name: "Bearer \xff\xfe=\x80"})).status == status


OWN = "https://gateway.example"


@pytest.mark.parametrize(
    ("proxies", "headers", "status"),
    [
        ((), {"Host": "gateway.example"}, 101),
        ((), {"Host": "other.example"}, 403),
        # Only a trusted proxy says under which name it was reached.
        ((), {"Host": "10.0.0.1:8080", "X_Forwarded_Host": "gateway.example"}, 403),
        (("192.0.2.0/24",), {"Host": "10.0.0.1:8080", "X_Forwarded_Host": "gateway.example"}, 101),
        (("192.0.2.0/24",), {"Host": "10.0.0.1:8080", "X_Forwarded_Host": "gateway.example, other.example"}, 403),
        (("192.0.2.0/24",), {"Host": "gateway.example", "X_Forwarded_Proto": "https"}, 101),
    ],
)
def test_a_page_of_the_gateway_itself_may_connect(
    proxies: tuple[str, ...], headers: dict[str, str], status: int
) -> None:
    world = WebSocketWorld(proxies=proxies)
    answer = world.peer().ask(request(Origin=OWN, Authorization="Bearer agent:acme:u1", **headers))
    assert answer.status == status


def test_a_page_that_was_not_encrypted_is_not_of_the_encrypted_site() -> None:
    world = WebSocketWorld(proxies=("192.0.2.0/24",))
    page = {"Origin": "http://gateway.example", "Host": "gateway.example"}
    assert world.peer().ask(request(Authorization="Bearer agent:acme:u1", **page)).status == 101
    answer = world.peer().ask(request(Authorization="Bearer agent:acme:u1", **page, X_Forwarded_Proto="https"))
    assert answer.status == 403


def test_a_cookie_is_not_accepted_from_a_page_that_is_not_listed(world: WebSocketWorld) -> None:
    answer = world.peer().ask(request(Origin=OWN, Host="gateway.example", Cookie="session=agent:acme:u1"))
    assert answer.status == 403
    assert json.loads(answer.rest)["error"]["message"] == "a cookie requires an Origin on the allow-list"


def test_a_refused_origin_is_named(world: WebSocketWorld) -> None:
    answer = world.peer().ask(request(Origin="capacitor://localhost", Authorization="Bearer agent:acme:u1"))
    assert answer.status == 403
    message = json.loads(answer.rest)["error"]["message"]
    assert message == "the Origin 'capacitor://localhost' is not listed in web.allowed_origins"
    ((_, refusal),) = world.log.refused_handshakes
    assert refusal.message == message
