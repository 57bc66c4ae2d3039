"""A complete site over in-memory transports; only the sockets, the keys and the Hub are replaced."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from doubles import SpelledTokens
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock as ReactorTime
from twisted.internet.testing import StringTransport

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.events.publication import Publication
from callcenter_ws.http.cors import CorsPolicy
from callcenter_ws.http.events import EventsResource
from callcenter_ws.http.probes import LiveResource, MetricsResource, ReadyResource
from callcenter_ws.http.responses import JsonNotFound, JsonResource
from callcenter_ws.http.schemas import SchemasResource
from callcenter_ws.http.shared_deadline import SharedDeadline
from callcenter_ws.http.site import GatewaySite
from callcenter_ws.http.stats import StatsResource
from callcenter_ws.http.users import UsersResource
from callcenter_ws.interfaces import UserPresence
from callcenter_ws.ops.health import Health, Node
from callcenter_ws.runtime.timers import CoarseTimers
from callcenter_ws.runtime.web_origin import OriginList
from callcenter_ws.sources.registry import SourceCounters
from callcenter_ws.testing import FakeClock, run

MINE = "acme"
OTHER = "globex"

DESK = "https://desk.example"
"""An origin whose pages may read responses."""


class FakeDirectory:
    """The part of a Directory that the HTTP resources use."""

    def __init__(self) -> None:
        self.present: dict[tuple[str, str], UserPresence] = {}
        self.asked: list[str | None] = []

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        return self.present.get((tenant_id, user_id), UserPresence(False, 0, None, None))

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        self.asked.append(tenant_id)
        connections: dict[str, Any] = {"total": 3, "by_role": {"agent": 3}, "by_endpoint": {"/ws": 3}}
        if tenant_id is None:
            connections["by_tenant"] = {MINE: 2, OTHER: 1}
        return {
            "connections": connections,
            "messages": {"received": 7, "delivered": 21, "dropped": 1},
            "lagging": 1,
        }


class FakeFigures:
    """What a process tells about its statistics: those of ``acme`` are enabled."""

    def state_of(self, tenant_id: str) -> dict[str, object] | None:
        return {"state": "current", "epoch": "e", "seq": 7, "behind": 0} if tenant_id == MINE else None

    def state(self) -> dict[str, object]:
        return {"tenants": {"current": 1}, "behind": 3}


@dataclass
class ReceivedResponse:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]["code"]


def parse(raw: bytes, *, head_only: bool = False) -> tuple[ReceivedResponse, bytes]:
    """Split data that a server sent into the first response and the rest."""
    head, blank, rest = raw.partition(b"\r\n\r\n")
    assert blank, f"no complete answer in {raw!r}"
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    size = 0 if head_only else int(headers.get("content-length", "0"))
    assert len(rest) >= size, "the response is incomplete"
    return ReceivedResponse(int(first.split(" ")[1]), headers, rest[:size]), rest[size:]


def request(method: str = "GET", path: str = "/", token: str | None = None, body: bytes = b"", **headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: gateway"]
    if token is not None:
        lines.append(f"Authorization: Bearer {token}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run_turns(site: GatewaySite) -> None:
    """Run the reactor of a site until everything that was received is parsed."""
    while not site.limits.turns.is_idle:
        site.reactor.advance(0)


class CurrentProtocol:
    """The current protocol of a transport, which may be replaced after the first bytes."""

    def __init__(self, transport: Any, site: GatewaySite) -> None:
        self._transport = transport
        self._site = site

    def dataReceived(self, data: bytes) -> None:
        """Pass on data, and run the reactor until all of it is parsed."""
        self._transport.protocol.dataReceived(data)
        run_turns(self._site)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport.protocol, name)


def connect_to_site(site: GatewaySite, transport: Any) -> Any:
    """Connect a transport to the site, as a listening port does."""
    transport.protocol = site.buildProtocol(transport.getPeer())
    transport.protocol.makeConnection(transport)
    return CurrentProtocol(transport, site)


async def exposition() -> bytes:
    return b"up 1\n"


@dataclass
class HttpWorld:
    """A site with a real broker and a FakeDirectory.

    Attributes:
        delivered: every publication that the broker has delivered.
        peer: the address of new connections.
    """

    reactor: ReactorTime = field(default_factory=ReactorTime)
    clock: Any = field(default_factory=FakeClock)
    people: FakeDirectory = field(default_factory=FakeDirectory)
    health: Health = field(default_factory=Health)
    delivered: list[Publication] = field(default_factory=list)
    peer: str = "192.0.2.7"

    def __post_init__(self) -> None:
        self.tokens = SpelledTokens(self.clock.time())
        self.broker = MemoryBroker(self.clock)
        run(self.broker.start(self.delivered.extend))
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.root = JsonNotFound()
        self.site = GatewaySite(
            self.root,
            self.reactor,
            authenticator=self.tokens,
            cors=CorsPolicy(OriginList([DESK, "capacitor://localhost"])),
        )
        websockets = JsonResource()
        node = Node("node-1", "1.2.3", self.clock.time() - 90)
        counters = self.broadcaster.counters
        sources = SourceCounters(connected=2, lost=1)
        stats = StatsResource(self.tokens, self.people, self.broker, counters, sources, FakeFigures(), node, self.clock)
        websockets.putChild(b"stats", stats)
        websockets.putChild(b"users", UsersResource(self.tokens, self.people))
        websockets.putChild(b"events", EventsResource(self.tokens, self.broadcaster, self.clock))
        self.root.putChild(b"ws", websockets)
        self.root.putChild(b"schemas", SchemasResource())
        self.root.putChild(b"livez", LiveResource())
        self.root.putChild(b"readyz", ReadyResource(self.health))
        self.root.putChild(b"metrics", MetricsResource(exposition, "text/plain", self.tokens))

    def connect(self) -> tuple[Any, StringTransport]:
        transport = StringTransport(peerAddress=IPv4Address("TCP", self.peer, 40_000))
        return connect_to_site(self.site, transport), transport

    def run_turns(self) -> None:
        """Run the reactor until everything that was received is parsed."""
        run_turns(self.site)

    def running(self) -> list[Any]:
        """Return the delayed calls of connections, not those that all connections share."""
        shared = (SharedDeadline, CoarseTimers)
        calls = self.reactor.getDelayedCalls()
        return [call for call in calls if not isinstance(getattr(call.func, "__self__", None), shared)]

    def ask(self, *args: Any, **kwargs: Any) -> ReceivedResponse:
        channel, transport = self.connect()
        sent = request(*args, **kwargs)
        channel.dataReceived(sent)
        if not transport.value():
            # A long list is published over several turns.
            self.clock.turn()
        response, rest = parse(transport.value(), head_only=sent.startswith(b"HEAD "))
        assert rest == b""
        return response
