"""Several nodes on one Redis, and a ledger of everything that any of them was told or has delivered."""

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

DEADLINE = 20.0


async def until(condition: Callable[[], object], what: str = "it never came") -> None:
    """Wait for a condition, with a deadline."""
    deadline = reactor.seconds() + DEADLINE
    while not condition():
        assert reactor.seconds() < deadline, what
        await task.deferLater(reactor, 0.002)


async def until_it_works(question: Callable[[], Awaitable[Any]]) -> Any:
    """Ask again and again until there is an answer."""
    deadline = reactor.seconds() + DEADLINE
    while True:
        try:
            return await question()
        except Refusal as refusal:
            assert reactor.seconds() < deadline, refusal
            await task.deferLater(reactor, 0.01)


class Ledger:
    """Which event stands where, as far as anybody was told: never two at one position of one epoch."""

    def __init__(self) -> None:
        self.events: dict[tuple[str, str, int], str] = {}

    def note(self, tenant_id: str, epoch: str, seq: int, event_id: str) -> None:
        known = self.events.setdefault((tenant_id, epoch, seq), event_id)
        assert known == event_id, f"{event_id} is where {known} was, at {seq} of {tenant_id} in {epoch}"


class Node(RedisBench):
    """One node: a bench that shares its clock and a ledger with the others.

    Args:
        attached: the tenants that are followed.
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
        self.bugs: list[AssertionError] = []

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
        """Begin, without waiting until Redis was reached."""
        self.broker = self.make(**{"history_events": 1_000, "history_seconds": 86_400.0, **limits})
        for tenant in self.attached:
            self.broker.attach(tenant)
        Deferred.fromCoroutine(self.store.start(self._take, lambda *told: self.interruptions.append(told)))
        return self.store

    def epoch(self, tenant_id: str = A) -> str:
        """The history in which the node delivers."""
        follower = self.store._following.get(tenant_id)
        assert follower is not None
        return follower.epoch

    def _take(self, messages: Sequence[Publication]) -> None:
        self.delivered += messages
        tenant_id = messages[0].event.tenant_id
        for message in messages:
            self.note(self.epoch(tenant_id), message.seq, message.event)

    def note(self, epoch: str, seq: int, event: Event) -> None:
        try:
            self.ledger.note(event.tenant_id, epoch, seq, event.event_id)
        except AssertionError as error:
            # Whoever delivers must not be disturbed.
            self.bugs.append(error)

    async def outcomes(self, *events: Event) -> list[PublishResult | Refusal]:
        """Publish, and note what came of it."""
        outcomes: list[PublishResult | Refusal] = await self.broker.publish(events)
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, PublishResult):
                self.note(outcome.epoch, outcome.seq, event)
        return outcomes

    async def publish(self, *events: Event) -> list[PublishResult]:
        outcomes = await self.outcomes(*events)
        taken = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
        assert len(taken) == len(events), outcomes
        return taken

    async def publish_somehow(self, *events: Event) -> list[PublishResult]:
        """Publish, again and again until all are taken."""
        deadline = reactor.seconds() + DEADLINE
        while True:
            outcomes = await self.outcomes(*events)
            taken = [outcome for outcome in outcomes if isinstance(outcome, PublishResult)]
            if len(taken) == len(events):
                return taken
            assert reactor.seconds() < deadline, outcomes
            await task.deferLater(reactor, 0.01)

    def ids(self, tenant_id: str = A) -> list[str]:
        """What was delivered for a tenant."""
        return [message.event.event_id for message in self.delivered if message.event.tenant_id == tenant_id]

    def head(self, tenant_id: str = A) -> int:
        """The position that was delivered last."""
        follower = self.store._following.get(tenant_id)
        assert follower is not None
        return follower.head

    def interrupted_at(self, tenant_id: str = A) -> list[Position]:
        """Behind which positions deliveries went on for a tenant, and not behind what came before."""
        return [position for tenant, position in self.interruptions if tenant == tenant_id]

    def plug_ears(self) -> Callable[[], None]:
        """Let the connection for announcements break, and not come back before the returned function is called."""
        reconnecting = self.store.redis._lifelines[1]
        endpoint = reconnecting._endpoint

        class NullWriter:
            def connect(self, factory: Any) -> Deferred[Any]:
                return fail(ConnectionRefusedError())

        reconnecting._endpoint = NullWriter()
        announcements = self.store.redis._announcements
        if announcements is not None:
            announcements.abort("the test wants it so")

        def unplug() -> None:
            reconnecting._endpoint = endpoint

        return unplug


class Nodes:
    """Makes nodes on one server, and closes them."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.clock = FakeClock()
        self.ledger = Ledger()
        self.all: list[Node] = []

    def make(self, attached: Sequence[str] = (A, B), *, url: str | None = None, **options: Any) -> Node:
        """Make a node that has not begun."""
        node = Node(url or self.url, self.prefix, f"n{len(self.all)}", self.clock, self.ledger, attached, **options)
        self.all.append(node)
        return node

    async def open(self, attached: Sequence[str] = (A, B), **options: Any) -> Node:
        """Make a node and wait until it is ready."""
        limits = {name: options.pop(name) for name in ("history_events", "history_seconds") if name in options}
        node = self.make(attached, **options)
        await node.open(**limits)
        return node

    async def close(self) -> None:
        """Stop all; nothing that was told may contradict another thing."""
        for node in self.all:
            if hasattr(node, "broker"):
                await node.broker.stop()
        for node in self.all:
            assert not node.bugs, node.bugs[0]


def one_refusal(outcomes: Sequence[PublishResult | Refusal]) -> Refusal:
    """The refusal that all events were answered with."""
    (first, *others) = outcomes
    assert isinstance(first, Refusal), outcomes
    for other in others:
        assert isinstance(other, Refusal)
        assert other.code is first.code
    return first


def position_of(published: PublishResult) -> Position:
    """Where an event stands."""
    return Position(published.epoch, published.seq)


class _Passage(ProxyServer):
    """One connection that is passed on."""

    def connectionMade(self) -> None:
        self.factory.passages.add(self)
        super().connectionMade()

    def connectionLost(self, reason: Failure) -> None:
        self.factory.passages.discard(self)
        super().connectionLost(reason)


class Switch(ProxyFactory):
    """Passes connections to its port on to a server, and later to another one, as an address that moves does."""

    protocol = _Passage

    def __init__(self, target: int) -> None:
        super().__init__("127.0.0.1", target)
        self.noisy = False
        self.passages: set[_Passage] = set()
        self._listening = reactor.listenTCP(0, self, interface="127.0.0.1")
        self.url = f"redis://127.0.0.1:{self._listening.getHost().port}/0"

    def to(self, target: int) -> None:
        """Lead to another server; connections to the one before break."""
        self.port = target
        for passage in list(self.passages):
            passage.transport.abortConnection()

    async def close(self) -> None:
        for passage in list(self.passages):
            passage.transport.abortConnection()
        await until(lambda: not self.passages)
        await self._listening.stopListening()
