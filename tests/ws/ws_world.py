"""A whole gateway behind in-memory transports: everything is real but the sockets, the clocks and the keys."""

# The names that Twisted calls.
# ruff: noqa: N802

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass, field
from typing import Any

import txaio
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock as ReactorTime
from twisted.internet.testing import StringTransport
from twisted.logger import Logger

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.deflate import Deflater
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.http.answers import JsonNotFound
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.requests.admission import Admission, Endpoint
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.runtime.background import spawn
from callcenter_ws.testing import FakeClock, run
from callcenter_ws.ws.authentication import HandshakeAuthenticator
from callcenter_ws.ws.client_address import TrustedProxies
from callcenter_ws.ws.endpoint import WebSocketEndpoint
from callcenter_ws.ws.factory import GatewayFactory
from callcenter_ws.ws.handshake import TokenPlaces
from callcenter_ws.ws.origin import OriginList, OriginPolicy, PublicTenant

COOKIE_ONLY = TokenPlaces(cookie="session")
NOW = 1_800_000_000.0
KEY = base64.b64encode(b"sixteen bytes ok").decode()
STAFF_PAGE = "https://app.example"
VISITOR_PAGE = "https://shop.example"

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class Tokens:
    """An Authenticator for tokens that read ``good:<role>:<tenant>:<user>``."""

    def verify(self, token: str) -> Principal:
        good, *parts = token.split(":")
        if good != "good" or len(parts) != 3:
            raise Refusal(ErrorCode.UNAUTHORIZED, "signature: no key of this gateway has made it")
        role, tenant_id, user_id = parts
        session_id = "chat-1" if role == "visitor" else None
        return Principal(tenant_id, user_id, Role(role), NOW + 86_400, NOW, session_id=session_id)


@dataclass
class ConnectionLog:
    """Keeps what an operator would read."""

    lines: list[str] = field(default_factory=list)

    def refused(self, who: str, refusal: Refusal) -> None:
        self.lines.append(f"refused {refusal.code.value}")

    def closed(self, who: str, code: CloseCode) -> None:
        self.lines.append(f"closed {code.value}")

    def unhandled_error(self, what: str) -> None:
        # Into the real log, so that a test which did not announce a bug fails.
        Logger("journal").failure(what)

    def handshake_refused(self, ip: str, refusal: Refusal) -> None:
        self.lines.append(f"handshake {ip} {refusal.code.value}")


class Wire(StringTransport):
    """A TCP connection whose other end is the test; a test may stop it from taking bytes."""

    protocol: Any

    def __init__(self, ip: str) -> None:
        super().__init__(peerAddress=IPv4Address("TCP", ip, 40_000))
        self.aborted = False
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> None:
        assert not self.disconnecting, "written behind the end"
        self.writes.append(data)
        super().write(data)

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.no_delay = enabled

    def abortConnection(self) -> None:
        self.aborted = True


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
    """A frame as a client sends it (RFC 6455 section 5.2)."""
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
    """A message as a frame of a client."""
    return encode(TEXT, json.dumps({"type": type_, "payload": payload or {}, **more}).encode())


def decode(stream: bytes) -> list[Frame]:
    """All frames that a server sent; fails on masks, reserved bits and half frames."""
    frames, at = [], 0
    while at < len(stream):
        assert stream[at] & 0x70 == 0, "a reserved bit is set"
        opcode, fin, size = stream[at] & 15, bool(stream[at] & 128), stream[at + 1]
        assert size < 128, "a server masks nothing"
        at += 2
        extended = {126: 2, 127: 8}.get(size, 0)
        if extended:
            size, at = int.from_bytes(stream[at : at + extended], "big"), at + extended
        assert at + size <= len(stream), "half a frame"
        frames.append(Frame(opcode, stream[at : at + size], fin))
        at += size
    return frames


@dataclass
class Answer:
    """What a handshake got: the head of the answer, and the frames or the body behind it."""

    status: int
    headers: dict[str, str]
    rest: bytes

    @property
    def frames(self) -> list[Frame]:
        return decode(self.rest)


def request(
    path: str = "/ws", *, drop: tuple[str, ...] = (), method: str = "GET", version: str = "1.1", **more: str
) -> bytes:
    """An opening handshake; ``more`` sets headers (with ``_`` for ``-``), ``drop`` leaves some out."""
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
    """A client of the world, byte by byte."""

    def __init__(self, world: World, ip: str) -> None:
        self._world = world
        self.wire = Wire(ip)
        self.wire.protocol = world.site.buildProtocol(self.wire.getPeer())
        self.wire.protocol.makeConnection(self.wire)

    def feed(self, data: bytes) -> None:
        """Send bytes, and let the gateway do what they cause."""
        self.wire.protocol.dataReceived(data)
        self._world.turn()

    def ask(self, raw: bytes) -> Answer:
        """Send a handshake, and take the answer."""
        self.feed(raw)
        head, blank, rest = self.wire.value().partition(b"\r\n\r\n")
        assert blank, head
        self.wire.clear()
        first, *lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Answer(int(first.split(" ")[1]), headers, rest)

    def take(self) -> list[Frame]:
        """The frames since the last time."""
        frames = decode(self.wire.value())
        self.wire.clear()
        return frames

    def messages(self) -> list[Any]:
        """The messages since the last time; nothing else may have come."""
        return [frame.json for frame in self.take()]

    def only_close(self) -> int:
        """The code of the close frame, which must be all that came."""
        (frame,) = self.take()
        return frame.close_code

    def hang_up(self) -> None:
        """End the TCP connection."""
        from twisted.internet.error import ConnectionDone
        from twisted.python.failure import Failure

        self.wire.protocol.connectionLost(Failure(ConnectionDone()))


class World:
    """One gateway."""

    def __init__(
        self,
        *,
        places: TokenPlaces = COOKIE_ONLY,
        proxies: tuple[str, ...] = (),
        **limits: Any,
    ) -> None:
        self.clock = FakeClock(NOW)
        self.time = ReactorTime()
        # Autobahn's timers run on txaio's idea of the reactor, which is one for the process.
        txaio.config.loop = self.time
        self.log = ConnectionLog()
        self.limits = Limits(**limits)
        self.broker = MemoryBroker(self.clock)
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.hub = Hub(
            self.broker, LocalPresence(self.clock, spawn, self._announce, self.broker, 0), self.clock, self.log
        )
        tokens = Tokens()
        self.gateway = Context(
            hub=self.hub,
            broker=self.broker,
            broadcaster=self.broadcaster,
            authenticator=tokens,
            handlers=all_handlers(self.broadcaster, tokens, self.hub.revocations, self.clock),
            clock=self.clock,
            spawn=spawn,
            log=self.log,
            limits=self.limits,
        )
        self.admission = Admission(self.hub, self.limits)
        shops = {"acme": PublicTenant(OriginList([VISITOR_PAGE]), True), "globex": PublicTenant(OriginList([]), False)}
        self.origins = OriginPolicy(OriginList([STAFF_PAGE]), shops)
        self.handshake_authenticator = HandshakeAuthenticator(tokens, self.admission, self.origins, self._open_session)
        self.factory = GatewayFactory(
            self.time,
            self.gateway,
            self.admission,
            self.handshake_authenticator,
            UlidFactory(self.clock.time),
            self.log.handshake_refused,
            Deflater(),
        )
        root = JsonNotFound()
        ws = self._endpoint(Endpoint.STAFF, places, proxies)
        public = self._endpoint(Endpoint.PUBLIC, places, proxies)
        ws.putChild(b"public", public)
        root.putChild(b"ws", ws)
        upgrade_handlers = {b"/ws": ws.open, b"/ws/public": public.open}
        self.site = GatewaySite(root, self.time, authenticator=tokens, upgrade_handlers=upgrade_handlers)
        run(self.broker.start(self.hub.deliver))

    def _endpoint(self, endpoint: Endpoint, places: TokenPlaces, proxies: tuple[str, ...]) -> Any:
        return WebSocketEndpoint(endpoint, self.factory, places, TrustedProxies(proxies), JsonNotFound())

    def _open_session(self, tenant_id: str) -> tuple[Principal, str]:
        visitor = Principal(tenant_id, "visitor-1", Role.VISITOR, NOW + 600, NOW, session_id="chat-new")
        return visitor, "good:visitor:acme:visitor-1"

    async def _announce(self, tenant_id: str, payload: dict[str, Any]) -> None:
        """LocalPresence is not what these tests are about."""

    def turn(self) -> None:
        """Let the reactor run what is due."""
        self.clock.turn()
        self.time.advance(0)

    def advance(self, seconds: int) -> None:
        """Let time pass, on both clocks alike."""
        for _ in range(seconds * 10):
            self.clock.advance(0.1)
            self.time.advance(0.1)

    def peer(self, ip: str = "192.0.2.1") -> Peer:
        """A TCP connection to the site."""
        return Peer(self, ip)

    def client(self, role: str = "agent", user: str = "u1", path: str = "/ws", **headers: str) -> Peer:
        """A peer that is in, and has read its welcome."""
        peer = self.peer()
        answer = peer.ask(request(path, Authorization=f"Bearer good:{role}:acme:{user}", **headers))
        assert answer.status == 101, answer
        assert [frame.json["type"] for frame in answer.frames] == ["welcome"]
        return peer

    def unauthenticated(self) -> Peer:
        """A peer that is to authenticate by its first frame."""
        peer = self.peer()
        answer = peer.ask(request(Sec_WebSocket_Protocol="callcenter.v1"))
        assert answer.status == 101 and answer.rest == b""
        return peer

    def publish(self, type_: str = "alert", payload: dict[str, Any] | None = None, tenant_id: str = "acme") -> None:
        """Publish an event and deliver it."""
        run(self.broadcaster.publish(tenant_id, type_, payload or {"title": "t", "message": "m"}))
        self.turn()
