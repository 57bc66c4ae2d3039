"""A whole core over fakes of the outside world: everything between the sockets and the clock is the real thing."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import msgspec
from twisted.logger import Logger

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import Event, Origin, make_event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.runtime.json import decode_json
from callcenter_ws.testing import FakeClock, RecordingTransport, run

ACME = "acme"
GLOBEX = "globex"


def principal(role: Role = Role.AGENT, user_id: str = "7", tenant_id: str = ACME, **more: Any) -> Principal:
    return Principal(tenant_id=tenant_id, user_id=user_id, role=role, **more)


def event(type_: str, payload: dict[str, Any] | None = None, **more: Any) -> Event:
    """A valid event of that type: ``payload`` completes what the type requires."""
    asked: dict[str, Any] = {"tenant_id": ACME, "event_id": "e-1", "now": 0.0, "received_at": 0.0, **more}
    if type_ == "notification":
        asked.setdefault("user_id", "7")
    return make_event(type_=type_, payload={**REQUIRED[type_], **(payload or {})}, **asked)


_CALL = {"unique_id": "1700000000.1"}
_MEMBER = {"queue_name": "sales", "user_id": "7"}
_CHAT = {"session_id": "s-1"}

REQUIRED: dict[str, dict[str, Any]] = {
    "agent.login": {"user_id": "7", "username": "ana"},
    "agent.state.changed": {"user_id": "7", "username": "ana", "state": "busy"},
    "agent.logout": {"user_id": "7", "username": "ana"},
    "call.incoming": {**_CALL, "caller_id": "+351210000000", "destination": "100"},
    "call.ringing": {**_CALL, "agent_id": "7"},
    "call.answered": {**_CALL, "agent_id": "7"},
    "call.hold": _CALL,
    "call.unhold": _CALL,
    "call.transferred": {**_CALL, "destination": "200"},
    "call.missed": _CALL,
    "call.abandoned": {**_CALL, "queue_name": "sales"},
    "call.ended": {**_CALL, "duration": 61.5},
    "queue.joined": {**_CALL, "queue_name": "sales"},
    "queue.left": {**_CALL, "queue_name": "sales"},
    "queue.stats": {"queue_name": "sales", "calls_waiting": 2, "available_agents": 1, "logged_in_agents": 3},
    "queue.member.added": _MEMBER,
    "queue.member.removed": _MEMBER,
    "queue.member.paused": _MEMBER,
    "queue.member.unpaused": _MEMBER,
    "chat.session.started": _CHAT,
    "chat.message": {**_CHAT, "message_id": "m-1", "sender_id": "v-1", "sender_type": "visitor", "body": "hello"},
    "chat.typing": {**_CHAT, "sender_type": "visitor", "is_typing": True},
    "chat.transferred": {**_CHAT, "to_agent_id": "8"},
    "chat.session.ended": _CHAT,
    "notification": {"type": "reminder", "title": "Call back", "message": "Mr. Sousa at 15:00"},
    "alert": {"title": "Trunk down", "message": "SIP trunk 2 does not answer"},
    "presence.changed": {"user_id": "7", "online": True},
}
"""PROTOCOL section 4: the required fields of every type, and a good value for each."""


class NoteBook:
    """A ConnectionLog that keeps what it is told."""

    def __init__(self) -> None:
        self.refusals: list[tuple[str, Refusal]] = []
        self.closings: list[tuple[str, CloseCode]] = []

    def refused(self, who: str, refusal: Refusal) -> None:
        self.refusals.append((who, refusal))

    def closed(self, who: str, code: CloseCode) -> None:
        self.closings.append((who, code))

    def unhandled_error(self, what: str) -> None:
        # Into the real log, so that a test which did not announce a bug fails.
        Logger("journal").failure(what)


class KnownTokens:
    """An Authenticator that knows some tokens by heart."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}

    def verify(self, token: str) -> Principal:
        if token not in self.principals:
            raise Refusal(ErrorCode.UNAUTHORIZED, "the token's signature is wrong")
        return self.principals[token]


class Person:
    """One connected client and the socket on which it hears the gateway."""

    def __init__(self, world: World, client: Client, transport: RecordingTransport) -> None:
        self._world = world
        self.client = client
        self.transport = transport

    def hears(self) -> list[dict[str, Any]]:
        """What has come since the last time, all due turns of the reactor taken."""
        self._world.settle()
        return self.transport.take()

    def events(self) -> list[dict[str, Any]]:
        """The stream events among what it hears."""
        return [message for message in self.hears() if "seq" in message]

    def says(self, type_: str, payload: Any = None, **more: Any) -> list[dict[str, Any]]:
        """Send a message and return what comes of it."""
        message = {"type": type_, **more}
        if payload is not None:
            message["payload"] = payload
        return self.sends(msgspec.json.encode(message))

    def sends(self, text: bytes) -> list[dict[str, Any]]:
        self.client.receive(text)
        return self.hears()

    def is_refused(self, type_: str, payload: Any = None) -> tuple[str, str]:
        """Send a message that must be answered by exactly one ``error``: its code and its text."""
        (answer,) = self.says(type_, payload)
        assert answer["type"] == "error"
        return answer["payload"]["code"], answer["payload"]["message"]

    @property
    def closed_with(self) -> CloseCode | None:
        return self.transport.closed_with


class World:
    """A gateway without a network. LocalPresence is counted but not announced unless ``announces`` is set."""

    def __init__(self, *, agent_calls: AgentCalls = "all", announces: bool = False, **limits: Any) -> None:
        self.clock = FakeClock()
        self.broker = MemoryBroker(self.clock)
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.announces = announces
        self.presence = LocalPresence(self.clock, run, self._announce, self.broker, grace=10)
        self.notes = NoteBook()
        self.hub = Hub(self.broker, self.presence, self.clock, self.notes, agent_calls=agent_calls)
        self.tokens = KnownTokens()
        self.limits = Limits(**limits)
        self.gateway = Context(
            hub=self.hub,
            broker=self.broker,
            broadcaster=self.broadcaster,
            authenticator=self.tokens,
            handlers=all_handlers(self.broadcaster, self.tokens, self.hub.revocations, self.clock),
            clock=self.clock,
            spawn=self.spawn,
            log=self.notes,
            limits=self.limits,
        )
        self._connections = 0
        run(self.broker.start(self.hub.deliver))

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run to the end at once; a bug fails the test."""
        run(work)

    async def _announce(self, tenant_id: str, payload: dict[str, Any]) -> None:
        if self.announces:
            await self.broadcaster.publish(tenant_id, "presence.changed", payload, origin=Origin.GATEWAY)

    def settle(self) -> None:
        """Take the turns of the reactor that are due, those that they cause included."""
        self.clock.turn(4)

    def connect(self, who: Principal, options: ConnectOptions | None = None, *, endpoint: str | None = None) -> Person:
        """Let somebody in; the welcome is taken off."""
        person = self.enter(who, options, endpoint=endpoint)
        welcome = person.hears()[0]
        assert welcome["type"] == "welcome"
        return person

    def enter(self, who: Principal, options: ConnectOptions | None = None, *, endpoint: str | None = None) -> Person:
        self._connections += 1
        transport = RecordingTransport()
        place = endpoint or ("public" if who.role is Role.VISITOR else "ws")
        client = Client(self.gateway, transport, who, connection_id=f"c-{self._connections}", endpoint=place)
        client.open(options or ConnectOptions())
        return Person(self, client, transport)

    def publish(
        self, type_: str, payload: dict[str, Any] | None = None, *, tenant_id: str = ACME, **more: Any
    ) -> PublishResult:
        """Publish an event of that type, complete but for what ``payload`` adds."""
        if type_ == "notification":
            more.setdefault("user_id", "7")
        return run(self.broadcaster.publish(tenant_id, type_, {**REQUIRED[type_], **(payload or {})}, **more))


def payload_of(event_: Event) -> Any:
    return decode_json(event_.payload)
