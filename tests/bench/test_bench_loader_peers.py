"""The WebSocket clients in C against other servers than the gateway, over TLS, compressed, and what events took."""

from __future__ import annotations

import ssl
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from scripted_server import ACCEPTED, ANSWER, DEADLINE, Server, control, event, event_text, frame

from bench.certificate import make_certificate
from bench.failure import Broken
from bench.loader import Crowd, Dial, Loader
from bench.report import delivery_of

DIAL = Dial("/ws", ())
GREETED = b'INFO {"server_id":"x","headers":true}\r\n', b"PONG\r\n"
DEFLATING = ANSWER + b"Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover\r\n\r\n"


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loader]:
    running = Loader(tmp_path_factory.mktemp("loader"))
    assert running.missing == ()
    yield running
    running.close()


Visit = Callable[..., tuple[Crowd, Server]]


@pytest.fixture
def visit(loader: Loader) -> Iterator[Visit]:
    """Connects one client, with these options, to a server that says this."""
    opened: list[tuple[Crowd, Server]] = []

    def connect(*said: bytes, options: tuple[str, ...] = (), piece: int = 65_536) -> tuple[Crowd, Server]:
        server = Server(b"".join(said), piece)
        crowd = loader.crowd(server.port, [DIAL], *options)
        opened.append((crowd, server))
        crowd.open()
        return crowd, server

    yield connect
    for crowd, server in opened:
        crowd.close()
        server.join()


def msg(text: bytes) -> bytes:
    return b"MSG acme 1 %d\r\n%b\r\n" % (len(text), text)


def in_frames(stream: bytes, size: int) -> bytes:
    return b"".join(frame(stream[at : at + size], 0x82) for at in range(0, len(stream), size))


def await_heard(server: Server, text: bytes) -> None:
    end = time.monotonic() + DEADLINE
    while text not in server.heard:
        assert time.monotonic() < end, server.heard
        time.sleep(0.01)


class TestNats:
    @pytest.mark.parametrize("piece", [1, 7, 65_536])
    @pytest.mark.parametrize("size", [1, 5, 40, 100_000])
    def test_messages_are_found_wherever_frames_end(self, visit: Visit, size: int, piece: int) -> None:
        events = [event_text(1), event_text(2, 300), event_text(3, 5_000), event_text(4)]
        stream = b"".join([GREETED[0], *map(msg, events), GREETED[1]])
        crowd, server = visit(ACCEPTED, in_frames(stream, size), options=("nats=acme",), piece=piece)
        crowd.wait("pong", 1)
        catch = crowd.catch()
        assert delivery_of(catch, "these", 4, 4).received == 4
        assert catch.bytes == sum(map(len, events))
        await_heard(server, b"SUB acme 1\r\nPING\r\n")

    def test_a_ping_of_either_kind_between_the_parts_of_a_message_is_answered(self, visit: Visit) -> None:
        stream = msg(event_text(1))
        said = [frame(stream[:30], 0x82), frame(b"alive", 0x89), frame(stream[30:] + b"PING\r\nPONG\r\n", 0x82)]
        crowd, server = visit(ACCEPTED, *said, options=("nats=acme",))
        crowd.wait("pong", 1)
        assert crowd.catch().events.total == 1
        await_heard(server, b"\x8a\x85\0\0\0\0alive\x82\x86\0\0\0\0PONG\r\n")

    def test_an_error_is_told(self, visit: Visit) -> None:
        crowd, _ = visit(ACCEPTED, frame(b"-ERR 'Slow Consumer'\r\n", 0x82), options=("nats=acme",))
        with pytest.raises(Broken, match="-ERR 'Slow Consumer'"):
            crowd.wait("pong", 1)

    def test_a_message_that_is_missing_is_seen(self, visit: Visit) -> None:
        stream = msg(event_text(1)) + msg(event_text(3)) + GREETED[1]
        crowd, _ = visit(ACCEPTED, frame(stream, 0x82), options=("nats=acme",))
        crowd.wait("pong", 1)
        assert crowd.catch().gaps == 1


class TestLines:
    @pytest.mark.parametrize("piece", [1, 100, 65_536])
    def test_a_frame_may_hold_many_messages_and_come_in_fragments(self, visit: Visit, piece: int) -> None:
        joined = b"\n".join([event_text(1), event_text(2, 2_000), event_text(3)])
        fragments = [frame(joined[:50], 0x01), frame(joined[50:90], 0x00), frame(b"", 0x89), frame(joined[90:], 0x80)]
        last = frame(event_text(4) + b"\n" + control("pong")[2:])
        crowd, _ = visit(ACCEPTED, *fragments, last, options=("lines",), piece=piece)
        crowd.wait("pong", 1)
        assert delivery_of(crowd.catch(), "these", 4, 4).received == 4


def deflated(text: bytes, context: zlib._Compress | None = None) -> bytes:
    compressor = context or zlib.compressobj(wbits=-15)
    return frame((compressor.compress(text) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4], 0xC1)


class TestDeflate:
    @pytest.mark.parametrize("piece", [1, 3, 65_536])
    def test_messages_are_inflated_each_by_itself(self, visit: Visit, piece: int) -> None:
        large = event_text(3, 1, noise=[str(number * 7919 % 10_007) for number in range(2_000)])
        texts = [event_text(1), event_text(2, 100_000), large]
        crowd, _ = visit(DEFLATING, *map(deflated, texts), event(4), control("pong"), piece=piece)
        crowd.wait("pong", 1)
        catch = crowd.catch()
        assert delivery_of(catch, "these", 4, 4).received == 4
        assert catch.deflated == 1
        assert catch.wire < sum(map(len, texts)) < catch.bytes

    def test_the_same_bytes_to_many_are_the_same_message(self, loader: Loader) -> None:
        server = Server(DEFLATING + deflated(event_text(1)) + control("pong"), 65_536, clients=1)
        again = Server(DEFLATING + deflated(event_text(1)) + deflated(event_text(2)) + control("pong"), 65_536)
        for one, seq in ((server, 1), (again, 2)):
            crowd = loader.crowd(one.port, [DIAL])
            crowd.open()
            crowd.wait("pong", 1)
            assert crowd.catch().high_seq == seq
            crowd.close()
            one.join()

    def test_a_message_that_needs_the_one_before_is_not_accepted(self, visit: Visit) -> None:
        context = zlib.compressobj(wbits=-15)
        crowd, _ = visit(DEFLATING, deflated(event_text(1), context), deflated(event_text(2), context))
        with pytest.raises(Broken, match="a compressed message is not complete in itself"):
            crowd.wait("pong", 1)

    def test_it_must_have_been_granted(self, visit: Visit) -> None:
        crowd, _ = visit(ACCEPTED, deflated(event_text(1)))
        with pytest.raises(Broken, match="a frame that begins with 0xc1"):
            crowd.wait("pong", 1)


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A server's, for TLS 1.3."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.load_cert_chain(*make_certificate(tmp_path))
    return made


class TestTls:
    @pytest.mark.parametrize("piece", [1, 1_000, 100_000])
    def test_events_are_found_however_they_are_cut(self, loader: Loader, context: ssl.SSLContext, piece: int) -> None:
        said = [event(1), event(2, 3_000), control("pong")]
        server = Server(ACCEPTED + b"".join(said), piece, context=context)
        crowd = loader.crowd(server.port, [DIAL], "tls")
        crowd.open()
        crowd.wait("pong", 1)
        assert delivery_of(crowd.catch(), "these", 2, 2).received == 2
        crowd.send("hello")
        await_heard(server, b"\x81\x85\0\0\0\0hello")
        crowd.close()
        server.join()

    def test_who_comes_again_offers_the_session_that_it_was_given(
        self, loader: Loader, context: ssl.SSLContext
    ) -> None:
        server = Server(ACCEPTED + event(7) + control("pong"), 65_536, clients=2, context=context)
        crowd = loader.crowd(server.port, [DIAL], "tls")
        resumed = []
        for _ in range(2):
            crowd.again()
            crowd.open()
            crowd.wait("pong", 1)
            catch = crowd.catch()
            resumed.append(catch.tls_resumed)
            assert (catch.events.total, catch.high_seq, catch.disorder) == (1, 7, 0)
        crowd.close()
        server.join()
        assert (resumed, server.resumed) == ([0, 1], [False, True])

    def test_a_server_without_tls_is_told(self, loader: Loader) -> None:
        server = Server(b"", 1)
        crowd = loader.crowd(server.port, [DIAL], "tls")
        server._attend = lambda client: client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[method-assign]
        crowd.open()
        with pytest.raises(Broken, match="the TLS handshake failed"):
            crowd.wait("open", 1)
        crowd.close()
        server.join()


class TestLatency:
    def test_events_tell_when_they_were_sent(self, visit: Visit) -> None:
        now = time.monotonic_ns()
        ages = [0.001] * 98 + [0.5, 3.0]
        said = [event(seq, sent_ns=now - int(1e9 * age)) for seq, age in enumerate(ages, 1)]
        crowd, _ = visit(ACCEPTED, *said, event(101), control("pong"))
        crowd.wait("pong", 1)
        passed = (time.monotonic_ns() - now) / 1e9
        latency = crowd.latency()
        assert latency.count == 100
        assert 0.001 <= latency.p50 <= 1.04 * (0.001 + passed)
        assert 0.5 <= latency.p99 <= 1.04 * (0.5 + passed)
        assert 3.0 <= latency.most <= 3.0 + passed

    def test_they_are_forgotten_with_everything_else(self, visit: Visit) -> None:
        crowd, _ = visit(ACCEPTED, event(1, sent_ns=time.monotonic_ns()), control("pong"))
        crowd.wait("pong", 1)
        assert crowd.latency().count == 1
        crowd.forget()
        assert crowd.latency().count == 0


class TestTogether:
    def test_all_together_are_waited_for_and_each_is_counted(self, loader: Loader) -> None:
        servers = [Server(ACCEPTED + event(1) + event(2) + control("pong"), 65_536, clients=2)]
        crowd = loader.crowd(servers[0].port, [DIAL])
        crowd.open()
        assert crowd.wait_together("event", 2) == 2
        assert crowd.counts() == [2]
        crowd.say(0, "to you alone")
        await_heard(servers[0], b"to you alone")
        crowd.again()
        crowd.open()
        crowd.wait("pong", 1)
        crowd.close()
        servers[0].join()
