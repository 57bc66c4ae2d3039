"""The mailboxes of users (``docs/protocol.rst``, anchor ``mailbox``): their limits, and mailboxes in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from callcenter_ws.broker.counters import StoreCounters
from callcenter_ws.events.event import Event
from callcenter_ws.events.publication import Publication
from callcenter_ws.interfaces import MailboxGap, MailboxItem, MailboxPage

MAX_ITEMS = 1_000
"""Items in one user's mailbox; above that the oldest is removed, and becomes part of the gap."""

LIFETIME = 7 * 86_400.0
"""Seconds after which an item that was not acknowledged is removed, and becomes part of the gap."""

MAX_GAPS = 10_000
"""Users of one tenant whose gaps are kept; above that the gap changed longest ago is removed."""


def mail_expires_at(event: Event, received_at: float) -> float:
    """Return when the event may be removed from its mailbox undelivered: after ``LIFETIME`` or at its ``expires_at``.

    Args:
        received_at: when the event was received. This and the result are Unix time in seconds.
    """
    end = received_at + LIFETIME
    return end if event.expires_at is None else min(end, event.expires_at)


def is_lost(received_at: float, expired_at: float) -> bool:
    """Return whether an expired item becomes part of the gap; not if its own ``expires_at`` has come."""
    return expired_at >= received_at + LIFETIME


def extended(gap: MailboxGap | None, seq: int) -> MailboxGap:
    """Return ``gap`` extended to contain ``seq``."""
    return MailboxGap(seq, seq) if gap is None else MailboxGap(min(gap.from_seq, seq), max(gap.to_seq, seq))


@dataclass(slots=True)
class _Item:
    """One item; the times are Unix seconds."""

    publication: Publication
    received_at: float
    expires_at: float
    sent: bool = False


class Mailboxes:
    """The mailboxes of one tenant's users, each with at most ``MAX_ITEMS`` items no older than ``LIFETIME``.

    Args:
        counters: counts the items of these and of other mailboxes; None: they are not counted.

    Attributes:
        bytes: the size of the payloads of all items.
    """

    def __init__(self, counters: StoreCounters | None = None) -> None:
        self._counters = counters or StoreCounters()
        # Both in the order of ``seq``.
        self._items: dict[int, _Item] = {}
        self._by_user: dict[str, dict[int, _Item]] = {}
        self._gaps: dict[str, MailboxGap] = {}
        self.bytes = 0

    def __len__(self) -> int:
        """The number of items in all mailboxes."""
        return len(self._items)

    def add(self, publication: Publication, now: float) -> None:
        """Add an item to the mailbox of its user; it is received at ``now`` (Unix time)."""
        user_id = publication.event.user_id or ""
        item = _Item(publication, now, mail_expires_at(publication.event, now))
        self._items[publication.seq] = item
        mailbox = self._by_user.setdefault(user_id, {})
        mailbox[publication.seq] = item
        self.bytes += len(publication.event.payload)
        self._counters.mail_stored += 1
        if len(mailbox) > MAX_ITEMS:
            self._counters.mail_displaced += 1
            self._remove_undelivered(next(iter(mailbox)))

    def read(self, user_id: str, after: int, limit: int, now: float) -> MailboxPage:
        """Return at most ``limit`` items of a user with ``seq`` greater than ``after``, oldest first.

        The gap of an empty mailbox is returned once: no acknowledgement will follow that could confirm it.
        """
        mailbox = [item for item in self._by_user.get(user_id, {}).values() if item.expires_at > now]
        items = [MailboxItem(item.publication, item.sent) for item in mailbox if item.publication.seq > after]
        gap = self._gaps.get(user_id)
        if not mailbox:
            self._gaps.pop(user_id, None)
        return MailboxPage(items[:limit], gap)

    def mark_sent(self, user_id: str, event_ids: Iterable[str]) -> None:
        """Record that items were written to a socket of the user; they may not have arrived."""
        for item in self._find(user_id, event_ids):
            item.sent = True

    def acknowledge(self, user_id: str, event_ids: Iterable[str]) -> None:
        """Remove items that the user has received, and the gap, which was reported before them."""
        for item in self._find(user_id, event_ids):
            self._remove(item.publication.seq)
            self._gaps.pop(user_id, None)

    def _find(self, user_id: str, event_ids: Iterable[str]) -> list[_Item]:
        wanted = set(event_ids)
        return [item for item in self._by_user.get(user_id, {}).values() if item.publication.event.event_id in wanted]

    def forget_expired(self, now: float) -> None:
        """Remove the items that have expired at ``now`` (Unix time)."""
        for seq in [seq for seq, item in self._items.items() if item.expires_at <= now]:
            item = self._items[seq]
            self._counters.mail_expired += 1
            if is_lost(item.received_at, item.expires_at):
                self._remove_undelivered(seq)
            else:
                self._remove(seq)

    def forget_oldest(self) -> None:
        """Remove the oldest item of all mailboxes; there must be one."""
        self._counters.mail_displaced += 1
        self._remove_undelivered(next(iter(self._items)))

    def _remove_undelivered(self, seq: int) -> None:
        user_id = self._items[seq].publication.event.user_id or ""
        self._gaps[user_id] = extended(self._gaps.pop(user_id, None), seq)
        if len(self._gaps) > MAX_GAPS:
            del self._gaps[next(iter(self._gaps))]
        self._remove(seq)

    def _remove(self, seq: int) -> None:
        item = self._items.pop(seq)
        user_id = item.publication.event.user_id or ""
        self.bytes -= len(item.publication.event.payload)
        mailbox = self._by_user[user_id]
        del mailbox[seq]
        if not mailbox:
            del self._by_user[user_id]
