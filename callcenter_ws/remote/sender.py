"""Sends the buffer over whatever link there is, one batch at a time, so that order is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.logger import Logger

from callcenter_ws.amp.commands import PublishBatch, PublishEvent, refusal_of
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.interfaces import PublishResult
from callcenter_ws.remote.buffer import Buffer
from callcenter_ws.remote.link import GatewayLink
from callcenter_ws.remote.pending_event import PendingEvent
from callcenter_ws.runtime.backoff import Backoff

_FIRST_RETRY = 0.1
_LAST_RETRY = 5.0
_PASSING = frozenset({ErrorCode.OVERLOADED, ErrorCode.UNAVAILABLE, ErrorCode.UNAUTHORIZED})
"""Refusals that say nothing about the event itself."""

_log = Logger()

Outcome = PublishResult | Refusal | None


class _Error(msgspec.Struct):
    """What ``PublishBatch`` answers for an event that is refused."""

    code: str
    message: str


class Sender:
    """Takes batches from the buffer and settles them.

    Args:
        emptied: called whenever nothing is left to be sent.
    """

    def __init__(self, buffer: Buffer, reactor: Any, emptied: Callable[[], None]) -> None:
        self._buffer = buffer
        self._reactor = reactor
        self._emptied = emptied
        self._backoff = Backoff(_FIRST_RETRY, _LAST_RETRY)
        self._is_running = False
        self.link: GatewayLink | None = None

    def wake(self) -> None:
        """There may be something to send: begin in the next turn of the reactor, with all that comes until then."""
        if not self._is_running and self.link is not None and self._buffer.is_ready:
            self._is_running = True
            self._reactor.callLater(0, self._start)

    def _start(self) -> None:
        Deferred.fromCoroutine(self._run()).addErrback(lambda failure: _log.failure("sending failed", failure))

    async def _run(self) -> None:
        try:
            while (link := self.link) is not None and (batch := self._buffer.take()):
                outcomes = await self._outcomes(link, batch)
                self._buffer.settle(batch, outcomes)
                if None not in outcomes:
                    self._backoff.reset()
                elif self.link is link:
                    await deferLater(self._reactor, self._backoff.delay())
        finally:
            self._is_running = False
        self.wake()
        if not len(self._buffer):
            self._emptied()

    async def _outcomes(self, link: GatewayLink, batch: Sequence[PendingEvent]) -> Sequence[Outcome]:
        try:
            answers = await (_publish_one(link, batch[0]) if batch[0].alone else _publish(link, batch))
        except Refusal as refusal:
            return self._of_whole_batch(link, batch, refusal)
        except Exception:
            _log.failure("the gateway's answer cannot be understood; the events are sent again")
            return [None] * len(batch)
        return [None if isinstance(answer, Refusal) and answer.code in _PASSING else answer for answer in answers]

    def _of_whole_batch(self, link: GatewayLink, batch: Sequence[PendingEvent], refusal: Refusal) -> Sequence[Outcome]:
        if refusal.code is ErrorCode.UNAUTHORIZED:
            link.drop("it does not know us any more")
        if refusal.code in _PASSING:
            return [None] * len(batch)
        if batch[0].alone:
            return [refusal]
        # One of them spoils the whole: sent one by one, it is refused and the others are not.
        for event in batch:
            event.alone = True
        return [None] * len(batch)


async def _publish(link: GatewayLink, batch: Sequence[PendingEvent]) -> list[PublishResult | Refusal]:
    answer = await link.call(PublishBatch, events=b"[" + b",".join([event.draft() for event in batch]) + b"]")
    # Not decode_json: its Refusal would look like the gateway's.
    results = msgspec.json.decode(answer["results"], type=list[int | _Error])
    return [
        PublishResult(answer["epoch"], result, event.fields["event_id"])
        if isinstance(result, int)
        else refusal_of(result.code.encode(), result.message)
        for event, result in zip(batch, results, strict=True)
    ]


async def _publish_one(link: GatewayLink, event: PendingEvent) -> list[PublishResult | Refusal]:
    answer = await link.call(PublishEvent, **event.fields, payload=event.payload)
    return [PublishResult(answer["epoch"], answer["seq"], answer["event_id"])]
