"""What stands around the AMP server in tests: a recording Directory, tokens, and a broker with a gate."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory

from callcenter_ws.amp.factory import AmpServerFactory
from callcenter_ws.auth.revocation import Revocations, UnrevokedTokens
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_directory import LocalDirectory
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Origin
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.gateway.log import TwistedConnectionLog
from callcenter_ws.interfaces import Authenticator, Directory, PublicationListener, UserPresence
from callcenter_ws.runtime.clock import Clock, ReactorClock
from callcenter_ws.testing import run

SECRET = b"a-shared-secret-of-the-tests"


class RecordingDirectory:
    """A Directory without a hub: keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.listeners: list[PublicationListener] = []

    async def user_presence(self, tenant_id: str, user_id: str) -> UserPresence:
        self.asked.append(("user_presence", tenant_id, user_id))
        return UserPresence(True, 2, 1.0, None)

    async def disconnect_user(self, tenant_id: str, user_id: str) -> int:
        self.asked.append(("disconnect_user", tenant_id, user_id))
        return 3

    async def revoke(self, tenant_id: str, *, jti: str | None = None, user_id: str | None = None) -> int:
        self.asked.append(("revoke", tenant_id, jti, user_id))
        return 4

    def stats(self, tenant_id: str | None = None) -> dict[str, Any]:
        return {}

    def listen(self, listener: PublicationListener, tenant_id: str) -> None:
        self.listeners.append(listener)

    def unlisten(self, listener: PublicationListener) -> None:
        self.listeners.remove(listener)


class Tokens:
    """An Authenticator that knows its tokens by heart."""

    def __init__(self, clock: Clock) -> None:
        self._known = {
            "acme-service": Principal("acme", "acd", Role.SERVICE, expires_at=clock.time() + 3600),
            "acme-jti": Principal("acme", "dialer", Role.SERVICE, jti="j1", issued_at=clock.time()),
            "root-unix": Principal("*", "unix", Role.SERVICE, issued_at=clock.time()),
            "globex-service": Principal("globex", "acd", Role.SERVICE),
            "acme-agent": Principal("acme", "7", Role.AGENT),
        }

    def verify(self, token: str) -> Principal:
        if token not in self._known:
            raise Refusal(ErrorCode.UNAUTHORIZED, "the signature is wrong")
        return self._known[token]


class Gate:
    """Stands before a broker and, while ``closed``, keeps publishers waiting.

    Attributes:
        epoch_per_tenant: every tenant has an epoch of its own, which a MemoryBroker does not give it.
    """

    def __init__(self, broker: MemoryBroker) -> None:
        self._broker = broker
        self.closed = False
        self.epoch_per_tenant = False
        self.waiting: list[Deferred[None]] = []
        self.published: list[str] = []
        self.raises: Exception | None = None
        self.attempts = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    async def publish(self, events: Any) -> Any:
        self.attempts += 1
        if self.raises is not None:
            raise self.raises
        if self.closed:
            turn: Deferred[None] = Deferred()
            self.waiting.append(turn)
            await turn
        self.published += [event.event_id for event in events]
        outcomes = await self._broker.publish(events)
        if not self.epoch_per_tenant:
            return outcomes
        return [
            replace(outcome, epoch=f"epoch of {event.tenant_id}")
            for event, outcome in zip(events, outcomes, strict=True)
        ]

    def open(self) -> None:
        self.closed = False
        waiting, self.waiting = self.waiting, []
        for turn in waiting:
            turn.callback(None)


class Gateway:
    """An AMP server factory with a real broadcaster and broker behind it, and a Directory beside it.

    Attributes:
        delivered: every message that the broker has delivered.
    """

    def __init__(self, clock: Clock) -> None:
        self.delivered: list[Publication] = []
        self.broker = Gate(MemoryBroker(clock))
        run(self.broker.start(self._deliver))
        self.broadcaster = EventBroadcaster(self.broker, clock)
        self.directory = RecordingDirectory()
        self.factory = self._factory(clock, self.directory, Tokens(clock))

    def _factory(
        self, clock: Clock, directory: Directory, tokens: Authenticator, revocations: Revocations | None = None
    ) -> AmpServerFactory:
        return AmpServerFactory(
            self.broadcaster,
            directory,
            clock,
            node_id="node-1",
            secret=SECRET,
            authenticate=tokens,
            revocations=revocations,
        )

    def use_hub(self, clock: Clock) -> Hub:
        """Take a real Hub as the Directory, which refuses revoked tokens from now on."""
        presence = LocalPresence(
            clock, run, lambda tenant_id, payload: self.broadcaster.publish(tenant_id, "", payload), self.broker, 5
        )
        hub = Hub(self.broker, presence, clock, TwistedConnectionLog())
        tokens = UnrevokedTokens(Tokens(clock), hub.revocations)
        self.directory = LocalDirectory(hub, presence, self.broker, clock)  # type: ignore[assignment]  # in the double's place
        self.factory = self._factory(clock, self.directory, tokens, hub.revocations)
        return hub

    def _deliver(self, messages: Any) -> None:
        self.delivered += messages
        for message in messages:
            for listener in list(self.directory.listeners):
                listener(message)

    def chat(self, number: int, *, tenant_id: str = "acme", body: str = "hello") -> None:
        """A visitor writes."""
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
    """A Gateway on a real TCP port of the loopback interface that can be killed and come back on the same port."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(ReactorClock(reactor))
        self._reactor = reactor
        self._port: IListeningPort | None = None
        self.number = 0

    @property
    def endpoint(self) -> str:
        return f"tcp:127.0.0.1:{self.number}"

    def listen(self, factory: Factory | None = None) -> None:
        self._port = self._reactor.listenTCP(self.number, factory or self.factory, interface="127.0.0.1")
        self.number = self._port.getHost().port

    async def kill(self) -> None:
        """Stop listening and drop every connection, mid-sentence."""
        port, self._port = self._port, None
        if port is not None:
            await port.stopListening()
        self.factory.abort()
        await until(self._reactor, lambda: not self.factory.sessions)

    async def close(self) -> None:
        """End for good; forget everything that would keep the reactor busy."""
        await self.kill()
        self.factory.drain()
        await self.broker.stop()


async def until(reactor: Any, condition: Any, deadline: float = 10.0) -> None:
    """Wait for a condition."""
    end = reactor.seconds() + deadline
    while not condition():
        assert reactor.seconds() < end, "the condition never came true"
        turn: Deferred[None] = Deferred()
        reactor.callLater(0.002, turn.callback, None)
        await turn
