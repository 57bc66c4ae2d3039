"""A complete gateway over in-memory transports; only the sockets, the clocks and the keys are replaced."""

# The names that Twisted calls.
# ruff: noqa: N802

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from typing import Any

import txaio
from sample_events import ACME
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock as ReactorTime
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from world import World

from callcenter_ws.delivery.limits import Limits
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.http.responses import JsonNotFound
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.requests.admission import Admission, EndpointName
from callcenter_ws.runtime.client_address import TrustedProxies
from callcenter_ws.runtime.peer_limits import PeerLimits
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import OptionalTokenSources
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant

COOKIE_ONLY = OptionalTokenSources(cookie="session")
KEY = base64.b64encode(b"sixteen bytes ok").decode()
STAFF_PAGE = "https://app.example"
VISITOR_PAGE = "https://shop.example"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Transport(StringTransport):
    """The gateway's side of a TCP connection; the test is the peer."""

    protocol: Any

    def __init__(self, ip: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", ip, 40_000))
        self.aborted = False
        self.finished_writing = False
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.disconnecting, "written after the close"
        self.writes.append(data)
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True

    def loseWriteConnection(self) -> None:
        self.finished_writing = True


@dataclass(frozen=True)
class Frame:
    opcode: int
    payload: bytes
    fin: bool = True

    @property
    def json(self) -> Any:
        assert self.fin and self.opcode == TEXT
        return json.loads(self.payload)

    @property
    def close_code(self) -> int:
        assert self.opcode == CLOSE
        return int.from_bytes(self.payload[:2], "big")


def encode(opcode: int, payload: bytes = b"", *, fin: bool = True, masked: bool = True, rsv: int = 0) -> bytes:
    """Return a frame from a client (RFC 6455 section 5.2)."""
    size = len(payload)
    mask = os.urandom(4) if masked else b""
    if size < 126:
        length = bytes([size])
    elif size < 65_536:
        length = b"\x7e" + size.to_bytes(2, "big")
    else:
        length = b"\x7f" + size.to_bytes(8, "big")
    head = bytes([fin << 7 | rsv << 4 | opcode, length[0] | (masked << 7)]) + length[1:]
    if masked:
        key = int.from_bytes((mask * (size // 4 + 1))[:size], "big")
        payload = (int.from_bytes(payload, "big") ^ key).to_bytes(size, "big")
    return head + mask + payload


def text(type_: str, payload: dict[str, Any] | None = None, **more: Any) -> bytes:
    """Return a message as a frame from a client."""
    return encode(TEXT, json.dumps({"type": type_, "payload": payload or {}, **more}).encode())


def decode(stream: bytes) -> list[Frame]:
    """Return the frames that a server sent; fail on masks, reserved bits and incomplete frames."""
    frames, at = [], 0
    while at < len(stream):
        assert stream[at] & 0x70 == 0, "a reserved bit is set"
        opcode, fin, size = stream[at] & 15, bool(stream[at] & 128), stream[at + 1]
        assert size < 128, "a server must not mask frames"
        at += 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size, at = int.from_bytes(stream[at : at + extended], "big"), at + extended
        assert at + size <= len(stream), "incomplete frame"
        frames.append(Frame(opcode, stream[at : at + size], fin))
        at += size
    return frames


@dataclass
class Answer:
    """The response to a handshake, and the frames or the body after its head."""

    status: int
    headers: dict[str, str]
    rest: bytes

    @property
    def frames(self) -> list[Frame]:
        return decode(self.rest)


def request(
    path: str = "/ws", *, drop: tuple[str, ...] = (), method: str = "GET", version: str = "1.1", **more: str
) -> bytes:
    """Return an opening handshake; ``more`` sets headers (with ``_`` for ``-``), ``drop`` omits some."""
    headers = {
        "Host": "gateway.example",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        **{name.replace("_", "-"): value for name, value in more.items()},
    }
    lines = [f"{name}: {value}" for name, value in headers.items() if name not in drop]
    return "\r\n".join([f"{method} {path} HTTP/{version}", *lines, "", ""]).encode("latin-1")


class Peer:
    """A client of the WebSocketWorld, at the level of bytes."""

    def __init__(self, world: WebSocketWorld, ip: str) -> None:
        self._world = world
        self.transport = Transport(ip)
        self.transport.protocol = world.site.buildProtocol(self.transport.getPeer())
        self.transport.protocol.makeConnection(self.transport)

    def feed(self, data: bytes) -> None:
        """Send bytes, and run the reactor."""
        self.transport.protocol.dataReceived(data)
        self._world.turn()

    def ask(self, raw: bytes) -> Answer:
        """Send a handshake, and return the response."""
        self.feed(raw)
        head, blank, rest = self.transport.value().partition(b"\r\n\r\n")
        assert blank, head
        self.transport.clear()
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers, rest)

    def take(self) -> list[Frame]:
        """Return the frames received since the last call."""
        frames = decode(self.transport.value())
        self.transport.clear()
        return frames

    def messages(self) -> list[Any]:
        """Return the messages received since the last call; fail on any other frame."""
        return [frame.json for frame in self.take()]

    def only_close(self) -> int:
        """Return the code of the close frame, which must be the only frame received since the last call."""
        (frame,) = self.take()
        return frame.close_code

    def disconnect(self) -> None:
        """End the TCP connection."""
        self.transport.protocol.connectionLost(Failure(ConnectionDone()))


class WebSocketWorld(World):
    """A World whose clients connect to its WebSocket endpoints. Autobahn's timers run on ``time``.

    Args:
        token_sources: the optional sources of tokens.
        proxies: the networks of the trusted proxies.
        limits: fields of ``Limits``.
    """

    def __init__(
        self,
        *,
        token_sources: OptionalTokenSources = COOKIE_ONLY,
        proxies: tuple[str, ...] = (),
        **limits: Any,
    ) -> None:
        super().__init__(limits=Limits(**limits))
        self.time = ReactorTime()
        # Autobahn's timers use the reactor of txaio, which is global.
        txaio.config.loop = self.time
        self.peer_limits = PeerLimits.create(self.clock, proxies=TrustedProxies(proxies))
        self.context.spend = self.peer_limits.turns.spend
        self.admission = Admission(self.hub, self.limits)
        shops = {"acme": PublicTenant(OriginList([VISITOR_PAGE]), True), "globex": PublicTenant(OriginList([]), False)}
        self.origins = OriginPolicy(OriginList([STAFF_PAGE]), shops)
        self.handshake_authenticator = HandshakeAuthenticator(
            self.tokens, self.admission, self.origins, self._open_session, self.quotas.open_session
        )
        self.factory = GatewayFactory(
            self.time,
            self.context,
            self.admission,
            self.handshake_authenticator,
            UlidFactory(self.clock.time),
            self.log.handshake_refused,
            Deflater(),
            self.peer_limits,
        )
        root = JsonNotFound()
        ws = self._endpoint(EndpointName.STAFF, token_sources, proxies)
        public = self._endpoint(EndpointName.PUBLIC, token_sources, proxies)
        ws.putChild(b"public", public)
        root.putChild(b"ws", ws)
        upgrade_handlers = {b"/ws": ws.open, b"/ws/public": public.open}
        self.site = GatewaySite(
            root,
            self.time,
            authenticator=self.tokens,
            upgrade_handlers=upgrade_handlers,
            limits=self.peer_limits,
        )

    def _endpoint(self, endpoint: EndpointName, token_sources: OptionalTokenSources, proxies: tuple[str, ...]) -> Any:
        return WebSocketEndpoint(endpoint, self.factory, token_sources, TrustedProxies(proxies), JsonNotFound())

    def _open_session(self, tenant_id: str) -> tuple[Principal, str]:
        now = self.clock.time()
        visitor = Principal(tenant_id, "visitor-1", Role.VISITOR, now + 600, now, session_id="chat-new")
        return visitor, "visitor:acme:visitor-1"

    def turn(self) -> None:
        """Make all calls of both clocks that are due now; raise what background tasks raised."""
        super().turn()
        while not self.peer_limits.turns.is_idle:
            super().turn()
        self.time.advance(0)

    def advance(self, seconds: int) -> None:
        """Advance both clocks; raise what background tasks raised."""
        for _ in range(seconds * 10):
            self.clock.advance(0.1)
            self.time.advance(0.1)
        self.turn()

    def peer(self, ip: str = "192.0.2.1") -> Peer:
        """Return a new TCP connection to the site."""
        return Peer(self, ip)

    def client(self, role: str = "agent", user: str = "u1", path: str = "/ws", **headers: str) -> Peer:
        """Return an authenticated peer that has read its welcome."""
        peer = self.peer()
        answer = peer.ask(request(path, Authorization=f"Bearer {role}:acme:{user}", **headers))
        assert answer.status == 101, answer
        assert [frame.json["type"] for frame in answer.frames] == ["welcome"]
        return peer

    def unauthenticated(self) -> Peer:
        """Return a peer that must authenticate with its first message."""
        peer = self.peer()
        answer = peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1"))
        assert answer.status == 101 and answer.rest == b""
        return peer

    def publish(
        self, type_: str = "alert", payload: dict[str, Any] | None = None, *, tenant_id: str = ACME, **fields: Any
    ) -> PublishResult:
        """Publish an event as ``World.publish`` does, and deliver it."""
        result = super().publish(type_, payload, tenant_id=tenant_id, **fields)
        self.turn()
        return result
