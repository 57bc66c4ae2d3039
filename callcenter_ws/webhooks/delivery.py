"""Sends one request of a webhook: to a checked address, with the certificate verified for the name of the host."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from io import BytesIO
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from OpenSSL import SSL
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint, wrapClientTLS
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import optionsForClientTLS
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from twisted.web.client import Agent, FileBodyProducer, ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from callcenter_ws import __version__
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.webhooks.address_check import is_public
from callcenter_ws.webhooks.signing import signature

TIMEOUT_SECONDS = 10.0
"""Seconds for a complete request, from the look-up of the name to the last byte of the answer."""

MAX_ANSWER_BYTES = 65_536
"""Bytes of an answer, with its headers."""

MAX_INTERIM = 8
"""Interim responses (1xx) before the answer."""

MAX_ADDRESSES = 16
"""Addresses of a host that are looked at."""

_HEAD_END = re.compile(rb"\n\r?\n")
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d\b")

_LATER = frozenset({408, 425, 429})
"""Statuses of the 4xx class with which the same request may succeed later."""


class Target(typing.Protocol):
    """A receiver of alerts."""

    @property
    def name(self) -> str:
        """Its name, for log lines."""

    @property
    def url(self) -> str:
        """Where requests are sent; it may hold a secret."""

    @property
    def secret(self) -> bytes:
        """The key of the signatures."""

    @property
    def events(self) -> Sequence[str]:
        """Patterns of event types."""

    @property
    def queues(self) -> Collection[str]:
        """Only alerts of these queues; empty: all."""

    @property
    def allow_hosts(self) -> Iterable[str]:
        """Host names whose addresses may be private ones."""


class Outcome(NamedTuple):
    """What became of a request.

    Attributes:
        is_done: the receiver has it.
        is_final: sending it again would not help.
        reason: why it failed, for the log; it holds no part of the URL, of the body or of the answer.
    """

    is_done: bool
    is_final: bool
    reason: str


class Refused(Exception):
    """The host must not be connected to; the text says why."""


Resolve = Callable[[str], Deferred[Sequence[str]]]
"""Looks up the addresses of a host."""

Sender = Callable[[Target, str, bytes], Deferred[Outcome]]
"""Sends the body with an event id to a receiver. The Deferred can be canceled, and does not fail."""


def webhook_sender(
    reactor: Any,  # reactors have no common type
    clock: Clock,
    *,
    resolve: Resolve | None = None,
    trust_root: Any = None,  # a twisted.internet.interfaces.IOpenSSLTrustRoot; those have no type of their own
) -> Sender:
    """Return what sends requests.

    Args:
        resolve: looks up hosts; None: the reactor does.
        trust_root: the authorities that may issue certificates; None: those of the system.
    """
    look_up = resolve or _resolver(reactor)

    def send(target: Target, event_id: str, body: bytes) -> Deferred[Outcome]:
        request = Deferred.fromCoroutine(
            _request(reactor, target, event_id, body, str(int(clock.time())), look_up, trust_root)
        )
        deadline = clock.call_later(TIMEOUT_SECONDS, request.cancel)

        def end(outcome: Outcome) -> Outcome:
            deadline.cancel()
            return outcome

        return request.addErrback(_failed).addCallback(end)

    return send


async def _request(
    reactor: Any,  # see webhook_sender
    target: Target,
    event_id: str,
    body: bytes,
    timestamp: str,
    resolve: Resolve,
    trust_root: Any,  # see webhook_sender
) -> Outcome:
    headers = {
        "Content-Type": ["application/json"],
        "User-Agent": [f"callcenter-ws/{__version__}"],
        "X-Callcenter-Event-Id": [event_id],
        "X-Callcenter-Timestamp": [timestamp],
        "X-Callcenter-Signature": [signature(target.secret, timestamp, body)],
    }
    endpoint = _CheckedEndpoint(reactor, target, resolve, trust_root)
    # An Agent follows no redirects, uses no proxies, and without a pool closes each connection.
    agent = Agent.usingEndpointFactory(reactor, endpoint)
    try:
        producer = FileBodyProducer(BytesIO(body))
        response = await agent.request(b"POST", target.url.encode("ascii"), Headers(headers), producer)
        end = _End()
        response.deliverBody(end)
        await end.reached
    except BaseException:
        endpoint.abort()
        if not endpoint.problem:
            raise
    if endpoint.problem:
        return Outcome(False, False, endpoint.problem)
    code = response.code
    if 200 <= code < 300:
        return Outcome(True, True, "")
    return Outcome(False, 400 <= code < 500 and code not in _LATER, f"the answer has the status {code}")


class _End(Protocol):
    """Waits for the end of an answer, whose text is of no interest."""

    def __init__(self) -> None:
        self.reached: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Report whether the answer is complete, as far as its length is known."""
        if self.reached.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.reached.callback(None)
        else:
            self.reached.errback(reason)


@implementer(IAgentEndpointFactory)
class _CheckedEndpoint:
    """The endpoint of one receiver, whatever the Agent asks for: its URL is the only one that is requested."""

    def __init__(self, reactor: Any, target: Target, resolve: Resolve, trust_root: Any) -> None:  # see webhook_sender
        self._reactor = reactor
        self._url = urlsplit(target.url)
        self._allowed = frozenset(target.allow_hosts)
        self._resolve = resolve
        self._trust_root = trust_root
        self._connection: _BoundedProtocol | None = None

    @property
    def problem(self) -> str:
        """Why the answer was cut off, or nothing."""
        return "" if self._connection is None else self._connection.problem

    def abort(self) -> None:
        """Close the connection at once, if there is one."""
        if self._connection is not None:
            self._connection.abortConnection()

    def endpointForURI(self, uri: object) -> _CheckedEndpoint:  # noqa: N802 - Twisted's name
        """Return the endpoint."""
        return self

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect to one of the addresses that the name has now, after all of them were checked."""
        return Deferred.fromCoroutine(self._connect(factory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        host, port = self._url.hostname or "", self._url.port or 443
        addresses = list(dict.fromkeys(await self._resolve(host)))[:MAX_ADDRESSES]
        if not addresses:
            raise Refused("the name of its host has no address")
        if host not in self._allowed and not all(map(is_public, addresses)):
            raise Refused("its host has an address that is not of the internet, and allow_hosts does not list it")
        more = {} if self._trust_root is None else {"trustRoot": self._trust_root}
        error: Exception = Refused("it has no address")
        for address in addresses:
            # pyOpenSSL forbids changes of a context that has a connection, and Twisted changes it for each connection.
            options = optionsForClientTLS(host.rstrip("."), **more)
            kind = TCP6ClientEndpoint if ":" in address else TCP4ClientEndpoint
            endpoint = wrapClientTLS(options, kind(self._reactor, address, port, timeout=TIMEOUT_SECONDS))
            try:
                wrapper: Any = await endpoint.connect(_BoundedFactory(factory))  # a protocol of that factory
            except (CancelledError, ConnectingCancelledError):
                raise
            except Exception as problem:  # whatever it is, the next address may work, or the request fails with it
                error = problem
                continue
            self._connection = wrapper
            protocol: IProtocol = wrapper.wrappedProtocol
            return protocol
        raise error


class _BoundedProtocol(ProtocolWrapper):
    """Closes the connection when the answer is too large, its headers included, or has too many interim responses."""

    transport: Any  # of TLS, which can be aborted

    def __init__(self, *parts: Any) -> None:  # those of ProtocolWrapper; the wrapped protocol has a private class
        super().__init__(*parts)
        self.problem = ""
        self._received = 0
        self._head: bytearray | None = bytearray()
        self._interim = 0

    def dataReceived(self, data: bytes) -> None:
        """Pass on data up to the limit, from the final response on: an Agent logs each interim one that it ignores."""
        self._received += len(data)
        if self._received > MAX_ANSWER_BYTES:
            self._cut_off(f"the answer is larger than {MAX_ANSWER_BYTES} bytes")
        elif self._head is None:
            super().dataReceived(data)
        elif not self.problem:
            self._take_head(self._head, data)

    def _take_head(self, head: bytearray, data: bytes) -> None:
        start = max(0, len(head) - 2)
        head += data
        while (end := _HEAD_END.search(head, start)) is not None and _INTERIM.match(head):
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._cut_off(f"the answer has more than {MAX_INTERIM} interim responses")
                return
            del head[: end.end()]
            start = 0
        if end is not None:
            self._head = None
            super().dataReceived(bytes(head))

    def _cut_off(self, problem: str) -> None:
        self.problem = problem
        self.abortConnection()

    def loseConnection(self) -> None:
        """Close the connection without waiting for the peer to do so, which might never happen."""
        tls = self.transport
        super().loseConnection()
        if tls is not None and tls.transport is not None:
            tls.transport.loseConnection()

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        """Close the connection at once."""
        if self.transport is not None:
            self.transport.abortConnection()


class _BoundedFactory(WrappingFactory):
    protocol = _BoundedProtocol
    noisy = False

    def __init__(self, wrapped: Any) -> None:  # the factory of the Agent, a private class
        super().__init__(wrapped)
        # Otherwise each request would have two lines in the log.
        wrapped.noisy = False


def _resolver(reactor: Any) -> Resolve:  # see webhook_sender
    def resolve(host: str) -> Deferred[Sequence[str]]:
        found: list[str] = []
        result: Deferred[Sequence[str]] = Deferred()
        reactor.nameResolver.resolveHostName(_Receiver(found, result), host)
        return result

    return resolve


class _Receiver:
    """Collects the addresses of a host."""

    def __init__(self, found: list[str], result: Deferred[Sequence[str]]) -> None:
        self._found = found
        self._result = result

    def resolutionBegan(self, resolution: object) -> None:  # noqa: N802 - Twisted's name
        """Do nothing: a look-up that takes too long is no longer waited for."""

    def addressResolved(self, address: IAddress) -> None:  # noqa: N802 - Twisted's name
        """Keep an address."""
        if isinstance(address, IPv4Address | IPv6Address):
            self._found.append(address.host)

    def resolutionComplete(self) -> None:  # noqa: N802 - Twisted's name
        """Return the addresses, unless they came too late."""
        if not self._result.called:
            self._result.callback(self._found)


def _failed(failure: Failure) -> Outcome:
    return Outcome(False, False, _reason(failure.value or Refused("the request failed")))


def _reason(error: BaseException) -> str:
    """Return why a request failed, without anything that the peer has sent."""
    if isinstance(error, Refused):
        return str(error)
    reasons = getattr(error, "reasons", None)
    inner = reasons[0].value if reasons else error
    if isinstance(inner, CancelledError | ConnectingCancelledError):
        return f"there was no complete answer within {TIMEOUT_SECONDS:g} seconds"
    if isinstance(inner, SSL.Error):
        return "TLS failed; is the certificate valid for the host, and its authority known (SSL_CERT_FILE)?"
    return f"the request failed ({type(inner).__name__})"
