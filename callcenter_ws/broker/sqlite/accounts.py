"""SqliteAccounts: users, sessions and waiting screens in the store's file.

Only one process uses the file, so all of them are also in memory. A change is made there at once, written with the next
transaction, and undone if that fails.
"""

from __future__ import annotations

from collections.abc import Iterable

from callcenter_ws.broker.account_table import AccountTable, Record
from callcenter_ws.broker.memory_accounts import MemoryAccounts
from callcenter_ws.broker.sqlite.group_commit import GroupCommit
from callcenter_ws.broker.sqlite.reading import CLOSED
from callcenter_ws.errors import ErrorCode, Refusal


class SqliteAccounts(MemoryAccounts):
    """Implements ``AccountStore`` in the store's file, from ``open`` to ``close``."""

    def __init__(self) -> None:
        super().__init__()
        self._group_commit: GroupCommit | None = None

    def open(self, records: Iterable[Record], group_commit: GroupCommit) -> None:
        """Continue with the records of the file."""
        self.table = AccountTable()
        self.table.restore(records)
        self._group_commit = group_commit

    def close(self) -> None:
        """Accept no changes any more."""
        self._group_commit = None

    async def _stored(self) -> None:
        """Write the changes of the present call; undo them if that fails.

        Raises:
            Refusal: ``unavailable``: the file cannot be written now.
        """
        changes = self.table.take_changes()
        if not changes:
            return
        commit = self._group_commit
        if commit is None:
            self.table.undo(changes)
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        writes = commit.pending_writes
        for change in changes:
            writes.accounts[change.kind, change.key] = change.after
        try:
            await commit.written()
        except Refusal:
            self.table.undo(changes)
            # The failed writes stay pending, and it is not known whether they were made: write what is valid now.
            for change in changes:
                commit.pending_writes.accounts[change.kind, change.key] = self.table.get(change.kind, change.key)
            raise
