"""Occurrences: what the fold reads of a publication."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Annotated

import msgspec

from callcenter_ws.events.publication import Publication

SETTINGS_CHANGED = "statistics.settings.changed"

AHEAD_MS = 2000
"""How far a timestamp may be ahead of the time at which its event was received."""

MAX_SECONDS_MS = 7 * 86_400_000
"""The longest wait or ring that a source may report; longer ones are cut to it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MILLISECOND

_Id = str | int | None


class Facts(msgspec.Struct, gc=False):
    """The fields of payloads that figures depend on; others are skipped when decoding."""

    unique_id: _Id = None
    call_id: _Id = None
    queue_name: _Id = None
    agent_id: _Id = None
    from_agent_id: _Id = None
    to_agent_id: _Id = None
    transfer_type: str | None = None
    held_by: _Id = None
    user_id: _Id = None
    username: str | None = None
    state: str | None = None
    reason: str | None = None
    ended_by: str | None = None
    paused: bool | None = None
    wait_seconds: float | None = None
    ring_seconds: float | None = None
    since_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    queues: list[str | int] | dict[str, dict[str, str | float]] | None = None
    time_zone: str | None = None
    service_level_seconds: float | None = None
    service_level_target: float | None = None
    short_abandon_seconds: float | None = None
    service_level_method: str | None = None
    # Senders may add a field of this name, of any type, to other events.
    code: object = None


class Occurrence(msgspec.Struct, gc=False):
    """One event, as the fold applies it.

    Attributes:
        type: the name of its type.
        at: when it happened, never more than ``AHEAD_MS`` after ``received``; Unix milliseconds, as ``received``.
        received: when the gateway received it.
        seq: its position in the tenant's stream.
        timestamp: when it happened by the clock of its sender, which may be ahead.
    """

    type: str
    facts: Facts
    at: int
    received: int
    seq: int
    timestamp: int


_decode_facts = msgspec.json.Decoder(Facts).decode


def milliseconds(instant: datetime) -> int:
    """Return Unix milliseconds, rounded down."""
    return (instant - _EPOCH) // _MILLISECOND


@lru_cache(1024)
def timestamp_ms(timestamp: str) -> int:
    """Return the ``timestamp`` of an event in Unix milliseconds."""
    return milliseconds(datetime.fromisoformat(timestamp))


def instant_text(at: int) -> str:
    """Return an instant as RFC 3339 in UTC with milliseconds; one before the year 1, as its beginning.

    With an offset, a sender can name an instant that is in the year 0 in UTC.
    """
    return (_EPOCH + max(at, _FIRST) * _MILLISECOND).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def text_of(identifier: _Id) -> str | None:
    """Return an id as text; sources send integers too."""
    return identifier if identifier is None or type(identifier) is str else str(identifier)


def duration_ms(seconds: float | None) -> int | None:
    """Return a reported duration in milliseconds, at most ``MAX_SECONDS_MS``; negative ones as they are."""
    if seconds is None:
        return None
    # Compared first: an infinite number has no integer.
    return (
        MAX_SECONDS_MS if seconds * 1000 >= MAX_SECONDS_MS else max(round(max(seconds, -1e9) * 1000), -MAX_SECONDS_MS)
    )


def occurrence_of(publication: Publication, received: int) -> Occurrence:
    """Return what the fold reads of a publication.

    Raises:
        msgspec.DecodeError: the payload is not what the catalogue declares.
    """
    event = publication.event
    timestamp = timestamp_ms(event.timestamp)
    facts = _decode_facts(event.payload)
    at = min(timestamp, received + AHEAD_MS)
    return Occurrence(event.type.name, facts, at, received, publication.seq, timestamp)
