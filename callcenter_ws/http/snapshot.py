"""``GET /ws/snapshot``: the state of a tenant, as the ``snapshot`` message has it."""

from __future__ import annotations

from twisted.web.server import Request

from callcenter_ws.delivery.state_reader import StateReader, snapshot_json
from callcenter_ws.delivery.subscription import Subscription, list_in_url
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Role
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.piecewise import PieceWriter
from callcenter_ws.http.places import Places, ResponseLimits
from callcenter_ws.http.responses import (
    STAFF_ROLES,
    JsonResource,
    PiecewiseResponse,
    Response,
    authorize,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.url_parameters import check_parameters

MAX_RESPONSES = 64
"""Responses that a process prepares and writes at the same time."""

MAX_RESPONSES_PER_TENANT = 16
MAX_RESPONSES_PER_USER = 2


class SnapshotResource(JsonResource):
    """Responds with ``epoch``, ``seq`` and ``events`` for every role except ``visitor``.

    ``?events=`` and ``?queues=`` are lists as in the URL of a WebSocket, with the same rules and errors; a ``service``
    must name events. The response is made and written in slices. The number of responses at the same time is bounded,
    for each user, each tenant and in all; further requests are refused with ``try_later``.
    """

    def __init__(self, authenticator: Authenticator, reader: StateReader, writing: BodyWriting) -> None:
        super().__init__(get=self._snapshot)
        self._authenticator = authenticator
        self._reader = reader
        self._writing = writing
        self.places = Places(
            "too many snapshots are being sent",
            ResponseLimits(MAX_RESPONSES, MAX_RESPONSES_PER_TENANT, MAX_RESPONSES_PER_USER),
        )

    async def _snapshot(self, request: Request) -> Response:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        check_parameters(name.decode(errors="replace") for name in request.args or {})
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        if principal.every_tenant:
            principal = principal.narrow(tenant_id)
        subscription = _subscription(principal.role, request)
        with self.places.take(principal, request):
            snapshot, figures = await self._reader.read(principal, subscription)
        pieces = snapshot_json(snapshot, principal.view, figures)
        return PiecewiseResponse(start=lambda request: PieceWriter(request, pieces, self._writing).start())


def _subscription(role: Role, request: Request) -> Subscription:
    """Return the subscription that the query names.

    Raises:
        Refusal: as for ``subscribe``; ``invalid_message`` if a ``service`` names no events.
    """
    events, queues = (_list(request, name) for name in (b"events", b"queues"))
    if events is None and role is Role.SERVICE:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "events: required, because a service sees what it names only")
    if events is None and queues is None:
        return Subscription(role)
    return Subscription.named(role, events, queues)


def _list(request: Request, name: bytes) -> list[str] | None:
    values = (request.args or {}).get(name)
    return list_in_url(None if values is None else b",".join(values).decode(errors="replace"))
