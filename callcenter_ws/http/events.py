"""``POST /ws/events``: publishes events over HTTP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from twisted.web.server import Request

from callcenter_ws.broker.batch import (
    MAX_EVENTS,
    SLICE_BYTES,
    Slices,
    decode_slices,
    is_long_list,
    is_too_large,
    publish_in_slices,
    slices_of,
    too_large,
)
from callcenter_ws.broker.ingest import EventBroadcaster
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.http.responses import PUBLISHER_ROLES, JsonResource, Response, authorize, json_response, request_body
from callcenter_ws.interfaces import Authenticator, PublishResult
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import MAX_BATCH_CONTAINERS, JsonValue, decode_json


class EventsResource(JsonResource):
    """Publishes one event, or a list of at most ``MAX_EVENTS``, for a ``service`` or ``admin`` token.

    An event has the fields of AMP's ``PublishEvent``. ``tenant_id`` may be omitted unless the token is for all tenants;
    it defaults to the tenant of the token.

    The response to one event has ``epoch``, ``seq``, ``event_id`` and ``duplicate``, or is an error response. The
    response to a list has status 200 and ``results`` in the order of the list: each has the same fields, or ``error``.
    One invalid event does not prevent the others from being published. ``epoch`` is also beside ``results`` if all
    events were published for one tenant.
    """

    def __init__(self, authenticator: Authenticator, broadcaster: EventBroadcaster, clock: Clock) -> None:
        super().__init__(post=self._publish)
        self._clock = clock
        self._authenticator = authenticator
        self._broadcaster = broadcaster

    async def _publish(self, request: Request) -> Response:
        principal = authorize(self._authenticator, request, PUBLISHER_ROLES)
        text = request_body(request)
        if is_long_list(text):
            return await self._publish_list(await decode_slices(text, self._clock), principal)
        if len(text) > SLICE_BYTES and is_too_large(text):
            raise too_large()
        body = decode_json(text, MAX_BATCH_CONTAINERS)
        if isinstance(body, list):
            if len(body) > MAX_EVENTS:
                raise Refusal(ErrorCode.TOO_LARGE, f"{len(body)} events in one request; the limit is {MAX_EVENTS}")
            return await self._publish_list(slices_of(body), principal)
        if not isinstance(body, dict):
            raise Refusal(ErrorCode.INVALID_EVENT, "expected an event as a JSON object, or a list of events")
        (outcome,) = await self._outcomes([[_with_tenant(body, principal)]], principal)
        if isinstance(outcome, Refusal):
            raise outcome.copy()
        return json_response(_result(outcome))

    async def _publish_list(self, body: Slices, principal: Principal) -> Response:
        slices = [[_with_tenant(draft, principal) for draft in drafts] for drafts in body]
        outcomes = await self._outcomes(slices, principal)
        results = {"results": [_result(outcome) for outcome in outcomes]}
        drafts = [draft for drafts in slices for draft in drafts]
        return json_response({**_common_epoch(drafts, outcomes), **results})

    async def _outcomes(self, slices: Slices, principal: Principal) -> list[PublishResult | Refusal]:
        publish = partial(self._broadcaster.publish_batch, authority=principal.tenant_id)
        return await publish_in_slices(publish, slices, self._clock)


def _with_tenant(draft: JsonValue, principal: Principal) -> JsonValue:
    if isinstance(draft, Mapping) and draft.get("tenant_id") is None and not principal.every_tenant:
        return {**draft, "tenant_id": principal.tenant_id}
    return draft


def _result(outcome: PublishResult | Refusal) -> dict[str, object]:
    if isinstance(outcome, PublishResult):
        return {
            "epoch": outcome.epoch,
            "seq": outcome.seq,
            "event_id": outcome.event_id,
            "duplicate": outcome.duplicate,
        }
    error: dict[str, object] = {"code": outcome.code, "message": outcome.message}
    if outcome.retry_after_ms is not None:
        error["retry_after_ms"] = outcome.retry_after_ms
    return {"error": error}


def _common_epoch(drafts: Sequence[JsonValue], outcomes: Sequence[PublishResult | Refusal]) -> dict[str, str]:
    """Return the epoch of the whole list if all events are of one tenant: each tenant has its own epoch."""
    epochs = {
        draft["tenant_id"]: outcome.epoch
        for draft, outcome in zip(drafts, outcomes, strict=True)
        if isinstance(outcome, PublishResult) and outcome.epoch
    }
    if len(epochs) != 1:
        return {}
    (epoch,) = epochs.values()
    return {"epoch": epoch}
