"""The events that an earlier process left in the spool. Nobody waits for their answers any more."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from twisted.internet.defer import maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.remote.pending_event import PendingEvent

_log = Logger()


@dataclass(frozen=True, slots=True)
class SpooledEvent:
    """An event out of the spool, published by an earlier process.

    Attributes:
        payload: the payload's JSON text.
    """

    tenant_id: str
    type: str
    event_id: str
    timestamp: str
    payload: bytes
    user_id: str | None
    persist: bool


SpoolRefused = Callable[[SpooledEvent, Refusal], object]
"""May return an awaitable."""


class RecoveredEvents:
    """Tells what becomes of them: of what is lost, the log and a callback; of what arrives, nobody.

    Args:
        refused: called with an event that was refused, and why.
    """

    def __init__(self, refused: SpoolRefused | None) -> None:
        self._refused = refused

    def adopt(self, event: PendingEvent) -> None:
        """Wait for an event's answer in its publisher's place."""
        event.answer.addErrback(self._failed, event)

    def _failed(self, failure: Failure, event: PendingEvent) -> None:
        refusal = failure.value
        if not isinstance(refusal, Refusal):
            _log.failure("the answer for an event of the spool was lost", failure)
        elif refusal.code is not ErrorCode.UNAVAILABLE:  # which says that it stays in the spool
            self._tell(SpooledEvent(**{"user_id": None, **event.fields}, payload=event.payload), refusal)

    def _tell(self, event: SpooledEvent, refusal: Refusal) -> None:
        _log.error(
            "{type} {event_id} of {tenant_id}, left in the spool by an earlier process, was refused: {code}: {reason}",
            type=event.type,
            event_id=event.event_id,
            tenant_id=event.tenant_id,
            code=refusal.code.value,
            reason=refusal.message,
        )
        if self._refused is not None:
            told = maybeDeferred(self._refused, event, refusal)
            told.addErrback(lambda failure: _log.failure("the callback for a refused event failed", failure))
