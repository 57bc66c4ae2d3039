"""The loader with NATS, lines, compression and TLS, and its latencies."""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import ACCEPTED, ANSWER, DEADLINE, ScriptedServer, control, event, event_text, frame

from bench.certificate import make_certificate
from bench.failure import InvalidRun
from bench.loader import ClientGroup, Handshake, Loader
from bench.report import delivery_of

HANDSHAKE = Handshake("/ws", ())
GREETED = b'INFO {"server_id":"x","headers":true}\r\n', b"PONG\r\n"
DEFLATING = ANSWER + b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n"


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    assert running.missing == ()
    yield running
    running.close()


Connect = Callable[..., tuple[ClientGroup, ScriptedServer]]


@pytest.fixture
def connect(loader: Loader) -> Iterator[Connect]:
    """Connects one client with these options to a server with this script."""
    opened: list[tuple[ClientGroup, ScriptedServer]] = []

    def connect_client(
        *script: bytes, options: tuple[str, ...] = (), piece: int = 65_536
    ) -> tuple[ClientGroup, ScriptedServer]:
        server = ScriptedServer(b"".join(script), piece)
        group = loader.client_group(server.port, [HANDSHAKE], *options)
        opened.append((group, server))
        group.open()
        return group, server

    yield connect_client
    for group, server in opened:
        group.close()
        server.join()


def msg(text: bytes) -> bytes:
    return b"MSG acme 1 %d\r\n%b\r\n" % (len(text), text)


def in_frames(stream: bytes, size: int) -> bytes:
    return b"".join(frame(stream[at : at + size], 0x82) for at in range(0, len(stream), size))


def await_received(server: ScriptedServer, text: bytes) -> None:
    end = time.monotonic() + DEADLINE
    while text not in server.received:
        assert time.monotonic() < end, server.received
        time.sleep(0.01)


class TestNats:
    @pytest.mark.parametrize("piece", [1, 7, 65_536])
    @pytest.mark.parametrize("size", [1, 5, 40, 100_000])
    def test_message_boundaries_are_independent_of_frames(self, connect: Connect, size: int, piece: int) -> None:
        events = [event_text(1), event_text(2, 300), event_text(3, 5_000), event_text(4)]
        stream = b"".join([GREETED[0], *map(msg, events), GREETED[1]])
        group, server = connect(ACCEPTED, in_frames(stream, size), options=("nats=acme",), piece=piece)
        group.wait("pong", 1)
        stats = group.stats()
        assert delivery_of(stats, "these", 4, 4).received == 4
        assert stats.bytes == sum(map(len, events))
        await_received(server, b"SUB acme 1\r\nPING\r\n")

    def test_pings_of_both_protocols_within_a_message_are_answered(self, connect: Connect) -> None:
        stream = msg(event_text(1))
        script = [frame(stream[:30], 0x82), frame(b"alive", 0x89), frame(stream[30:] + b"PING\r\nPONG\r\n", 0x82)]
        group, server = connect(ACCEPTED, *script, options=("nats=acme",))
        group.wait("pong", 1)
        assert group.stats().events.total == 1
        await_received(server, b"\x8a\x85\0\0\0\0alive\x82\x86\0\0\0\0PONG\r\n")

    def test_an_error_is_reported(self, connect: Connect) -> None:
        group, _ = connect(ACCEPTED, frame(b"-ERR 'Slow Consumer'\r\n", 0x82), options=("nats=acme",))
        with pytest.raises(InvalidRun, match="-ERR 'Slow Consumer'"):
            group.wait("pong", 1)

    def test_a_missing_message_is_a_gap(self, connect: Connect) -> None:
        stream = msg(event_text(1)) + msg(event_text(3)) + GREETED[1]
        group, _ = connect(ACCEPTED, frame(stream, 0x82), options=("nats=acme",))
        group.wait("pong", 1)
        assert group.stats().gaps == 1


class TestLines:
    @pytest.mark.parametrize("piece", [1, 100, 65_536])
    def test_fragmented_frame_with_several_messages(self, connect: Connect, piece: int) -> None:
        joined = b"\n".join([event_text(1), event_text(2, 2_000), event_text(3)])
        fragments = [frame(joined[:50], 0x01), frame(joined[50:90], 0x00), frame(b"", 0x89), frame(joined[90:], 0x80)]
        last = frame(event_text(4) + b"\n" + control("pong")[2:])
        group, _ = connect(ACCEPTED, *fragments, last, options=("lines",), piece=piece)
        group.wait("pong", 1)
        assert delivery_of(group.stats(), "these", 4, 4).received == 4


def deflated(text: bytes, context: zlib._Compress | None = None) -> bytes:
    compressor = context or zlib.compressobj(wbits=-15)
    return frame((compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)


class TestDeflate:
    @pytest.mark.parametrize("piece", [1, 3, 65_536])
    def test_each_message_is_inflated_by_itself(self, connect: Connect, piece: int) -> None:
        large = event_text(3, 1, noise=[str(number * 7919 % 10_007) for number in range(2_000)])
        texts = [event_text(1), event_text(2, 100_000), large]
        group, _ = connect(DEFLATING, *map(deflated, texts), event(4), control("pong"), piece=piece)
        group.wait("pong", 1)
        stats = group.stats()
        assert delivery_of(stats, "these", 4, 4).received == 4
        assert stats.deflated == 1
        assert stats.wire < sum(map(len, texts)) < stats.bytes

    def test_equal_compressed_bytes_are_the_same_message(self, loader: Loader) -> None:
        server = ScriptedServer(DEFLATING + deflated(event_text(1)) + control("pong"), 65_536, clients=1)
        again = ScriptedServer(DEFLATING + deflated(event_text(1)) + deflated(event_text(2)) + control("pong"), 65_536)
        for one, seq in ((server, 1), (again, 2)):
            group = loader.client_group(one.port, [HANDSHAKE])
            group.open()
            group.wait("pong", 1)
            assert group.stats().high_seq == seq
            group.close()
            one.join()

    def test_context_takeover_is_rejected(self, connect: Connect) -> None:
        context = zlib.compressobj(wbits=-15)
        group, _ = connect(DEFLATING, deflated(event_text(1), context), deflated(event_text(2), context))
        with pytest.raises(InvalidRun, match="a compressed message is not complete in itself"):
            group.wait("pong", 1)

    def test_compression_must_have_been_granted(self, connect: Connect) -> None:
        group, _ = connect(ACCEPTED, deflated(event_text(1)))
        with pytest.raises(InvalidRun, match="a frame that begins with 0xc1"):
            group.wait("pong", 1)


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """The TLS 1.3 context of a server."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(*make_certificate(tmp_path))
    return context


class TestTls:
    @pytest.mark.parametrize("piece", [1, 1_000, 100_000])
    def test_events_are_parsed_in_pieces_of_any_size(self, loader: Loader, context: ssl.SSLContext, piece: int) -> None:
        script = [event(1), event(2, 3_000), control("pong")]
        server = ScriptedServer(ACCEPTED + b"".join(script), piece, context=context)
        group = loader.client_group(server.port, [HANDSHAKE], "tls")
        group.open()
        group.wait("pong", 1)
        assert delivery_of(group.stats(), "these", 2, 2).received == 2
        group.send("hello")
        await_received(server, b"\x81\x85\0\0\0\0hello")
        group.close()
        server.join()

    def test_a_reconnect_offers_the_issued_session(self, loader: Loader, context: ssl.SSLContext) -> None:
        server = ScriptedServer(ACCEPTED + event(7) + control("pong"), 65_536, clients=2, context=context)
        group = loader.client_group(server.port, [HANDSHAKE], "tls")
        resumed = []
        for _ in range(2):
            group.disconnect()
            group.open()
            group.wait("pong", 1)
            stats = group.stats()
            resumed.append(stats.tls_resumed)
            assert (stats.events.total, stats.high_seq, stats.disorder) == (1, 7, 0)
        group.close()
        server.join()
        assert (resumed, server.resumed) == ([0, 1], [False, True])

    def test_a_server_without_tls_is_reported(self, loader: Loader) -> None:
        server = ScriptedServer(b"", 1)
        group = loader.client_group(server.port, [HANDSHAKE], "tls")
        server._serve_client = lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[method-assign]
        group.open()
        with pytest.raises(InvalidRun, match="the TLS handshake failed"):
            group.wait("open", 1)
        group.close()
        server.join()


class TestLatency:
    def test_latency_is_measured_from_the_send_time(self, connect: Connect) -> None:
        now = time.monotonic_ns()
        ages = [0.001] * 98 + [0.5, 3.0]
        script = [event(seq, sent_ns=now - int(1e9 * age)) for seq, age in enumerate(ages, 1)]
        group, _ = connect(ACCEPTED, *script, event(101), control("pong"))
        group.wait("pong", 1)
        passed = (time.monotonic_ns() - now) / 1e9
        latency = group.latency()
        assert latency.count == 100
        assert 0.001 <= latency.p50 <= 1.04 * (0.001 + passed)
        assert 0.5 <= latency.p99 <= 1.04 * (0.5 + passed)
        assert 3.0 <= latency.max <= 3.0 + passed

    def test_clear_resets_latencies(self, connect: Connect) -> None:
        group, _ = connect(ACCEPTED, event(1, sent_ns=time.monotonic_ns()), control("pong"))
        group.wait("pong", 1)
        assert group.latency().count == 1
        group.clear()
        assert group.latency().count == 0


class TestTotal:
    def test_total_and_counts_of_each_client(self, loader: Loader) -> None:
        servers = [ScriptedServer(ACCEPTED + event(1) + event(2) + control("pong"), 65_536, clients=2)]
        group = loader.client_group(servers[0].port, [HANDSHAKE])
        group.open()
        assert group.wait_total("event", 2) == 2
        assert group.event_counts() == [2]
        group.send_from(0, "to you alone")
        await_received(servers[0], b"to you alone")
        group.disconnect()
        group.open()
        group.wait("pong", 1)
        group.close()
        servers[0].join()
