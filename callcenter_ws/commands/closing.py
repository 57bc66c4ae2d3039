"""CommandCloser: closes commands, together with appending the events that tell it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from msgspec.structs import replace

from callcenter_ws.commands.audit import CommandAudit
from callcenter_ws.commands.counters import CommandCounters
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import (
    COMMANDS,
    CommandClosing,
    CommandOutcome,
    CommandRecord,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.events.event import Event, Origin, StoreCondition, make_event
from callcenter_ws.events.principal import Role
from callcenter_ws.events.source_rules import SourceNumber
from callcenter_ws.interfaces import Broker, PublishResult
from callcenter_ws.runtime.clock import Clock, unix_ms
from callcenter_ws.runtime.json import JsonObject, decode_trusted_json

_DIGEST_LENGTH = 40

TIMED_OUT = "the source did not take this command in time; nothing was done"
NOT_KNOWN = "the source did not answer in time; it is not known whether this was done: look at the call or the agent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """One command that is to be closed.

    Attributes:
        outcome: how it ended.
        source: of the outcome; None: the gateway closes it.
        number: of the outcome within its source; None: it has none.
        state: close it only in this state; None: in any open one.
        effect: the event that carries the command out; None: there is none. It closes the command, so that it is
            appended only if the command is open.
        timestamp: when it ended (RFC 3339); None: now.
    """

    record: CommandRecord
    outcome: CommandOutcome
    source: str | None = None
    number: SourceNumber | None = None
    state: CommandState | None = None
    effect: Event | None = None
    timestamp: str | None = None


def failed(code: OutcomeCode, message: str) -> CommandOutcome:
    """Return the outcome of a command that failed; the message is for the person who issued it."""
    return CommandOutcome(state=CommandState.FAILED, code=code, message=message)


def overdue_closing(record: CommandRecord) -> Closing:
    """Return how a command is closed whose deadline has passed."""
    if record.state is CommandState.ACCEPTED:
        outcome = failed(OutcomeCode.TIMEOUT, TIMED_OUT)
    else:
        outcome = failed(OutcomeCode.OUTCOME_UNKNOWN, NOT_KNOWN)
    # Another node may have dispatched it meanwhile: then it is looked at again.
    return Closing(record=record, outcome=outcome, state=record.state)


class CommandCloser:
    """Closes commands. Of several that close one, the first one that the store appends wins."""

    def __init__(self, broker: Broker, clock: Clock, counters: CommandCounters, audit: CommandAudit) -> None:
        self._broker = broker
        self._clock = clock
        self._counters = counters
        self.audit = audit

    async def close(self, closing: Closing) -> bool:
        """Close a command; return whether it was closed now.

        The events are given to the store within the call, so that those of one source keep their order.

        Raises:
            Refusal: of the effect, or of the store: nothing was closed.
        """
        events, now_ms = self.events_of(closing)
        outcomes = await self._broker.publish(events)
        return self._closed(closing, outcomes, now_ms)

    async def close_all(self, closings: Sequence[Closing]) -> list[bool | Refusal]:
        """Close commands without effect in one call of the store.

        Returns:
            For each of them, whether it was closed now, or why the store refused that.
        """
        events: list[Event] = []
        begins: list[tuple[int, int]] = []
        for closing in closings:
            of_one, now_ms = self.events_of(closing)
            begins.append((len(events), now_ms))
            events += of_one
        outcomes = await self._broker.publish(events) if events else ()
        closed: list[bool | Refusal] = []
        for closing, (begin, now_ms) in zip(closings, begins, strict=True):
            try:
                closed.append(self._closed(closing, outcomes[begin : begin + 2], now_ms))
            except Refusal as refusal:
                closed.append(refusal.copy())
        return closed

    def events_of(self, closing: Closing) -> tuple[list[Event], int]:
        """Return the events that close a command, and the time at which they close it, in Unix milliseconds."""
        record, outcome = closing.record, closing.outcome
        now_ms = unix_ms(self._clock)
        told = self._event(closing, f"command.{outcome.state}", "cmd", _told_fields(record, outcome))
        told.user_id = record.key.user_id
        told.persist = record.role is not Role.SERVICE
        told.source_rule = closing.number
        executed = self._event(closing, "command.executed", "cmdx", _executed_fields(record, outcome, now_ms))
        first, *others = events = [told, executed] if closing.effect is None else [closing.effect, told, executed]
        closes = CommandClosing(record.key, outcome, now_ms, closing.source, closing.state)
        first.condition = StoreCondition(closes=closes)
        for event in others:
            event.condition = StoreCondition(follows=True)
        return events, now_ms

    def _event(self, closing: Closing, type_: str, prefix: str, fields: JsonObject) -> Event:
        record = closing.record
        event = make_event(
            tenant_id=record.key.tenant_id,
            type_=type_,
            payload={name: value for name, value in fields.items() if value is not None},
            event_id=event_id_of(prefix, record),
            user_id=record.key.user_id if type_ != "command.executed" else None,
            now=self._clock.time(),
            received_at=self._clock.monotonic(),
            timestamp=closing.timestamp,
            origin=Origin.GATEWAY,
        )
        event.source = record.source or None
        return event

    def _closed(self, closing: Closing, outcomes: Sequence[PublishResult | Refusal], now_ms: int) -> bool:
        # The store appends the others with the first one, or none.
        closes = outcomes[0]
        if isinstance(closes, Refusal):
            if closes.code is ErrorCode.UNKNOWN_COMMAND:
                return False
            raise closes.copy()
        if closes.duplicate:
            return False
        self._count(closing, now_ms)
        return True

    def _count(self, closing: Closing, now_ms: int) -> None:
        record, outcome = closing.record, closing.outcome
        counters = self._counters
        key = (outcome.state.value, outcome.code or "")
        counters.closed[key] = counters.closed.get(key, 0) + 1
        counters.seconds.observe(max(0, now_ms - record.accepted_ms) / 1_000)
        self.audit.command_closed(
            replace(
                record,
                state=outcome.state,
                closed_ms=now_ms,
                code=outcome.code,
                message=outcome.message,
                data=outcome.data,
            )
        )


def event_id_of(prefix: str, record: CommandRecord) -> str:
    """Return the id of an event of a command, the same at each attempt.

    It is the same at all nodes whose clocks need no correction (``RedisClient.clock_error``). Another command with the
    same key, after the first one is forgotten, has other events.
    """
    origin = msgspec.json.encode((record.key, record.accepted_ms))
    return f"{prefix}-{hashlib.sha256(origin).hexdigest()[:_DIGEST_LENGTH]}"


def _told_fields(record: CommandRecord, outcome: CommandOutcome) -> JsonObject:
    return {
        "command_id": record.key.command_id,
        "name": record.name,
        "source": record.source or None,
        "code": outcome.code,
        "message": outcome.message,
        "data": None if outcome.data is None else decode_trusted_json(outcome.data),
    }


def _executed_fields(record: CommandRecord, outcome: CommandOutcome, now_ms: int) -> JsonObject:
    fields = decode_trusted_json(record.payload)
    subject = COMMANDS[record.name].subject if record.name in COMMANDS else None
    return {
        "command_id": record.key.command_id,
        "name": record.name,
        "user_id": record.key.user_id,
        "role": record.role,
        "source": record.source or None,
        "queue_name": record.queue_name,
        "call_id": fields.get("call_id"),
        "session_id": fields.get("session_id"),
        "subject_user_id": fields.get("user_id", record.key.user_id) if subject == "user_id" else None,
        "outcome": outcome.state,
        "code": outcome.code,
        "duration": max(0, now_ms - record.accepted_ms) / 1_000,
    }
