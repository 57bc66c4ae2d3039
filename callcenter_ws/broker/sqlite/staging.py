"""Staging: gives submitted events their positions, and adds them to a transaction that is being made."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from callcenter_ws.broker.command_table import ignore_id
from callcenter_ws.broker.mailboxes import mail_expires_at
from callcenter_ws.broker.source_marks import Verdict, out_of_order, superseded
from callcenter_ws.broker.sqlite.codec import changed_row, row_of
from callcenter_ws.broker.sqlite.staged_commands import StagedCommands
from callcenter_ws.broker.sqlite.tenant import TenantRecord
from callcenter_ws.broker.sqlite.transaction import Transaction
from callcenter_ws.broker.stream import Stream
from callcenter_ws.broker.submission import Entry, Outcome, Submission, set_outcome
from callcenter_ws.errors import Refusal
from callcenter_ws.events.event import Event, Origin
from callcenter_ws.events.publication import Publication
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.json import decode_json

_PRESENCE_TYPE = "presence.changed"


@dataclass(slots=True)
class TenantPart:
    """The events of one tenant in a transaction.

    Attributes:
        staged: the events that were given a position.
        others: events that are not staged, and their outcomes once the transaction is committed: those that repeat one
            of ``staged``, and those that only raise a mark.
    """

    record: TenantRecord
    stream: Stream
    staged: list[tuple[Entry, Publication]] = field(default_factory=list)
    others: list[tuple[Entry, Outcome]] = field(default_factory=list)


class Staging:
    """Stages events.

    Args:
        epoch: of the file.
        commands: the commands that events may close.
        next_number: the number of the next tenant that is new.
    """

    def __init__(self, epoch: str, commands: StagedCommands, *, next_number: int) -> None:
        self._epoch = epoch
        self._commands = commands
        self._next_number = next_number

    def stage(self, part: TenantPart, entries: Iterable[Entry], transaction: Transaction, offset: float) -> None:
        """Give events of a tenant their positions and add them to a transaction; see to the outcome of the others.

        Args:
            offset: Unix time minus the monotonic clock.
        """
        stream = part.stream
        for entry in entries:
            event = entry[2]
            ignore_id(event)
            if event.source_rule is not None:
                if isinstance(event.source_rule, Reconciliation):
                    self._stage_part(part, entry, event.source_rule, transaction, offset)
                    continue
                if not self._is_new(part, entry, transaction):
                    continue
            first = stream.first_seq_of(event)
            if first is None:
                refusal = self._refusal_of(part, entry)
                if refusal is None:
                    self._stage_entry(part, entry, transaction, offset)
                elif event.source_rule is None:
                    set_outcome(entry, refusal)
                else:
                    # Not before the mark that it has raised is committed.
                    part.others.append((entry, refusal))
            elif first <= stream.history.head and event.source_rule is None:
                set_outcome(entry, self._duplicate(event, first))
            else:
                part.others.append((entry, self._duplicate(event, first)))

    def _refusal_of(self, part: TenantPart, entry: Entry) -> Refusal | None:
        submission, index, event = entry
        stream, condition = part.stream, event.condition
        refusal = None if event.chat_writer is None else stream.chats.refusal_of(event)
        if refusal is not None or condition is None:
            return refusal
        follows = condition.follows and part.record.last_staged == (submission, index - 1)
        return stream.condition_refusal(
            event, [publication for _, publication in part.staged]
        ) or self._commands.refusal_of(event, follows=follows)

    def _stage_entry(self, part: TenantPart, entry: Entry, transaction: Transaction, offset: float) -> None:
        submission, index, event = entry
        publication = self._stage_event(part, event, transaction, offset)
        part.staged.append((entry, publication))
        part.record.last_staged = submission, index
        if event.condition is not None and event.condition.closes is not None:
            self._commands.close(event.condition.closes, publication.seq)

    def _duplicate(self, event: Event, seq: int) -> PublishResult:
        return PublishResult(self._epoch, seq, event.event_id, duplicate=True)

    def _stage_part(
        self, part: TenantPart, entry: Entry, rule: Reconciliation, transaction: Transaction, offset: float
    ) -> None:
        """Stage the events of a part of a reconciliation, all in this transaction, or see to its outcome."""
        event, stream = entry[2], part.stream
        source = event.source or ""
        staged = {publication.event.entity for _, publication in part.staged}
        verdict = stream.judge_part(event, rule, staged)
        if isinstance(verdict, Refusal):
            set_outcome(entry, verdict)
            return
        key = (event.tenant_id, source)
        if verdict is Verdict.KNOWN:
            if key in transaction.marks:
                part.others.append((entry, self._duplicate(event, 0)))
            else:
                set_outcome(entry, self._duplicate(event, 0))
            return
        stream.marks.finish_part(source, rule)
        if rule.is_last:
            part.record.in_transaction = True
            transaction.marks[key] = stream.marks.get(source)
        if not rule.events:
            part.others.append((entry, PublishResult(self._epoch, stream.staged, "")))
            return
        # The part has one outcome: that of its last event.
        submission = Submission.of(rule.events)
        submission.answer.addCallback(lambda outcomes: set_outcome(entry, outcomes[-1]))
        for index, one in enumerate(rule.events):
            part.staged.append(((submission, index, one), self._stage_event(part, one, transaction, offset)))

    def _is_new(self, part: TenantPart, entry: Entry, transaction: Transaction) -> bool:
        """Return whether an event of a source is to be staged; otherwise see to its outcome."""
        event, marks = entry[2], part.stream.marks
        source = event.source or ""
        key = (event.tenant_id, source)
        verdict = marks.judge(event)
        if verdict is Verdict.NEW:
            part.record.in_transaction = True
            transaction.marks[key] = marks.get(source)
            if not event.is_void:
                return True
        elif verdict is not Verdict.KNOWN:
            set_outcome(entry, out_of_order() if verdict is Verdict.EARLY else superseded())
            return False
        first = part.stream.first_seq_of(event) or 0
        if key in transaction.marks:
            # Not before the event that raised the mark, or whose number it is, is committed.
            part.others.append((entry, self._duplicate(event, first)))
        else:
            set_outcome(entry, self._duplicate(event, first))
        return False

    def _stage_event(self, part: TenantPart, event: Event, transaction: Transaction, offset: float) -> Publication:
        record = part.record
        record.in_transaction = True
        if record.number is None:
            record.number, self._next_number = self._next_number, self._next_number + 1
        event.received_ms = round((event.received_at + offset) * 1_000)
        if record.oldest is None:
            record.oldest = event.received_ms / 1_000
            transaction.begun_histories.append((record.number, record.tenant_id, record.oldest))
        publication = part.stream.stage(event)
        row = row_of(publication, record.number)
        transaction.event_values += row
        transaction.event_count += 1
        if event.call_id is not None or event.type.of_chat:
            record.changed_calls.add(changed_row(event))
        if event.type.name == _PRESENCE_TYPE and event.origin is Origin.GATEWAY:
            payload = decode_json(event.payload)
            transaction.announced[event.tenant_id, str(payload["user_id"])] = payload["online"]
        if event.is_mail:
            record.mail_was_staged(event.user_id or "")
            expires_at = mail_expires_at(event, event.received_at + offset)
            transaction.mail_rows.append((*row, record.number, expires_at))
        return publication
