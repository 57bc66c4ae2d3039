"""The marks of one tenant's sources: how far the events of each are stored. ``source_marks.lua`` has the same rules."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import Event
from callcenter_ws.events.reconciliation import Reconciliation
from callcenter_ws.events.source_rules import SOURCE_DOWN, SOURCE_UP, Announcement, SourceNumber


@dataclass(slots=True)
class SourceMark:
    """How far the events of one source are stored for one tenant.

    Attributes:
        generation, seq: the highest number, compared by generation first.
        announced: the number of the lease for which the source was announced up; 0: it is announced down, or never was.
    """

    generation: int = 0
    seq: int = 0
    announced: int = 0


class Verdict(Enum):
    """What becomes of an event of a source."""

    NEW = "append it"
    KNOWN = "it was stored before, or there is nothing to announce"
    EARLY = "an event before it is missing"
    STALE = "a later generation of its source has published; it may never have been stored"


class SourceMarks:
    """The marks of one tenant, by the name of the source.

    Never removed, not even when the name is released: an event that is stored must stay a duplicate. A tenant has at
    most ``sources.claim.MAX_SOURCES_PER_TENANT`` of them, and one more for each name that an operator has released.
    """

    __slots__ = ("_marks",)

    def __init__(self) -> None:
        self._marks: dict[str, SourceMark] = {}

    def get(self, source: str) -> SourceMark:
        """Return the mark of a source; zeros if it has none."""
        return self._marks.get(source) or SourceMark()

    def restore(self, source: str, mark: SourceMark) -> None:
        """Set a mark that was read from the store."""
        self._marks[source] = mark

    def judge(self, event: Event) -> Verdict:
        """Return what becomes of an event of a source; raise the mark if it is new."""
        rule, source = event.source_rule, event.source or ""
        mark = self._marks.get(source)
        if mark is None:
            mark = self._marks[source] = SourceMark()
        if isinstance(rule, SourceNumber):
            return _judge_number(mark, rule, event.type.name)
        if isinstance(rule, Announcement):
            return _judge_announcement(mark, rule)
        return Verdict.NEW

    def judge_part(self, source: str, rule: Reconciliation) -> Verdict:
        """Return what becomes of a part of a reconciliation; raise no mark."""
        return _compare(self.get(source), rule)

    def finish_part(self, source: str, rule: Reconciliation) -> None:
        """Raise the mark for a part of a reconciliation that is new, if it is the last one."""
        if rule.is_last:
            mark = self._marks.setdefault(source, SourceMark())
            mark.generation, mark.seq = rule.generation, rule.seq


def _compare(mark: SourceMark, rule: SourceNumber) -> Verdict:
    if rule.generation < mark.generation:
        return Verdict.STALE
    known = (mark.generation, mark.seq)
    if (rule.generation, rule.seq) <= known:
        return Verdict.KNOWN
    if rule.after and known < (rule.generation, rule.after):
        return Verdict.EARLY
    return Verdict.NEW


def _judge_number(mark: SourceMark, rule: SourceNumber, type_: str) -> Verdict:
    if rule.generation < mark.generation:
        return Verdict.STALE
    if rule.seq:
        known = (mark.generation, mark.seq)
        if (rule.generation, rule.seq) <= known:
            return Verdict.KNOWN
        if rule.after and known < (rule.generation, rule.after):
            return Verdict.EARLY
        mark.generation, mark.seq = rule.generation, rule.seq
    if type_ == SOURCE_UP:
        mark.announced = rule.lease
    elif type_ == SOURCE_DOWN:
        mark.announced = 0
    return Verdict.NEW


def _judge_announcement(mark: SourceMark, rule: Announcement) -> Verdict:
    if rule.kind == "again":
        return Verdict.NEW if mark.announced == rule.lease else Verdict.KNOWN
    if rule.kind == "up":
        if mark.announced >= rule.lease:
            return Verdict.KNOWN
        mark.announced = rule.lease
        return Verdict.NEW
    if not 0 < mark.announced <= rule.lease:
        return Verdict.KNOWN
    mark.announced = 0
    return Verdict.NEW


def superseded() -> Refusal:
    """Return the refusal of an event of a generation after which a later one has published."""
    return Refusal(ErrorCode.STALE_GENERATION, "a later generation of the source has published")


def changed() -> Refusal:
    """Return the refusal of a part of a reconciliation of whose entities one has changed."""
    return Refusal(ErrorCode.TRY_LATER, "an entity has changed since it was compared")


def out_of_order() -> Refusal:
    """Return the refusal of an event before which one is missing."""
    text = "an event with a lower source_seq was refused; send again from the lowest number without a success"
    return Refusal(ErrorCode.UNAVAILABLE, text)
