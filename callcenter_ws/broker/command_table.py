"""CommandTable: the commands of a store that one process uses, with the rules for them (``interfaces.CommandStore``).

It is synchronous and does no I/O. A store that writes to a file writes the records whose keys are in ``changed``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from itertools import islice
from typing import TypeVar

import msgspec
from msgspec.structs import replace

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import LIFETIME_SECONDS, CommandClosing, CommandKey, CommandRecord, CommandState
from callcenter_ws.events.event import Event

MAX_OPEN = 1_000
"""Commands of a tenant without an outcome; more are refused with ``overloaded``."""

MAX_COMMANDS = 50_000
"""Commands of a tenant that are remembered; above that the one that was closed first is forgotten."""

MAX_WAITING = 200
"""Commands that ``waiting`` returns at once."""

MAX_FORGOTTEN = 1_000
"""Commands that are forgotten at once because of their age, in some milliseconds: the next call goes on."""

RETRY_AFTER_SECONDS = 1
"""The ``retry_after`` of that refusal."""

SourceKey = tuple[str, str, str]
"""Tenant, scope and name of a source."""

_Commands = dict[CommandKey, CommandRecord]

G = TypeVar("G")

encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(CommandRecord).decode


@dataclass(slots=True)
class _TenantTable:
    """The commands of one tenant, in the order of their acceptance, and of their closing.

    Attributes:
        closed: encoded, because they are many and seldom read; by user and id.
    """

    open: _Commands = field(default_factory=dict)
    closed: OrderedDict[tuple[str, str], bytes] = field(default_factory=OrderedDict)

    def __len__(self) -> int:
        return len(self.open) + len(self.closed)


class CommandTable:
    """The commands by their keys.

    Attributes:
        changed: the keys of the commands that were added, changed or forgotten since ``take_changed``.
    """

    def __init__(self) -> None:
        self._tenants: dict[str, _TenantTable] = {}
        self._waiting: dict[SourceKey, _Commands] = {}
        # The open ones by the second of their deadline: only the seconds ahead have any, and those that are overdue.
        self._due: dict[int, _Commands] = {}
        self.changed: dict[CommandKey, None] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tenants.values()))

    def take_changed(self) -> list[CommandKey]:
        """Return the keys of what was changed since the last call."""
        changed, self.changed = list(self.changed), {}
        return changed

    def restore(self, opened: Iterable[CommandRecord], closed: Iterable[tuple[CommandKey, bytes]]) -> None:
        """Add records that were stored before; open ones by acceptance, closed ones by their closing.

        Closed ones are encoded: there are many, and a start does not wait until they are decoded.
        """
        for record in opened:
            self._add(record)
        for key, encoded in closed:
            self._tenants.setdefault(key.tenant_id, _TenantTable()).closed[key.user_id, key.command_id] = encoded

    def get(self, key: CommandKey) -> CommandRecord | None:
        """Return a command; None if there is none with this key."""
        tenant = self._tenants.get(key.tenant_id)
        if tenant is None:
            return None
        closed = tenant.closed.get((key.user_id, key.command_id))
        return tenant.open.get(key) if closed is None else decode_record(closed)

    def put(self, key: CommandKey, record: CommandRecord | None) -> None:
        """Replace a command; None: forget it."""
        known = self.get(key)
        if known is not None and record is not None and known.state.is_open and record.state.is_open:
            self._index(known, None)
            self._tenants[key.tenant_id].open[key] = record
            self._index(record, record)
        else:
            if known is not None:
                self._remove(known)
            if record is not None:
                self._add(record)
        self.changed[key] = None

    def accept(self, record: CommandRecord) -> CommandRecord | None:
        """Add a command; return the one with its key, if it is remembered."""
        key, forgotten = record.key, record.accepted_ms - LIFETIME_SECONDS * 1_000
        self.forget_before(forgotten, [key.tenant_id])
        known = self.get(key)
        if known is not None and (known.state.is_open or known.accepted_ms > forgotten):
            return known
        tenant = self._tenants.get(key.tenant_id) or _TenantTable()
        if len(tenant.open) >= MAX_OPEN or len(tenant.open) >= MAX_COMMANDS:
            raise too_many_open()
        if known is not None:
            self.put(key, None)
        while len(tenant) >= MAX_COMMANDS:
            self._forget_oldest(key.tenant_id, tenant)
        self.put(key, record)
        return None

    def dispatch(self, key: CommandKey, now_ms: int) -> CommandRecord | None:
        """Record that a command is about to be sent; see ``interfaces.CommandStore.dispatch``."""
        record = self.get(key)
        if record is None or record.state is not CommandState.ACCEPTED or record.deadline_ms <= now_ms:
            return None
        dispatched = replace(record, state=CommandState.DISPATCHED)
        self.put(key, dispatched)
        return dispatched

    def refusal_of(self, event: Event, *, follows: bool) -> Refusal | None:
        """Return why the ``condition`` of an event refuses it, as far as it concerns commands; None: it does not.

        Args:
            follows: whether the event before it in the same call was appended now.
        """
        condition = event.condition
        if condition is None or (condition.closes is None and not condition.follows):
            return None
        is_met = follows or not condition.follows
        if condition.closes is not None:
            is_met = is_met and self._may_close(event.tenant_id, condition.closes)
        return None if is_met else not_open()

    def _may_close(self, tenant_id: str, closing: CommandClosing) -> bool:
        record = self.get(closing.key)
        return (
            record is not None
            and record.key.tenant_id == tenant_id
            and record.state.is_open
            and closing.source in (None, record.source)
            and closing.state in (None, record.state)
        )

    def close(self, closing: CommandClosing) -> None:
        """Close a command with an event that ``refusal_of`` does not refuse."""
        record = self.get(closing.key)
        if record is not None:
            self.put(record.key, closed_record(record, closing))

    def waiting(self, source_scope: str, source: str, tenants: Sequence[str]) -> list[CommandRecord]:
        """Return the commands of a source that are ``accepted``, each tenant's by acceptance."""
        # Most of many tenants have none, which is found out quickly.
        keys = ((tenant_id, source_scope, source) for tenant_id in tenants)
        return in_turn([found.values() for key in keys if (found := self._waiting.get(key)) is not None])

    def overdue(self, before_ms: int, limit: int) -> list[CommandRecord]:
        """Return open commands whose deadline lies before ``before_ms``."""
        return list(islice(self._overdue(before_ms), limit))

    def _overdue(self, before_ms: int) -> Iterator[CommandRecord]:
        for second in sorted(self._due):
            if second * 1_000 >= before_ms:
                return
            yield from (record for record in self._due[second].values() if record.deadline_ms < before_ms)

    def forget_before(self, accepted_ms: int, tenants: Iterable[str] | None = None) -> None:
        """Forget closed commands that were accepted before a time; at most ``MAX_FORGOTTEN``.

        Args:
            tenants: those whose commands are looked at; None: all.
        """
        forgotten = 0
        for tenant_id in list(self._tenants) if tenants is None else tenants:
            tenant = self._tenants.get(tenant_id)
            while tenant is not None and tenant.closed and forgotten < MAX_FORGOTTEN:
                if decode_record(next(iter(tenant.closed.values()))).accepted_ms > accepted_ms:
                    break
                self._forget_oldest(tenant_id, tenant)
                forgotten += 1

    def _forget_oldest(self, tenant_id: str, tenant: _TenantTable) -> None:
        (user_id, command_id), _ = tenant.closed.popitem(last=False)
        self.changed[CommandKey(tenant_id, user_id, command_id)] = None
        if not tenant:
            del self._tenants[tenant_id]

    # The records and their indexes

    def _add(self, record: CommandRecord) -> None:
        tenant = self._tenants.setdefault(record.key.tenant_id, _TenantTable())
        if record.state.is_open:
            tenant.open[record.key] = record
            self._index(record, record)
        else:
            tenant.closed[record.key.user_id, record.key.command_id] = encode_record(record)

    def _remove(self, known: CommandRecord) -> None:
        key = known.key
        tenant = self._tenants[key.tenant_id]
        if known.state.is_open:
            del tenant.open[key]
            self._index(known, None)
        else:
            del tenant.closed[key.user_id, key.command_id]
        if not tenant:
            del self._tenants[key.tenant_id]

    def _index(self, known: CommandRecord, record: CommandRecord | None) -> None:
        """Add an open command to the indexes, or remove it."""
        _set(self._due, known.deadline_ms // 1_000, known.key, record)
        if known.state is CommandState.ACCEPTED:
            source = (known.key.tenant_id, known.source_scope, known.source)
            _set(self._waiting, source, known.key, record)


def _set(
    index: dict[G, dict[CommandKey, CommandRecord]], group: G, key: CommandKey, record: CommandRecord | None
) -> None:
    if record is not None:
        index.setdefault(group, {})[key] = record
        return
    of_group = index[group]
    del of_group[key]
    if not of_group:
        del index[group]


def in_turn(of_tenants: Iterable[Iterable[CommandRecord]]) -> list[CommandRecord]:
    """Return at most ``MAX_WAITING`` commands of several tenants, of which each list is in order: the first of each.

    Then the second of each, and so on: a tenant with many does not delay the others.
    """
    ranked = merge(*map(enumerate, of_tenants), key=lambda pair: (pair[0], pair[1].accepted_ms))
    return [record for _, record in islice(ranked, MAX_WAITING)]


def closed_record(record: CommandRecord, closing: CommandClosing) -> CommandRecord:
    """Return a command with its outcome."""
    outcome = closing.outcome
    return replace(
        record,
        state=outcome.state,
        closed_ms=closing.closed_ms,
        code=outcome.code,
        message=outcome.message,
        data=outcome.data,
    )


def ignore_id(event: Event) -> None:
    """Have the id of an event that closes a command, or follows such an event, count as new.

    A command is closed once. That finds repetitions for longer than ids are remembered; and no other event can have
    taken the id, which would leave the command open.
    """
    condition = event.condition
    if condition is not None and (condition.closes is not None or condition.follows):
        event.has_new_id = True


def too_many_open() -> Refusal:
    """Return the refusal of a command when too many of its tenant have no outcome."""
    text = f"the limit of {MAX_OPEN} commands without an outcome is reached"
    return Refusal(ErrorCode.OVERLOADED, text, retry_after=RETRY_AFTER_SECONDS)


def not_open() -> Refusal:
    """Return the refusal of an event that closes a command, or follows such an event, if the command is not open."""
    return Refusal(ErrorCode.UNKNOWN_COMMAND, "the command is closed already, forgotten, or another source's")
