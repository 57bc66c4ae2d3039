"""SourceOutcomes: takes the outcomes of commands from the sources that carry them out, in the order of their events."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.broker.source_marks import out_of_order
from callcenter_ws.commands.closing import Closing, CommandCloser
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.commands.dispatching import CommandDispatcher
from callcenter_ws.commands.refusals import printable
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import (
    MAX_DATA_BYTES,
    MAX_DATA_CONTAINERS,
    CommandKey,
    CommandOutcome,
    CommandRecord,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.events.event import void_event
from callcenter_ws.events.source_rules import MAX_NUMBER, SourceNumber
from callcenter_ws.interfaces import Broker, CommandStore
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import decode_json, encode_json
from callcenter_ws.sources.link import SourceLink
from callcenter_ws.sources.publishing import TRANSIENT


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldOutcome:
    """The arguments of ``CommandOutcome``, as the source sent them."""

    key: CommandKey
    source_seq: int | None
    state: str
    code: str | None
    message: str | None
    data: bytes | None
    timestamp: str | None


class SourceOutcomes:
    """Closes commands with the outcomes of their sources.

    An outcome is numbered as the events of its source. It is given to the store in the order in which it was received:
    nothing else of the connection may be passed to the store between ``find`` and the begin of ``take``.
    """

    def __init__(
        self,
        broker: Broker,
        closer: CommandCloser,
        clock: Clock,
        dispatcher: CommandDispatcher,
        counters: CommandCounters,
    ) -> None:
        self._broker = broker
        self._store: CommandStore = broker.commands
        self._closer = closer
        self._clock = clock
        self._dispatcher = dispatcher
        self._counters = counters

    async def find(self, link: SourceLink, told: ToldOutcome) -> CommandRecord | None:
        """Return the command of an outcome; None if there is none. Most are known here, and take no time.

        Raises:
            Refusal: ``unavailable``: the outcome, and all that the source has sent after it, must be sent again.
        """
        known = self._dispatcher.sent_over(link, told.key)
        if known is not None:
            return known
        try:
            return await self._store.command(told.key)
        except Refusal:
            self._send_again(link, told)
            raise

    def _send_again(self, link: SourceLink, told: ToldOutcome) -> None:
        if told.source_seq is not None and told.key.tenant_id in link.tenants:
            order = link.order(told.key.tenant_id)
            if order.begin(told.source_seq) is not None:
                order.end(told.source_seq, refused=True)

    async def take(self, link: SourceLink, told: ToldOutcome, record: CommandRecord | None) -> bool:
        """Close a command; return whether it was closed now.

        An outcome for a command that is closed, forgotten or another source's is counted and dropped. Its number counts
        as used, and so does that of an outcome that is not valid.

        Raises:
            Refusal: ``invalid_event``, ``forbidden``, or of the store.
        """
        if told.key.tenant_id not in link.tenants:
            raise Refusal(ErrorCode.FORBIDDEN, "tenant_id: not among the tenants of the source")
        seq = told.source_seq
        if seq is None:
            return await self._close(link, told, record, None)
        if not 1 <= seq <= MAX_NUMBER:
            raise Refusal(ErrorCode.INVALID_EVENT, f"source_seq: expected an integer of 1 to {MAX_NUMBER}")
        order = link.order(told.key.tenant_id)
        after = order.begin(seq)
        if after is None:
            raise out_of_order()
        is_stored = False
        try:
            number = SourceNumber(link.record.generation, seq, after, link.record.lease)
            is_closed = await self._close(link, told, record, number)
            is_stored = True
            return is_closed
        except Refusal as refusal:
            is_stored = refusal.code not in TRANSIENT
            raise
        finally:
            order.end(seq, refused=not is_stored)

    async def _close(
        self, link: SourceLink, told: ToldOutcome, record: CommandRecord | None, number: SourceNumber | None
    ) -> bool:
        try:
            outcome = outcome_of(told)
            closing = None
            if record is not None and (record.source_scope, record.source) == link.key:
                closing = Closing(
                    record=record,
                    outcome=outcome,
                    source=link.record.name,
                    number=number,
                    timestamp=told.timestamp,
                )
                # Its timestamp is checked.
                self._closer.events_of(closing)
        except Refusal:
            await self._store_number(link, told, number)
            raise
        if closing is None:
            await self._store_number(link, told, number)
        elif await self._closer.close(closing):
            self._dispatcher.closed(link, told.key)
            return True
        self._counters.late_outcomes += 1
        return False

    async def _store_number(self, link: SourceLink, told: ToldOutcome, number: SourceNumber | None) -> None:
        """Store that a number is used, so that what follows it is not held up."""
        if number is None:
            return
        event = void_event(told.key.tenant_id, link.record.name, number, self._clock.monotonic())
        (outcome,) = await self._broker.publish([event])
        if isinstance(outcome, Refusal):
            raise outcome.copy()


def outcome_of(told: ToldOutcome) -> CommandOutcome:
    """Return an outcome as the store keeps it.

    Raises:
        Refusal: ``invalid_event`` with the name of the argument, ``too_large``.
    """
    message = None if told.message is None else printable(told.message) or None
    data = None if told.data is None else _checked_data(told.data)
    if told.state == CommandState.DONE:
        if told.code is not None:
            raise Refusal(ErrorCode.INVALID_EVENT, "code: only with the state failed")
        return CommandOutcome(state=CommandState.DONE, message=message, data=data)
    if told.state != CommandState.FAILED:
        raise Refusal(ErrorCode.INVALID_EVENT, "state: expected done or failed")
    try:
        code = OutcomeCode.FAILED if told.code is None else OutcomeCode(told.code)
    except ValueError:
        text = f"code: expected one of {', '.join(OutcomeCode)}"
        raise Refusal(ErrorCode.INVALID_EVENT, text) from None
    return CommandOutcome(state=CommandState.FAILED, code=code, message=message, data=data)


def _checked_data(text: bytes) -> bytes | None:
    if len(text) > MAX_DATA_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"data: {len(text)} bytes, the limit is {MAX_DATA_BYTES}")
    try:
        value = decode_json(text, MAX_DATA_CONTAINERS)
    except Refusal as refusal:
        raise Refusal(refusal.code, f"data: {refusal.message}") from None
    encoded = encode_json(value)
    if len(encoded) > MAX_DATA_BYTES:
        # Numbers may be longer than they were sent: 1e15 is 1000000000000000.0.
        raise Refusal(ErrorCode.TOO_LARGE, f"data: {len(encoded)} bytes when decoded, the limit is {MAX_DATA_BYTES}")
    return None if value is None else encoded
