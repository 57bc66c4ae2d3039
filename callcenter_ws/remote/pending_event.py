"""PendingEvent: an event that the gateway has not acknowledged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.event import PAYLOAD_BYTES
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.json import encode_json

EventRefused = Callable[["PendingEvent", Refusal], None]
"""Called with an event that is refused, and the reason."""

EventFields = dict[str, Any]  # strings, and the boolean "persist"

_FIELDS_BYTES = 4_144
"""The limit of an event in a batch, without its payload."""

_PAYLOAD_KEY_BYTES = 48
"""What ``"payload":``, ``"source_seq":`` with its number, punctuation and a separator add to an event, at most."""

_STATE_TYPE = "SyncState:"
"""What the type of a ``SyncState`` begins with, in the spool. No event has such a type."""

_OUTCOME_TYPE = "CommandOutcome:"
"""The same for the outcome of a command; the name of the command follows."""

_NEVER: Deferred[PublishResult] = Deferred()
"""The answer of events that nothing waits for: a Deferred for each would be most of the cost of a unit."""


@dataclass(slots=True, eq=False)
class PendingEvent:
    """An event with the outcome that its publisher waits for.

    Attributes:
        fields: the arguments of ``PublishEvent`` except the payload.
        payload: the JSON text of the payload.
        size: bytes of the event in a batch, at most.
        answer: fires with ``PublishResult`` or fails with ``Refusal``.
        send_alone: whether it is sent in a batch of its own, being large or part of a batch that was refused as a
            whole.
        key: the key of its row in the spool, once it has one.
        source_seq: its number among the events of the source; None without a source.
        refused: called if the event is refused; then ``answer`` never fires. None: it is fired.
        scope: of a ``SyncState``, of which ``payload`` is the list of entities; None: it is not one.
        is_outcome: whether it is the outcome of the command whose id is ``event_id``; ``payload`` is the outcome.
    """

    fields: EventFields
    payload: bytes
    size: int
    answer: Deferred[PublishResult]
    send_alone: bool = False
    key: int | None = None
    source_seq: int | None = None
    refused: EventRefused | None = None
    scope: str | None = None
    is_outcome: bool = False

    @classmethod
    def of_state(cls, tenant_id: str, scope: str, entities: bytes, event_id: str, timestamp: str) -> PendingEvent:
        """Return a new ``SyncState``."""
        fields = {
            "tenant_id": tenant_id,
            "type": _STATE_TYPE + scope,
            "event_id": event_id,
            "timestamp": timestamp,
            "persist": False,
        }
        event = cls.create(fields, entities)
        event.scope = scope
        return event

    @classmethod
    def of_outcome(
        cls, tenant_id: str, name: str, user_id: str, command_id: str, outcome: bytes, timestamp: str
    ) -> PendingEvent:
        """Return a new outcome of the command ``name``."""
        fields = {
            "tenant_id": tenant_id,
            "type": _OUTCOME_TYPE + name,
            "user_id": user_id,
            "event_id": command_id,
            "timestamp": timestamp,
            "persist": False,
        }
        event = cls.create(fields, outcome)
        event.is_outcome = True
        return event

    def restore_kind(self) -> None:
        """Set what an entry of the spool is, which its type says."""
        type_: str = self.fields["type"]
        self.is_outcome = type_.startswith(_OUTCOME_TYPE)
        if type_.startswith(_STATE_TYPE):
            self.scope = type_.removeprefix(_STATE_TYPE)

    @classmethod
    def create(
        cls,
        fields: EventFields,
        payload: bytes,
        key: int | None = None,
        source_seq: int | None = None,
        refused: EventRefused | None = None,
    ) -> PendingEvent:
        """Return a new event, with its size computed."""
        size = len(encode_json(fields)) + len(payload) + _PAYLOAD_KEY_BYTES
        answer: Deferred[PublishResult] = Deferred() if refused is None else _NEVER
        return cls(fields, payload, size, answer, key=key, source_seq=source_seq, refused=refused)

    @classmethod
    def encoded(
        cls, fields: Mapping[str, object], persist: bool, payload: object, refused: EventRefused | None = None
    ) -> PendingEvent:
        """Return a new event of which nothing is checked yet.

        Raises:
            Refusal: ``invalid_event`` or ``too_large``.
        """
        if not isinstance(payload, dict):
            raise Refusal(ErrorCode.INVALID_EVENT, "payload: expected an object")
        for name, value in fields.items():
            if not isinstance(value, str) and (value is not None or name != "user_id"):
                raise Refusal(ErrorCode.INVALID_EVENT, f"{name}: expected a string")
        known = {**{name: value for name, value in fields.items() if value is not None}, "persist": bool(persist)}
        try:
            text = encode_json(payload)
            event = cls.create(known, text, refused=refused)
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
            raise Refusal(
                ErrorCode.INVALID_EVENT, f"payload: it cannot be encoded as JSON ({type(error).__name__})"
            ) from None
        if len(text) > PAYLOAD_BYTES:
            raise Refusal(ErrorCode.TOO_LARGE, f"payload: {len(text)} bytes of JSON, the limit is {PAYLOAD_BYTES}")
        if event.size - len(text) > _FIELDS_BYTES:
            raise Refusal(ErrorCode.INVALID_EVENT, "tenant_id, type, user_id, event_id: too long")
        return event

    @property
    def tenant_id(self) -> str:
        """The tenant of the event."""
        tenant_id: str = self.fields["tenant_id"]
        return tenant_id

    def encode(self) -> bytes:
        """Return the event as an element of the JSON list in ``PublishBatch``."""
        number = {} if self.source_seq is None else {"source_seq": self.source_seq}
        return encode_json({**self.fields, **number, "payload": msgspec.Raw(self.payload)})

    def resolve(self, outcome: PublishResult | Refusal) -> None:
        """Fire ``answer``, unless the publisher has cancelled it; or call ``refused`` in its place."""
        if self.refused is not None:
            if isinstance(outcome, Refusal):
                self.refused(self, outcome)
            return
        if self.answer.called:
            return
        if isinstance(outcome, Refusal):
            self.answer.errback(outcome)
        else:
            self.answer.callback(outcome)
