"""What is counted about the calls of today, for the metrics."""

from __future__ import annotations

from dataclasses import dataclass, field

IDLE, MEMORY, NEW_DAY, NEW_EPOCH = "idle", "memory", "new_day", "new_epoch"

DROP_REASONS = (IDLE, MEMORY, NEW_DAY, NEW_EPOCH)
"""Why the calls of a tenant are dropped: no user asks; too many calls of all tenants; a day or a history began."""


@dataclass(slots=True)
class CallLogCounters:
    """For the metrics.

    Attributes:
        tenants, calls: those in memory now; ``memory``: about how many bytes the calls take.
        read: events that were read from the store; ``followed``: those that were taken over as they were delivered.
        forgotten: calls of today that were removed because their tenant has too many.
        unreadable: events that this version cannot read.
        dropped: tenants whose calls were dropped, by reason.
    """

    tenants: int = 0
    calls: int = 0
    memory: int = 0
    read: int = 0
    followed: int = 0
    forgotten: int = 0
    unreadable: int = 0
    dropped: dict[str, int] = field(default_factory=lambda: dict.fromkeys(DROP_REASONS, 0))
