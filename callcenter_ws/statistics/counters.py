"""Counters of the process that folds tenants' streams, for the metrics and ``/ws/stats``."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class WebhookCounters:
    """What the webhooks of this process did since it was started.

    Attributes:
        delivered: items that their receivers have accepted.
        failed: requests that failed.
        dropped: items that were given up.
        waiting: items that wait now, of the tenants that this process holds.
    """

    delivered: int = 0
    failed: int = 0
    dropped: int = 0
    waiting: int = 0


@dataclass(slots=True)
class ArchiveCounters:
    """What the archives of all tenants did since the process was started.

    Attributes:
        events, bytes: what was appended to files; the bytes are compressed.
        failures: appends that failed, and are repeated.
        lost: events that the store had trimmed before they were archived, as the disk did not work for too long.
        gathered: bytes that wait in memory for the next appends.
    """

    events: int = 0
    bytes: int = 0
    failures: int = 0
    lost: int = 0
    gathered: int = 0


@dataclass(slots=True)
class FigureCounters:
    """What folding did since the process was started.

    Attributes:
        held: tenants that this process folds now.
        behind: known publications that are not folded yet.
        folded: publications that were applied.
        written: rows that the store has taken.
        writes: how often it has taken rows.
        failed_writes: writes that failed and are repeated, because the store could not be reached.
        deposed: how often another process had taken a tenant that this one folded.
        gaps: how often the log did not reach back to the position of the figures.
        webhooks: what the webhooks did.
        archive: what the archives did.
    """

    held: int = 0
    behind: int = 0
    folded: int = 0
    written: int = 0
    writes: int = 0
    failed_writes: int = 0
    deposed: int = 0
    gaps: int = 0
    webhooks: WebhookCounters = field(default_factory=WebhookCounters)
    archive: ArchiveCounters = field(default_factory=ArchiveCounters)
