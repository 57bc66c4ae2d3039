"""Events that an earlier process left in the spool: logs and reports those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.pending_event import PendingEvent

_KEPT = (ErrorCode.UNAVAILABLE, ErrorCode.STALE_GENERATION)
"""The daemon is stopped, or another one has taken over: the event stays in the spool."""

_log = Logger()


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    """An event that an earlier process published, read from the spool.

    Attributes:
        tenant_id: the tenant of the event.
        type: the name of the event type.
        event_id: the id of the event.
        timestamp: when the event happened (RFC 3339).
        payload: the JSON text of the payload, in UTF-8.
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
"""Called for an event of an earlier process that is refused; may return an awaitable."""


class RecoveredEvents:
    """Handles the outcomes of recovered events, whose publishers no longer exist: refusals are logged and reported.

    Args:
        refused: called with each event that was refused, and the reason.
    """

    def __init__(self, refused: SpoolRefused | None) -> None:
        self._refused = refused

    def track(self, event: PendingEvent) -> None:
        """Handle the outcome of an event in place of its publisher."""
        event.answer.addErrback(self._failed, event)

    def _failed(self, failure: Failure, event: PendingEvent) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            _log.failure("unhandled error in publishing an event of the spool", failure)
        elif refusal.code not in _KEPT:
            self._report(SpooledEvent(**{"user_id": None, **event.fields}, payload=event.payload), refusal)

    def _report(self, event: SpooledEvent, refusal: Refusal) -> None:
        _log.error(
            "{type} {event_id} of {tenant_id}, left in the spool by an earlier process, was refused: {code}: {reason}",
            type=event.type,
            event_id=event.event_id,
            tenant_id=event.tenant_id,
            code=refusal.code.value,
            reason=refusal.message,
        )
        if self._refused is not None:
            called = maybeDeferred(self._refused, event, refusal)
            called.addErrback(lambda failure: _log.failure("unhandled error in spool_refused", failure))
