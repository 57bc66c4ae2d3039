"""Nodes that share a Redis, and a ledger of all positions that were assigned or delivered at any of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from broker_contract import A, B
from redis_bench import RedisBench
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred, fail
from twisted.protocols.portforward import ProxyFactory, ProxyServer
from twisted.python.failure import Failure

from callcenter_ws.broker.redis.broker import RedisBroker
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import Broker, Position, PublishResult
from callcenter_ws.testing import FakeClock

DEADLINE = 30.0


async def until(condition: Callable[[], object], what: str = "the condition was not met in time") -> None:
    """Wait for a condition, for at most ``DEADLINE`` seconds."""
    deadline = reactor.seconds() + DEADLINE
    while not condition():
        assert reactor.seconds() < deadline, what
        await task.deferLater(reactor, 0.002)


async def until_accepted(request: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a request until it is not refused."""
    deadline = reactor.seconds() + DEADLINE
    while True:
        try:
            return await request()
        except Refusal as refusal:
            assert reactor.seconds() < deadline, refusal
            await task.deferLater(reactor, 0.01)


class Ledger:
    """The event at each position, as published or delivered at any node: never two at one position of one epoch."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, int], str] = {}

    def note(self, tenant_id: str, epoch: str, seq: int, event_id: str) -> None:
        known = self.events.setdefault((tenant_id, epoch, seq), event_id)
        assert known == event_id, f"{event_id} and {known} are both at {seq} of {tenant_id} in {epoch}"


class Node(RedisBench):
    """One node: a bench that shares a clock and a ledger with the others.

    Args:
        attached: the tenants that are followed.

    Attributes:
        conflicts: positions at which two events were delivered.
    """

    def __init__(
        self,
        url: str,
        prefix: str,
        name: str,
        clock: FakeClock,
        ledger: Ledger,
        attached: Sequence[str] = (A, B),
        **options: Any,
    ) -> None:
        super().__init__(url, prefix)
        self.name = name
        self.clock = clock
        self.ledger = ledger
        self.attached = attached
        self.options = {"timeout": 1.0, **options}
        self.conflicts: list[AssertionError] = []

    def event(self, *arguments: Any, **fields: Any) -> Event:
        fields.setdefault("event_id", f"{self.name}-{self._ids + 1}")
        return super().event(*arguments, **fields)

    async def open(self, **limits: Any) -> Broker:
        if hasattr(self, "broker"):
            await self.broker.stop()
        broker = self.start(**limits)
        await self.until(lambda: broker.not_ready() is None)
        for tenant in self.attached:
            if tenant != "*":
                await broker.position(tenant)
        return broker

    def start(self, **limits: Any) -> RedisBroker:
        """Start the broker without waiting until Redis is connected."""
        self.broker = self.make(**{"history_events": 1_000, "history_seconds": 86_400.0, **limits})
        for tenant in self.attached:
            self.broker.attach(tenant)
        Deferred.fromCoroutine(self.store.start(self._deliver, lambda *reported: self.interruptions.append(reported)))
        return self.store

    def epoch(self, tenant_id: str = A) -> str:
        """Return the epoch in which the node delivers."""
        follower = self.store._followers.get(tenant_id)
        assert follower is not None
        return follower.epoch

    def _deliver(self, messages: Sequence[Publication]) -> None:
        self.delivered += messages
        tenant_id = messages[0].event.tenant_id
        for message in messages:
            self.note(self.epoch(tenant_id), message.seq, message.event)

    def note(self, epoch: str, seq: int, event: Event) -> None:
        try:
            self.ledger.note(event.tenant_id, epoch, seq, event.event_id)
        except AssertionError as error:
            # Deliver must not raise.
            self.conflicts.append(error)

    async def outcomes(self, *events: Event) -> list[PublishResult | Refusal]:
        """Publish, and record the assigned positions."""
        outcomes: list[PublishResult | Refusal] = await self.broker.publish(events)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, PublishResult):
                self.note(outcome.epoch, outcome.seq, event)
        return outcomes

    async def publish(self, *events: Event) -> list[PublishResult]:
        outcomes = await self.outcomes(*events)
        accepted = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert len(accepted) == len(events), outcomes
        return accepted

    async def publish_until_accepted(self, *events: Event) -> list[PublishResult]:
        """Publish, repeatedly until all events are accepted."""
        deadline = reactor.seconds() + DEADLINE
        while True:
            outcomes = await self.outcomes(*events)
            accepted = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
            if len(accepted) == len(events):
                return accepted
            assert reactor.seconds() < deadline, outcomes
            await task.deferLater(reactor, 0.01)

    def ids(self, tenant_id: str = A) -> list[str]:
        """Return the ids of the delivered events of a tenant."""
        return [message.event.event_id for message in self.delivered if message.event.tenant_id == tenant_id]

    def head(self, tenant_id: str = A) -> int:
        """Return the position that was delivered last."""
        follower = self.store._followers.get(tenant_id)
        assert follower is not None
        return follower.head

    def interrupted_at(self, tenant_id: str = A) -> list[Position]:
        """Return the positions after which deliveries of a tenant continued after an interruption."""
        return [position for tenant, position in self.interruptions if tenant == tenant_id]

    def block_announcements(self) -> Callable[[], None]:
        """Break the subscriber connection; it is made again when the returned function has been called."""
        endpoint = self.store.redis._connections[1]._endpoint
        connect = endpoint.connect

        endpoint.connect = lambda factory: fail(ConnectionRefusedError())
        subscriber = self.store.redis._subscriber
        if subscriber is not None:
            subscriber.abort("by the test")

        def restore() -> None:
            endpoint.connect = connect

        return restore


class Nodes:
    """Makes nodes on one server, and closes them."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.all: list[Node] = []

    def make(self, attached: Sequence[str] = (A, B), *, url: str | None = None, **options: Any) -> Node:
        """Make a node that is not started."""
        node = Node(url or self.url, self.prefix, f"n{len(self.all)}", self.clock, self.ledger, attached, **options)
        self.all.append(node)
        return node

    async def open(self, attached: Sequence[str] = (A, B), **options: Any) -> Node:
        """Make a node, start it, and wait until it is ready."""
        limits = {
            name: options.pop(name)
            for name in ("history_events", "history_seconds", "history_bytes")
            if name in options
        }
        node = self.make(attached, **options)
        await node.open(**limits)
        return node

    async def close(self) -> None:
        """Stop all nodes; no two events may have been delivered at one position."""
        for node in self.all:
            if hasattr(node, "broker"):
                await node.broker.stop()
        for node in self.all:
            assert not node.conflicts, node.conflicts[0]


def one_refusal(outcomes: Sequence[PublishResult | Refusal]) -> Refusal:
    """Return the refusal of all events; they must have the same code."""
    (first, *others) = outcomes
    assert isinstance(first, Refusal), outcomes
    for other in others:
        assert isinstance(other, Refusal)
        assert other.code is first.code
    return first


def position_of(published: PublishResult) -> Position:
    """Return the position of an event."""
    return Position(published.epoch, published.seq)


class _ProxiedConnection(ProxyServer):
    """One connection through the proxy."""

    def connectionMade(self) -> None:
        self.factory.connections.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        self.factory.connections.discard(self)
        super().connectionLost(reason)


class SwitchableProxy(ProxyFactory):
    """A TCP proxy whose target can be changed, like an address that moves to another server."""

    protocol = _ProxiedConnection

    def __init__(self, target: int) -> None:
        super().__init__("127.0.0.1", target)
        self.noisy = False
        self.connections: set[_ProxiedConnection] = set()
        self._listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.url = f"redis://127.0.0.1:{self._listening.getHost().port}/0"

    def to(self, target: int) -> None:
        """Change the target; existing connections are aborted."""
        self.port = target
        for passage in list(self.connections):
            passage.transport.abortConnection()

    async def close(self) -> None:
        for passage in list(self.connections):
            passage.transport.abortConnection()
        await until(lambda: not self.connections)
        await self._listening.stopListening()
