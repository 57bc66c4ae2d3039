"""``POST /ws/events``: publishing for those who do not speak AMP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.web.server import Request

from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.http.answers import PUBLISHERS, Answer, JsonResource, authorize, body_of, json_answer
from callcenter_ws.interfaces import Authenticator, PublishResult
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, decode_json

MAX_EVENTS = 1_000
"""The most events in one request."""


class EventsResource(JsonResource):
    """Publishes one event, or a list of at most ``MAX_EVENTS``, for a ``service`` or ``admin`` token.

    An event has the fields of AMP's ``PublishEvent`` (PROTOCOL section 6). ``tenant_id`` may be left out: then
    it is the token's own; a token of every tenant must give it.

    One event is answered with ``epoch``, ``seq``, ``event_id`` and ``duplicate``, or with the status of what is
    wrong. A list is answered with 200 and ``results`` in its order, each the same or an ``error``: one bad
    event does not lose the others. ``epoch`` stands beside ``results`` too when all are of one tenant.
    """

    def __init__(self, authenticator: Authenticator, broadcaster: EventBroadcaster) -> None:
        super().__init__(post=self._publish)
        self._authenticator = authenticator
        self._broadcaster = broadcaster

    async def _publish(self, request: Request) -> Answer:
        principal = authorize(self._authenticator, request, PUBLISHERS)
        body = decode_json(body_of(request), MAX_BATCH_CONTAINERS)
        if isinstance(body, list):
            return await self._publish_list(body, principal)
        if not isinstance(body, dict):
            raise Refusal(ErrorCode.INVALID_EVENT, "expected an event as a JSON object, or a list of them")
        (outcome,) = await self._outcomes([_with_tenant(body, principal)], principal)
        if isinstance(outcome, Refusal):
            raise outcome.anew()
        return json_answer(_result(outcome))

    async def _publish_list(self, body: list[Any], principal: Principal) -> Answer:
        if len(body) > MAX_EVENTS:
            raise Refusal(ErrorCode.TOO_LARGE, f"{len(body)} events in one request, the limit is {MAX_EVENTS}")
        drafts = [_with_tenant(draft, principal) for draft in body]
        outcomes = await self._outcomes(drafts, principal)
        results = {"results": [_result(outcome) for outcome in outcomes]}
        return json_answer({**_common_epoch(drafts, outcomes), **results})

    async def _outcomes(self, drafts: Sequence[Any], principal: Principal) -> list[PublishResult | Refusal]:
        return await self._broadcaster.publish_batch(drafts, authority=principal.tenant_id)


def _with_tenant(draft: Any, principal: Principal) -> Any:
    if isinstance(draft, Mapping) and draft.get("tenant_id") is None and not principal.every_tenant:
        return {**draft, "tenant_id": principal.tenant_id}
    return draft


def _result(outcome: PublishResult | Refusal) -> dict[str, Any]:
    if isinstance(outcome, PublishResult):
        return {
            "epoch": outcome.epoch,
            "seq": outcome.seq,
            "event_id": outcome.event_id,
            "duplicate": outcome.duplicate,
        }
    error: dict[str, Any] = {"code": outcome.code, "message": outcome.message}
    if outcome.retry_after_ms is not None:
        error["retry_after_ms"] = outcome.retry_after_ms
    return {"error": error}


def _common_epoch(drafts: Sequence[Any], outcomes: Sequence[PublishResult | Refusal]) -> dict[str, str]:
    """The epoch to show for the whole list: an epoch belongs to a tenant, so only if there is one tenant."""
    epochs = {
        draft["tenant_id"]: outcome.epoch
        for draft, outcome in zip(drafts, outcomes, strict=True)
        if isinstance(outcome, PublishResult)
    }
    if len(epochs) != 1:
        return {}
    (epoch,) = epochs.values()
    return {"epoch": epoch}
