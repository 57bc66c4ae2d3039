"""JwksSource: keeps a KeyRing up to date from a URL, beside the request path."""

from __future__ import annotations

import random as random_module
from collections.abc import Callable
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from OpenSSL import SSL
from service_identity import VerificationError
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.error import TimeoutError as ConnectTimedOut
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from twisted.web.client import Agent, RequestGenerationFailed, ResponseDone, ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from callcenter_ws import __version__
from callcenter_ws.auth.jwkset import JwkSet, parse_jwk_set
from callcenter_ws.auth.keys import KeyRing, UnusableKey
from callcenter_ws.runtime.clock import Clock, Timer

MAX_DOCUMENT_BYTES = 262_144
TIMEOUT = 10.0
"""Seconds for a whole fetch, from the connection to the last byte."""

FIRST_RETRY = 5.0
"""Seconds after a first failure; doubled by each further one, up to the interval."""

_HEADERS = {"Accept": ["application/jwk-set+json, application/json"], "User-Agent": [f"callcenter-ws/{__version__}"]}


class FetchFailed(Exception):
    """The answer was no document; the text says what it was."""


_EXPECTED = (
    FetchFailed,
    UnusableKey,
    CancelledError,
    ConnectError,
    ConnectionClosed,
    ConnectTimedOut,
    ResponseFailed,
    RequestGenerationFailed,
    SSL.Error,
    VerificationError,
    OSError,
)

_WHOLE = (ResponseDone, PotentialDataLoss)
"""An answer without a length ends with its connection; that it parses shows that it is whole."""


class JwksSource(Service):
    """Fetches a JWK set at start and then on a timer, and renews the ring's keys from it.

    When a fetch fails, the keys of the last good one stay. Redirects are not followed: the keys come from the
    configured place or not at all.

    Args:
        url: an ``https`` URL, or an ``http`` one of this machine.
        ring: whose fetched keys are renewed.
        agent: the HTTP client. ``Agent(reactor)`` verifies certificates against the system's trust store.
        interval: seconds between two fetches.
        random: numbers from 0 to 1 that spread the fetches of many nodes, by a tenth to either side.

    Raises:
        UnusableKey: for a URL that anybody on the way could answer.
    """

    _log = Logger()

    def __init__(
        self,
        url: str,
        ring: KeyRing,
        agent: Agent,
        clock: Clock,
        *,
        interval: float = 300.0,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self._url, self._shown_url = _checked_url(url)
        self._ring = ring
        self._agent = agent
        self._clock = clock
        self._interval = interval
        self._random = random
        self._current: JwkSet | None = None
        self._failures = 0
        self._timer: Timer | None = None
        self._round: Deferred[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether keys have been fetched, be it long ago."""
        return self._current is not None

    def not_ready(self) -> str | None:
        """Why no token can be verified yet, for ``/readyz``; None once keys are there."""
        return None if self.ready else "jwt: the keys that tokens are verified with have not been fetched yet"

    def startService(self) -> None:
        """Fetch the keys for the first time."""
        super().startService()
        self._begin()

    def stopService(self) -> Deferred[None] | None:
        """Stop fetching; a fetch under way is broken off."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        under_way = self._round
        if under_way is not None:
            under_way.cancel()
        return under_way

    def _begin(self) -> None:
        self._timer = None
        self._round = Deferred.fromCoroutine(self._refresh())
        self._round.addErrback(
            lambda failure: self._log.failure("unhandled error in fetching the keys of tokens", failure)
        )
        self._round.addCallback(self._rest)

    def _rest(self, _: object) -> None:
        self._round = None
        if self.running:
            self._timer = self._clock.call_later(self._pause(), self._begin)

    def _pause(self) -> float:
        """Seconds until the next fetch, as the failures so far make it."""
        pause = self._interval
        if self._failures:
            pause = min(pause, FIRST_RETRY * 2.0 ** min(self._failures - 1, 16))
        return pause * (0.9 + 0.2 * self._random())

    async def _refresh(self) -> None:
        fetch = Deferred.fromCoroutine(self._document())
        deadline = self._clock.call_later(TIMEOUT, fetch.cancel)
        try:
            found = parse_jwk_set(await fetch)
            self._ring.renew(found.keys)
        except _EXPECTED as error:
            self._failed(error)
        else:
            self._succeeded(found)
        finally:
            deadline.cancel()

    async def _document(self) -> bytes:
        response = await self._agent.request(b"GET", self._url, Headers(_HEADERS))
        body = _BoundedBody()
        response.deliverBody(body)  # type: ignore[call-arg, misc]  # the interface has no self, by zope's custom
        if response.code != 200:
            body.discard()
            raise FetchFailed(_status(response))
        return await body.received

    def _succeeded(self, found: JwkSet) -> None:
        before = self._current
        if self._failures or before is None or _kids(found) != _kids(before):
            text = "Token keys fetched from {url}: {count} of use ({kids})"
            self._log.info(text, url=self._shown_url, count=len(found.keys), kids=", ".join(_kids(found))[:200])
        if found.ignored and (before is None or found.ignored != before.ignored):
            why = "; ".join(found.ignored)[:500]
            self._log.warn("Token keys passed over at {url}: {why}", url=self._shown_url, why=why)
        self._current = found
        self._failures = 0

    def _failed(self, error: Exception) -> None:
        if not self.running:
            return
        self._failures += 1
        self._log.emit(
            LogLevel.warn if self.ready else LogLevel.error,
            "Token keys could not be fetched from {url}: {why}; {meanwhile}",
            url=self._shown_url,
            why=_reason(error),
            meanwhile="the last good ones stay in use" if self.ready else "no token can be verified until they are",
        )


class _BoundedBody(Protocol):
    """Collects the body of an answer, and hangs up on one that is larger than ``MAX_DOCUMENT_BYTES``."""

    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred(lambda _: self._hang_up())
        self._chunks: list[bytes] = []
        self._size = 0

    def discard(self) -> None:
        """Hang up; nobody wants this body."""
        self.received.addErrback(lambda _: None)
        self.received.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Keep a piece of the answer."""
        self._size += len(data)
        if self._size <= MAX_DOCUMENT_BYTES:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            self._hang_up()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The answer is over; ``reason`` says whether it is whole."""
        if self.received.called:
            return
        if self._size > MAX_DOCUMENT_BYTES:
            self.received.errback(FetchFailed(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes"))
        elif reason.check(*_WHOLE):
            self.received.callback(b"".join(self._chunks))
        else:
            self.received.errback(reason)

    def _hang_up(self) -> None:
        transport: Any = self.transport
        if transport is not None:
            transport.loseConnection()


def _checked_url(url: str) -> tuple[bytes, str]:
    """Return the URL for the wire, and as it may be logged: without a query, which may hold a key of its own."""
    try:
        parts = urlsplit(url)
        host, wire = parts.hostname or "", url.encode("ascii")
    except ValueError:
        raise UnusableKey("jwt.jwks_url is not a URL") from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise UnusableKey("jwt.jwks_url must be an https URL: who can change the keys on their way can make any token")
    return wire, parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _kids(found: JwkSet) -> list[str]:
    return [key.kid or "one without a kid" for key in found.keys]


def _status(response: IResponse) -> str:
    if 300 <= response.code < 400:
        return f"the answer is a redirect ({response.code}), which is not followed; configure where it leads to"
    return f"the answer has status {response.code}"


def _reason(error: BaseException) -> str:
    """What went wrong, for the person who reads the log."""
    if isinstance(error, ResponseFailed) and error.reasons:
        return _reason(error.reasons[0].value)
    if isinstance(error, CancelledError):
        return f"no whole answer within {TIMEOUT:.0f} s"
    if isinstance(error, VerificationError):
        return "the certificate is not for this host"
    if isinstance(error, SSL.Error):
        return f"TLS failed: {', '.join(_openssl_texts(error)) or 'the peer hung up'}"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _openssl_texts(error: SSL.Error) -> list[str]:
    """The reasons in an error of pyOpenSSL: its argument is a list of (library, function, reason)."""
    queue = error.args[0] if error.args else ()
    return [str(entry[-1]) for entry in queue] if isinstance(queue, list) else [str(queue)] if queue else []
