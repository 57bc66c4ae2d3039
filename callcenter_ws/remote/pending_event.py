"""An event that the gateway has not answered for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.errors import Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.runtime.json import encode_json

_BRACKETS_AND_NAME = 16


@dataclass(slots=True, eq=False)
class PendingEvent:
    """One event under way.

    Attributes:
        fields: the arguments of ``PublishEvent`` but for the payload.
        payload: the payload's JSON text.
        size: bytes that it takes in a batch.
        answer: fires with ``PublishResult`` or fails with ``Refusal``.
        alone: it is sent by itself, being large, or a member of a batch that was refused as a whole.
        key: its place in the spool, once it has one.
    """

    fields: dict[str, Any]
    payload: bytes
    size: int
    answer: Deferred[PublishResult]
    alone: bool = False
    key: int | None = None

    @classmethod
    def of(cls, fields: dict[str, Any], payload: bytes, key: int | None = None) -> PendingEvent:
        """Return an event that nobody has been told about."""
        size = len(encode_json(fields)) + len(payload) + _BRACKETS_AND_NAME
        return cls(fields, payload, size, Deferred(), key=key)

    @property
    def tenant_id(self) -> str:
        """The tenant whose stream it joins."""
        tenant_id: str = self.fields["tenant_id"]
        return tenant_id

    def draft(self) -> bytes:
        """The event as an element of the list in ``PublishBatch``."""
        return encode_json({**self.fields, "payload": msgspec.Raw(self.payload)})

    def settle(self, outcome: PublishResult | Refusal) -> None:
        """Tell the publisher, unless it gave up waiting."""
        if self.answer.called:
            return
        if isinstance(outcome, Refusal):
            self.answer.errback(outcome)
        else:
            self.answer.callback(outcome)
