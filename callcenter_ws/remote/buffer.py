"""The events that the gateway has not answered for: bounded, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from twisted.internet.defer import Deferred

from callcenter_ws.core.message import encode_json
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import Published

BATCH_EVENTS = 100
BATCH_BYTES = 262_144


@dataclass(slots=True, eq=False)
class Unacknowledged:
    """One event under way.

    Attributes:
        fields: the arguments of ``PublishEvent`` but for the payload.
        payload: the payload's JSON text.
        size: bytes that it takes in a batch.
        answer: fires with ``Published`` or fails with ``Refusal``.
        alone: it is sent by itself, being large, or a member of a batch that was refused as a whole.
    """

    fields: dict[str, Any]
    payload: bytes
    size: int
    answer: Deferred[Published]
    alone: bool = False

    @property
    def tenant_id(self) -> str:
        """The tenant whose stream it joins."""
        tenant_id: str = self.fields["tenant_id"]
        return tenant_id

    def draft(self) -> bytes:
        """The event as an element of the list in ``PublishBatch``."""
        return encode_json({**self.fields, "payload": msgspec.Raw(self.payload)})

    def settle(self, outcome: Published | Refusal) -> None:
        """Tell the publisher, unless it gave up waiting."""
        if self.answer.called:
            return
        if isinstance(outcome, Refusal):
            self.answer.errback(outcome)
        else:
            self.answer.callback(outcome)


class Buffer:
    """A queue whose head is taken as a batch, and put back if the gateway did not take it.

    Args:
        max_events: how many events are kept, those under way included.
        max_bytes: how many bytes of them are kept.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._waiting: deque[Unacknowledged] = deque()
        self._taken: list[Unacknowledged] = []
        self._bytes = 0

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._waiting) + len(self._taken)

    def append(self, event: Unacknowledged) -> None:
        """Keep an event.

        Raises:
            Refusal: ``overloaded``, the buffer is full.
        """
        if len(self) >= self._max_events or self._bytes + event.size > self._max_bytes:
            raise Refusal(
                ErrorCode.OVERLOADED, f"{len(self)} events wait for the gateway, no more are kept", retry_after=1
            )
        event.alone = event.size > BATCH_BYTES
        self._waiting.append(event)
        self._bytes += event.size

    def take(self) -> list[Unacknowledged]:
        """Take the oldest events as the batch that is under way; the one before must be settled.

        They are of one tenant, because the gateway answers a batch with one epoch, and tenants need not share theirs.
        """
        waiting, batch = self._waiting, self._taken
        size = 0
        while waiting and len(batch) < BATCH_EVENTS:
            event = waiting[0]
            size += event.size
            if batch and (event.alone or size > BATCH_BYTES or event.tenant_id != batch[0].tenant_id):
                break
            batch.append(waiting.popleft())
            if event.alone:
                break
        return list(batch)

    def settle(self, batch: Sequence[Unacknowledged], outcomes: Sequence[Published | Refusal | None]) -> None:
        """End the batch under way; what has no outcome goes back to the head of the queue, in order.

        Does nothing for a batch that ``give_up`` has ended before.
        """
        if not self._taken or self._taken[0] is not batch[0]:
            return
        self._taken = []
        again = [event for event, outcome in zip(batch, outcomes, strict=True) if outcome is None]
        self._waiting.extendleft(reversed(again))
        for event, outcome in zip(batch, outcomes, strict=True):
            if outcome is not None:
                self._bytes -= event.size
                event.settle(outcome)

    def give_up(self, refusal: Refusal) -> None:
        """Refuse everything that is kept, that under way included."""
        events = [*self._taken, *self._waiting]
        self._waiting.clear()
        self._taken, self._bytes = [], 0
        for event in events:
            event.settle(refusal)
