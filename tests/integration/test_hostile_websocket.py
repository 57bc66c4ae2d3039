"""Hostile WebSocket peers of a running gateway do not affect other connections."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from raw_socket import RawPeer, frame, message

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


_numbers = itertools.count()


@pytest.fixture
def user() -> str:
    """Return a user id of this test alone: log lines of earlier connections may come late."""
    return f"mallory-{next(_numbers)}"


@pytest.fixture
def peer(gateway: Any, user: str) -> Iterator[RawPeer]:
    """Return an authenticated peer that has read its welcome."""
    with RawPeer(gateway.port) as raw:
        assert raw.handshake(token=gateway.token(sub=user))[0] == 101
        assert raw.read_message()["type"] == "welcome"
        yield raw


VIOLATIONS = {
    "unmasked": (frame(TEXT, b"{}", masked=False), 1002),
    "reserved bit": (frame(TEXT, b"{}", rsv=4), 1002),
    "reserved opcode": (frame(3, b"{}"), 1002),
    "reserved control opcode": (frame(12), 1002),
    "fragmented ping": (frame(PING, fin=False), 1002),
    "long ping": (frame(PING, b"x" * 126), 1002),
    "continuation of nothing": (frame(0, b"x"), 1002),
    "invalid close code": (frame(CLOSE, b"\x03\xed"), 1002),
    "close of one byte": (frame(CLOSE, b"\x03"), 1002),
    "not UTF-8": (frame(TEXT, b'{"type":"\xff"}'), 1007),
    "binary": (frame(BINARY, b"{}"), 1003),
    "too large": (frame(TEXT, b" " * 524_289), 1009),
    "too large over fragments": (frame(TEXT, b" " * 300_000, fin=False) + frame(0, b" " * 300_000), 1009),
    "65 fragments": (frame(TEXT, fin=False) + 64 * frame(0, fin=False), 1009),
    "announced and never sent": (b"\x81\xff" + (2**62).to_bytes(8, "big") + bytes(4), 1009),
}


@pytest.mark.parametrize("violation", VIOLATIONS)
def test_a_violation_is_reported_and_affects_no_other_connection(
    gateway: Any, peer: RawPeer, user: str, violation: str
) -> None:
    other = gateway.connect("supervisor", claims={"sub": "other"})
    frames, code = VIOLATIONS[violation]
    before = len(gateway.lines)
    peer.send(frames)
    assert peer.read_close() == code
    peer.send(frame(CLOSE, code.to_bytes(2, "big")))
    assert peer.read_end() == b""
    assert other.request("ping")["type"] == "pong"
    seen = [m["type"] for m in other.received_before_pong()]
    assert set(seen) <= {"presence.changed"}
    other.socket.close()
    # The line of its connect may be read late.
    lines = [line for line in gateway.lines[before:] if f"/{user} " in line and " is connected from " not in line]
    assert len(lines) <= 1 and all(f"closed by the gateway with {code} " in line for line in lines), lines


def test_a_violation_is_reported_to_a_peer_that_continues_to_send(gateway: Any, peer: RawPeer) -> None:
    peer.send(frame(TEXT, b"{}", masked=False) + b"\x00\xff garbage" * 5_000)
    assert peer.read_close() == 1002


def test_a_message_of_many_megabytes_is_closed_with_too_large(gateway: Any, peer: RawPeer) -> None:
    """The close frame reaches a peer that is still sending."""

    def send() -> None:
        try:
            for _ in range(64):
                peer.send(b"x" * 65_536)
        except OSError:
            return

    peer.send(b"\x81\xff" + (64 * 65_536).to_bytes(8, "big") + bytes(4))
    sender = threading.Thread(target=send)
    sender.start()
    assert peer.read_close() == 1009
    sender.join(30)
    peer.send(frame(CLOSE, b"\x03\xf1"))
    assert peer.read_end() == b""


def end_after_a_flood(peer: RawPeer) -> tuple[int, bytes]:
    """Send a flood; return the close code and what follows it, without closing this side."""
    opcode = 1
    peer.send(frame(PING) * 500)
    while opcode != CLOSE:
        opcode, payload = peer.read_frame()
    # An aborted connection would raise an exception here: it is reset.
    return int.from_bytes(payload[:2], "big"), peer.socket.recv(1)


def test_a_flooding_peer_sees_the_end_behind_the_close_frame(gateway: Any, peer: RawPeer) -> None:
    assert end_after_a_flood(peer) == (4004, b"")
    # The gateway still reads, so that the close frame cannot be lost.
    peer.send(frame(PING) * 500)


def memory_kib(gateway: Any) -> int:
    """Return the resident memory of the process (VmRSS) in KiB."""
    with open(f"/proc/{gateway.process.pid}/status") as status:
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize("opcode", [PING, 11], ids=["ping", "reserved"])
def test_an_endless_control_frame_uses_no_memory(gateway: Any, peer: RawPeer, opcode: int) -> None:
    before = memory_kib(gateway)
    peer.send(bytes([0x80 | opcode, 0xFF]) + (2**60).to_bytes(8, "big") + bytes(4))
    try:
        for _ in range(1_000):
            peer.send(b"x" * 65_536)
    except OSError:
        pass  # the connection was aborted
    assert memory_kib(gateway) - before < 20_000


def test_a_flood_of_pings_from_a_peer_that_does_not_read(gateway: Any) -> None:
    other = gateway.connect(claims={"sub": "other"})
    before = memory_kib(gateway)
    with RawPeer(gateway.port, receive_buffer=4_096) as raw:
        assert raw.handshake(token=gateway.token(sub="pinger"))[0] == 101
        pings = frame(PING, b"x" * 125) * 500
        for _ in range(300):
            raw.send(pings)
        assert other.request("ping")["type"] == "pong"
        assert memory_kib(gateway) - before < 10_000
    other.socket.close()


def test_two_hostile_peers_do_not_affect_a_third(gateway: Any) -> None:
    good = gateway.connect("supervisor", claims={"sub": "good", "tenant_id": "calm"})
    with RawPeer(gateway.port) as flooder, RawPeer(gateway.port) as garbage_sender:
        for peer in (flooder, garbage_sender):
            assert peer.handshake(token=gateway.token("supervisor", sub="bad", tenant_id="calm"))[0] == 101
        garbage = threading.Thread(target=_send_all, args=(garbage_sender, [bytes(range(256)) * 64] * 50))
        flood = threading.Thread(
            target=_send_all, args=(flooder, [message("chat.typing", {"session_id": "c"}) * 50] * 20)
        )
        garbage.start()
        flood.start()
        for number in range(20):
            gateway.publish("alert", {"title": str(number), "message": "m"}, tenant_id="calm")
        titles = [good.receive_type("alert")["payload"]["title"] for _ in range(20)]
        garbage.join(30)
        flood.join(30)
    assert titles == [str(number) for number in range(20)]
    assert good.request("ping")["type"] == "pong"
    good.socket.close()


def _send_all(peer: RawPeer, pieces: list[bytes]) -> None:
    try:
        for piece in pieces:
            peer.send(piece)
    except OSError:
        return


# Unauthenticated peers


@pytest.mark.parametrize(
    "frames",
    [
        frame(PONG, b"x") + message("ping"),
        message("subscribe", {"events": ["*"]}),
        message("snapshot"),
        message("resume", {"epoch": "e", "seq": 0}),
        message("auth", {"token": "forged"}) + message("snapshot"),
        frame(TEXT, b"\x00"),
    ],
)
def test_an_unauthenticated_peer_gets_its_refusal_only(gateway: Any, frames: bytes) -> None:
    with RawPeer(gateway.port) as raw:
        assert raw.handshake(Sec_WebSocket_Protocol="callcenter.v1")[0] == 101
        gateway.publish("alert", {"title": "secret", "message": "m"})
        raw.send(frames)
        error = raw.read_message()
        assert (error["type"], error["payload"]["code"]) == ("error", "unauthorized")
        assert set(error["payload"]) == {"code", "message"}
        assert raw.read_close() == 4500
        raw.send(frame(CLOSE))
        assert raw.read_end() == b""


def test_a_refused_handshake_gets_an_http_response_only(gateway: Any) -> None:
    with RawPeer(gateway.port) as raw:
        status, headers = raw.handshake(token="forged", Connection="Upgrade, close")
        assert status == 401
        body = raw.read(int(headers["content-length"]))
        assert b"unauthorized" in body
        # The connection remains HTTP, where frames are not valid requests.
        raw.send(message("snapshot") + b"\r\n\r\n")
        assert b"snapshot" not in raw.read_end()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"GET /ws HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 5_000 + b"\r\n", 431),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400),
        (b"GET /ws HTTP/2.0\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", 400),
        (b"POST /ws HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n", 405),
        (b"GET /ws HTTP/1.1\r\nHost: x\r\nOrigin: \xff\xfe\r\n\r\n", 403),
        (b"GET /ws/%2e%2e/secret HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ],
    ids=["many headers", "no colon", "HTTP/2.0", "POST", "not ASCII", "path"],
)
def test_malformed_requests(gateway: Any, raw: bytes, status: int) -> None:
    with RawPeer(gateway.port) as peer:
        _send_all(peer, [raw])
        assert peer.read_head()[0] == status
    assert gateway.http("/livez")[0] == 200


def test_an_endless_header_is_refused_and_the_rest_is_discarded(gateway: Any) -> None:
    with RawPeer(gateway.port) as raw:
        _send_all(raw, [b"GET /ws HTTP/1.1\r\nHost: x\r\nX: ", *[b"x" * 65_536] * 20])
        assert raw.read_head()[0] == 431
        assert b"headers_too_large" in raw.read_end()


def test_a_slowly_sent_handshake_is_aborted(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nhandshake_timeout = 1\n")
    with RawPeer(gateway.port) as raw:
        raw.send(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
        assert raw.read_end() == b""


def test_a_disconnected_peer_is_unregistered(start_gateway: Callable[..., Any]) -> None:
    gateway = start_gateway("[limits]\nping_interval = 3\nping_timeout = 3\n")
    with RawPeer(gateway.port) as silent:
        assert silent.handshake(token=gateway.token(sub="silent"))[0] == 101
        assert silent.read_message()["type"] == "welcome"
        opcode, _ = silent.read_frame()
        assert opcode == PING
        opcode, payload = silent.read_frame()
        while opcode == PING:
            opcode, payload = silent.read_frame()
        assert opcode == CLOSE and int.from_bytes(payload[:2], "big") == 4002
