"""The WebSocket clients in C against a server that says exactly what a test wants, in pieces of any size."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import ACCEPTED, Server, control, event, frame

from bench.failure import Broken
from bench.loader import Catch, Crowd, Dial, Loader
from bench.report import delivery_of

DIAL = Dial("/ws?x=1", ("Authorization: Bearer t",), 7)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    yield running
    running.close()


Visit = Callable[..., tuple[Crowd, Server]]


@pytest.fixture
def visit(loader: Loader) -> Iterator[Visit]:
    """Connects one client to a server that says this."""
    opened: list[tuple[Crowd, Server]] = []

    def connect(*said: bytes, piece: int = 65_536, capture: Path | None = None) -> tuple[Crowd, Server]:
        server = Server(ACCEPTED + b"".join(said), piece)
        crowd = loader.crowd(server.port, [DIAL])
        opened.append((crowd, server))
        if capture is not None:
            crowd.capture(capture)
        crowd.open()
        return crowd, server

    yield connect
    for crowd, server in opened:
        crowd.close()
        server.join()


def caught(crowd: Crowd) -> Catch:
    """What has come once the last message of the test, a ``pong``, has."""
    crowd.wait("pong", 1)
    return crowd.catch()


@pytest.mark.parametrize("piece", [1, 3, 1_000, 100_000])
def test_events_are_found_however_they_are_cut(visit: Visit, piece: int) -> None:
    said = [control("welcome", seq=6), event(7), event(8, 300), event(9, 70_000), event(10), control("pong")]
    crowd, server = visit(*said, piece=piece)
    catch = caught(crowd)
    assert delivery_of(catch, "these", 4, 10).received == 4
    assert catch.kinds["welcome"].total == catch.kinds["open"].total == 1
    assert catch.bytes == sum(map(len, said)) - 2 - 2 - 4 - 10 - 2 - 2
    assert server.heard.startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in server.heard


@pytest.mark.parametrize(
    ("seqs", "gaps", "disorder"),
    [((8, 9), 1, 0), ((7, 9), 1, 0), ((7, 8, 8), 0, 1), ((7, 9, 8), 1, 1), ((6, 7), 0, 1)],
)
def test_what_is_wrong_with_the_order_is_seen(visit: Visit, seqs: tuple[int, ...], gaps: int, disorder: int) -> None:
    catch = caught(visit(*map(event, seqs), control("pong"))[0])
    assert (catch.gaps, catch.disorder) == (gaps, disorder)
    with pytest.raises(Broken):
        delivery_of(catch, "these", len(seqs), seqs[-1])


def test_an_event_too_few_at_the_end_is_seen(visit: Visit) -> None:
    catch = caught(visit(event(7), control("pong"))[0])
    with pytest.raises(Broken):
        delivery_of(catch, "these", 2, 8)


@pytest.mark.parametrize(("count", "to_seq", "mismatches"), [(2, 8, 0), (3, 8, 1), (2, 9, 1)])
def test_resumed_has_to_tell_what_came_before_it(visit: Visit, count: int, to_seq: int, mismatches: int) -> None:
    resumed = control("resumed", epoch="e", from_seq=6, to_seq=to_seq, count=count)
    catch = caught(visit(event(7), event(8), resumed, control("pong"))[0])
    assert (catch.mismatches, catch.replayed) == (mismatches, count)


@pytest.mark.parametrize(
    ("said", "trouble"),
    [
        (frame(struct.pack("!H", 4001) + b"slow", 0x88), "closed with 4001"),
        (frame(b"compressed", 0xC1), "a frame that begins with 0xc1"),
        (frame(b"part", 0x01), "a frame that begins with 0x01"),
    ],
)
def test_a_client_that_is_lost_says_why(visit: Visit, said: bytes, trouble: str) -> None:
    crowd, _ = visit(said)
    with pytest.raises(Broken, match=trouble):
        crowd.wait("pong", 1)


def test_a_refused_handshake_is_told(loader: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        crowd = loader.crowd(listening.getsockname()[1], [DIAL])
        crowd.open()
        client, _ = listening.accept()
        with client:
            client.sendall(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")
            with pytest.raises(Broken, match=r"handshake: HTTP/1\.1 429 Too Many Requests"):
                crowd.wait("open", 1)
    crowd.close()


def test_a_ping_is_answered_and_a_message_is_sent(loader: Loader) -> None:
    server = Server(ACCEPTED + frame(b"are you there", 0x89) + control("pong"), 65_536)
    crowd = loader.crowd(server.port, [DIAL])
    crowd.open()
    caught(crowd)
    crowd.send("hello")
    crowd.close()
    server.join()
    assert server.heard.endswith(b"\x8a\x8d\0\0\0\0are you there" + b"\x81\x85\0\0\0\0hello")


def test_a_snapshot_is_timed_and_captured(visit: Visit, tmp_path: Path) -> None:
    large = control("snapshot", seq=9, events=["x" * 200_000])
    crowd, _ = visit(large, control("pong"), piece=10_000, capture=tmp_path / "messages")
    caught(crowd)
    (snap,) = crowd.snaps()
    assert 0 < snap.first_byte <= snap.last_byte
    snapshot, pong = (tmp_path / "messages").read_bytes().splitlines()
    assert (snapshot, pong) == (large[10:], b'{"type":"pong","payload":{}}')
    assert snap.size == len(snapshot)


def test_counts_begin_again_but_the_order_goes_on(visit: Visit) -> None:
    crowd, _ = visit(event(7), event(8), control("pong"))
    caught(crowd)
    crowd.forget()
    catch = crowd.catch()
    assert (catch.events.total, catch.events.low, catch.high_seq) == (0, 0, 8)
