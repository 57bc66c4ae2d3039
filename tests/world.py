"""A gateway without a network: everything between the sockets and the clock is real."""

from __future__ import annotations

from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from doubles import FixedCapabilities, RecordingLog, SlowBroker, SpelledTokens, SteppingClock
from sample_events import ACME, REQUIRED
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.subscriber import SessionState
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.events.event import Origin
from callcenter_ws.events.frames import PLAIN, WireFormat
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.visibility import AgentCalls, AgentChats
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.requests.alert_ack import AlertAckHandler
from callcenter_ws.requests.chat_sessions import ChatSessions
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.dispatcher import Dispatcher
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.requests.quotas import Quotas
from callcenter_ws.requests.visitor_chats import visitor_chat_handlers
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.testing import RecordingTransport

Message = dict[str, Any]
"""A decoded message."""


def types_of(messages: Iterable[Message]) -> list[str]:
    """Return the type of each message."""
    return [message["type"] for message in messages]


def seqs_of(messages: Iterable[Message]) -> list[int]:
    """Return the position of each stream event among the messages."""
    return [message["seq"] for message in messages if "seq" in message]


class Peer(RecordingTransport):
    """A connected client and the socket that the gateway writes to.

    Attributes:
        high_water: number of unsent bytes above which the socket pauses the client, as Twisted's transports do; None:
            the socket accepts everything at once.
    """

    client: Client
    dispatcher: Dispatcher

    def __init__(self, world: World) -> None:
        super().__init__()
        self.high_water: int | None = None
        self._world = world

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.high_water is not None:
            self.unsent += len(data)
            if self.unsent > self.high_water:
                self.client.pause()

    def drain(self) -> None:
        """Have the socket accept all unsent bytes."""
        self.unsent = 0
        self.client.drained()

    def answer_pings(self) -> None:
        """Answer the pings that were sent since the last call, as every WebSocket client does."""
        pings, self.pings = self.pings, []
        for payload in pings:
            self.client.mailbox_acks.ping_answered(payload)

    # Sending

    def send(self, type_: str, payload: dict[str, Any] | None = None, *, id_: Any = None) -> None:
        """Send a message, and read no answer."""
        message: Message = {"type": type_, "payload": payload or {}}
        if id_ is not None:
            message["id"] = id_
        self.dispatcher.receive(encode_json(message))

    def request(self, type_: str, payload: Any = None, **fields: Any) -> list[Message]:
        """Send a message and return the messages since the last read."""
        message = {"type": type_, **fields}
        if payload is not None:
            message["payload"] = payload
        return self.request_text(encode_json(message))

    def request_text(self, text: bytes) -> list[Message]:
        """Send a text message and return the messages since the last read."""
        self.dispatcher.receive(text)
        return self.read()

    def request_error(self, type_: str, payload: Any = None) -> tuple[str, str]:
        """Send a message that must be answered by exactly one ``error``; return its code and its text."""
        (answer,) = self.request(type_, payload)
        assert answer["type"] == "error"
        return answer["payload"]["code"], answer["payload"]["message"]

    # Reading

    def read(self, *types: str) -> list[Message]:
        """Make the calls that are due; return the messages since the last read, only those of ``types`` if any."""
        self._world.turn()
        return [message for message in self.take() if not types or message["type"] in types]

    def events(self) -> list[Message]:
        """Return the stream events since the last read."""
        return [message for message in self.read() if "seq" in message]

    def seqs(self) -> list[int]:
        """Return the positions of the stream events since the last read."""
        return seqs_of(self.read())

    def types(self) -> list[str]:
        """Return the types of the messages since the last read."""
        return types_of(self.read())


class FixedQueues:
    """The queues of the chat widgets of all tenants."""

    default: str | None = None
    further: frozenset[str] = frozenset()

    def open_queues(self, tenant_id: str) -> frozenset[str]:
        return self.further | ({self.default} if self.default else set())

    def queue_of(self, tenant_id: str) -> str | None:
        return self.default


class World:
    """The parts of a gateway, and the peers that are connected to it.

    Args:
        broker: a broker that is not started; default: a MemoryBroker.
        slow: whether the broker answers in later turns.
        publishes_presence: whether ``presence.changed`` is published. It is recorded in ``announced`` in any case.
        memory: options of the MemoryBroker.

    Attributes:
        announced: tenant and payload of each ``presence.changed``.
        failures: the failures of background tasks.
        sources: whether a source owns the chats.
        tokens: the authenticator.
    """

    def __init__(
        self,
        *,
        clock: SteppingClock | None = None,
        broker: Any = None,
        limits: Limits | None = None,
        agent_calls: AgentCalls = "all",
        agent_chats: AgentChats = "own",
        open_sessions: bool = False,
        slow: bool = False,
        publishes_presence: bool = False,
        burst: int = 128,
        **memory: Any,
    ) -> None:
        self.clock = clock or SteppingClock()
        self.failures: list[Failure] = []
        self.log = RecordingLog()
        self.tokens = SpelledTokens(self.clock.time())
        self.limits = limits or Limits()
        self.publishes_presence = publishes_presence
        self.announced: list[tuple[str, dict[str, Any]]] = []
        self.broker: Any = broker or MemoryBroker(self.clock, **memory)
        if slow:
            self.broker = SlowBroker(self.broker, self.clock)
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self.presence = LocalPresence(self.clock, self.spawn, self.announce, self.broker, self.limits.presence_grace)
        self.hub = Hub(
            self.broker,
            self.presence,
            self.clock,
            self.log,
            limits=self.limits,
            spawn=self.spawn,
            agent_calls=agent_calls,
            agent_chats=agent_chats,
            burst=burst,
        )
        self.quotas = Quotas(self.limits, self.clock, history_events=10_000, history_bytes=268_435_456)
        self.sources = FixedCapabilities()
        self.widgets = FixedQueues()
        chats = ChatSessions(
            self.broadcaster,
            self.sources,
            self.quotas,
            self.clock,
            agent_chats=agent_chats,
            open_sessions=open_sessions,
        )
        self.context = Context(
            hub=self.hub,
            broker=self.broker,
            broadcaster=self.broadcaster,
            authenticator=self.tokens,
            handlers=all_handlers(
                chats,
                self.tokens,
                self.hub.revocations,
                self.clock,
                self.quotas,
                AlertAckHandler(self.broker, self.clock),
                *visitor_chat_handlers(chats, self.widgets, self.clock, self.quotas),
            ),
            quotas=self.quotas,
            clock=self.clock,
            spawn=self.spawn,
            log=self.log,
            limits=self.limits,
        )
        self._connections = 0
        self.spawn(self.broker.start(self.hub.deliver))

    async def announce(self, tenant_id: str, payload: dict[str, Any]) -> None:
        """Record a ``presence.changed`` in ``announced``, and publish it if ``publishes_presence``."""
        self.announced.append((tenant_id, payload))
        if self.publishes_presence:
            await self.broadcaster.publish(tenant_id, "presence.changed", payload, origin=Origin.GATEWAY)

    # Time

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> Deferred[Any]:
        """Run a coroutine in the background; an exception in it is raised by the next ``turn``."""
        running = Deferred.fromCoroutine(coroutine)
        running.addErrback(self.failures.append)
        return running

    def turn(self) -> None:
        """Make all calls that are due now, those that they schedule included; raise what background tasks raised."""
        self.clock.turn()
        for failure in self.failures:
            failure.raiseException()

    # Peers

    def connect(
        self,
        principal: Principal | Role = Role.SUPERVISOR,
        options: ConnectOptions | None = None,
        *,
        user_id: str | None = None,
        tenant_id: str = ACME,
        endpoint: str | None = None,
        session_token: str | None = None,
        wire_formats: Sequence[WireFormat] = PLAIN,
        **claims: Any,
    ) -> Peer:
        """Return a peer whose connection was opened; it is sent ``welcome`` in the next turn.

        Args:
            principal: the user, or its role; then ``user_id`` (default: another for each connection), ``tenant_id``
                and ``claims`` complete the principal.
        """
        self._connections += 1
        if not isinstance(principal, Principal):
            principal = Principal(tenant_id, user_id or f"u{self._connections}", principal, **claims)
        peer = Peer(self)
        peer.client = Client(
            self.hub,
            peer,
            principal,
            connection_id=f"c{self._connections}",
            endpoint=endpoint or ("public" if principal.role is Role.VISITOR else "ws"),
            wire_formats=wire_formats,
            session_token=session_token,
        )
        peer.dispatcher = Dispatcher(peer.client, self.context, "192.0.2.1")
        peer.client.open(options or ConnectOptions())
        return peer

    def live(self, principal: Principal | Role = Role.SUPERVISOR, **options: Any) -> Peer:
        """Return a peer that has read ``welcome`` and is offered live publications; the arguments are ``connect``'s."""
        peer = self.connect(principal, **options)
        assert peer.read()[0]["type"] == "welcome"
        assert peer.client.state is SessionState.LIVE
        return peer

    def resume(
        self, seq: int, principal: Principal | Role = Role.SUPERVISOR, *, epoch: str | None = None, **options: Any
    ) -> Peer:
        """Return a peer that connects with the position ``seq`` (of ``epoch``; default: the present one)."""
        return self.connect(principal, ConnectOptions(epoch=epoch or self.epoch, seq=seq), **options)

    # Events

    @property
    def epoch(self) -> str:
        """The broker's epoch."""
        epoch: str = self.broker.state()["epoch"]
        return epoch

    def publish(
        self, type_: str, payload: dict[str, Any] | None = None, *, tenant_id: str = ACME, **fields: Any
    ) -> PublishResult:
        """Publish an event; ``payload`` is merged into the required fields. A slow broker returns no result yet."""
        if type_ == "notification":
            fields.setdefault("user_id", "7")
        complete = {**REQUIRED[type_], **(payload or {})}
        publishing = self.spawn(self.broadcaster.publish(tenant_id, type_, complete, **fields))
        result: Any = publishing.result if publishing.called else None
        return result

    def publish_batch(self, drafts: Sequence[dict[str, Any]]) -> None:
        """Publish many events at once."""
        self.spawn(self.broadcaster.publish_batch(drafts))

    def publish_alerts(self, count: int = 1, *, tenant_id: str = ACME) -> None:
        """Publish ``count`` events in one batch that every role except visitors may see."""
        self.publish_batch([{"tenant_id": tenant_id, "type": "alert", "payload": REQUIRED["alert"]}] * count)

    def publish_queue_stats(self, calls_waiting: int, queue: str = "sales") -> None:
        """Publish a ``queue.stats`` event, which is conflatable by queue."""
        self.publish("queue.stats", {"queue_name": queue, "calls_waiting": calls_waiting})
