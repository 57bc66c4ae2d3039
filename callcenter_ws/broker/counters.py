"""Counters of a store, which the metrics read on request."""

from __future__ import annotations

from dataclasses import dataclass, field

from callcenter_ws.runtime.histogram import Histogram


@dataclass(slots=True)
class StoreCounters:
    """What a store has done in this process.

    Attributes:
        commit_seconds: how long it took to make a group of events durable; of a store in memory, none.
        commits_failed: groups that could not be made durable.
        mail_stored: events that were put into the mailbox of their user.
        mail_sent: mailbox items that were written to a socket, with those that were written again.
        mail_acknowledged: mailbox items that their users have received.
        mail_displaced: mailbox items that were removed undelivered for newer ones, or for memory.
        mail_expired: mailbox items that were removed undelivered because they had become too old.
    """

    commit_seconds: Histogram = field(default_factory=Histogram)
    commits_failed: int = 0
    mail_stored: int = 0
    mail_sent: int = 0
    mail_acknowledged: int = 0
    mail_displaced: int = 0
    mail_expired: int = 0
