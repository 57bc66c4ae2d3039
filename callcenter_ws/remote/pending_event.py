"""PendingEvent: an event that the gateway has not acknowledged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.json import encode_json

EventFields = dict[str, Any]  # strings, and the boolean "persist"

_PAYLOAD_KEY_BYTES = 48
"""What ``"payload":``, ``"source_seq":`` with its number, punctuation and a separator add to an event, at most."""


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
    """

    fields: EventFields
    payload: bytes
    size: int
    answer: Deferred[PublishResult]
    send_alone: bool = False
    key: int | None = None
    source_seq: int | None = None

    @classmethod
    def create(
        cls, fields: EventFields, payload: bytes, key: int | None = None, source_seq: int | None = None
    ) -> PendingEvent:
        """Return a new event, with its size computed."""
        size = len(encode_json(fields)) + len(payload) + _PAYLOAD_KEY_BYTES
        return cls(fields, payload, size, Deferred(), key=key, source_seq=source_seq)

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
        """Fire ``answer``, unless the publisher has cancelled it."""
        if self.answer.called:
            return
        if isinstance(outcome, Refusal):
            self.answer.errback(outcome)
        else:
            self.answer.callback(outcome)
