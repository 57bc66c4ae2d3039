"""Tail: one WebSocket connection whose messages are printed, one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTime
from twisted.internet.ssl import optionsForClientTLS

from callcenter_ws import __version__
from callcenter_ws.errors import CLOSES, CloseCode
from callcenter_ws.events.catalogue import covers

SUBPROTOCOL = "callcenter.v1"
REQUEST = "tail"
"""The id of the one request that is made, and the ``in_reply_to`` of its answer."""

HANDSHAKE_SECONDS = 10
PING_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to print.

    Attributes:
        url: ``ws://`` or ``wss://``; the certificate of the latter must be valid for its host.
        token: None: connect as an anonymous visitor.
        events: names, prefixes as ``call.*``, or ``*``; empty: everything that the token may see.
        count: stop after so many stream events; control messages do not count. None: never stop.
        resume: start with what came after this ``epoch`` and ``seq``.
        snapshot: start with the state of the tenant.
    """

    url: str
    token: str | None = None
    events: tuple[str, ...] = ()
    count: int | None = None
    resume: tuple[str, int] | None = None
    snapshot: bool = False

    def matches(self, name: str) -> bool:
        """Whether a stream event of this name is wanted."""
        return not self.events or any(covers(pattern, name) for pattern in self.events)

    @property
    def full_url(self) -> str:
        """The URL with the parameters that the gateway reads from it (PROTOCOL section 2)."""
        query: dict[str, str | int] = {"snapshot": 1} if self.snapshot else {}
        if self.resume:
            query |= {"epoch": self.resume[0], "seq": self.resume[1]}
        separator = "&" if urlsplit(self.url).query else "?"
        return f"{self.url}{separator}{urlencode(query)}" if query else self.url


class TailProtocol(WebSocketClientProtocol):
    """Prints what comes. The names in camel case are Autobahn's."""

    factory: TailFactory

    def onOpen(self) -> None:
        """Ask for the wanted events."""
        if self.factory.wanted.events:
            request = {"type": "subscribe", "id": REQUEST, "payload": {"events": self.factory.wanted.events}}
            self.sendMessage(json.dumps(request).encode())

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Print a message, and close when it was the last."""
        if not self.factory.satisfied:
            self.factory.satisfied = self.factory.take(payload.decode(errors="replace"))
            if self.factory.satisfied:
                self.sendClose(int(CloseCode.NORMAL))  # Autobahn takes no IntEnum

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """Say why the connection ended."""
        if self.factory.satisfied:
            self.factory.ended.callback(self.factory.refusal)
        elif code == CloseCode.NORMAL:
            self.factory.ended.callback(None)
        elif code in CLOSES and code != CloseCode.ABNORMAL:
            entry = CLOSES[CloseCode(code)]
            self.factory.ended.callback(f"closed: {code} {entry.name}: {reason or entry.text}")
        else:
            self.factory.ended.callback(f"closed: {reason or code}")


class TailFactory(WebSocketClientFactory):
    """Makes the one connection.

    Attributes:
        satisfied: whether all that will be was printed.
        refusal: why the gateway does not send what is wanted.
        ended: fires with None when all that was wanted was printed, else with the reason.
    """

    protocol = TailProtocol  # type: ignore[assignment]  # Autobahn's protocols are not typed as Twisted's
    noisy = False

    def __init__(self, wanted: Wanted, write: Callable[[str], object], reactor: IReactorTime) -> None:
        headers = {"Authorization": f"Bearer {wanted.token}"} if wanted.token else {}
        # Who offers the subprotocol is told of a refusal by a close code. Without a token it would mean
        # that a first frame with one follows.
        protocols = [SUBPROTOCOL] if wanted.token else []
        agent = f"callcenter-ws/{__version__}"
        super().__init__(wanted.full_url, protocols=protocols, headers=headers, useragent=agent, reactor=reactor)
        self.setProtocolOptions(
            failByDrop=False,
            openHandshakeTimeout=HANDSHAKE_SECONDS,
            autoPingInterval=PING_SECONDS,
            autoPingTimeout=HANDSHAKE_SECONDS,
        )
        self.wanted = wanted
        self.satisfied = False
        self.refusal: str | None = None
        self.ended: Deferred[str | None] = Deferred()
        self._write = write
        self._left = wanted.count

    def take(self, text: str) -> bool:
        """Print a message if it is wanted; return whether it was the last."""
        message = _decoded(text)
        is_event = "seq" in message
        if is_event and not self.wanted.matches(str(message.get("type"))):
            return False
        try:
            self._write(text)
        except BrokenPipeError:
            return True
        if message.get("type") == "error" and message.get("in_reply_to") == REQUEST:
            self.refusal = f"refused: {message['payload']['message']}"
            return True
        if is_event and self._left is not None:
            self._left -= 1
        return self._left == 0


def _decoded(text: str) -> dict[str, Any]:
    """A message; empty for what is none."""
    try:
        message = json.loads(text)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


async def tail(reactor: Any, wanted: Wanted, write: Callable[[str], object]) -> str | None:
    """Connect and write messages until it ends.

    Returns:
        None when all that was wanted was written or the gateway closed normally; else why it ended.
    """
    try:
        factory = TailFactory(wanted, write, reactor)
        endpoint: Any = HostnameEndpoint(reactor, factory.host, factory.port)
        if factory.isSecure:
            endpoint = wrapClientTLS(optionsForClientTLS(factory.host), endpoint)
        await endpoint.connect(factory)
    except Exception as error:
        # Whatever a URL or a network can do wrong is for the person to read, not to debug.
        return f"cannot connect to {_address(wanted.url)}: {error}"
    return await factory.ended


def _address(url: str) -> str:
    """A URL without its query, which may hold a token."""
    return url.partition("?")[0]
