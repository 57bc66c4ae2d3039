"""Encodes commands for the scripts, and decodes what Redis holds of them (``commands.lua``).

Times in Redis are by its clock, so that a deadline is the same instant at each node, whatever their clocks are.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from callcenter_ws.events.commands import CommandClosing, CommandKey, CommandRecord, CommandState, OutcomeCode
from callcenter_ws.runtime.json import encode_json


class _Closed(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of a command."""

    state: CommandState
    closed_ms: int
    code: OutcomeCode | None = None
    message: str | None = None
    data: bytes | None = None


_decode_record = msgspec.json.Decoder(CommandRecord).decode
_decode_closed = msgspec.json.Decoder(_Closed).decode

_OPEN = {state.value.encode(): state for state in CommandState if state.is_open}


def encode_key(key: CommandKey) -> str:
    """Return the field of a command among those of its tenant."""
    return encode_json((key.user_id, key.command_id)).decode()


def encode_record(record: CommandRecord, clock_error_ms: int) -> bytes:
    """Return a record that is accepted.

    Args:
        clock_error_ms: milliseconds by which Redis's clock is ahead.
    """
    return encode_json(_shifted(record, clock_error_ms))


def decode_command(record: bytes, state: bytes, clock_error_ms: int) -> CommandRecord:
    """Return a command from its record and its state."""
    accepted = _decode_record(record)
    if state in _OPEN:
        return replace(_shifted(accepted, -clock_error_ms), state=_OPEN[state])
    closed = _decode_closed(state)
    command = replace(
        accepted,
        state=closed.state,
        closed_ms=closed.closed_ms,
        code=closed.code,
        message=closed.message,
        data=closed.data,
    )
    return _shifted(command, -clock_error_ms)


def closing_facts(tenant_id: str, closing: CommandClosing, clock_error_ms: int) -> dict[str, object]:
    """Return what ``publish.lua`` needs to close a command with an event of a tenant."""
    outcome = closing.outcome
    closed = _Closed(
        state=outcome.state,
        closed_ms=closing.closed_ms + clock_error_ms,
        code=outcome.code,
        message=outcome.message,
        data=outcome.data,
    )
    # There is no command with an empty field: the event of another tenant is refused.
    field = encode_key(closing.key) if closing.key.tenant_id == tenant_id else ""
    facts = {"field": field, "source": closing.source, "state": closing.state, "outcome": encode_json(closed).decode()}
    return {name: value for name, value in facts.items() if value is not None}


def _shifted(record: CommandRecord, milliseconds: int) -> CommandRecord:
    """Return a command with times of another clock."""
    if not milliseconds:
        return record
    return replace(
        record,
        accepted_ms=record.accepted_ms + milliseconds,
        deadline_ms=record.deadline_ms + milliseconds,
        closed_ms=record.closed_ms and record.closed_ms + milliseconds,
    )
