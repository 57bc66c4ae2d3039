"""StagedCommands: closes commands in the transaction that has the events which say so."""

from __future__ import annotations

from dataclasses import dataclass

from callcenter_ws.broker.command_table import CommandTable, closed_record
from callcenter_ws.broker.sqlite.pending_writes import PendingWrites
from callcenter_ws.errors import Refusal
from callcenter_ws.events.commands import CommandClosing, CommandKey, CommandRecord
from callcenter_ws.events.event import Event


@dataclass(frozen=True, slots=True)
class _StagedClosing:
    """A command that the transaction being written closes.

    Attributes:
        before, after: the command.
        seq: the position of the event that closes it.
    """

    before: CommandRecord
    after: CommandRecord
    seq: int


class StagedCommands:
    """The commands that the transaction being made or written closes, and those of failed ones.

    A command is closed in memory when its event is staged. If the transaction fails, it is open again, and in doubt:
    the transaction may have been committed. That is known when the stream of its tenant has been loaded again, and
    until then no event of the tenant is staged.

    Args:
        table: the commands in memory.
        writes: what is written with the next transaction, which has the events that are staged.
    """

    def __init__(self, table: CommandTable, writes: PendingWrites) -> None:
        self.table = table
        self._writes = writes
        self._staged: dict[CommandKey, _StagedClosing] = {}
        self._doubtful: dict[str, dict[CommandKey, _StagedClosing]] = {}

    def refusal_of(self, event: Event, *, follows: bool) -> Refusal | None:
        """Return why the ``condition`` of an event refuses it; see ``CommandTable.refusal_of``."""
        return self.table.refusal_of(event, follows=follows)

    def close(self, closing: CommandClosing, seq: int) -> None:
        """Close a command with an event that ``refusal_of`` does not refuse."""
        before = self.table.get(closing.key)
        if before is None:
            return
        after = closed_record(before, closing)
        self._staged[before.key] = _StagedClosing(before, after, seq)
        self._put(before.key, after)

    def is_staged(self, key: CommandKey) -> bool:
        """Return whether a command is closed in memory, but may not be in the file."""
        return key in self._staged

    def is_doubtful(self, key: CommandKey) -> bool:
        """Return whether a command may be closed in the file, but is not in memory."""
        return key in self._doubtful.get(key.tenant_id, ())

    def committed(self) -> None:
        """Note that what was staged is in the file."""
        self._staged.clear()

    def failed(self) -> None:
        """Open the staged commands again: it is not known whether they are closed in the file."""
        staged, self._staged = self._staged, {}
        for key, closing in staged.items():
            self._doubtful.setdefault(key.tenant_id, {})[key] = closing
            self._put(key, closing.before)

    def loaded(self, tenant_id: str, head: int) -> None:
        """Close those commands in doubt whose events turn out to be in the file.

        Args:
            head: the position of the last event in the file.
        """
        for key, closing in self._doubtful.pop(tenant_id, {}).items():
            if closing.seq <= head and self.table.get(key) is not None:
                self._put(key, closing.after)

    def _put(self, key: CommandKey, record: CommandRecord) -> None:
        self.table.put(key, record)
        self.write_changed()

    def write_changed(self) -> None:
        """Write what was changed in memory with the next transaction."""
        for key in self.table.take_changed():
            self._writes.commands[key] = self.table.get(key)
