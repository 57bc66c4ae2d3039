"""JwksSource: fetches the keys of a KeyRing from a URL, in the background."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
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
from callcenter_ws.auth.missing_keys import FetchBudget, MissingKeys
from callcenter_ws.runtime.backoff import JITTER, Backoff
from callcenter_ws.runtime.clock import Clock, Timer

MAX_DOCUMENT_BYTES = 262_144
FETCH_TIMEOUT_SECONDS = 10.0
"""Seconds for a complete fetch, from the connection to the last byte."""

FIRST_RETRY_SECONDS = 5.0
"""Longest delay in seconds before the first retry; it doubles with each further failure, up to the interval."""

ANSWER_SECONDS = 1.0
"""Time after which a peer should retry when a fetch is under way or about to start."""

_HEADERS = {"Accept": ["application/jwk-set+json, application/json"], "User-Agent": [f"callcenter-ws/{__version__}"]}


class FetchFailed(Exception):
    """The response holds no document; the text says why."""


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

_COMPLETE = (ResponseDone, PotentialDataLoss)
"""Reasons with which a body may be complete. One without a length ends with its connection; parsing shows whether it is
complete."""


class JwksSource(Service):
    """Fetches a JWK set at the start and then periodically, and renews the fetched keys of a KeyRing.

    A token with a key that is not known causes a fetch, too (``missing_keys``).

    If a fetch fails, the keys of the last successful one remain in use. Redirects are not followed: keys are accepted
    from the configured URL only.

    Args:
        url: an ``https`` URL, or an ``http`` URL of the loopback interface.
        ring: the KeyRing to renew.
        agent: the HTTP client. ``Agent(reactor)`` verifies certificates against the system's trust store.
        interval: seconds between two fetches. Each interval varies by 10 %, so that nodes do not fetch at the same
            time.
        known: the keys until the first fetch has succeeded, which the ring has; None: there are none, so that no token
            of a fetched key can be verified before.
        uniform: returns a random number between its two arguments.

    Raises:
        UnusableKey: the URL is neither of these.
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
        known: JwkSet | None = None,
        uniform: Callable[[float, float], float] = JITTER,
    ) -> None:
        self._url, self._shown_url = _checked_url(url)
        self._ring = ring
        self._agent = agent
        self._clock = clock
        self._interval = interval
        self._uniform = uniform
        self._backoff = Backoff(min(FIRST_RETRY_SECONDS, interval), interval, uniform=uniform)
        self._current = known
        self._failed = False
        self._timer: Timer | None = None
        # Time of the monotonic clock.
        self._due_at = 0.0
        self._missing = MissingKeys()
        self._budget = FetchBudget()
        ring.request_key = self._request_key
        self._fetch: Deferred[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a fetch has succeeded, or keys were known before."""
        return self._current is not None

    @property
    def current(self) -> JwkSet | None:
        """The keys that were fetched last; None before the first successful fetch."""
        return self._current

    def use_ring(self, ring: KeyRing) -> None:
        """Renew the keys of another ring from now on; it has the keys that are current now, unless they do not fit."""
        self._ring = ring
        ring.request_key = self._request_key
        if self._current is not None:
            with suppress(UnusableKey):
                # The ring was made before: the keys may have been fetched again since.
                ring.renew(self._current.keys)

    def not_ready(self) -> str | None:
        """Return why no token can be verified, for ``/readyz``; None once a fetch has succeeded."""
        return None if self.ready else "jwt: the keys for verifying tokens have not been fetched yet"

    def startService(self) -> None:
        """Fetch the keys for the first time."""
        super().startService()
        self._start_fetch()

    def stopService(self) -> Deferred[None] | None:
        """Stop fetching; cancel a fetch in progress."""
        super().stopService()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        fetch = self._fetch
        if fetch is not None:
            fetch.cancel()
        return fetch

    # When to fetch

    def _request_key(self, name: bytes) -> float | None:
        """Have the keys fetched because one is missing; see ``keys.RequestKey``."""
        now = self._clock.monotonic()
        if self._missing.is_final(name, now, is_fetching=self._fetch is not None):
            return None
        if self._fetch is None and self.running:
            self._schedule_fetch(self._budget.wait(now))
        return ANSWER_SECONDS + self._seconds_until_fetch(now)

    def _seconds_until_fetch(self, now: float) -> float:
        """Return the seconds until the start of the fetch that will find a missing key, if it exists."""
        if self._fetch is not None:
            return self._budget.wait(now) if self._missing.is_fetch_wanted else 0.0
        return max(0.0, self._due_at - now) if self._timer is not None else 0.0

    def _schedule_fetch(self, delay: float) -> None:
        """Fetch after ``delay`` seconds, or earlier if that is scheduled."""
        due_at = self._clock.monotonic() + delay
        if self._timer is not None:
            if self._due_at <= due_at:
                return
            self._timer.cancel()
        self._due_at = due_at
        self._timer = self._clock.call_later(delay, self._start_fetch)

    def _start_fetch(self) -> None:
        self._timer = None
        if self._missing.is_fetch_wanted:
            self._budget.spend(self._clock.monotonic())
        self._missing.start_fetch()
        self._fetch = Deferred.fromCoroutine(self._renew_keys())
        self._fetch.addErrback(
            lambda failure: self._log.failure("unhandled error in fetching the keys for verifying tokens", failure)
        )
        self._fetch.addCallback(self._schedule)

    def _schedule(self, _: object) -> None:
        self._fetch = None
        if self.running:
            self._schedule_fetch(self._backoff.delay() if self._failed else self._interval * self._uniform(0.9, 1.1))
            if self._missing.is_fetch_wanted:
                self._schedule_fetch(self._budget.wait(self._clock.monotonic()))

    # Fetching

    async def _renew_keys(self) -> None:
        download = Deferred.fromCoroutine(self._download())
        deadline = self._clock.call_later(FETCH_TIMEOUT_SECONDS, download.cancel)
        try:
            key_set = parse_jwk_set(await download)
            self._ring.renew(key_set.keys)
        except _EXPECTED as error:
            self._note_failure(error)
        else:
            self._note_success(key_set)
        finally:
            deadline.cancel()

    async def _download(self) -> bytes:
        response = await self._agent.request(b"GET", self._url, Headers(_HEADERS))
        body = _BoundedBody()
        response.deliverBody(body)
        if response.code != 200:
            body.discard()
            raise FetchFailed(_status(response))
        return await body.received

    def _note_success(self, key_set: JwkSet) -> None:
        """Log changes, and store the key set."""
        before = self._current
        if self._failed or before is None or _kids(key_set) != _kids(before):
            text = "fetched the keys for verifying tokens from {url}: {count} usable ({kids})"
            self._log.info(text, url=self._shown_url, count=len(key_set.keys), kids=", ".join(_kids(key_set))[:200])
        if key_set.ignored and (before is None or key_set.ignored != before.ignored):
            reasons = "; ".join(key_set.ignored)[:500]
            self._log.warn("ignored keys from {url}: {reasons}", url=self._shown_url, reasons=reasons)
        self._current = key_set
        self._missing.answered = self._missing.started
        self._failed = False
        self._backoff.reset()

    def _note_failure(self, error: Exception) -> None:
        if not self.running:
            return
        self._failed = True
        self._log.emit(
            LogLevel.warn if self.ready else LogLevel.error,
            "cannot fetch the keys for verifying tokens from {url}: {reason}; {consequence}",
            url=self._shown_url,
            reason=_reason(error),
            consequence="the previous keys remain in use" if self.ready else "no token can be verified",
        )


class _BoundedBody(Protocol):
    """Collects the body of a response; closes the connection if it is larger than ``MAX_DOCUMENT_BYTES``."""

    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred(lambda _: self._close())
        self._chunks: list[bytes] = []
        self._size = 0

    def discard(self) -> None:
        """Close the connection without reading the body."""
        self.received.addErrback(lambda _: None)
        self.received.cancel()

    def dataReceived(self, data: bytes) -> None:
        """Collect a piece of the body."""
        self._size += len(data)
        if self._size <= MAX_DOCUMENT_BYTES:
            self._chunks.append(data)
        else:
            self._chunks.clear()
            self._close()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Deliver the body if ``reason`` shows that it is complete."""
        if self.received.called:
            return
        if self._size > MAX_DOCUMENT_BYTES:
            self.received.errback(FetchFailed(f"the document is larger than {MAX_DOCUMENT_BYTES} bytes"))
        elif reason.check(*_COMPLETE):
            self.received.callback(b"".join(self._chunks))
        else:
            self.received.errback(reason)

    def _close(self) -> None:
        transport = self.transport
        if transport is not None:
            transport.loseConnection()


def _checked_url(url: str) -> tuple[bytes, str]:
    """Return the URL to request, and the URL to log: without credentials and query, which may be secret."""
    try:
        parts = urlsplit(url)
        host, encoded = parts.hostname or "", url.encode("ascii")
    except ValueError:
        raise UnusableKey("jwt.jwks_url is not a URL") from None
    if not host or not (parts.scheme == "https" or (parts.scheme == "http" and _is_loopback(host))):
        raise UnusableKey(
            "jwt.jwks_url must be an https URL; keys that can be changed in transit would allow forged tokens"
        )
    return encoded, parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    # Whether an IPv4-mapped IPv6 address (::ffff:127.0.0.1) counts as loopback depends on the version of Python.
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


def _kids(key_set: JwkSet) -> list[str]:
    return [key.kid or "no kid" for key in key_set.keys]


def _status(response: IResponse) -> str:
    if 300 <= response.code < 400:
        return f"the response is a redirect ({response.code}), which is not followed; configure its target"
    return f"the response has status {response.code}"


def _reason(error: BaseException) -> str:
    """Return a readable description of an expected error."""
    if isinstance(error, ResponseFailed) and error.reasons:
        return _reason(error.reasons[0].value)
    if isinstance(error, CancelledError):
        return f"no complete response within {FETCH_TIMEOUT_SECONDS:.0f} s"
    if isinstance(error, VerificationError):
        return "the certificate is not for this host"
    if isinstance(error, SSL.Error):
        return f"TLS failed: {', '.join(_openssl_texts(error)) or 'the peer closed the connection'}"
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def _openssl_texts(error: SSL.Error) -> list[str]:
    """Return the reasons in an error of pyOpenSSL, whose argument is a list of (library, function, reason)."""
    queue = error.args[0] if error.args else ()
    return [str(entry[-1]) for entry in queue] if isinstance(queue, list) else [str(queue)] if queue else []
