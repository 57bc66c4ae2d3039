"""The real core on a fake clock and recording transports: what the tests of the core are played on."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.cluster.local_presence import LocalPresence
from callcenter_ws.delivery.client import Client
from callcenter_ws.delivery.hub import Hub
from callcenter_ws.delivery.limits import Limits
from callcenter_ws.delivery.welcome import ConnectOptions
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.frames import PLAIN, WireFormat
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.interfaces import (
    Deliver,
    HistoryPage,
    Interrupted,
    Position,
    PublishResult,
    Snapshot,
    nobody_is_interrupted,
)
from callcenter_ws.requests.context import Context
from callcenter_ws.requests.handlers import all_handlers
from callcenter_ws.runtime.json import encode_json
from callcenter_ws.testing import FakeClock, RecordingTransport

TENANT = "acme"


class ConnectionLog:
    """Keeps what an operator would read."""

    def __init__(self) -> None:
        self.refusals: list[Refusal] = []
        self.closes: list[CloseCode] = []

    def refused(self, who: str, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def closed(self, who: str, code: CloseCode) -> None:
        self.closes.append(code)

    def unhandled_error(self, what: str) -> None:
        # Into the real log, so that a test which did not announce a bug fails.
        Logger("journal").failure(what)


class Tokens:
    """An Authenticator that knows its tokens by heart."""

    def __init__(self) -> None:
        self.known: dict[str, Principal] = {}

    def verify(self, token: str) -> Principal:
        if token not in self.known:
            raise Refusal(ErrorCode.UNAUTHORIZED, "the signature is wrong")
        return self.known[token]


class SlowBroker:
    """A MemoryBroker whose calls take turns of the clock, and whose deliveries come later than its answers may.

    Args:
        delays: gives the number of turns for the next wait; 0 does not wait.
        fails: whether the next call for a position, a stretch or a snapshot is refused.
    """

    def __init__(
        self,
        broker: MemoryBroker,
        clock: FakeClock,
        delays: Callable[[], int] = lambda: 1,
        fails: Callable[[], bool] = lambda: False,
    ) -> None:
        self.inner = broker
        self.delays = delays
        self.fails = fails
        self._clock = clock
        self._undelivered: list[Sequence[Publication]] = []
        self._deliver: Deliver | None = None
        self._waits_to_deliver = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def start(self, deliver: Deliver, interrupted: Interrupted = nobody_is_interrupted) -> None:
        self._deliver = deliver
        await self.inner.start(self._take)

    async def publish(self, events: Sequence[Event]) -> list[PublishResult | Refusal]:
        await self._turns(self.delays())
        outcomes = await self.inner.publish(events)
        await self._turns(self.delays())
        return outcomes

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        answer: Position = await self._slowly(self.inner.position, tenant_id)
        return answer

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        answer: HistoryPage = await self._slowly(self.inner.read, tenant_id, after, limit)
        return answer

    async def snapshot(self, tenant_id: str) -> Snapshot:
        answer: Snapshot = await self._slowly(self.inner.snapshot, tenant_id)
        return answer

    async def _slowly(self, call: Callable[..., Any], *args: Any) -> Any:
        await self._turns(self.delays())
        if self.fails():
            raise Refusal(ErrorCode.UNAVAILABLE, "the store does not answer")
        answer = await call(*args)
        await self._turns(self.delays())
        return answer

    async def _turns(self, turns: int) -> None:
        for _ in range(turns):
            turn: Deferred[None] = Deferred()
            self._clock.call_later(0, turn.callback, None)
            await turn

    def _take(self, messages: Sequence[Publication]) -> None:
        self._undelivered.append(list(messages))
        if not self._waits_to_deliver:
            self._waits_to_deliver = True
            self._deliver_after(self.delays())

    def _deliver_after(self, turns: int) -> None:
        if turns:
            self._clock.call_later(0, self._deliver_after, turns - 1)
            return
        self._waits_to_deliver = False
        undelivered, self._undelivered = self._undelivered, []
        assert self._deliver is not None
        for messages in undelivered:
            self._deliver(messages)


class SteppingClock(FakeClock):
    """A fake clock that can make its due calls one at a time, as a reactor between two events."""

    def step(self) -> bool:
        """Make the next call that is due now; False when there is none."""
        if not self._due or self._due[0][0] > self._now:
            return False
        timer = heapq.heappop(self._due)[2]
        if not timer.cancelled:
            timer.call(*timer.args)
        return True


class Socket(RecordingTransport):
    """A recording transport with its client, and words for what happens to it.

    Attributes:
        high_water: bytes that it buffers before it tells the client to pause, as Twisted's transports do;
            None is a peer that reads everything at once.
    """

    client: Client

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.high_water: int | None = None
        self._stage = stage

    def write(self, data: bytes) -> None:
        super().write(data)
        if self.high_water is not None:
            self.unsent += len(data)
            if self.unsent > self.high_water:
                self.client.pause()

    def drain(self) -> None:
        """The peer has read everything."""
        self.unsent = 0
        self.client.drained()

    def say(self, type_: str, payload: dict[str, Any] | None = None, *, id_: Any = None) -> None:
        """The peer sends a message."""
        message: dict[str, Any] = {"type": type_, "payload": payload or {}}
        if id_ is not None:
            message["id"] = id_
        self.client.receive(encode_json(message))

    def read(self, *types: str) -> list[dict[str, Any]]:
        """After the clock's due turns: the messages written since the last read, of these types if any are named."""
        self._stage.settle()
        return [message for message in self.take() if not types or message["type"] in types]

    def seqs(self) -> list[int]:
        """The positions of the stream events written since the last read."""
        return [message["seq"] for message in self.read() if "seq" in message]


class Stage:
    """A gateway without edges."""

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        agent_calls: AgentCalls = "all",
        slow: bool = False,
        announces: bool = False,
        burst: int = 128,
        **memory: Any,
    ) -> None:
        self.clock = SteppingClock()
        self.failures: list[Failure] = []
        self.log = ConnectionLog()
        self.tokens = Tokens()
        self.announced: list[tuple[str, dict[str, Any]]] = []
        memory_broker = MemoryBroker(self.clock, **memory)
        self.broker: Any = SlowBroker(memory_broker, self.clock) if slow else memory_broker
        self.limits = limits or Limits()
        self.broadcaster = EventBroadcaster(self.broker, self.clock)
        self._announces = announces
        self.presence = LocalPresence(self.clock, self.spawn, self._announce, self.broker, self.limits.presence_grace)
        self.hub = Hub(self.broker, self.presence, self.clock, self.log, agent_calls=agent_calls, burst=burst)
        self.gateway = Context(
            hub=self.hub,
            broker=self.broker,
            broadcaster=self.broadcaster,
            authenticator=self.tokens,
            handlers=all_handlers(self.broadcaster, self.tokens, self.hub.revocations, self.clock),
            clock=self.clock,
            spawn=self.spawn,
            log=self.log,
            limits=self.limits,
        )
        self._connections = 0
        self.spawn(self.broker.start(self.hub.deliver))

    async def _announce(self, tenant_id: str, payload: dict[str, Any]) -> None:
        self.announced.append((tenant_id, payload))
        if self._announces:
            await self.broadcaster.publish(tenant_id, "presence.changed", payload)

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run a coroutine in the background; what it raises fails the test at the next ``settle``."""
        Deferred.fromCoroutine(coroutine).addErrback(self.failures.append)

    def settle(self, turns: int = 1) -> None:
        """Let everything happen that is due now, and fail if a background task failed."""
        self.clock.turn(turns)
        for failure in self.failures:
            failure.raiseException()

    @property
    def epoch(self) -> str:
        """The epoch of the store."""
        epoch: str = self.broker.state()["epoch"]
        return epoch

    def connect(
        self,
        role: Role = Role.SUPERVISOR,
        options: ConnectOptions | None = None,
        *,
        user_id: str | None = None,
        tenant_id: str = TENANT,
        session_token: str | None = None,
        wire_formats: Sequence[WireFormat] = PLAIN,
        **claims: Any,
    ) -> Socket:
        """A connection of a principal, opened; it gets its welcome when the clock turns."""
        self._connections += 1
        socket = Socket(self)
        principal = Principal(tenant_id, user_id or f"u{self._connections}", role, **claims)
        endpoint = "public" if role is Role.VISITOR else "ws"
        socket.client = Client(
            self.gateway,
            socket,
            principal,
            connection_id=f"c{self._connections}",
            endpoint=endpoint,
            wire_formats=wire_formats,
            session_token=session_token,
        )
        socket.client.open(options or ConnectOptions())
        return socket

    def resume(self, seq: int, *, epoch: str | None = None, **who: Any) -> Socket:
        """A connection that asks for everything after ``seq``."""
        return self.connect(options=ConnectOptions(epoch=epoch or self.epoch, seq=seq), **who)

    def live(self, **who: Any) -> Socket:
        """A connection that has its welcome and gets live messages."""
        socket = self.connect(**who)
        socket.read()
        assert socket.client.live
        return socket

    def publish(self, type_: str, payload: dict[str, Any], *, tenant_id: str = TENANT, **fields: Any) -> None:
        """Publish one event."""
        self.spawn(self.broadcaster.publish(tenant_id, type_, payload, **fields))

    def publish_batch(self, drafts: Sequence[dict[str, Any]]) -> None:
        """Publish many events at once."""
        self.spawn(self.broadcaster.publish_batch(drafts))

    def alerts(self, count: int = 1, *, tenant_id: str = TENANT) -> None:
        """Publish ``count`` events that everybody on the staff sees, at once."""
        payload = {"title": "t", "message": "m"}
        self.publish_batch([{"tenant_id": tenant_id, "type": "alert", "payload": payload} for _ in range(count)])

    def stats(self, waiting: int, queue: str = "sales") -> None:
        """Publish the figures of a queue, of which only the newest matter."""
        payload = {"queue_name": queue, "calls_waiting": waiting, "available_agents": 1, "logged_in_agents": 1}
        self.publish("queue.stats", payload)


def dice(seed: int, most: int) -> Callable[[], int]:
    """Return reproducible numbers of turns, 0 included."""
    source = random.Random(seed)
    return lambda: source.randint(0, most)
