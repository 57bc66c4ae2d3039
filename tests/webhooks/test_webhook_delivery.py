"""Requests of webhooks to real TLS servers that misbehave. The tests say which addresses ``hook.test`` has."""

from __future__ import annotations

import datetime
import hashlib
import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from callcenter_ws.figures.plan import WebhookPlan
from callcenter_ws.runtime.clock import ReactorClock
from callcenter_ws.testing import FakeClock
from callcenter_ws.webhooks.delivery import Outcome, webhook_sender

SECRET = b"a secret of thirty-two bytes, or more"
BODY = b'{"type":"queue.alert.raised"}'
TOO_LARGE = "the answer is larger than 65536 bytes"
OK = b"HTTP/1.1 204 No Content\r\n\r\n"


def certificate(folder: Path, host: str) -> tuple[Any, Any]:
    """Return the context factory of a server, and a trust root that accepts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = made.public_bytes(Encoding.PEM)
    (folder / "chain.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    root = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(pem)])
    return _FreshContexts(folder), root


class _FreshContexts(ssl.ContextFactory):
    """Makes a context for each connection: pyOpenSSL forbids changes of one that has a connection."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def getContext(self) -> SSL.Context:  # noqa: N802 - Twisted's name
        return ssl.DefaultOpenSSLContextFactory(
            str(self._folder / "key.pem"), str(self._folder / "chain.pem"), SSL.TLS_SERVER_METHOD
        ).getContext()


def limited(test: Callable[..., Any]) -> Callable[..., Any]:
    """Run a coroutine as a test that fails after 30 seconds."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> Deferred[None]:
        return Deferred.fromCoroutine(test(*args, **kwargs)).addTimeout(30, reactor)

    return pytest_twisted.ensureDeferred(run)


def set_clock() -> ReactorClock:
    """Return the reactor's clock with a time of the tests' choice."""
    clock = ReactorClock(reactor)
    clock.time = lambda: 1_790_000_000.5
    return clock


class Peer(Protocol):
    """A server's side of a connection."""

    def connectionMade(self) -> None:
        self.received = b""
        self.factory.peers.append(self)
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        before = self.received
        self.received += data
        if BODY in self.received and BODY not in before:
            self.factory.answer(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)


class Server:
    """A TLS server on 127.0.0.1 that answers each request by a script."""

    def __init__(self, folder: Path, answer: Callable[[Peer], object], host: str = "hook.test") -> None:
        options, self.root = certificate(folder, host)
        self.factory: Any = Factory.forProtocol(Peer)
        self.factory.peers = []
        self.factory.answer = answer
        self.port = reactor.listenSSL(0, self.factory, options, interface="127.0.0.1")

    @property
    def peers(self) -> list[Peer]:
        return self.factory.peers

    def target(self, path: str = "/x?key=hidden", allow: Sequence[str] = ("hook.test",)) -> WebhookPlan:
        url = f"https://hook.test:{self.port.getHost().port}{path}"
        return WebhookPlan("duty", url, SECRET, allow_hosts=frozenset(allow))


@contextmanager
def serving(folder: Path, answer: Callable[[Peer], object], host: str = "hook.test") -> Iterator[Server]:
    server = Server(folder, answer, host)
    try:
        yield server
    finally:
        server.port.stopListening()
        for peer in server.peers:
            if peer.transport is not None:
                peer.transport.abortConnection()


def resolves_to(*addresses: str) -> Callable[[str], Deferred[Sequence[str]]]:
    return lambda host: succeed(addresses)


def sender(server: Server, clock: Any = None, resolve: Any = None) -> Any:
    return webhook_sender(
        reactor,
        clock or set_clock(),
        resolve=resolve or resolves_to("127.0.0.1"),
        trust_root=server.root,
    )


def closes_with(data: bytes) -> Callable[[Peer], None]:
    def answer(peer: Peer) -> None:
        peer.transport.write(data)
        peer.transport.loseConnection()

    return answer


@limited
async def test_a_request_is_signed_and_sent_to_the_host_of_its_url(tmp_path: Path) -> None:
    with serving(tmp_path, closes_with(OK)) as server:
        assert await sender(server)(server.target(), "alert-1", BODY) == Outcome(True, True, "")
        (peer,) = server.peers
    head, _, body = peer.received.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert body == BODY
    assert lines[0] == b"POST /x?key=hidden HTTP/1.1"
    assert b"Host: hook.test:%d" % server.port.getHost().port in lines
    assert b"X-Callcenter-Event-Id: alert-1" in lines
    assert b"X-Callcenter-Timestamp: 1790000000" in lines
    expected = hmac.new(SECRET, b"1790000000." + BODY, hashlib.sha256).hexdigest().encode()
    assert b"X-Callcenter-Signature: sha256=" + expected in lines


@limited
async def test_the_connection_is_closed_also_if_the_server_leaves_it_open(tmp_path: Path) -> None:
    with serving(tmp_path, lambda peer: peer.transport.write(OK)) as server:
        assert (await sender(server)(server.target(), "alert-1", BODY)).is_done
        await server.peers[0].closed


@pytest.mark.parametrize(
    ("status", "is_final"),
    [(302, False), (307, False), (400, True), (404, True), (408, False), (425, False), (429, False), (500, False)],
)
@limited
async def test_other_statuses_fail_and_no_redirect_is_followed(tmp_path: Path, status: int, is_final: bool) -> None:
    def answer(peer: Peer) -> None:
        location = b"https://hook.test:%d/elsewhere" % server.port.getHost().port
        closes_with(b"HTTP/1.1 %d X\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location))(peer)

    with serving(tmp_path, answer) as server:
        outcome = await sender(server)(server.target(), "alert-1", BODY)
        assert outcome == Outcome(False, is_final, f"the answer has the status {status}")
        assert len(server.peers) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + bytes(70_000), TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(70_000), TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\n" + b"X-Filler: 1\r\n" * 6_000, TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", "the request failed (ConnectionDone)"),
        (b"\x00garbage\r\n\r\n" * 10, "the request failed (ParseError)"),
        (b"HTTP/9.9 two hundred\r\n\r\n", "the request failed (ParseError)"),
        (b"", "the request failed (ConnectionDone)"),
    ],
)
@limited
async def test_an_answer_that_is_no_complete_small_one_fails(tmp_path: Path, answer: bytes, reason: str) -> None:
    with serving(tmp_path, closes_with(answer)) as server:
        outcome = await sender(server)(server.target(), "alert-1", BODY)
    assert (outcome.is_done, outcome.is_final) == (False, False)
    assert outcome.reason == reason


@limited
async def test_interim_responses_are_ignored_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interim = b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\n"
    with capturedLogs() as logs:
        with serving(tmp_path, closes_with(interim * 8 + OK)) as server:
            assert (await sender(server)(server.target(), "alert-1", BODY)).is_done

        def in_pieces(peer: Peer) -> None:
            text = interim + b"HTTP/1.1 200 OK\nContent-Length: 1\n\nx"
            for place in range(len(text)):
                reactor.callLater(place / 1_000, peer.transport.write, text[place : place + 1])

        with serving(tmp_path, in_pieces) as server:
            assert (await sender(server)(server.target(), "alert-1", BODY)).is_done
        with serving(tmp_path, lambda peer: peer.transport.write(interim * 1_500)) as server:
            outcome = await sender(server)(server.target(), "alert-1", BODY)
            await server.peers[0].closed
    assert outcome == Outcome(False, False, "the answer has more than 8 interim responses")
    assert not [one for one in logs if "log_format" in one and "nexpected" in one["log_format"]]


@limited
async def test_an_endless_answer_is_cut_off(tmp_path: Path) -> None:
    def answer(peer: Peer) -> None:
        peer.transport.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1000\r\n" + bytes(4096) + b"\r\n"
        )
        for _ in range(40):
            peer.transport.write(b"1000\r\n" + bytes(4096) + b"\r\n")

    with serving(tmp_path, answer) as server:
        outcome = await sender(server)(server.target(), "alert-1", BODY)
        assert outcome == Outcome(False, False, TOO_LARGE)
        await server.peers[0].closed


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"])
@limited
async def test_a_server_that_hangs_is_left_after_10_seconds(tmp_path: Path, said: bytes) -> None:
    asked: Deferred[None] = Deferred()

    def answer(peer: Peer) -> None:
        peer.transport.write(said)
        asked.callback(None)

    clock = FakeClock()
    with serving(tmp_path, answer) as server:
        request = sender(server, clock)(server.target(), "alert-1", BODY)
        await asked
        clock.advance(9.9)
        assert not request.called
        clock.advance(0.2)
        assert await request == Outcome(False, False, "there was no complete answer within 10 seconds")
        await server.peers[0].closed


@limited
async def test_a_name_that_is_never_found_is_left_after_10_seconds(tmp_path: Path) -> None:
    clock = FakeClock()
    with serving(tmp_path, closes_with(OK)) as server:
        request = sender(server, clock, lambda host: Deferred())(server.target(), "alert-1", BODY)
        clock.advance(10)
        assert (await request).reason == "there was no complete answer within 10 seconds"


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], []]
)
@limited
async def test_an_inner_address_is_not_connected_to(tmp_path: Path, addresses: list[str]) -> None:
    with serving(tmp_path, closes_with(OK)) as server:
        send = sender(server, resolve=resolves_to(*addresses))
        outcome = await send(server.target(allow=("other.test",)), "alert-1", BODY)
        assert not outcome.is_done
        assert "address" in outcome.reason
        assert server.peers == []


@limited
async def test_a_name_is_looked_up_and_checked_for_each_request_and_only_once(tmp_path: Path) -> None:
    """A name server that answers differently each time (rebinding) gains nothing."""
    answers = iter([["8.8.8.8", "10.0.0.1"], ["127.0.0.1"]])
    asked = []

    def resolve(host: str) -> Deferred[Sequence[str]]:
        asked.append(host)
        return succeed(next(answers))

    with serving(tmp_path, closes_with(OK)) as server:
        send = sender(server, resolve=resolve)
        for count in (1, 2):
            outcome = await send(server.target(allow=()), "alert-1", BODY)
            assert "not of the internet" in outcome.reason
            assert asked == ["hook.test"] * count
        assert server.peers == []


@limited
async def test_a_certificate_of_another_host_is_refused(tmp_path: Path) -> None:
    with serving(tmp_path, closes_with(OK), "other.test") as server:
        outcome = await sender(server)(server.target(), "alert-1", BODY)
        assert (outcome.is_done, outcome.is_final) == (False, False)
        assert all(peer.received == b"" for peer in server.peers)


@limited
async def test_the_next_address_is_tried(tmp_path: Path) -> None:
    with serving(tmp_path, closes_with(OK)) as server:
        send = sender(server, resolve=resolves_to("127.0.0.2", "127.0.0.1"))
        assert (await send(server.target(), "alert-1", BODY)).is_done


@limited
async def test_proxies_of_the_environment_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with serving(tmp_path, closes_with(OK)) as server:
        assert (await sender(server)(server.target(), "alert-1", BODY)).is_done


@limited
async def test_the_reactor_looks_names_up(tmp_path: Path) -> None:
    with serving(tmp_path, closes_with(OK)) as server:
        url = f"https://127.0.0.1:{server.port.getHost().port}/"
        send = webhook_sender(reactor, ReactorClock(reactor), trust_root=server.root)
        outcome = await send(WebhookPlan("duty", url, SECRET), "alert-1", BODY)
        assert "not of the internet" in outcome.reason
