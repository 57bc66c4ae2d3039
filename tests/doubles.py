"""Test doubles of the log, the authenticator, the clock and a slow broker."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from callcenter_ws.broker.memory import MemoryBroker
from callcenter_ws.errors import CloseCode, ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import (
    CommandSource,
    Deliver,
    HistoryPage,
    Interrupted,
    LoggedConnection,
    Position,
    PublishResult,
    Snapshot,
    ignore_interruption,
)
from callcenter_ws.testing import FakeClock


class RecordingLog:
    """A ConnectionLog that records its calls.

    Refusals are recorded as copies: the raised ones refer to frames, and so to connections that must be freed.
    """

    def __init__(self) -> None:
        self.opens: list[tuple[str, str]] = []
        self.ends: list[tuple[str, int, str]] = []
        self.refusals: list[tuple[str, Refusal]] = []
        self.closes: list[tuple[str, CloseCode]] = []
        self.refused_handshakes: list[tuple[str, Refusal]] = []

    @property
    def lines(self) -> list[str]:
        """Everything that was recorded, as text: the refusals, then the closes, then the refused handshakes."""
        return [
            *(f"refused {refusal.code.value}" for _, refusal in self.refusals),
            *(f"closed {code.value}" for _, code in self.closes),
            *(f"handshake {ip} {refusal.code.value}" for ip, refusal in self.refused_handshakes),
        ]

    def opened(self, client: LoggedConnection) -> None:
        self.opens.append((str(client), client.ip))

    def ended(self, client: LoggedConnection, code: int, reason: str) -> None:
        self.ends.append((str(client), code, reason))

    def refused(self, client: LoggedConnection, refusal: Refusal) -> None:
        self.refusals.append((str(client), refusal.copy()))

    def closed(self, client: LoggedConnection, code: CloseCode) -> None:
        self.closes.append((str(client), code))

    def unauthenticated_closed(self, ip: str, code: CloseCode) -> None:
        self.closes.append((ip, code))

    def handshake_refused(self, ip: str, endpoint: str, refusal: Refusal) -> None:
        self.refused_handshakes.append((ip, refusal.copy()))

    def unhandled_error(self, where: str) -> None:
        # In Twisted's log it fails a test without the marker ``logs_errors``.
        Logger("tests").failure(where)


class KnownTokens:
    """An Authenticator with a table of the valid tokens.

    Args:
        principals: the principal of each token.
    """

    def __init__(self, principals: dict[str, Principal] | None = None) -> None:
        self.principals = principals or {}

    def verify(self, token: str) -> Principal:
        if token not in self.principals:
            raise Refusal(ErrorCode.UNAUTHORIZED, "signature: does not match any key")
        return self.principals[token]


class SpelledTokens(KnownTokens):
    """A KnownTokens that also accepts every token that reads ``ROLE:TENANT:USER``, such as ``agent:acme:u1``.

    Such a token is valid for one day. The session of a visitor is ``chat-1``.

    Args:
        issued_at: the time at which these tokens were issued, in Unix seconds.
    """

    def __init__(self, issued_at: float) -> None:
        super().__init__()
        self._issued_at = issued_at

    def verify(self, token: str) -> Principal:
        role, *names = token.split(":")
        if role not in set(Role) or len(names) != 2:
            return super().verify(token)
        tenant_id, user_id = names
        session_id = "chat-1" if role == Role.VISITOR else None
        expires_at = self._issued_at + 86_400
        return Principal(tenant_id, user_id, Role(role), expires_at, self._issued_at, session_id=session_id)


class SteppingClock(FakeClock):
    """A FakeClock that can make its due calls one at a time."""

    def freeze(self, seconds: float) -> None:
        """Let time pass without a call, as when the process is suspended."""
        self._now += seconds

    def step(self) -> bool:
        """Make the next call that is due now; return False if there is none."""
        if not self._due or self._due[0][0] > self._now:
            return False
        timer = heapq.heappop(self._due)[2]
        if not timer.cancelled:
            timer.call(*timer.args)
        return True


class SlowBroker:
    """A MemoryBroker whose calls take several turns of the clock, and whose deliveries may follow its answers.

    Args:
        delays: returns the number of turns of the next wait; 0: no wait.
        fails: returns whether the next call of ``position``, ``read`` or ``snapshot`` is refused.
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
        self._delivery_is_scheduled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def start(self, deliver: Deliver, interrupted: Interrupted = ignore_interruption) -> None:
        self._deliver = deliver
        await self.inner.start(self._deliver_later)

    async def publish(self, events: Sequence[Event]) -> list[PublishResult | Refusal]:
        await self._wait(self.delays())
        outcomes = await self.inner.publish(events)
        await self._wait(self.delays())
        return outcomes

    async def position(self, tenant_id: str, known: Position | None = None) -> Position:
        answer: Position = await self._delayed(self.inner.position, tenant_id)
        return answer

    async def read(self, tenant_id: str, after: int, limit: int) -> HistoryPage:
        answer: HistoryPage = await self._delayed(self.inner.read, tenant_id, after, limit)
        return answer

    async def snapshot(self, tenant_id: str) -> Snapshot:
        answer: Snapshot = await self._delayed(self.inner.snapshot, tenant_id)
        return answer

    async def _delayed(self, call: Callable[..., Any], *args: Any) -> Any:
        await self._wait(self.delays())
        if self.fails():
            raise Refusal(ErrorCode.UNAVAILABLE, "the store is not available")
        answer = await call(*args)
        await self._wait(self.delays())
        return answer

    async def _wait(self, turns: int) -> None:
        for _ in range(turns):
            turn: Deferred[None] = Deferred()
            self._clock.call_later(0, turn.callback, None)
            await turn

    def _deliver_later(self, publications: Sequence[Publication]) -> None:
        self._undelivered.append(list(publications))
        if not self._delivery_is_scheduled:
            self._delivery_is_scheduled = True
            self._deliver_after(self.delays())

    def _deliver_after(self, turns: int) -> None:
        if turns:
            self._clock.call_later(0, self._deliver_after, turns - 1)
            return
        self._delivery_is_scheduled = False
        undelivered, self._undelivered = self._undelivered, []
        assert self._deliver is not None
        for publications in undelivered:
            self._deliver(publications)


class FixedCapabilities:
    """The capabilities of all sources; implements ``interfaces.SourceCapabilities``."""

    def __init__(self) -> None:
        self.own_chats = False
        self.commands: list[CommandSource] = []

    async def chats_are_owned(self, tenant_id: str) -> bool:
        return self.own_chats

    async def command_sources(self, tenant_id: str) -> list[CommandSource]:
        return self.commands
