"""What the store checks before it appends an event of a source, beside its validity.

A source is a daemon that has said ``Hello`` (``docs/senders.rst``, "Sources"). Its events carry growing numbers, and
the store keeps the highest of each tenant and source, the mark, in the same transaction as the events.
"""

from __future__ import annotations

from typing import Literal

import msgspec

MAX_NUMBER = 2**53 - 1
"""The largest generation and ``source_seq``: the largest integer that JSON and Lua pass on exactly."""


class SourceNumber(msgspec.Struct, frozen=True):
    """The number of an event within its source.

    An event at or below the mark of its tenant is a duplicate. An event whose predecessor is above the mark is refused:
    the predecessor was refused, or its fate is not known.

    Attributes:
        seq: ``source_seq``; 0 for an event without a number, which is always appended.
        after: the number of the event of the same tenant that the source sent before this one and that has no outcome
            yet; 0: every earlier event has one.
        lease: the number of the source's lease, see ``Announcement``.
    """

    generation: int
    seq: int
    after: int
    lease: int


class Announcement(msgspec.Struct, frozen=True):
    """The condition under which an event that the gateway publishes about a source is appended.

    The leases of a source are numbered from 1; the number grows when a lease ends. With each tenant the store keeps the
    number of the lease for which the source was last announced, and 0 once it was announced down.

    Attributes:
        kind: ``up``: unless it was announced for this lease. ``down``: if it was announced for this lease or an earlier
            one. ``again``: if it was announced for this lease.
    """

    kind: Literal["up", "down", "again"]
    lease: int


SourceRule = SourceNumber | Announcement

SOURCE_UP = "source.up"
SOURCE_DOWN = "source.down"
SOURCE_TYPES = frozenset((SOURCE_UP, SOURCE_DOWN))
