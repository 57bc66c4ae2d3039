"""MemoryCommands: commands in the memory of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from callcenter_ws.broker.command_table import CommandTable
from callcenter_ws.events.commands import CommandKey, CommandRecord


class MemoryCommands:
    """Implements ``CommandStore`` with a CommandTable. What it holds ends with the process."""

    def __init__(self) -> None:
        self.table = CommandTable()
        self._listeners: list[Callable[[str, str, str], None]] = []

    async def accept(self, record: CommandRecord) -> CommandRecord | None:
        """Add a command; see ``interfaces.CommandStore``, as for all methods."""
        known = self.table.accept(record)
        self.table.take_changed()
        if known is None:
            self._announce(record)
        return known

    async def dispatch(self, key: CommandKey, now_ms: int) -> CommandRecord | None:
        """Record that a command is about to be sent to its source."""
        dispatched = self.table.dispatch(key, now_ms)
        self.table.take_changed()
        return dispatched

    async def command(self, key: CommandKey) -> CommandRecord | None:
        """Return a command."""
        return self.table.get(key)

    async def waiting(self, source_scope: str, source: str, tenants: Sequence[str]) -> Sequence[CommandRecord]:
        """Return the commands of a source that are ``accepted``."""
        return self.table.waiting(source_scope, source, tenants)

    async def overdue(self, before_ms: int, limit: int) -> Sequence[CommandRecord]:
        """Return open commands whose deadline has passed."""
        return self.table.overdue(before_ms, limit)

    def listen(self, accepted: Callable[[str, str, str], None]) -> None:
        """Call ``accepted`` after each acceptance."""
        self._listeners.append(accepted)

    def _announce(self, record: CommandRecord) -> None:
        for accepted in self._listeners:
            accepted(record.key.tenant_id, record.source_scope, record.source)
