"""SqliteCommands: commands in the store's file.

Only one process uses the file, so all of them are also in memory. A change is made there at once, written with the next
transaction, and undone if that fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from callcenter_ws.broker.command_table import CommandTable
from callcenter_ws.broker.memory_commands import MemoryCommands
from callcenter_ws.broker.sqlite.cache import Cache
from callcenter_ws.broker.sqlite.group_commit import GroupCommit
from callcenter_ws.broker.sqlite.reading import CLOSED
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandKey, CommandRecord


class SqliteCommands(MemoryCommands):
    """Implements ``CommandStore`` in the store's file, from ``open`` to ``close``."""

    def __init__(self) -> None:
        super().__init__()
        self._group_commit: GroupCommit | None = None
        self._cache: Cache | None = None
        # The commands with a write in progress, and how many of them.
        self._unwritten: dict[CommandKey, int] = {}

    def restore(self, opened: Iterable[CommandRecord], closed: Iterable[tuple[CommandKey, bytes]]) -> None:
        """Continue with the records of the file; see ``CommandTable.restore``."""
        self.table = CommandTable()
        self.table.restore(opened, closed)

    def open(self, cache: Cache, group_commit: GroupCommit) -> None:
        """Accept changes from now on."""
        self._cache, self._group_commit = cache, group_commit

    def close(self) -> None:
        """Answer nothing any more."""
        self._cache = self._group_commit = None

    def forget_expired(self, now: float) -> None:
        """Forget closed commands that are too old.

        Args:
            now: Unix time in seconds.
        """
        if self._group_commit is not None:
            self.table.forget_before(round((now - LIFETIME_SECONDS) * 1_000))
            self._group_commit.commands.write_changed()

    async def accept(self, record: CommandRecord) -> CommandRecord | None:
        """Add a command; see ``interfaces.CommandStore``, as for all methods."""
        commit, key = self._opened(), record.key
        if self.table.get(key) is None:
            commit.check_writable()
        known = self.table.accept(record)
        commit.commands.write_changed()
        if known is not None:
            return await self._settled(commit, key) or known
        try:
            await self._written(commit, key)
        except Refusal:
            added = self.table.get(key)
            # It may be dispatched already, which failed, too.
            if added is not None and added.state.is_open and added.accepted_ms == record.accepted_ms:
                self._undo(commit, key, None)
            raise
        self._announce(record)
        return None

    async def dispatch(self, key: CommandKey, now_ms: int) -> CommandRecord | None:
        """Record that a command is about to be sent to its source."""
        commit = self._opened()
        if self._cache is not None and commit.commands.is_doubtful(key):
            await self._cache.get_loaded(key.tenant_id)
        before = self.table.get(key)
        dispatched = self.table.dispatch(key, now_ms)
        if dispatched is None:
            return None
        commit.commands.write_changed()
        try:
            await self._written(commit, key)
        except Refusal:
            if self.table.get(key) == dispatched:
                self._undo(commit, key, before)
            raise
        return dispatched

    async def command(self, key: CommandKey) -> CommandRecord | None:
        """Return a command."""
        return await self._settled(self._opened(), key)

    async def waiting(self, source_scope: str, source: str, tenants: Sequence[str]) -> Sequence[CommandRecord]:
        """Return the commands of a source that are ``accepted``."""
        self._opened()
        return await super().waiting(source_scope, source, tenants)

    async def overdue(self, before_ms: int, limit: int) -> Sequence[CommandRecord]:
        """Return open commands whose deadline has passed."""
        self._opened()
        return await super().overdue(before_ms, limit)

    def _opened(self) -> GroupCommit:
        if self._group_commit is None:
            raise Refusal(ErrorCode.UNAVAILABLE, CLOSED)
        return self._group_commit

    async def _settled(self, commit: GroupCommit, key: CommandKey) -> CommandRecord | None:
        """Return a command as it is in the file, too."""
        if key in self._unwritten or commit.commands.is_staged(key):
            await commit.written()
        return self.table.get(key)

    async def _written(self, commit: GroupCommit, key: CommandKey) -> None:
        self._unwritten[key] = self._unwritten.get(key, 0) + 1
        try:
            await commit.written()
        finally:
            self._unwritten[key] -= 1
            if not self._unwritten[key]:
                del self._unwritten[key]

    def _undo(self, commit: GroupCommit, key: CommandKey, record: CommandRecord | None) -> None:
        """Restore what was before a failed write, also in the file: it may have been written."""
        self.table.put(key, record)
        commit.commands.write_changed()
