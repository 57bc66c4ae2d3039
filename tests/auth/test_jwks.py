"""JwksSource against a real web server on the loopback interface."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from auth_issuer import issue, jwk, jwk_set, private, public
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.internet import reactor, ssl
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from callcenter_ws.auth.jwks import (
    ANSWER_SECONDS,
    FETCH_TIMEOUT_SECONDS,
    FIRST_RETRY_SECONDS,
    MAX_DOCUMENT_BYTES,
    JwksSource,
)
from callcenter_ws.auth.keys import KeyRing, UnusableKey, public_key
from callcenter_ws.auth.missing_keys import FETCH_INTERVAL_SECONDS, FETCHES_AT_ONCE, FORGET_SECONDS, MAX_MISSING
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.testing import FakeClock

FIRST = jwk_set(jwk("p256", 0, kid="first"))
SECOND = jwk_set(jwk("p256", 1, kid="second"))
DEADLINE = 30.0
INTERVAL = 300.0


async def until(condition: Callable[[], object]) -> None:
    """Run the reactor until ``condition`` is true."""
    end = reactor.seconds() + DEADLINE
    while not condition():
        assert reactor.seconds() < end, "the condition did not become true in time"
        await deferLater(reactor, 0.002)


class KeyPage(Resource):
    """A page with the JWK set; counts its requests."""

    isLeaf = True

    def __init__(self, document: bytes = FIRST) -> None:
        super().__init__()
        self.answer: Callable[[Any], Any] = lambda _: document
        self.asked = 0
        self.hung_up = 0
        self.paths: list[bytes] = []

    def render_GET(self, request: Any) -> Any:
        self.asked += 1
        self.paths.append(request.uri)
        request.notifyFinish().addErrback(self._lost)
        return self.answer(request)

    def _lost(self, _: object) -> None:
        self.hung_up += 1

    def serve(self, document: bytes) -> None:
        self.answer = lambda _: document


def status(code: int, document: bytes = FIRST, **headers: str) -> Callable[[Any], bytes]:
    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name.encode(), value.encode())
        return document

    return answer


def incomplete_response(request: Any) -> Any:
    request.setHeader(b"Content-Length", str(len(FIRST)).encode())
    request.write(FIRST[:-1])
    request.loseConnection()
    return NOT_DONE_YET


class CountingAgent:
    """Twisted's agent; counts requests when they are sent, before the page receives them."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.used = 0

    def request(self, *args: Any) -> Any:
        self.used += 1
        return self._agent.request(*args)


class Setup:
    """A page with a JWK set, and a source that fetches it by a fake clock."""

    def __init__(self, document: bytes = FIRST, *, uniform: Callable[[float, float], float] = lambda *_: 1.0) -> None:
        self.page = KeyPage(document)
        self.port = reactor.listenTCP(0, Site(self.page), interface="127.0.0.1")
        self.clock = FakeClock()
        self.ring = KeyRing(awaits_fetched=True)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/keys"
        self.uniform = uniform
        self.source = self.make()

    def make(self, url: str | None = None, agent: Agent | None = None) -> JwksSource:
        self.agent = CountingAgent(agent or Agent(reactor))
        web: Any = self.agent
        self.source = JwksSource(url or self.url, self.ring, web, self.clock, interval=INTERVAL, uniform=self.uniform)
        return self.source

    def knows(self, number: int, kid: str) -> bool:
        verifier = TokenVerifier(self.ring, TokenRules(("ES256",)), self.clock.time)
        try:
            verifier.verify(issue("ES256", number=number, header={"kid": kid}))
        except Refusal:
            return False
        return True

    def refusal(self, number: int, kid: str) -> Refusal:
        verifier = TokenVerifier(self.ring, TokenRules(("ES256",)), self.clock.time)
        with pytest.raises(Refusal) as caught:
            verifier.verify(issue("ES256", number=number, header={"kid": kid}))
        return caught.value

    async def start(self) -> None:
        self.source.startService()
        await self.settled(1)

    async def settled(self, asked: int) -> None:
        """Wait until the page has received that many requests and the source has processed the last response."""
        await until(lambda: self.page.asked == asked and self.source._fetch is None)

    async def close(self) -> None:
        await self.stop()
        await self.port.stopListening()

    async def stop(self) -> None:
        stopped = self.source.stopService()
        await until(lambda: stopped is None or stopped.called)


def log_lines(events: list[dict[str, Any]], level: LogLevel) -> list[str]:
    """Return the lines that the source logged at ``level``."""
    mine = [event for event in events if event.get("log_namespace", "").startswith("callcenter_ws.auth")]
    return [formatEvent(event) for event in mine if event["log_level"] is level]


@contextmanager
def captured_log_lines() -> Iterator[Callable[[LogLevel], list[str]]]:
    with capturedLogs() as events:
        yield partial(log_lines, events)


@pytest_twisted.ensureDeferred
async def test_the_first_fetch_is_at_start() -> None:
    setup = Setup()
    try:
        assert not setup.source.ready
        assert "not been fetched yet" in (setup.source.not_ready() or "")
        assert setup.agent.used == 0
        with captured_log_lines() as logged:
            await setup.start()
        assert setup.source.ready
        assert setup.source.not_ready() is None
        assert setup.knows(0, "first")
        assert not setup.knows(1, "first")
        (line,) = logged(LogLevel.info)
        assert f"{setup.url}: 1 usable (first)" in line
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_before_the_first_fetch_a_token_is_refused_temporarily() -> None:
    setup = Setup()
    verifier = TokenVerifier(setup.ring, TokenRules(("ES256",)), setup.clock.time)
    try:
        with pytest.raises(Refusal) as caught:
            verifier.verify(issue("ES256", header={"kid": "first"}))
        assert caught.value.code is ErrorCode.TRY_LATER
        assert setup.agent.used == 0
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_rotated_keys_are_used_after_the_next_fetch() -> None:
    setup = Setup()
    try:
        await setup.start()
        setup.page.serve(SECOND)
        setup.clock.advance(INTERVAL - 1)
        assert setup.agent.used == 1
        setup.clock.advance(1)
        await setup.settled(2)
        assert setup.knows(1, "second")
        assert not setup.knows(0, "first")
    finally:
        await setup.close()


class TestMissingKeys:
    """Tokens whose key is not known."""

    @pytest_twisted.ensureDeferred
    async def test_a_new_key_is_fetched_at_once(self) -> None:
        setup = Setup()
        try:
            await setup.start()
            setup.page.serve(SECOND)
            for _ in range(5):
                refusal = setup.refusal(1, "second")
                assert (refusal.code, refusal.close_code) == (ErrorCode.TRY_LATER, CloseCode.TRY_LATER)
                assert refusal.retry_after == ANSWER_SECONDS
            setup.clock.advance(0)
            await setup.settled(2)
            assert setup.knows(1, "second")
            setup.clock.advance(INTERVAL - 1)
            assert setup.agent.used == 2
        finally:
            await setup.close()

    @pytest_twisted.ensureDeferred
    async def test_a_key_that_does_not_exist_is_refused_for_good_after_one_fetch(self) -> None:
        setup = Setup()
        try:
            await setup.start()
            assert setup.refusal(1, "second").code is ErrorCode.TRY_LATER
            setup.clock.advance(0)
            # The fetch is under way.
            assert setup.refusal(1, "second").code is ErrorCode.TRY_LATER
            await setup.settled(2)
            for _ in range(5):
                assert setup.refusal(1, "second").code is ErrorCode.UNAUTHORIZED
            setup.clock.advance(FORGET_SECONDS - 0.1)
            assert setup.refusal(1, "second").code is ErrorCode.UNAUTHORIZED
            assert setup.agent.used == 2
            # The issuer may have published it since.
            setup.clock.advance(0.1)
            assert setup.refusal(1, "second").code is ErrorCode.TRY_LATER
        finally:
            await setup.close()

    @pytest_twisted.ensureDeferred
    async def test_any_number_of_unknown_keys_causes_a_bounded_number_of_fetches(self) -> None:
        setup = Setup()
        try:
            await setup.start()
            seconds = 60
            for second in range(seconds):
                for number in range(50):
                    assert setup.refusal(1, f"{second}-{number}").code is ErrorCode.TRY_LATER
                setup.clock.advance(1)
                await until(lambda: setup.source._fetch is None)
            assert setup.agent.used <= 1 + FETCHES_AT_ONCE + seconds / FETCH_INTERVAL_SECONDS
            assert len(setup.source._missing._names) <= MAX_MISSING
            # Meanwhile the issuer publishes a key: it is known at the time that the refusal names.
            setup.page.serve(SECOND)
            refusal = setup.refusal(1, "second")
            assert refusal.code is ErrorCode.TRY_LATER
            assert refusal.retry_after is not None
            assert refusal.retry_after <= ANSWER_SECONDS + FETCH_INTERVAL_SECONDS
            for number in range(2 * MAX_MISSING):
                setup.refusal(1, f"more-{number}")
            setup.clock.advance(refusal.retry_after)
            await until(lambda: setup.source._fetch is None)
            assert setup.knows(1, "second")
        finally:
            await setup.close()

    @pytest_twisted.ensureDeferred
    async def test_a_key_asked_for_during_a_fetch_is_fetched_afterwards(self) -> None:
        """The fetch under way may have been answered before the key was published."""
        setup = Setup()
        try:
            await setup.start()
            setup.refusal(1, "other")
            setup.clock.advance(0)
            assert setup.source._fetch is not None
            assert setup.refusal(1, "second").code is ErrorCode.TRY_LATER
            await until(lambda: setup.page.asked == 2 and setup.source._fetch is None)
            setup.page.serve(SECOND)
            assert setup.refusal(1, "other").code is ErrorCode.UNAUTHORIZED
            assert setup.refusal(1, "second").code is ErrorCode.TRY_LATER
            setup.clock.advance(0)
            await setup.settled(3)
            assert setup.knows(1, "second")
        finally:
            await setup.close()

    @pytest.mark.logs_errors
    @pytest_twisted.ensureDeferred
    async def test_while_the_issuer_is_down_no_refusal_is_final(self) -> None:
        setup = Setup()
        setup.page.answer = status(500)
        try:
            for fetched in (False, True):
                if fetched:
                    setup.page.serve(FIRST)
                    setup.refusal(1, "second")
                    setup.clock.advance(FETCH_INTERVAL_SECONDS)
                    await until(lambda: setup.source.ready and setup.source._fetch is None)
                    setup.page.answer = status(500)
                    setup.clock.advance(FORGET_SECONDS)
                else:
                    await setup.start()
                for _ in range(20):
                    refusal = setup.refusal(1, "second")
                    assert refusal.code is ErrorCode.TRY_LATER
                    assert 0 < (refusal.retry_after or 0) <= ANSWER_SECONDS + FETCH_INTERVAL_SECONDS
                    setup.clock.advance(refusal.retry_after or 0)
                    await until(lambda: setup.source._fetch is None)
        finally:
            await setup.close()

    @pytest_twisted.ensureDeferred
    async def test_tokens_without_a_kid_and_of_other_algorithms(self) -> None:
        setup = Setup()
        verifier = TokenVerifier(setup.ring, TokenRules(("ES256", "RS256", "HS256")), setup.clock.time)

        def code_of(token: str) -> ErrorCode:
            with pytest.raises(Refusal) as caught:
                verifier.verify(token)
            return caught.value.code

        try:
            tokens = [issue("ES256", number=1), issue("RS256"), issue("RS256", header={"kid": "rsa"})]
            await setup.start()
            assert [code_of(token) for token in tokens] == [ErrorCode.TRY_LATER] * 3
            setup.clock.advance(0)
            await setup.settled(2)
            assert [code_of(token) for token in tokens] == [ErrorCode.UNAUTHORIZED] * 3
            # The key is known, or never among the fetched ones.
            forged = issue("ES256", number=1, header={"kid": "first"})
            assert code_of(forged) is code_of(issue("HS256")) is ErrorCode.UNAUTHORIZED
            assert code_of(issue("HS256", header={"kid": "x"})) is ErrorCode.UNAUTHORIZED
            assert setup.agent.used == 2
        finally:
            await setup.close()

    def test_before_the_first_fetch_a_key_of_a_file_does_not_make_a_refusal_final(self) -> None:
        ring = KeyRing([public_key(public("p256", 0))], awaits_fetched=True)
        verifier = TokenVerifier(ring, TokenRules(("ES256",)), FakeClock().time)
        assert verifier.verify(issue("ES256"))
        for header in ({}, {"kid": "second"}):
            with pytest.raises(Refusal) as caught:
                verifier.verify(issue("ES256", number=1, header=header))
            assert caught.value.code is ErrorCode.TRY_LATER


@pytest_twisted.ensureDeferred
async def test_unchanged_keys_are_not_logged() -> None:
    setup = Setup(jwk_set(jwk("p256", kid="first"), {"kty": "oct", "k": "c2VjcmV0"}))
    try:
        with captured_log_lines() as logged:
            await setup.start()
        (line,) = logged(LogLevel.warn)
        assert "key 2: it is a symmetric key" in line
        with captured_log_lines() as logged:
            setup.clock.advance(INTERVAL)
            await setup.settled(2)
        assert logged(LogLevel.info) == logged(LogLevel.warn) == []
    finally:
        await setup.close()


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status(500), "status 500"),
        (status(404), "status 404"),
        (status(204, b""), "status 204"),
        (status(200, b"<html>"), "not a JWK set"),
        (status(200, b""), "not a JWK set"),
        (status(200, b'{"keys":[]}'), "no usable key"),
        (status(200, jwk_set({"kty": "oct", "k": "c2VjcmV0"})), "symmetric"),
        (status(200, jwk_set(*[jwk("p256")] * 9)), "the same kid or none"),
        (lambda request: request.loseConnection() or NOT_DONE_YET, "connection"),
        (incomplete_response, "connection"),
    ],
    ids=["500", "404", "204", "html", "empty", "no keys", "oct", "too many", "no answer", "half an answer"],
)
@pytest_twisted.ensureDeferred
async def test_after_a_failed_fetch_the_previous_keys_remain(answer: Callable[[Any], Any], why: str) -> None:
    setup = Setup()
    try:
        await setup.start()
        setup.page.answer = answer
        with captured_log_lines() as logged:
            setup.clock.advance(INTERVAL)
            await setup.settled(2)
        (line,) = logged(LogLevel.warn)
        assert why.lower() in line.lower()
        assert setup.url in line
        assert "the previous keys remain in use" in line
        assert "\n" not in line
        assert setup.knows(0, "first")
        assert setup.source.not_ready() is None
    finally:
        await setup.close()


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_failures_are_retried_with_back_off() -> None:
    setup = Setup()
    setup.page.answer = status(503)
    try:
        with captured_log_lines() as logged:
            await setup.start()
            pauses = [FIRST_RETRY_SECONDS * 2**number for number in range(6)] + [INTERVAL, INTERVAL]
            for asked, pause in enumerate(pauses, 1):
                setup.clock.advance(pause - 0.01)
                assert setup.agent.used == asked
                setup.clock.advance(0.01)
                await setup.settled(asked + 1)
            assert all("no token can be verified" in line for line in logged(LogLevel.error))
            assert len(logged(LogLevel.error)) == len(pauses) + 1
        assert not setup.source.ready
        setup.page.serve(FIRST)
        with captured_log_lines() as logged:
            setup.clock.advance(INTERVAL)
            await setup.settled(len(pauses) + 2)
        assert len(logged(LogLevel.info)) == 1
        assert setup.source.ready
        setup.clock.advance(INTERVAL - 1)
        assert setup.agent.used == len(pauses) + 2
        setup.page.answer = status(503)
        setup.clock.advance(1)
        await setup.settled(len(pauses) + 3)
        setup.clock.advance(FIRST_RETRY_SECONDS)
        await setup.settled(len(pauses) + 4)
    finally:
        await setup.close()


@pytest.mark.parametrize(("uniform", "factor"), [(min, 0.9), (max, 1.1)])
@pytest_twisted.ensureDeferred
async def test_the_interval_varies(uniform: Callable[[float, float], float], factor: float) -> None:
    setup = Setup(uniform=uniform)
    try:
        await setup.start()
        setup.clock.advance(INTERVAL * factor - 0.01)
        assert setup.agent.used == 1
        setup.clock.advance(0.02)
        await setup.settled(2)
    finally:
        await setup.close()


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_unreachable_issuer_is_retried() -> None:
    setup = Setup()
    number = setup.port.getHost().port
    await setup.port.stopListening()
    try:
        with captured_log_lines() as logged:
            setup.source.startService()
            await until(lambda: logged(LogLevel.error))
        (line,) = logged(LogLevel.error)
        assert "refused" in line
        setup.port = reactor.listenTCP(number, Site(setup.page), interface="127.0.0.1")
        await until(lambda: setup.source._fetch is None)
        setup.clock.advance(FIRST_RETRY_SECONDS)
        await setup.settled(1)
        assert setup.knows(0, "first")
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_the_connection_is_closed_on_an_oversized_document() -> None:
    setup = Setup()

    def send_endless_body(request: Any) -> Any:
        def more() -> None:
            if not request._disconnected:
                sent.append(request.write(b" " * 16_384))
                reactor.callLater(0, more)

        more()
        return NOT_DONE_YET

    sent: list[None] = []
    try:
        await setup.start()
        setup.page.answer = send_endless_body
        with captured_log_lines() as logged:
            setup.clock.advance(INTERVAL)
            await setup.settled(2)
        assert f"larger than {MAX_DOCUMENT_BYTES} bytes" in logged(LogLevel.warn)[0]
        await until(lambda: setup.page.hung_up == 1)
        assert setup.knows(0, "first")
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_the_body_of_an_error_response_is_not_read() -> None:
    setup = Setup()

    def respond_with_endless_error(request: Any) -> Any:
        request.setResponseCode(500)
        request.write(b"well, ")
        return NOT_DONE_YET

    try:
        await setup.start()
        setup.page.answer = respond_with_endless_error
        with captured_log_lines() as logged:
            setup.clock.advance(INTERVAL)
            await setup.settled(2)
        assert "status 500" in logged(LogLevel.warn)[0]
        await until(lambda: setup.page.hung_up == 1)
    finally:
        await setup.close()


@pytest.mark.parametrize(("extra", "taken"), [(0, True), (1, False)])
@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_the_limit_of_a_document_is_exact(extra: int, taken: bool) -> None:
    setup = Setup(FIRST + b" " * (MAX_DOCUMENT_BYTES - len(FIRST) + extra))
    try:
        with captured_log_lines():
            await setup.start()
        assert setup.source.ready is taken
    finally:
        await setup.close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_a_redirect_is_not_followed(code: int) -> None:
    setup = Setup()
    elsewhere = KeyPage(SECOND)
    port = reactor.listenTCP(0, Site(elsewhere), interface="127.0.0.1")
    setup.page.answer = status(code, Location=f"http://127.0.0.1:{port.getHost().port}/keys")
    try:
        with captured_log_lines() as logged:
            await setup.start()
        assert f"redirect ({code}), which is not followed" in logged(LogLevel.error)[0]
        assert elsewhere.asked == 0
        assert setup.page.asked == 1
        assert not setup.source.ready
    finally:
        await setup.close()
        await port.stopListening()


@pytest.mark.parametrize("begun", [b"", b'{"keys"'])
@pytest_twisted.ensureDeferred
async def test_a_fetch_has_a_timeout(begun: bytes) -> None:
    setup = Setup()

    def respond_partially(request: Any) -> Any:
        if begun:
            request.write(begun)
        return NOT_DONE_YET

    try:
        await setup.start()
        setup.page.answer = respond_partially
        setup.clock.advance(INTERVAL)
        await until(lambda: setup.page.asked == 2)
        with captured_log_lines() as logged:
            setup.clock.advance(FETCH_TIMEOUT_SECONDS - 0.01)
            assert setup.source._fetch is not None
            setup.clock.advance(0.01)
            await until(lambda: setup.source._fetch is None)
        assert "no complete response within 10 s" in logged(LogLevel.warn)[0]
        await until(lambda: setup.page.hung_up == 1)
        assert setup.knows(0, "first")
        setup.page.serve(SECOND)
        setup.clock.advance(FIRST_RETRY_SECONDS)
        await setup.settled(3)
        assert setup.knows(1, "second")
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_stopping_cancels_a_fetch() -> None:
    setup = Setup()
    setup.page.answer = lambda _: NOT_DONE_YET
    try:
        with captured_log_lines() as logged:
            setup.source.startService()
            await until(lambda: setup.page.asked == 1)
            await setup.stop()
            setup.clock.advance(10 * INTERVAL)
            await until(lambda: setup.page.hung_up == 1)
        assert setup.agent.used == 1
        assert logged(LogLevel.warn) == logged(LogLevel.error) == []
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_nothing_is_fetched_after_stopping() -> None:
    setup = Setup()
    try:
        await setup.start()
        assert setup.source.stopService() is None
        setup.clock.advance(10 * INTERVAL)
        assert setup.agent.used == 1
        setup.source.startService()
        await setup.settled(2)
    finally:
        await setup.close()


class BrokenAgent:
    """An agent that raises an unexpected exception."""

    def request(self, *_: object) -> Any:
        raise KeyError("unexpected")


@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_an_unhandled_error_is_logged_and_fetching_continues() -> None:
    setup = Setup()
    try:
        with captured_log_lines() as logged:
            setup.make(agent=BrokenAgent()).startService()  # type: ignore[arg-type]  # it need not be a whole one
            setup.clock.advance(INTERVAL)
            assert len(logged(LogLevel.critical)) == 2
        assert not setup.source.ready
    finally:
        await setup.close()


@pytest_twisted.ensureDeferred
async def test_the_query_of_the_url_is_sent_but_not_logged() -> None:
    setup = Setup()
    setup.make(setup.url + "?key=SECRETIVE")
    try:
        with captured_log_lines() as logged:
            await setup.start()
            setup.page.answer = status(500)
            setup.clock.advance(INTERVAL)
            await setup.settled(2)
        assert setup.page.paths == [b"/keys?key=SECRETIVE"] * 2
        lines = logged(LogLevel.info) + logged(LogLevel.warn)
        assert len(lines) == 2
        assert "SECRETIVE" not in "".join(lines)
    finally:
        await setup.close()


# Trust in the source of the keys


@pytest.mark.parametrize(
    "url",
    [
        "http://id.example/keys",
        "http://10.0.0.1/keys",
        "http://127.0.0.1.example/keys",
        "http://localhost.example/keys",
        "http://127.0.0.1@id.example/keys",
        "ftp://127.0.0.1/keys",
        "file:///etc/keys",
        "https:///keys",
        "https://[::1/keys",
        "https://é.example/keys",
        "keys",
        "",
    ],
)
def test_an_insecure_url_is_refused(url: str) -> None:
    with pytest.raises(UnusableKey, match="jwks_url"):
        JwksSource(url, KeyRing(), Agent(reactor), FakeClock())


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example/keys",
        "http://localhost:8080/",
        "http://127.0.0.1/k",
        "http://[::1]:8080/keys",
        "http://[::ffff:127.0.0.1]/keys",
    ],
)
def test_https_and_loopback_urls_are_accepted(url: str) -> None:
    assert not JwksSource(url, KeyRing(), Agent(reactor), FakeClock()).ready


def certificate_for(host: str) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    alternative = x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
    return (
        x509.CertificateBuilder(name, name, public("p256"), 1, now, now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(private("p256"), hashes.SHA256())
    )


def pem_with_key(certificate: x509.Certificate) -> bytes:
    key = private("p256").private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return bytes(key + certificate.public_bytes(Encoding.PEM))


@pytest.mark.parametrize(
    ("host", "trusted", "why"),
    [
        ("127.0.0.1", True, None),
        ("127.0.0.1", False, "certificate verify failed"),
        ("id.example", True, "the certificate is not for this host"),
    ],
)
@pytest.mark.logs_errors
@pytest_twisted.ensureDeferred
async def test_the_certificate_of_the_issuer_is_verified(
    tmp_path: Path, host: str, trusted: bool, why: str | None
) -> None:
    setup = Setup()
    certificate = certificate_for(host)
    file = tmp_path / "server.pem"
    file.write_bytes(pem_with_key(certificate))
    server = ssl.DefaultOpenSSLContextFactory(str(file), str(file))
    port = reactor.listenSSL(0, Site(setup.page), server, interface="127.0.0.1")
    root = ssl.Certificate.loadPEM(certificate.public_bytes(Encoding.PEM))
    agent = Agent(reactor, BrowserLikePolicyForHTTPS(trustRoot=root)) if trusted else Agent(reactor)
    setup.make(f"https://127.0.0.1:{port.getHost().port}/keys", agent)
    try:
        with captured_log_lines() as logged:
            setup.source.startService()
            await until(lambda: setup.source._fetch is None)
        assert setup.source.ready is (why is None)
        assert setup.page.asked == (why is None)
        assert [why in line for line in logged(LogLevel.error) if why] == [True] * (why is not None)
    finally:
        await setup.close()
        await port.stopListening()
