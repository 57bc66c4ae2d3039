"""Prints the messages of a WebSocket client, one a line, for ``callcenter-ws tail``."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from urllib.parse import urlencode, urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import deferLater

from callcenter_ws import __version__
from callcenter_ws.cli.pretty import Pretty, Terminal, is_figure
from callcenter_ws.cli.printable import printable
from callcenter_ws.errors import CLOSES, CloseCode
from callcenter_ws.events.catalogue import covers
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.reactor import Reactor

SUBPROTOCOL = "callcenter.v1"
EVENTS_REFUSED = frozenset({"invalid_message", "unknown_event", "forbidden"})
"""Codes with which the gateway refuses the events that the URL names."""

HANDSHAKE_TIMEOUT_SECONDS = 10
PING_INTERVAL_SECONDS = 30

RECONNECT_ATTEMPTS = 60
RECONNECT_INTERVAL_SECONDS = 1.0
"""Attempts to reconnect when the gateway has asked for it, and the time between them: it may be restarted meanwhile."""

MAX_RECONNECT_MILLISECONDS = 7_200_000.0
"""The longest time that tail waits before it reconnects; a gateway asks for less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TailOptions:
    """The server to connect to and the events to print.

    Attributes:
        url: ``ws://`` or ``wss://``; the certificate of a ``wss://`` server must be valid for its host.
        token: the token; None to connect as an anonymous visitor.
        events: names, prefixes such as ``call.*``, or ``*``; empty for everything that the token may see.
        count: stop after this number of stream events. Live figures are counted if ``events`` names them: they precede
            the first event. Control messages are not. None: do not stop.
        resume: start with the events after this ``epoch`` and ``seq``.
        snapshot: start with the state of the tenant.
        pretty: write lines for people, for this terminal, in place of JSON; None: write JSON.
    """

    url: str
    token: str | None = None
    events: tuple[str, ...] = ()
    count: int | None = None
    resume: tuple[str, int] | None = None
    snapshot: bool = False
    pretty: Terminal | None = None

    def matches(self, name: str) -> bool:
        """Return whether to print an event or a figure of this name."""
        return not self.events or any(covers(pattern, name) for pattern in self.events)

    @property
    def full_url(self) -> str:
        """The URL with the query parameters of the connect options (docs/protocol.rst)."""
        query: dict[str, str | int] = {"snapshot": 1} if self.snapshot else {}
        if self.resume:
            query |= {"epoch": self.resume[0], "seq": self.resume[1]}
        if self.events:
            # In the URL, because a replay or a snapshot would precede a subscription by a message.
            query["events"] = ",".join(self.events)
        separator = "&" if urlsplit(self.url).query else "?"
        return f"{self.url}{separator}{urlencode(query)}" if query else self.url


class TailProtocol(WebSocketClientProtocol):
    """Prints the messages. The names in camel case are Autobahn's."""

    factory: TailFactory

    def onOpen(self) -> None:
        """Note that the gateway speaks the protocol."""
        self.factory.is_open = True

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Print a message, and close the connection after the last one."""
        if not self.factory.is_complete:
            self.factory.is_complete = self.factory.print_message(payload.decode(errors="replace"))
            if self.factory.is_complete:
                self.sendClose(int(CloseCode.NORMAL))  # Autobahn does not accept an IntEnum

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Report why the connection ended."""
        if self.factory.is_complete:
            self.factory.ended.callback(self.factory.refusal)
        elif code == CloseCode.NORMAL:
            self.factory.ended.callback(None)
        elif code in CLOSES and code != CloseCode.ABNORMAL:
            entry = CLOSES[CloseCode(code)]
            self.factory.ended.callback(f"closed: {code} {entry.name}: {reason or entry.text}")
        elif wasClean:
            self.factory.ended.callback(f"closed: {code} {reason or ''}".rstrip())
        else:
            self.factory.ended.callback(_explain(reason or str(code), self.factory))


class TailFactory(WebSocketClientFactory):
    """Creates the protocol of one connection.

    Attributes:
        is_open: whether the opening handshake is complete.
        is_complete: whether the last message to print was printed.
        refusal: why the gateway refused the events to print; None if it did not.
        ended: fires with None if all messages were printed, else with the reason.
        reconnect_at: when the gateway has asked to reconnect, by ``time.monotonic``; None if it has not.
    """

    protocol = TailProtocol  # type: ignore[assignment]  # Autobahn's protocols are not typed as Twisted's
    noisy = False

    def __init__(self, options: TailOptions, write: Callable[[str], object], reactor: IReactorTime) -> None:
        headers = {"Authorization": f"Bearer {options.token}"} if options.token else {}
        # A client that offers the subprotocol gets a close code with the reason of a refusal. Without a token it must
        # not be offered: the gateway would wait for a first frame with one.
        protocols = [SUBPROTOCOL] if options.token else []
        agent = f"callcenter-ws/{__version__}"
        super().__init__(options.full_url, protocols=protocols, headers=headers, useragent=agent, reactor=reactor)
        self.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=HANDSHAKE_TIMEOUT_SECONDS,
            autoPingInterval=PING_INTERVAL_SECONDS,
            autoPingTimeout=HANDSHAKE_TIMEOUT_SECONDS,
        )
        self.options = options
        self.is_complete = self.is_open = False
        self.refusal: str | None = None
        self.reconnect_at: float | None = None
        self._position = options.resume
        self.ended: Deferred[str | None] = Deferred()
        self._write = write
        self._remaining = options.count
        self._pretty = None if options.pretty is None else Pretty(options.pretty, time.time)

    def print_message(self, text: str) -> bool:
        """Print a message if it matches the options; return whether it was the last."""
        message = _decoded(text)
        self._follow(message)
        is_event, figure = "seq" in message, is_figure(message)
        if (is_event or figure) and not self.options.matches(str(message.get("type"))):
            return False
        try:
            for line in self._lines(message, text):
                self._write(line)
        except BrokenPipeError:
            return True
        payload = message.get("payload")
        if message.get("type") == "error" and isinstance(payload, dict) and payload.get("code") in EVENTS_REFUSED:
            # The only request is the URL.
            self.refusal = f"refused: {payload.get('message')}"
            return True
        if (is_event or (figure and self.options.events)) and self._remaining is not None:
            self._remaining -= 1
        return self._remaining == 0

    def _lines(self, message: JsonObject, text: str) -> Iterable[str]:
        if self._pretty is None:
            return [text]
        # What is no JSON object does not come from a gateway.
        return self._pretty.lines(message) if message else [printable(text)]

    def _follow(self, message: JsonObject) -> None:
        """Note the position that a message brings the client to, and when it is asked to reconnect."""
        payload, seq = message.get("payload"), message.get("seq")
        fields = payload if isinstance(payload, dict) else {}
        kind = message.get("type")
        if isinstance(seq, int):
            if self._position is not None and not message.get("offline"):
                self._position = (self._position[0], seq)
        elif kind == "drain":
            self.reconnect_at = time.monotonic() + _number(fields.get("reconnect_after_ms")) / 1000
        elif kind in ("reset", "snapshot", "resumed") or (kind == "welcome" and self._position is None):
            epoch, reached = fields.get("epoch"), fields.get("to_seq", fields.get("seq"))
            if isinstance(epoch, str) and isinstance(reached, int):
                self._position = (epoch, reached)

    def continued(self) -> TailOptions:
        """Return the options of a connection that continues this one."""
        return replace(self.options, resume=self._position, snapshot=False, count=self._remaining)


def _number(value: object) -> float:
    """Return a number of milliseconds that a timer can wait for."""
    return min(value, MAX_RECONNECT_MILLISECONDS) if isinstance(value, int | float) else 0.0


def _explain(reason: str, factory: TailFactory) -> str:
    """Return why a connection ended without a close code, with what may be done about it."""
    found = _UNCLEAN.fullmatch(reason)
    reason = found[1] if found else reason
    address = _address(factory.options.url)
    if "certificate verify failed" in reason:
        return (
            f"the certificate of {address} is not trusted: {reason}. Name the file of a private CA in "
            "the environment variable SSL_CERT_FILE, and connect to the name in the certificate"
        )
    if factory.is_open:
        return f"the connection was lost: {reason}"
    if "handshake timeout" in reason and factory.isSecure:
        return f"no answer from {address} within {HANDSHAKE_TIMEOUT_SECONDS} s; a port without TLS needs ws://"
    if "dropped the TCP connection" in reason:
        needs = "a port without TLS needs ws://" if factory.isSecure else "a port with TLS needs wss://"
        return f"{address} has closed the connection without an answer; {needs}"
    return f"cannot connect to {address}: {reason}"


_UNCLEAN = re.compile(r'connection was closed uncleanly \("(.*)"\)', re.DOTALL)
"""Autobahn's text around the reason."""


def _decoded(text: str) -> JsonObject:
    """Decode a message; return an empty dictionary if it is not a JSON object."""
    try:
        message = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


async def tail(reactor: Reactor, options: TailOptions, write: Callable[[str], object]) -> str | None:
    """Connect and write messages until the connection ends; reconnect and resume when the gateway asks for it.

    Returns:
        None if all messages were written or the gateway closed with 1000; else the reason of the end.
    """
    attempts = 0
    while True:
        reason, factory = await _connect_once(reactor, options, write)
        if reason is None:
            return None
        if factory is not None and factory.reconnect_at is not None:
            options, attempts = factory.continued(), RECONNECT_ATTEMPTS
            delay = factory.reconnect_at - time.monotonic()
        elif attempts and (factory is None or not factory.is_open):
            attempts, delay = attempts - 1, RECONNECT_INTERVAL_SECONDS
        else:
            return reason
        await deferLater(reactor, max(0.0, delay))


async def _connect_once(
    reactor: Reactor, options: TailOptions, write: Callable[[str], object]
) -> tuple[str | None, TailFactory | None]:
    """Connect and write messages until the connection ends; return why it has ended."""
    try:
        factory = TailFactory(options, write, reactor)
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, factory.host, factory.port)
        if factory.isSecure:
            endpoint = wrapClientTLS(optionsForClientTLS(factory.host), endpoint)
        await endpoint.connect(factory)
    except Exception as error:
        # Errors of the URL and of the network are shown to the user without a traceback.
        return f"cannot connect to {_address(options.url)}: {error}", None
    return await factory.ended, factory


def _address(url: str) -> str:
    """Return a URL without its query, which may contain a token."""
    return url.partition("?")[0]
