"""The loader's WebSocket clients against a scripted server."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from processes import wait_until
from scripted_server import ACCEPTED, ScriptedServer, control, event, frame

from bench.failure import InvalidRun
from bench.loader import ClientGroup, GroupStats, Handshake, Loader
from bench.report import delivery_of

HANDSHAKE = Handshake("/ws?x=1", ("Authorization: Bearer t",), 7)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    yield running
    running.close()


Connect = Callable[..., tuple[ClientGroup, ScriptedServer]]


@pytest.fixture
def connect(loader: Loader) -> Iterator[Connect]:
    """Connects one client to a server with this script."""
    opened: list[tuple[ClientGroup, ScriptedServer]] = []

    def connect_client(
        *script: bytes, piece: int = 65_536, capture: Path | None = None
    ) -> tuple[ClientGroup, ScriptedServer]:
        server = ScriptedServer(ACCEPTED + b"".join(script), piece)
        group = loader.client_group(server.port, [HANDSHAKE])
        opened.append((group, server))
        if capture is not None:
            group.capture(capture)
        group.open()
        return group, server

    yield connect_client
    for group, server in opened:
        group.close()
        server.join()


def received_stats(group: ClientGroup) -> GroupStats:
    """Wait for the last message of the script, a ``pong``, and return the stats."""
    group.wait("pong", 1)
    return group.stats()


@pytest.mark.parametrize("piece", [1, 3, 1_000, 100_000])
def test_events_are_parsed_in_pieces_of_any_size(connect: Connect, piece: int) -> None:
    script = [control("welcome", seq=6), event(7), event(8, 300), event(9, 70_000), event(10), control("pong")]
    group, server = connect(*script, piece=piece)
    stats = received_stats(group)
    assert delivery_of(stats, "these", 4, 10).received == 4
    assert stats.kinds["welcome"].total == stats.kinds["open"].total == 1
    assert stats.bytes == sum(map(len, script)) - 2 - 2 - 4 - 10 - 2 - 2
    assert server.received.startswith(b"GET /ws?x=1 HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer t\r\n" in server.received


@pytest.mark.parametrize(
    ("seqs", "gaps", "disorder"),
    [((8, 9), 1, 0), ((7, 9), 1, 0), ((7, 8, 8), 0, 1), ((7, 9, 8), 1, 1), ((6, 7), 0, 1)],
)
def test_gaps_and_disorder_are_counted(connect: Connect, seqs: tuple[int, ...], gaps: int, disorder: int) -> None:
    stats = received_stats(connect(*map(event, seqs), control("pong"))[0])
    assert (stats.gaps, stats.disorder) == (gaps, disorder)
    with pytest.raises(InvalidRun):
        delivery_of(stats, "these", len(seqs), seqs[-1])


def test_a_missing_last_event_is_detected(connect: Connect) -> None:
    stats = received_stats(connect(event(7), control("pong"))[0])
    with pytest.raises(InvalidRun):
        delivery_of(stats, "these", 2, 8)


@pytest.mark.parametrize(("count", "to_seq", "mismatches"), [(2, 8, 0), (3, 8, 1), (2, 9, 1)])
def test_resumed_must_match_the_replay(connect: Connect, count: int, to_seq: int, mismatches: int) -> None:
    resumed = control("resumed", epoch="e", from_seq=6, to_seq=to_seq, count=count)
    stats = received_stats(connect(event(7), event(8), resumed, control("pong"))[0])
    assert (stats.mismatches, stats.replayed) == (mismatches, count)


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (frame(struct.pack("!H", 4001) + b"slow", 0x88), "closed with 4001"),
        (frame(b"compressed", 0xC1), "a frame that begins with 0xc1"),
        (frame(b"part", 0x83), "a frame that begins with 0x83"),
    ],
)
def test_a_lost_client_reports_its_error(connect: Connect, script: bytes, error: str) -> None:
    group, _ = connect(script)
    with pytest.raises(InvalidRun, match=error):
        group.wait("pong", 1)


def test_a_refused_handshake_is_reported(loader: Loader) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        group = loader.client_group(listening.getsockname()[1], [HANDSHAKE])
        group.open()
        client, _ = listening.accept()
        with client:
            client.sendall(b"HTTP/1.1 429 Too Many Requests\r\n\r\n")
            with pytest.raises(InvalidRun, match=r"handshake: HTTP/1\.1 429 Too Many Requests"):
                group.wait("open", 1)
    group.close()


def test_a_ping_is_answered_and_a_message_is_sent(loader: Loader) -> None:
    server = ScriptedServer(ACCEPTED + frame(b"are you there", 0x89) + control("pong"), 65_536)
    group = loader.client_group(server.port, [HANDSHAKE])
    group.open()
    received_stats(group)
    group.send("hello")
    group.close()
    server.join()
    assert server.received.endswith(b"\x8a\x8d\0\0\0\0are you there" + b"\x81\x85\0\0\0\0hello")


def test_a_snapshot_is_timed_and_captured(connect: Connect, tmp_path: Path) -> None:
    large = control("snapshot", seq=9, events=["x" * 200_000])
    group, _ = connect(large, control("pong"), piece=10_000, capture=tmp_path / "messages")
    received_stats(group)
    (timing,) = group.snapshot_timings()
    assert 0 < timing.first_byte <= timing.last_byte
    snapshot, pong = (tmp_path / "messages").read_bytes().splitlines()
    assert (snapshot, pong) == (large[10:], b'{"type":"pong","payload":{}}')
    assert timing.size == len(snapshot)


def test_a_snapshot_in_several_frames_is_one_message(connect: Connect, tmp_path: Path) -> None:
    text = control("snapshot", seq=9, events=["x" * 200_000])[10:]
    parts = [frame(text[:70_000], 0x01), frame(text[70_000:150_000], 0x00), frame(text[150_000:], 0x80)]
    ping = frame(b"still there?", 0x89)
    group, server = connect(parts[0], ping, *parts[1:], control("pong"), piece=10_000, capture=tmp_path / "messages")
    stats = received_stats(group)
    (timing,) = group.snapshot_timings()
    assert 0 < timing.first_byte <= timing.last_byte
    assert timing.size == len(text)
    assert stats.kinds["snapshot"].total == 1
    assert (tmp_path / "messages").read_bytes().splitlines()[0] == text
    # The server may not have read it yet.
    wait_until(lambda: b"still there?" in server.received, "the pong")


def test_clear_resets_counts_but_not_positions(connect: Connect) -> None:
    group, _ = connect(event(7), event(8), control("pong"))
    received_stats(group)
    group.clear()
    stats = group.stats()
    assert (stats.events.total, stats.events.low, stats.high_seq) == (0, 0, 8)
