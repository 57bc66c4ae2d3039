"""What the audit log records (``docs/operations.rst``, "The audit log")."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

AuditValue = str | int | float | bool | None | Sequence[str]
"""The value of a field of a line; a field with None is left out."""


class AuditAction(StrEnum):
    """What was done: ``action`` of a line."""

    COMMAND_ACCEPTED = "command.accepted"
    COMMAND_REFUSED = "command.refused"
    COMMAND_CLOSED = "command.closed"
    SIGNED_IN = "sign_in.accepted"
    SIGN_IN_REFUSED = "sign_in.refused"
    SIGNED_OUT = "sign_in.ended"
    SCREEN_PAIRED = "screen.paired"
    USER_ADDED = "user.added"
    USER_CHANGED = "user.changed"
    USER_REMOVED = "user.removed"
    SESSIONS_ENDED = "sessions.ended"
    USER_DISCONNECTED = "user.disconnected"
    REVOKED = "token.revoked"
    SOURCE_FORGOTTEN = "source.forgotten"
    LINES_LOST = "audit.lost"


class NoAudit:
    """Implements ``interfaces.Audit`` where no audit log is kept."""

    def record(self, action: AuditAction, **fields: AuditValue) -> None:
        """Do nothing."""


NO_AUDIT = NoAudit()
