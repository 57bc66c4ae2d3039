"""The interface through which commands are recorded in the audit log."""

from __future__ import annotations

from typing import Protocol

from callcenter_ws.errors import ErrorCode
from callcenter_ws.events.commands import CommandRecord
from callcenter_ws.events.principal import Principal


class CommandAudit(Protocol):
    """Writes one line for each command that is accepted, refused or closed here. Never blocks, never raises."""

    def command_accepted(self, record: CommandRecord) -> None:
        """Record that a command was stored."""

    def command_refused(self, asker: Principal, name: str, command_id: str | None, code: ErrorCode) -> None:
        """Record that a command was refused. ``name`` is that of a declared command, or empty."""

    def command_closed(self, record: CommandRecord) -> None:
        """Record the outcome of a command."""


class NoAudit:
    """Implements ``CommandAudit`` where there is no audit log."""

    def command_accepted(self, record: CommandRecord) -> None:
        """Do nothing."""

    def command_refused(self, asker: Principal, name: str, command_id: str | None, code: ErrorCode) -> None:
        """Do nothing."""

    def command_closed(self, record: CommandRecord) -> None:
        """Do nothing."""
