"""Surroundings of the AMP server for tests: a recording Directory, static tokens, and a broker that can be blocked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from account_world import AccountWorld
from doubles import KnownTokens, SteppingClock
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from world import World

from callcenter_ws.amp.factory import AmpServerFactory
from callcenter_ws.auth.revocation import Revocations, UnrevokedTokens
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.commands.service import CommandService
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.ulid import UlidFactory
from callcenter_ws.interfaces import Authenticator, Directory, PublicationListener, PublishResult, UserPresence
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.clock import Clock, ReactorClock
from callcenter_ws.sources.announcer import SourceAnnouncer
from callcenter_ws.sources.local import LocalSources
from callcenter_ws.sources.publishing import SourcePublisher
from callcenter_ws.sources.syncing import StateSync
from callcenter_ws.testing import run

SECRET = b"a-shared-secret-of-the-tests"


class RecordingDirectory:
    """A Directory without a Hub: returns constants and records the calls.

    Attributes:
        calls: the name and the arguments of each call.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.revoked_for_all: list[bool] = []
        self.listeners: list[PublicationListener] = []

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        self.calls.append(("user_presence", tenant_id, user_id))
        return UserPresence(True, 2, 1.0, None)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        self.calls.append(("disconnect_user", tenant_id, user_id))
        return 3

    async def revoke(
        self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None, for_all: bool = False
    ) -> int:
        self.calls.append(("revoke", tenant_id, jti, user_id))
        self.revoked_for_all.append(for_all)
        return 4

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        return {}

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        self.listeners.append(listener)

    def unlisten(self, listener: PublicationListener) -> None:
        self.listeners.remove(listener)


def daemon_tokens(clock: Clock) -> KnownTokens:
    """Return an authenticator with a table of tokens of daemons, and a token of an agent."""
    now = clock.time()
    return KnownTokens(
        {
            "acme-service": Principal("acme", "acd", Role.SERVICE, expires_at=now + 3600),
            "acme-jti": Principal("acme", "dialer", Role.SERVICE, jti="j1", issued_at=now),
            "root-unix": Principal("*", "unix", Role.SERVICE, issued_at=now),
            "globex-service": Principal("globex", "acd", Role.SERVICE),
            "acme-agent": Principal("acme", "7", Role.AGENT),
        }
    )


class BlockableBroker:
    """A MemoryBroker whose ``publish`` waits while ``is_blocked``, until ``unblock``.

    Attributes:
        epoch_per_tenant: whether each tenant has its own epoch, which a MemoryBroker does not provide.
        blocked: the calls of ``publish`` that wait.
        error: if not None, ``publish`` raises it.
        attempts: the number of calls of ``publish``.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.is_blocked = False
        self.epoch_per_tenant = False
        self.blocked: list[Deferred[None]] = []
        self.error: Exception | None = None
        self.attempts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(self, events: Sequence[Event]) -> list[PublishResult | Refusal]:
        self.attempts += 1
        if self.error is not None:
            raise self.error
        if self.is_blocked:
            unblocked: Deferred[None] = Deferred()
            self.blocked.append(unblocked)
            await unblocked
        outcomes = await self._broker.publish(events)
        if not self.epoch_per_tenant:
            return outcomes
        return [
            replace(outcome, epoch=f"epoch of {event.tenant_id}") if isinstance(outcome, PublishResult) else outcome
            for event, outcome in zip(events, outcomes, strict=True)
        ]

    def unblock(self) -> None:
        self.is_blocked = False
        blocked, self.blocked = self.blocked, []
        for unblocked in blocked:
            unblocked.callback(None)


class Gateway:
    """An AMP server factory with a real broadcaster and broker, and a RecordingDirectory.

    Attributes:
        delivered: every publication that the broker has delivered.
        world: the World of the Hub; None before ``use_hub``.
    """

    def __init__(self, clock: Clock) -> None:
        self.delivered: list[Publication] = []
        self.world: World | None = None
        self.broker = BlockableBroker(MemoryBroker(clock))
        run(self.broker.start(self._deliver))
        self.broadcaster = EventBroadcaster(self.broker, clock)
        self.directory = RecordingDirectory()
        new_id = UlidFactory(clock.time)
        announcer = SourceAnnouncer(self.broker, clock, new_id)
        self.sources = LocalSources(self.broker, announcer, clock, spawn, new_id, lease=30.0)
        self.accounts = AccountWorld(clock)
        self.commands = CommandService(
            self.broker,
            self.sources,
            clock,
            spawn,
            CommandPolicy(enabled=True),
            charge=lambda asker: 0.0,
            new_id=UlidFactory(clock.time),
        )
        self.commands.start()
        self.factory = self._factory(clock, self.directory, daemon_tokens(clock))

    def _factory(
        self, clock: Clock, directory: Directory, tokens: Authenticator, revocations: Revocations | None = None
    ) -> AmpServerFactory:
        return AmpServerFactory(
            self.broadcaster,
            directory,
            clock,
            node_id="node-1",
            sources=self.sources,
            source_publisher=SourcePublisher(self.broadcaster, self.broker, clock, self.sources.counters),
            state_sync=StateSync(self.broker, clock, self.sources.counters),
            accounts=self.accounts.operations,
            commands=self.commands,
            secret=SECRET,
            authenticate=tokens,
            revocations=revocations,
        )

    def use_hub(self, clock: SteppingClock) -> None:
        """Replace the RecordingDirectory with that of a real Hub, and refuse revoked tokens from now on."""
        run(self.broker.stop())
        self.world = world = World(clock=clock, broker=self.broker)
        tokens = UnrevokedTokens(daemon_tokens(clock), world.hub.revocations)
        self.directory = LocalDirectory(world.hub, world.presence, self.broker, clock)  # type: ignore[assignment]  # replaces the double
        self.factory = self._factory(clock, self.directory, tokens, world.hub.revocations)

    def _deliver(self, publications: Sequence[Publication]) -> None:
        self.delivered += publications
        for publication in publications:
            for listener in list(self.directory.listeners):
                listener(publication)

    def publish_chat_message(self, number: int, *, tenant_id: str = "acme", body: str = "hello") -> None:
        """Publish a chat message of a visitor, with the event id ``TENANT-NUMBER``."""
        payload = {
            "session_id": "s",
            "message_id": f"m{number}",
            "sender_id": "v",
            "sender_type": "visitor",
            "body": body,
        }
        event_id = f"{tenant_id}-{number}"
        run(self.broadcaster.publish(tenant_id, "chat.message", payload, event_id=event_id, origin=Origin.CLIENT))


class LoopbackGateway(Gateway):
    """A Gateway on a TCP port of the loopback interface, which can be killed and started again on the same port."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(ReactorClock(reactor))
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self.port_number = 0

    @property
    def endpoint(self) -> str:
        return f"tcp:127.0.0.1:{self.port_number}"

    def listen(self, factory: Factory | None = None) -> None:
        self._port = self._reactor.listenTCP(self.port_number, factory or self.factory, interface="127.0.0.1")
        self.port_number = self._port.getHost().port

    async def kill(self) -> None:
        """Stop listening and abort every connection."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        self.factory.abort()
        await until(self._reactor, lambda: not self.factory.sessions)

    async def close(self) -> None:
        """Stop for good, and cancel every timer."""
        await self.kill()
        self.factory.drain()
        await self.broker.stop()


async def until(reactor: Any, condition: Callable[[], object], limit: float = 30.0) -> None:
    """Wait for a condition, at most ``limit`` seconds."""
    end = reactor.seconds() + limit
    while not condition():
        assert reactor.seconds() < end, "the condition did not become true in time"
        next_check: Deferred[None] = Deferred()
        reactor.callLater(0.002, next_check.callback, None)
        await next_check
