"""CommandDispatcher: sends commands to the sources that are connected to this node."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from twisted.internet.defer import Deferred, gatherResults
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.commands.closing import Closing, CommandCloser, failed, overdue_closing
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.commands.refusals import outcome_of_refusal
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import CommandKey, CommandOutcome, CommandRecord, CommandState, OutcomeCode
from callcenter_ws.interfaces import CommandStore
from callcenter_ws.runtime.background import Spawn, next_turn
from callcenter_ws.runtime.clock import Clock, Timer, unix_ms
from callcenter_ws.runtime.log_fields import Name
from callcenter_ws.runtime.single_flight import SingleFlight
from callcenter_ws.sources.link import SourceLink

MAX_IN_FLIGHT = 64
"""Commands that a source has not answered; further ones wait, and time out at their deadline."""

PREPARED_AT_ONCE = 16
"""Commands whose rights are checked, and whose dispatch is stored, at once."""

MAX_REMEMBERED = 4_096
"""Commands of one connection that are remembered for their outcomes; others are read from the store."""

MAX_FOLLOWED_TENANTS = 100
"""Tenants of a source whose events are delivered to this node, so that rights are checked quickly."""

LATE_AT_ONCE = 50
"""Commands that are closed in one turn of the reactor because their deadline has passed."""

POLL_SECONDS = 1.0
"""How often the store is asked for commands that were not announced."""

POLLED_AT_ONCE = 20
"""Sources for which the store is asked in one turn of the reactor; a node may have a thousand."""

RECHECK_SECONDS = 0.2
"""After this time the rights to a command are checked once more that seem to have been lost since it was accepted."""

ANSWER_TIMEOUT_SECONDS = 30.0
"""A source that leaves a command unanswered for so long is disconnected."""

_NOT_SENT = failed(OutcomeCode.SOURCE_DOWN, "the connection to the source was lost before the command was sent")
_DENIED = {ErrorCode.NOT_ALLOWED: OutcomeCode.NOT_ALLOWED, ErrorCode.NOT_FOUND: OutcomeCode.NOT_FOUND}

_log = Logger("callcenter_ws.commands")


class CommandReceiver(Protocol):
    """The connection over which a source is called."""

    @property
    def name(self) -> str:
        """The address of the peer, for log lines."""

    @property
    def writable(self) -> bool:
        """Whether the transport accepts more."""

    @property
    def is_ended(self) -> bool:
        """Whether the connection was lost or is about to end."""

    def command(self, record: CommandRecord) -> Deferred[None]:
        """Call ``Command``.

        Returns:
            Fires when the source has taken the command. Fails with ``Refusal`` if it has not, ``unsupported`` if it
            does not know the call; with another exception if it is not known whether it has.
        """

    def disconnect(self, reason: str) -> None:
        """Log ``reason`` and close the connection."""


class _Connection:
    """A source that takes commands over one connection."""

    def __init__(self, link: SourceLink, receiver: CommandReceiver, work: SingleFlight) -> None:
        self.link = link
        self.receiver = receiver
        self.work = work
        self.unanswered: dict[CommandKey, Timer] = {}
        self.doubted: set[CommandKey] = set()
        self.sent: OrderedDict[CommandKey, CommandRecord] = OrderedDict()
        self.unfollow: list[Callable[[], None]] = []

    def remember(self, record: CommandRecord) -> None:
        self.sent[record.key] = record
        if len(self.sent) > MAX_REMEMBERED:
            self.sent.popitem(last=False)


class CommandDispatcher:
    """Sends each command once, in the order of acceptance, to a source that is connected here.

    A command is looked for when the store announces it, when its source subscribes, and every second.

    Args:
        check_again: raises Refusal if the asker may not have a command carried out any more.
        follow: has this node deliver the events of a tenant from now on; returns what ends that.
    """

    def __init__(
        self,
        store: CommandStore,
        closer: CommandCloser,
        clock: Clock,
        spawn: Spawn,
        check_again: Callable[[CommandRecord], Awaitable[object]],
        counters: CommandCounters,
        *,
        follow: Callable[[str], Callable[[], None]],
    ) -> None:
        self._store = store
        self._closer = closer
        self._clock = clock
        self._spawn = spawn
        self._check_again = check_again
        self._counters = counters
        self._follow = follow
        self._connections: dict[tuple[str, str], _Connection] = {}
        self._polling = SingleFlight(self._poll, clock, spawn)
        self._timer: Timer | None = None
        self._is_stopped = False

    def start(self) -> None:
        """Look for commands that were not announced, every second."""
        self._timer = self._clock.call_later(POLL_SECONDS, self.start)
        self._polling.request()

    async def _poll(self) -> None:
        for number, connection in enumerate(list(self._connections.values())):
            if number and number % POLLED_AT_ONCE == 0:
                await next_turn(self._clock)
            connection.work.request()

    def stop(self) -> None:
        """Send no more commands."""
        self._is_stopped = True
        self._polling.stop()
        if self._timer is not None:
            self._timer.cancel()

    def accepted(self, tenant_id: str, scope: str, source: str) -> None:
        """Look for a command that was accepted at any node."""
        connection = self._connections.get((scope, source))
        if connection is not None and tenant_id in connection.link.tenants:
            connection.work.request()

    # Connections

    def attach(self, link: SourceLink, receiver: CommandReceiver) -> None:
        """Send commands of a source over its connection from now on."""
        known = self._connections.get(link.key)
        if known is not None:
            if known.link is link:
                return
            self._end(known)
        connection = _Connection(link, receiver, SingleFlight(self._work_of(link), self._clock, self._spawn))
        self._connections[link.key] = connection
        if len(link.tenants) <= MAX_FOLLOWED_TENANTS:
            connection.unfollow = [self._follow(tenant_id) for tenant_id in sorted(link.tenants)]
        connection.work.request()

    def detach(self, link: SourceLink) -> None:
        """Send no more commands over a connection."""
        connection = self._connections.get(link.key)
        if connection is not None and connection.link is link:
            del self._connections[link.key]
            self._end(connection)

    def _end(self, connection: _Connection) -> None:
        connection.work.stop()
        for timer in connection.unanswered.values():
            timer.cancel()
        self._counters.in_flight -= len(connection.unanswered)
        connection.unanswered.clear()
        for unfollow in connection.unfollow:
            unfollow()

    def writable_again(self, link: SourceLink) -> None:
        """Go on: the transport has written everything."""
        connection = self._connections.get(link.key)
        if connection is not None and connection.link is link:
            connection.work.request()

    def sent_over(self, link: SourceLink, key: CommandKey) -> CommandRecord | None:
        """Return a command that was sent over a connection, as it was then; None if it is not remembered."""
        connection = self._connections.get(link.key)
        return None if connection is None or connection.link is not link else connection.sent.get(key)

    def closed(self, link: SourceLink, key: CommandKey) -> None:
        """Forget a command that has its outcome."""
        connection = self._connections.get(link.key)
        if connection is not None:
            connection.sent.pop(key, None)

    # Sending

    def _work_of(self, link: SourceLink) -> Callable[[], Awaitable[None]]:
        return lambda: self._send_waiting(link)

    async def _send_waiting(self, link: SourceLink) -> None:
        while (connection := self._sending(link)) is not None:
            room = min(MAX_IN_FLIGHT - len(connection.unanswered), PREPARED_AT_ONCE)
            if room <= 0:
                return
            waiting = await self._store.waiting(*link.key, link.record.tenants)
            now_ms = unix_ms(self._clock)
            ready = [record for record in waiting if record.key not in connection.doubted]
            due = [record for record in ready if record.deadline_ms > now_ms][:room]
            if not due:
                if ready and await self._close_late(ready):
                    continue
                return
            prepared = await gatherResults(
                [Deferred.fromCoroutine(self._prepare(connection, record)) for record in due]
            )
            for record in prepared:
                if isinstance(record, CommandRecord):
                    await self._send(link, record)
            for refusal in prepared:
                if isinstance(refusal, Refusal):
                    # The store cannot be reached: at the next tick.
                    raise refusal.copy()
            if not any(prepared) or len(due) == len(waiting):
                # Other nodes send these: the store would answer the same again. Or these were all, and what is accepted
                # meanwhile is announced.
                return

    def _sending(self, link: SourceLink) -> _Connection | None:
        """Return the connection of a link if commands may be sent over it now."""
        connection = self._connections.get(link.key)
        if self._is_stopped or connection is None or connection.link is not link:
            return None
        receiver = connection.receiver
        return connection if receiver.writable and not receiver.is_ended else None

    async def _close_late(self, late: Sequence[CommandRecord]) -> bool:
        """Close commands whose deadline has passed; return whether one was closed.

        Nothing else waits, as far as the store has told: there may be others behind so many.
        """
        outcomes = await self._closer.close_all([overdue_closing(record) for record in late[:LATE_AT_ONCE]])
        await next_turn(self._clock)
        return True in outcomes

    async def _prepare(self, connection: _Connection, record: CommandRecord) -> CommandRecord | Refusal | bool:
        """Return a command whose dispatch is stored; a Refusal of the store; or whether it is doubted."""
        try:
            if await self._denied(record) is not None:
                connection.doubted.add(record.key)
                self._spawn(self._check_doubted(connection, record))
                return True
            dispatched = None if self._is_stopped else await self._store.dispatch(record.key, unix_ms(self._clock))
            return False if dispatched is None else dispatched
        except Refusal as refusal:
            return refusal

    async def _check_doubted(self, connection: _Connection, record: CommandRecord) -> None:
        """Check rights once more after a moment, and close the command without them; others are sent meanwhile."""
        try:
            # The node of the asker may have been delivered more than this one.
            await self._pause(RECHECK_SECONDS)
            denied = None if self._is_stopped else await self._denied(record)
            if denied is not None:
                await self._closer.close(Closing(record=record, outcome=denied, state=CommandState.ACCEPTED))
        except Refusal:
            # The store cannot be reached: once more at the next tick.
            return
        finally:
            connection.doubted.discard(record.key)
        connection.work.request()

    async def _denied(self, record: CommandRecord) -> CommandOutcome | None:
        """Return the outcome of a command that its asker may not have carried out any more; None if it may."""
        try:
            await self._check_again(record)
        except Refusal as refusal:
            code = _DENIED.get(refusal.code)
            if code is None:
                raise
            return failed(code, refusal.message)
        return None

    async def _pause(self, seconds: float) -> None:
        passed: Deferred[None] = Deferred()
        self._clock.call_later(seconds, passed.callback, None)
        await passed

    async def _send(self, link: SourceLink, record: CommandRecord) -> None:
        connection = self._sending(link)
        if connection is None:
            # Known not to have been sent, which the deadline alone would not tell.
            await self._close_dispatched(record, _NOT_SENT)
            return
        self._counters.dispatched += 1
        self._counters.in_flight += 1
        connection.remember(record)
        reason = f"it left a Command unanswered for {ANSWER_TIMEOUT_SECONDS:g} s"
        disconnect = connection.receiver.disconnect
        connection.unanswered[record.key] = self._clock.call_later(ANSWER_TIMEOUT_SECONDS, disconnect, reason)
        connection.receiver.command(record).addCallbacks(
            self._answered, self._refused, callbackArgs=(connection, record), errbackArgs=(connection, record)
        )

    def _answered(self, _: object, connection: _Connection, record: CommandRecord) -> None:
        timer = connection.unanswered.pop(record.key, None)
        if timer is None:
            return
        timer.cancel()
        self._counters.in_flight -= 1
        connection.work.request()

    def _refused(self, failure: Failure, connection: _Connection, record: CommandRecord) -> None:
        self._answered(None, connection, record)
        error = failure.value
        if not isinstance(error, Refusal):
            # It is not known whether the source has it: its outcome, or the deadline, decides.
            return
        _log.info(
            "source {source!r} did not take the command {name} of {tenant}/{user}: {code}",
            source=record.source,
            name=record.name,
            tenant=Name(record.key.tenant_id),
            user=Name(record.key.user_id),
            code=error.code.value,
        )
        self._spawn(self._close_dispatched(record, outcome_of_refusal(error)))

    async def _close_dispatched(self, record: CommandRecord, outcome: CommandOutcome) -> None:
        try:
            await self._closer.close(Closing(record=record, outcome=outcome, state=CommandState.DISPATCHED))
        except Refusal as refusal:
            # The deadline closes it.
            _log.warn("the outcome of the command {name} is not stored: {code}", name=record.name, code=refusal.code)
