"""What waits for users who are away (PROTOCOL section 4.3): the rules, and the mailboxes of one tenant in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage
from callcenter_ws.runtime.json import decode_json

MAX_ITEMS = 1_000
"""Messages in one user's mailbox; when there are more, the oldest falls out and its loss is remembered."""

LIFETIME = 7 * 86_400.0
"""Seconds after which a message that nobody fetched falls out."""

MAX_GAPS = 10_000
"""Users of one tenant whose losses are remembered."""


def mail_ends_at(event: Event, received_at: float) -> float:
    """Return when the message may leave the mailbox undelivered, Unix time.

    Args:
        received_at: when it was taken in, Unix time.
    """
    end = received_at + LIFETIME
    if not event.type.persists:
        return end
    own = decode_json(event.payload).get("expires_at")
    return end if own is None else min(end, msgspec.convert(own, datetime).timestamp())


def is_loss(received_at: float, ended_at: float) -> bool:
    """Whether the user should hear that the message fell out; one whose own ``expires_at`` has come is no loss."""
    return ended_at >= received_at + LIFETIME


def widened(gap: MailboxGap | None, seq: int) -> MailboxGap:
    """Return ``loss`` with the message at ``seq`` in it."""
    return MailboxGap(seq, seq) if gap is None else MailboxGap(min(gap.from_seq, seq), max(gap.to_seq, seq))


@dataclass(slots=True)
class _Kept:
    publication: Publication
    received_at: float
    ends_at: float
    sent: bool = False


class Mailboxes:
    """The mailboxes of one tenant's users, bounded per user by number and by age.

    Attributes:
        bytes: of the payloads that wait.
    """

    def __init__(self) -> None:
        # Both in the order of ``seq``.
        self._kept: dict[int, _Kept] = {}
        self._of_user: dict[str, dict[int, _Kept]] = {}
        self._losses: dict[str, MailboxGap] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """How many messages wait."""
        return len(self._kept)

    def put(self, publication: Publication, now: float) -> None:
        """Keep a message for its user, from ``now`` (Unix time)."""
        user_id = publication.event.user_id or ""
        kept = _Kept(publication, now, mail_ends_at(publication.event, now))
        self._kept[publication.seq] = kept
        mine = self._of_user.setdefault(user_id, {})
        mine[publication.seq] = kept
        self.bytes += len(publication.event.payload)
        if len(mine) > MAX_ITEMS:
            self._lose(next(iter(mine)))

    def read(self, user_id: str, after: int, limit: int, now: float) -> MailboxPage:
        """At most ``limit`` messages of a user with ``seq`` greater than ``after``, oldest first."""
        mine = [kept for kept in self._of_user.get(user_id, {}).values() if kept.ends_at > now]
        items = [MailboxItem(kept.publication, kept.sent) for kept in mine if kept.publication.seq > after]
        gap = self._losses.get(user_id)
        if not mine:
            self._losses.pop(user_id, None)
        return MailboxPage(items[:limit], gap)

    def mark_sent(self, user_id: str, event_ids: Iterable[str]) -> None:
        """These were written to a socket of the user, who may have got them or not."""
        for kept in self._found(user_id, event_ids):
            kept.sent = True

    def take(self, user_id: str, event_ids: Iterable[str]) -> None:
        """The user has these; what was lost before them was told before them."""
        for kept in self._found(user_id, event_ids):
            self._remove(kept.publication.seq)
            self._losses.pop(user_id, None)

    def _found(self, user_id: str, event_ids: Iterable[str]) -> list[_Kept]:
        wanted = set(event_ids)
        return [kept for kept in self._of_user.get(user_id, {}).values() if kept.publication.event.event_id in wanted]

    def forget_expired(self, now: float) -> None:
        """Let fall out what waited too long."""
        for seq in [seq for seq, kept in self._kept.items() if kept.ends_at <= now]:
            kept = self._kept[seq]
            if is_loss(kept.received_at, kept.ends_at):
                self._lose(seq)
            else:
                self._remove(seq)

    def forget_oldest(self) -> None:
        """Let the oldest message fall out; there must be one."""
        self._lose(next(iter(self._kept)))

    def _lose(self, seq: int) -> None:
        user_id = self._kept[seq].publication.event.user_id or ""
        self._losses[user_id] = widened(self._losses.pop(user_id, None), seq)
        if len(self._losses) > MAX_GAPS:
            del self._losses[next(iter(self._losses))]
        self._remove(seq)

    def _remove(self, seq: int) -> None:
        kept = self._kept.pop(seq)
        user_id = kept.publication.event.user_id or ""
        self.bytes -= len(kept.publication.event.payload)
        mine = self._of_user[user_id]
        del mine[seq]
        if not mine:
            del self._of_user[user_id]
