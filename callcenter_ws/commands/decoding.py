"""Decodes what a client asks for: the name, the identifier and the declared payload of a command."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from callcenter_ws.commands.policy import CommandPolicy
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import COMMANDS, CommandPayload, CommandRecord, CommandType
from callcenter_ws.events.identifiers import identifier_problem
from callcenter_ws.events.mistakes import join_mistakes, payload_mistakes, payload_path
from callcenter_ws.events.principal import Principal
from callcenter_ws.runtime.json import JsonObject
from callcenter_ws.runtime.suggestions import did_you_mean

MAX_FIELDS = 32
"""Fields of a request; no command has so many."""

_HEAD = ("name", "command_id", "expires_at")

_encode = msgspec.json.Encoder(order=None).encode


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """What a client asks for.

    Attributes:
        fields: the declared payload; ``payload``: the same as JSON text, equal for equal payloads.
        expires_at: until when it may be accepted (Unix seconds); None: always. A repetition is answered later, too.
    """

    type: CommandType
    command_id: str
    fields: CommandPayload
    payload: bytes
    expires_at: float | None = None

    def text(self, field: str) -> str | None:
        """Return the value of a text field; None if it is absent, or not one of this command."""
        return text_of(self.fields, field)


def text_of(fields: CommandPayload, field: str) -> str | None:
    """Return the value of a text field; None if it is absent, or not one of this command."""
    value: Any = getattr(fields, field, None)  # the declared fields have several types
    return value if isinstance(value, str) else None


def decode_request(
    fields: JsonObject, policy: CommandPolicy, tenant_id: str, new_id: Callable[[], str]
) -> CommandRequest:
    """Return what a client asks for, checked by its declaration and by the settings.

    Args:
        fields: ``name``, the fields of that command, and perhaps ``command_id`` and ``expires_at``.
        new_id: makes an identifier for a command without one.

    Raises:
        Refusal: ``invalid_message`` with everything that is wrong.
    """
    if len(fields) > MAX_FIELDS:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"payload: expected an object of at most {MAX_FIELDS} fields")
    name = fields.get("name")
    if not isinstance(name, str):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "payload.name: expected the name of a command")
    type_ = COMMANDS.get(name)
    if type_ is None:
        meant = did_you_mean(name, COMMANDS)
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"payload.name: there is no command {name[:64]!r}{meant}")
    command_id = _command_id(fields.get("command_id"), new_id)
    declared = {key: value for key, value in fields.items() if key not in _HEAD}
    decoded = _decode(declared, type_)
    _check_choices(decoded, type_, policy, tenant_id)
    return CommandRequest(type_, command_id, decoded, _encode(decoded), _instant(fields.get("expires_at")))


def stored_request(record: CommandRecord) -> tuple[Principal, CommandType, CommandPayload]:
    """Return the asker of a stored command, its declaration and its payload.

    Raises:
        Refusal: ``unsupported``: this release does not know the command; another node may.
    """
    type_ = COMMANDS.get(record.name)
    if type_ is None:
        raise Refusal(ErrorCode.UNSUPPORTED, "this release of the gateway does not know the command")
    asker = Principal(
        record.key.tenant_id,
        record.key.user_id,
        record.role,
        queues=None if record.queues is None else frozenset(record.queues),
        extension=record.extension,
    )
    return asker, type_, msgspec.json.decode(record.payload, type=type_.payload)


def _command_id(value: object, new_id: Callable[[], str]) -> str:
    if value is None:
        return new_id()
    problem = identifier_problem(value) if isinstance(value, str) else "expected a string"
    if problem:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"payload.command_id: {problem}")
    return str(value)


def _instant(value: object) -> float | None:
    """Return the Unix seconds of an RFC 3339 text with an offset from UTC; None for None."""
    if value is None:
        return None
    try:
        instant = msgspec.convert(value, datetime)
    except msgspec.ValidationError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "payload.expires_at: expected an RFC 3339 text with an offset")
    return instant.timestamp()


def _decode(fields: Mapping[str, object], type_: CommandType) -> CommandPayload:
    try:
        return msgspec.convert(fields, type_.payload)
    except msgspec.ValidationError as error:
        first = payload_path(str(error))
    known = type_.payload.__struct_fields__
    unknown = [
        f"payload: unknown field {name[:64]!r}{did_you_mean(name, known)}" for name in fields if name not in known
    ]
    raise Refusal(
        ErrorCode.INVALID_MESSAGE, join_mistakes([*unknown, *payload_mistakes(fields, type_.payload)]) or first
    )


def _check_choices(fields: CommandPayload, type_: CommandType, policy: CommandPolicy, tenant_id: str) -> None:
    """Refuse what the settings do not list."""
    destination, reason = text_of(fields, "destination"), text_of(fields, "reason")
    choices = policy.choices_of(tenant_id)
    if destination is not None and not policy.destination.fullmatch(destination):
        text = "payload.destination: expected digits, * and #, perhaps after a +, or what the settings allow"
        raise Refusal(ErrorCode.INVALID_MESSAGE, text)
    if reason is not None and type_.subject == "user_id" and choices.pause_reasons:
        _check_listed("reason", reason, choices.pause_reasons)
    if type_.name == "call.disposition":
        _check_listed("code", text_of(fields, "code") or "", [one.code for one in choices.dispositions])


def _check_listed(field: str, value: str, listed: Sequence[str]) -> None:
    if value not in listed:
        text = f"expected one of: {', '.join(listed[:20])}" if listed else "the settings list none"
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"payload.{field}: {text}"[:500])
