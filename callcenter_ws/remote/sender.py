"""Sender: sends the events of the buffer over the current connection, one batch at a time, so that order is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from callcenter_ws.amp.commands import PublishBatch, PublishEvent, refusal_of
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.buffer import Buffer
from callcenter_ws.remote.command_outcome import send_outcome
from callcenter_ws.remote.gateway_connection import GatewayConnection
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.remote.retry_log import RetryLog
from callcenter_ws.remote.state_sync import send_state
from callcenter_ws.runtime.background import spawn
from callcenter_ws.runtime.backoff import Backoff
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.single_flight import SingleFlight

_FIRST_RETRY_SECONDS = 0.1
_MAX_RETRY_SECONDS = 5.0
_LINK_ENDED = frozenset({ErrorCode.UNAUTHORIZED, ErrorCode.SOURCE_IN_USE, ErrorCode.STALE_GENERATION})
"""Refusals after which nothing more can be published over the connection."""

_BUSY = frozenset({ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE})
"""Refusals that pass, over the same connection."""

_TRANSIENT = _LINK_ENDED | _BUSY
"""Refusals that do not concern the event itself: it is sent again."""

SendOutcome = PublishResult | Refusal | None
"""None: there is no outcome yet, and the event is sent again."""


class _EventError(msgspec.Struct):
    """The entry of ``PublishBatch``'s results for an event that is refused."""

    code: str
    message: str


class _BatchNotAccepted(Exception):
    """The gateway did not accept all events of a batch now."""


class Sender:
    """Sends batches of the buffer and resolves their events.

    Args:
        emptied: called whenever the buffer is found empty after sending.

    Attributes:
        connection: the authenticated connection to send over; None while there is none. ``use`` sets it.
    """

    def __init__(self, buffer: Buffer, clock: Clock, emptied: Callable[[], None]) -> None:
        self._buffer = buffer
        self._emptied = emptied
        self._log = RetryLog(clock)
        self._backoff = Backoff(_FIRST_RETRY_SECONDS, _MAX_RETRY_SECONDS)
        # A delay of 0 collects the events that are published in the same turn of the reactor.
        self._sending = SingleFlight(
            self._send_batches,
            clock,
            spawn,
            backoff=self._backoff,
            delay=0,
            transient=(_BatchNotAccepted,),
            resets_backoff=False,
        )
        self.connection: GatewayConnection | None = None
        self._awaited: tuple[GatewayConnection, PendingEvent] | None = None

    @property
    def waiting_events(self) -> int:
        """The events that wait to be sent or for an answer."""
        return len(self._buffer)

    def use(self, connection: GatewayConnection) -> None:
        """Send over a new connection, beginning with the oldest event that is not acknowledged."""
        self.connection = connection
        self._backoff.reset()
        if self._buffer.is_ready:
            self._sending.request(skip_backoff=True)

    def wake(self) -> None:
        """Start sending in the next turn of the reactor if there is a connection and an event that may be sent."""
        if self.connection is not None and self._buffer.is_ready:
            self._sending.request()

    async def _send_batches(self) -> None:
        while (connection := self.connection) is not None and (batch := self._buffer.next_batch()):
            outcomes = await self._send(connection, batch)
            self._buffer.finish_batch(batch, outcomes)
            connection.is_proven = connection.is_proven or any(outcome is not None for outcome in outcomes)
            if None not in outcomes:
                self._backoff.reset()
                continue
            self._awaited = (connection, batch[outcomes.index(None)])
            if self.connection is connection:
                raise _BatchNotAccepted
        if not len(self._buffer):
            self._emptied()

    def _misses_refused_event(self, connection: GatewayConnection, first: PendingEvent) -> bool:
        """Return whether a connection waits for a numbered event that is not kept any more.

        After a transient refusal, the gateway takes no later event of the source over the same connection until that
        event is sent again. It may have been refused in favor of a newer one.
        """
        if self._awaited is None or self._awaited[0] is not connection:
            return False
        awaited = self._awaited[1]
        self._awaited = None
        return awaited is not first and awaited.source_seq is not None

    async def _send(self, connection: GatewayConnection, batch: Sequence[PendingEvent]) -> Sequence[SendOutcome]:
        if self._misses_refused_event(connection, batch[0]):
            connection.abort("an event that the gateway waits for is no longer kept")
            return [None] * len(batch)
        try:
            answers = await _publish(connection, batch)
        except Refusal as refusal:
            return self._outcomes_of_refused_batch(connection, batch, refusal)
        except Exception as error:
            connection.abort(f"its answer cannot be decoded ({type(error).__name__}); is it a gateway?")
            return [None] * len(batch)
        self._note_transient(answers)
        if any(isinstance(answer, Refusal) and answer.code in _LINK_ENDED for answer in answers):
            connection.abort("the gateway takes no more events over it")
        return [None if isinstance(answer, Refusal) and answer.code in _TRANSIENT else answer for answer in answers]

    def _note_transient(self, answers: Sequence[PublishResult | Refusal]) -> None:
        """Log why events are sent again: no other log line says why they wait."""
        for answer in answers:
            # Without a connection, that is what is logged.
            if isinstance(answer, Refusal) and answer.code in _BUSY and self.connection is not None:
                self._log.failed(f"the gateway does not take events now: {answer.message}; they are sent again", None)
                return

    def _outcomes_of_refused_batch(
        self, connection: GatewayConnection, batch: Sequence[PendingEvent], refusal: Refusal
    ) -> Sequence[SendOutcome]:
        if refusal.code in _LINK_ENDED:
            connection.abort(f"the gateway takes no more events over it: {refusal.message}")
        if refusal.code in _TRANSIENT:
            self._note_transient([refusal])
            return [None] * len(batch)
        if batch[0].send_alone:
            return [refusal]
        # One of the events made the gateway refuse the whole batch. Sent one by one, only that one is refused.
        for event in batch:
            event.send_alone = True
        return [None] * len(batch)


async def _publish(connection: GatewayConnection, batch: Sequence[PendingEvent]) -> list[PublishResult | Refusal]:
    first = batch[0]
    if first.scope is not None:
        return [await send_state(connection, first)]
    if first.is_outcome:
        return [await send_outcome(connection, first)]
    return await (_publish_event(connection, first) if first.send_alone else _publish_batch(connection, batch))


async def _publish_batch(connection: GatewayConnection, batch: Sequence[PendingEvent]) -> list[PublishResult | Refusal]:
    answer = await connection.call(PublishBatch, events=b"[" + b",".join([event.encode() for event in batch]) + b"]")
    # Not decode_json: its Refusal would be taken for the gateway's.
    results = msgspec.json.decode(answer["results"], type=list[int | _EventError])
    return [
        PublishResult(answer["epoch"], result, event.fields["event_id"])
        if isinstance(result, int)
        else refusal_of(result.code.encode(), result.message)
        for event, result in zip(batch, results, strict=True)
    ]


async def _publish_event(connection: GatewayConnection, event: PendingEvent) -> list[PublishResult | Refusal]:
    number = {} if event.source_seq is None else {"source_seq": event.source_seq}
    answer = await connection.call(PublishEvent, **event.fields, **number, payload=event.payload)
    return [PublishResult(answer["epoch"], answer["seq"], answer["event_id"])]
