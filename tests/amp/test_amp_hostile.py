"""Peers that break the rules are cut off with one clear line; nobody else notices."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.protocols import amp

from callcenter_ws.amp import commands
from callcenter_ws.amp.factory import CONNECTIONS, STRANGERS
from callcenter_ws.amp.protocol import BOX_BYTES, STRANGER_BOX_BYTES, UNWRITTEN_BYTES

CALL = {"unique_id": "u1", "caller_id": "+3212345", "destination": "100"}
EVENT: dict[str, Any] = {"tenant_id": "acme", "type": "call.incoming", "payload": json.dumps(CALL).encode()}


def value(size: int) -> bytes:
    return size.to_bytes(2, "big") + b"x" * size


def key(name: bytes) -> bytes:
    return len(name).to_bytes(2, "big") + name


@pytest.fixture
def bystander(server: Any) -> Iterator[Any]:
    """A peer that is served before, during and after."""
    peer = server.unix()
    assert peer.ask(commands.PublishEvent, **EVENT)["seq"] == 1
    yield peer
    assert peer.connected
    assert peer.ask(commands.PublishEvent, **EVENT)["seq"] > 1


@pytest.fixture
def cut_off_line(warnings_logged: Any) -> Any:
    """The one line that the cut left in the log."""

    def line() -> str:
        (logged,) = warnings_logged()
        assert " is cut off: " in logged
        return str(logged)

    return line


def endless(pieces: Iterator[bytes], peer: Any, most: int) -> int:
    """Send ``pieces`` until the peer is cut off; return how many bytes it took."""
    sent = 0
    for piece in pieces:
        peer.send(piece)
        sent += len(piece)
        if not peer.connected:
            return sent
        assert sent < most
    raise AssertionError("never cut off")


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff" * 1000,
        b"\x01\x00" + b"k" * 256,
    ],
)
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_what_is_not_amp(server: Any, bystander: Any, cut_off_line: Any, garbage: bytes, kind: str) -> None:
    peer = getattr(server, kind)()
    peer.send(garbage)
    assert not peer.connected
    assert "does it speak AMP at all?" in cut_off_line()
    assert peer.transport.value() == b""


def test_an_empty_box(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    peer.send(b"\x00\x00")
    assert not peer.connected
    cut_off_line()


def test_a_box_of_endlessly_many_keys(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    sent = endless((key(b"k%d" % number) + value(1) for number in range(1000)), peer, 1000)
    assert sent < 1000
    assert "more than 64 keys" in cut_off_line()


def test_a_box_that_repeats_one_key(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    endless((key(b"k") + value(1) for _ in range(1000)), peer, 1000)
    assert "more than 64 keys" in cut_off_line()


def test_a_stranger_gets_little_memory(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    sent = endless((key(b"k%d" % number) + value(4_000) for number in range(64)), peer, STRANGER_BOX_BYTES + 5_000)
    assert sent > STRANGER_BOX_BYTES
    assert f"more than {STRANGER_BOX_BYTES} bytes" in cut_off_line()


def test_a_box_of_endlessly_large_values(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    sent = endless((key(b"k%d" % number) + value(65_535) for number in range(64)), peer, BOX_BYTES + 70_000)
    assert sent > BOX_BYTES
    assert f"more than {BOX_BYTES} bytes" in cut_off_line()


def test_nothing_after_the_offence_is_looked_at(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    peer.send(b"\x00\x00" + peer.box(commands.PublishEvent, **EVENT))
    peer.send(peer.box(commands.PublishEvent, **EVENT))
    assert len(server.delivered) == 1
    cut_off_line()


def test_a_key_that_never_ends_is_waited_for_until_the_deadline(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    peer.send(b"\x00\xffkkkk")
    server.clock.advance(9)
    assert peer.connected
    server.clock.advance(2)
    assert not peer.connected
    assert "no valid Authenticate within 10 s" in cut_off_line()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_start_tls_is_cut_off(server: Any, bystander: Any, cut_off_line: Any, kind: str) -> None:
    peer = getattr(server, kind)()
    peer.send(_start_tls())
    server.clock.advance(1)
    assert not peer.connected
    assert "StartTLS" in cut_off_line()


def _start_tls() -> bytes:
    return key(b"_ask") + value_of(b"1") + key(b"_command") + value_of(b"StartTLS") + b"\x00\x00"


def value_of(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize(
    "box",
    [
        {b"_answer": b"1"},
        {b"_answer": b"unasked", b"payload": b"x"},
        {b"_error": b"1", b"_error_code": b"X", b"_error_description": b"x"},
        {b"_error": b"1"},
        {b"no": b"question"},
    ],
)
def test_an_answer_that_nobody_asked_for(
    server: Any, bystander: Any, cut_off_line: Any, box: dict[bytes, bytes], kind: str
) -> None:
    peer = getattr(server, kind)()
    peer.send(amp.AmpBox(box).serialize())
    assert not peer.connected
    assert "answers nothing that was asked" in cut_off_line()


def test_unknown_commands_are_answered_but_not_for_ever(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    for _ in range(19):
        assert peer.ask(b"Explode")[0] == amp.UNHANDLED_ERROR_CODE
    assert peer.ask(commands.Ping)["node"] == "node-1"
    for _ in range(20):
        assert peer.ask(b"Explode")[0] == amp.UNHANDLED_ERROR_CODE
    assert not peer.connected
    assert "20 unknown commands" in cut_off_line()


def test_the_longest_command_name_is_answered_like_any_other(server: Any, bystander: Any, warnings_logged: Any) -> None:
    peer = server.unix()
    code, message = peer.ask(b"\xff" * 65_535)
    assert code == amp.UNHANDLED_ERROR_CODE
    assert len(message) < 400
    assert peer.connected
    assert warnings_logged() == []


def test_silence_on_tcp(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    server.clock.advance(11)
    assert not peer.connected
    assert "no valid Authenticate within 10 s" in cut_off_line()


def test_silence_on_a_unix_socket_is_fine(server: Any, bystander: Any, warnings_logged: Any) -> None:
    server.clock.advance(3600)
    assert warnings_logged() == []


@pytest.mark.parametrize(
    "name", ["PublishEvent", "PublishBatch", "UserOnline", "RevokeToken", "Subscribe", "Ping", "X"]
)
def test_commands_before_authenticate(server: Any, bystander: Any, cut_off_line: Any, name: str) -> None:
    peer = server.tcp()
    for _ in range(3):
        assert peer.ask(name.encode())[0] == b"UNAUTHENTICATED"
    assert not peer.connected
    assert "3 commands before Authenticate" in cut_off_line()
    assert len(server.delivered) == 1


def test_guessing_the_secret(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    for guess in ("a-shared-secret-of-the-test", "", "hunter2"):
        code, message = peer.ask(commands.Authenticate, token=guess)
        assert code == b"UNAUTHENTICATED"
        assert not guess or guess not in message
    assert not peer.connected
    line = cut_off_line()
    assert "3 refused tokens" in line
    assert "hunter2" not in line


def test_guessing_all_at_once_gets_three_answers(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    peer.send(b"".join(peer.box(commands.Authenticate, token=f"guess-{number}") for number in range(100)))
    assert len(peer.boxes()) == 3
    assert not peer.connected
    cut_off_line()


def test_a_passed_file_descriptor_is_closed(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    mine, theirs = socket.socketpair()
    passed = os.dup(theirs.fileno())
    theirs.close()
    peer.protocol.fileDescriptorReceived(passed)
    assert mine.recv(1) == b""
    mine.close()
    assert not peer.connected
    assert "file descriptor" in cut_off_line()


def test_a_peer_that_does_not_let_go_is_dropped(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.tcp()
    aborted = []
    peer.transport.loseConnection = lambda: None
    peer.transport.abortConnection = lambda: aborted.append(True)
    peer.send(b"\x00\x00")
    server.clock.advance(4)
    assert not aborted
    server.clock.advance(2)
    assert aborted
    cut_off_line()


# Back-pressure


def test_a_peer_is_not_read_while_more_than_1000_events_are_in_flight(server: Any, bystander: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    box = peer.box(commands.PublishEvent, **EVENT)
    peer.send(box * 1000)
    assert peer.read_from
    peer.send(box * 500)
    assert not peer.read_from
    assert len(server.broker.waiting) == 1001
    server.broker.open()
    assert peer.read_from
    assert len(peer.boxes()) == 1500


def test_events_of_batches_count_each(server: Any, bystander: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    event = {"tenant_id": "acme", "type": "call.incoming", "payload": CALL}
    events = json.dumps([event] * 600).encode()
    peer.send(peer.box(commands.PublishBatch, events=events))
    assert peer.read_from
    peer.send(peer.box(commands.PublishBatch, events=events) + peer.box(commands.Ping))
    assert not peer.read_from
    assert peer.boxes() == []
    server.broker.open()
    assert peer.read_from
    assert [b"results" in box for box in peer.boxes()] == [True, True, False]


def test_bytes_in_flight_count_too(server: Any, bystander: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    payload = json.dumps({**CALL, "note": "x" * 500_000}).encode()
    box = peer.box(commands.PublishEvent, **{**EVENT, "payload": payload})
    for _ in range(30):
        peer.send(box)
    assert not peer.read_from
    assert len(server.broker.waiting) == 17
    server.broker.open()
    assert peer.read_from


def test_answering_at_once_while_the_reader_is_held_does_not_confuse_the_parser(server: Any, bystander: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    peer.send(peer.box(commands.PublishEvent, **EVENT) * 1000)
    bad = json.dumps([{}] * 10).encode()
    peer.send(peer.box(commands.PublishBatch, events=bad) + peer.box(commands.Ping) + peer.box(commands.Ping))
    assert peer.read_from
    server.broker.open()
    boxes = peer.boxes()
    assert b"results" in boxes[0]
    assert [b"node" in box for box in boxes[1:3]] == [True, True]
    assert len(boxes) == 1003


def test_a_peer_that_does_not_read_is_not_read_either(server: Any, bystander: Any, warnings_logged: Any) -> None:
    peer = server.unix()
    peer.stop_reading()
    # A transport says so again with every write while it is full.
    peer.transport.producer.pauseProducing()
    assert not peer.read_from
    peer.read_on()
    assert peer.read_from
    server.clock.advance(600)
    assert peer.connected
    assert warnings_logged() == []


def test_a_peer_that_never_reads_is_cut_off(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    peer.stop_reading()
    server.clock.advance(59)
    assert peer.connected
    server.clock.advance(2)
    assert not peer.connected
    assert "has read nothing for 60 s" in cut_off_line()


def test_a_peer_that_reads_slowly_is_not_taken_for_one_that_does_not(
    server: Any, bystander: Any, cut_off_line: Any
) -> None:
    peer = server.unix()
    server.broker.closed = True
    peer.send(peer.box(commands.PublishEvent, **EVENT) * 500)
    peer.stop_reading()
    server.broker.open()
    for _ in range(20):
        server.clock.advance(59)
        peer.transport.taken += 1
    assert peer.connected
    server.clock.advance(121)
    assert not peer.connected
    assert "has read nothing for 60 s" in cut_off_line()


def test_what_a_slow_reader_has_read_does_not_count_as_unread(server: Any, bystander: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    box = peer.box(commands.PublishEvent, **EVENT).replace(b"\x00\x04_ask\x00\x011", key(b"_ask") + value(60_000))
    peer.send(box * 200)
    peer.stop_reading()
    server.broker.closed = False
    for turn in server.broker.waiting:
        turn.callback(None)
        peer.transport.taken = len(peer.transport.value())
    assert len(peer.transport.value()) > UNWRITTEN_BYTES
    assert peer.connected


def test_answers_that_nobody_reads_are_bounded(server: Any, bystander: Any, cut_off_line: Any) -> None:
    peer = server.unix()
    server.broker.closed = True
    # The answer repeats the question's tag, so a peer can make answers as long as it likes.
    box = peer.box(commands.PublishEvent, **EVENT).replace(b"\x00\x04_ask\x00\x011", key(b"_ask") + value(60_000))
    peer.send(box * 200)
    assert not peer.read_from
    assert len(server.broker.waiting) < 150
    peer.stop_reading()
    server.broker.open()
    assert len(peer.transport.value()) < UNWRITTEN_BYTES
    assert not peer.connected
    assert "it does not read" in cut_off_line()


def test_strangers_cannot_lock_the_daemons_out(server: Any, warnings_logged: Any) -> None:
    strangers = [server.tcp() for _ in range(STRANGERS)]
    assert server.factory.buildProtocol(None) is None
    assert server.factory.buildProtocol(None) is None
    assert warnings_logged() == [
        f"AMP connections over the network are refused: {STRANGERS} have not authenticated yet"
    ]
    assert server.unix().connected
    strangers[0].transport.loseConnection()
    assert server.factory.buildProtocol(None) is not None


def test_connections_are_bounded(server: Any, warnings_logged: Any) -> None:
    for _ in range(CONNECTIONS):
        server.tcp().ask(commands.Authenticate, token="a-shared-secret-of-the-tests")
    assert server.factory.buildProtocol(None) is None
    assert warnings_logged() == [f"AMP connections over the network are refused: there are {CONNECTIONS} already"]
    assert server.unix().connected


# Whatever comes


KEYS = st.sampled_from([b"_command", b"_ask", b"_answer", b"_error", b"_error_code", b"payload", b"payload.1", b"type"])
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"PublishEvent", b"PublishBatch", b"Subscribe", b"Ping", b"Authenticate", b"StartTLS", b"[]", b"1"]
    ),
)
BOXES = st.lists(st.dictionaries(KEYS, VALUES, min_size=1).map(lambda box: amp.AmpBox(box).serialize()), max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(boxes=BOXES, tail=st.binary(max_size=60), kind=st.sampled_from(["tcp", "unix"]))
def test_anything_is_answered_or_cut_off(
    server_class: Any, error_log: Any, boxes: list[bytes], tail: bytes, kind: str
) -> None:
    server = server_class()
    peer = getattr(server, kind)()
    for box in boxes:
        peer.send(box)
    peer.send(tail)
    peer.boxes()
    server.clock.advance(60)
    assert not error_log.events
    other = server.unix()
    assert other.ask(commands.Ping)["node"] == "node-1"
