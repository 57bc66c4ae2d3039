"""The lines of the audit log about commands: accepted, refused, closed.

They say what a command was about, and not what a person has written with it: ``note`` and ``reason`` are left out.
"""

from __future__ import annotations

from collections.abc import Mapping

from callcenter_ws.errors import ErrorCode
from callcenter_ws.events.audit import AuditAction, AuditValue
from callcenter_ws.events.commands import COMMANDS, CommandRecord
from callcenter_ws.events.principal import Principal
from callcenter_ws.interfaces import Audit
from callcenter_ws.runtime.json import decode_trusted_json

SUBJECTS = {
    **{name: name for name in ("call_id", "session_id", "queue_name", "destination", "state", "extension", "mode")},
    **{name: name for name in ("penalty", "to_agent_id")},
    # Each line has fields of these names already.
    "user_id": "subject_user_id",
    "code": "disposition",
    "action": "recording",
}
"""The fields of payloads that are recorded, with their names in a line."""

UNRECORDED = ("note", "reason")
"""Those that are not: texts that a person may have written."""


class CommandAuditLines:
    """Implements ``CommandAudit``: makes the lines of an audit log."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def command_accepted(self, record: CommandRecord) -> None:
        """Record that a command was stored."""
        payload = _subject(decode_trusted_json(record.payload))
        self._audit.record(AuditAction.COMMAND_ACCEPTED, **_command(record), **payload)

    def command_refused(self, asker: Principal, name: str, command_id: str | None, code: ErrorCode) -> None:
        """Record that a command was refused, unless there were too many: those are counted only."""
        if code is ErrorCode.RATE_LIMITED:
            return
        self._audit.record(
            AuditAction.COMMAND_REFUSED,
            name=name if name in COMMANDS else None,
            command_id=command_id,
            tenant_id=asker.tenant_id,
            user_id=asker.user_id,
            role=asker.role.value,
            code=code.value,
        )

    def command_closed(self, record: CommandRecord) -> None:
        """Record the outcome of a command."""
        self._audit.record(
            AuditAction.COMMAND_CLOSED,
            **_command(record),
            outcome=record.state.value,
            code=None if record.code is None else record.code.value,
            seconds=max(0, record.closed_ms - record.accepted_ms) / 1_000,
        )


def _command(record: CommandRecord) -> dict[str, AuditValue]:
    return {
        "name": record.name,
        "command_id": record.key.command_id,
        "tenant_id": record.key.tenant_id,
        "user_id": record.key.user_id,
        "role": record.role.value,
        "source": record.source or None,
    }


def _subject(payload: object) -> dict[str, AuditValue]:
    if not isinstance(payload, Mapping):
        return {}
    found: dict[str, AuditValue] = {}
    for field, name in SUBJECTS.items():
        value = payload.get(field)
        found[name] = value if isinstance(value, str | int) else None
    return found
