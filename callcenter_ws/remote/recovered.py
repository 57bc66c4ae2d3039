"""Events that no publisher waits for: logs and reports those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.pending_event import PendingEvent

_KEPT = (ErrorCode.UNAVAILABLE, ErrorCode.STALE_GENERATION)
"""The daemon is stopped, or another one has taken over: the event stays in the spool."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    """An event that an earlier process published, read from the spool, or one of a unit.

    Attributes:
        tenant_id: the tenant of the event.
        type: the name of the event type; of a list of ``sync_state``, ``SyncState:`` and its scope; of the outcome of a
            command, ``CommandOutcome:`` and its name. Then ``event_id`` is the id of the command.
        event_id: the id of the event.
        timestamp: when the event happened (RFC 3339).
        payload: the JSON text of the payload, or of the list, in UTF-8.
        user_id: the user that the event is for; None if it is not for one user.
        persist: whether the event is kept in the user's mailbox while the user is offline.
    """

    tenant_id: str
    type: str
    event_id: str
    timestamp: str
    payload: bytes
    user_id: str | None
    persist: bool


SpoolRefused = Callable[[SpooledEvent, Refusal], object]
"""Called for an event of an earlier process, or of a unit, that is refused; may return an awaitable."""


class UnwaitedEvents:
    """Handles the refusals of events that no publisher waits for: they are logged and reported.

    These are the events of units, and those of an earlier process.

    Args:
        refused: called with each event that was refused, and the reason.
    """

    def __init__(self, refused: SpoolRefused | None) -> None:
        self._refused = refused
        self._logged: set[tuple[str, ErrorCode]] = set()

    def track(self, event: PendingEvent) -> None:
        """Handle the outcome of an event of an earlier process."""
        event.refused = self._recovered_refused

    def _recovered_refused(self, event: PendingEvent, refusal: Refusal) -> None:
        if refusal.code in _KEPT:
            return
        _log.error(
            "{type} {event_id} of {tenant_id}, left in the spool by an earlier process, was refused: {code}: {reason}",
            **_log_fields(event, refusal),
        )
        self._report(event, refusal)

    def refused(self, event: PendingEvent, refusal: Refusal) -> None:
        """Note that an event of a unit is refused. The first of each type and code is logged: they may be many."""
        if refusal.code in _KEPT:
            return
        kind = (event.fields["type"], refusal.code)
        if kind not in self._logged:
            self._logged.add(kind)
            _log.error(
                "{type} {event_id} of {tenant_id} was refused: {code}: {reason}. Further such refusals are not logged",
                **_log_fields(event, refusal),
            )
        self._report(event, refusal)

    def _report(self, event: PendingEvent, refusal: Refusal) -> None:
        if self._refused is not None:
            spooled = SpooledEvent(**{"user_id": None, **event.fields}, payload=event.payload)
            called = maybeDeferred(self._refused, spooled, refusal)
            called.addErrback(lambda failure: _log.failure("unhandled error in spool_refused", failure))


def _log_fields(event: PendingEvent, refusal: Refusal) -> dict[str, str]:
    names = ("type", "event_id", "tenant_id")
    return {**{name: event.fields[name] for name in names}, "code": refusal.code.value, "reason": refusal.message}
