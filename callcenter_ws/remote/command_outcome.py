"""The outcome of a command as the sender has it: one entry of the buffer and of the spool, in order with the events."""

from __future__ import annotations

import msgspec
from twisted.logger import Logger

from callcenter_ws.amp.commands import CommandOutcome as SendOutcome
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import (
    MAX_DATA_BYTES,
    MAX_DATA_CONTAINERS,
    MAX_MESSAGE_LENGTH,
    CommandKey,
    CommandOutcome,
    CommandState,
    OutcomeCode,
)
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.gateway_connection import GatewayConnection
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.runtime.json import decode_json, encode_json

_log = Logger()


class _StoredOutcome(msgspec.Struct, omit_defaults=True):
    """A CommandOutcome as the spool has it."""

    state: str
    code: str | None = None
    message: str | None = None
    data: str | None = None


_decode = msgspec.json.Decoder(_StoredOutcome).decode


def failed(code: OutcomeCode, message: str) -> CommandOutcome:
    """Return the outcome of a command that was not carried out; ``message`` is made one line of limited length."""
    text = "".join(character if character.isprintable() else " " for character in message)
    return CommandOutcome(state=CommandState.FAILED, code=code, message=text[:MAX_MESSAGE_LENGTH] or None)


def done(data: object = None) -> CommandOutcome:
    """Return the outcome of a command that was carried out.

    Args:
        data: a JSON object; None: nothing is told about it.

    Raises:
        ValueError: ``data`` is not a JSON object, or too large.
    """
    if data is None:
        return CommandOutcome(state=CommandState.DONE)
    if not isinstance(data, dict):
        raise ValueError(f"expected a dict or None, not {type(data).__name__}")
    try:
        text = encode_json(data)
        decode_json(text, MAX_DATA_CONTAINERS)
    except Refusal as refusal:
        raise ValueError(refusal.message) from None
    except (TypeError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise ValueError(f"it cannot be encoded as JSON ({type(error).__name__})") from None
    if len(text) > MAX_DATA_BYTES:
        raise ValueError(f"{len(text)} bytes of JSON, the limit is {MAX_DATA_BYTES}")
    return CommandOutcome(state=CommandState.DONE, data=text)


def encode_outcome(key: CommandKey, name: str, outcome: CommandOutcome, timestamp: str) -> PendingEvent:
    """Return the entry of an outcome."""
    data = None if outcome.data is None else outcome.data.decode()
    stored = encode_json(_StoredOutcome(outcome.state.value, outcome.code, outcome.message, data))
    return PendingEvent.of_outcome(key.tenant_id, name, key.user_id, key.command_id, stored, timestamp)


def key_of(event: PendingEvent) -> CommandKey:
    """Return the command whose outcome an entry is."""
    fields = event.fields
    return CommandKey(fields["tenant_id"], fields["user_id"], fields["event_id"])


async def send_outcome(connection: GatewayConnection, event: PendingEvent) -> PublishResult:
    """Send an outcome; its position is not told.

    Raises:
        Refusal: that of the gateway.
    """
    outcome = _decode(event.payload)
    key = key_of(event)
    answer = await connection.call(
        SendOutcome,
        tenant_id=key.tenant_id,
        user_id=key.user_id,
        command_id=key.command_id,
        source_seq=event.source_seq,
        state=outcome.state,
        code=outcome.code,
        message=outcome.message,
        data=None if outcome.data is None else outcome.data.encode(),
        timestamp=event.fields["timestamp"],
    )
    if not answer["accepted"]:
        _log.info(
            "the gateway dropped the outcome of {type} {command_id} of {tenant_id}: it had one already",
            type=event.fields["type"],
            command_id=key.command_id,
            tenant_id=key.tenant_id,
        )
    return PublishResult("", 0, key.command_id)
