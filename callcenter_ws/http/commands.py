"""``POST /ws/commands`` and ``GET /ws/commands/{command_id}``: commands of services and their outcomes."""

from __future__ import annotations

from functools import partial

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.commands.service import Accepted, CommandService
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.commands import GRACE_SECONDS, CommandRecord
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.http.places import Places, ResponseLimits
from callcenter_ws.http.responses import (
    PUBLISHER_ROLES,
    JsonResource,
    Response,
    authorize,
    identifier,
    json_response,
    request_body,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.json import JsonObject, decode_json
from callcenter_ws.runtime.url_parameters import check_parameters, switch

READER_ROLES = frozenset({Role.AGENT, Role.SUPERVISOR, Role.ADMIN, Role.SERVICE})
"""The roles that may read what became of their own commands."""

MAX_BODY_BYTES = 16_384
"""The largest body of a request; no command has so many."""

CLOSING_SECONDS = GRACE_SECONDS + 4.0
"""Seconds after the deadline of a command within which it is closed."""

MAX_WAITING = 500
"""Requests of a process that wait for an outcome at the same time."""

MAX_WAITING_OF_TENANT = 100
MAX_WAITING_OF_USER = 50

PARAMETERS = ("tenant_id", "wait")


class CommandsResource(JsonResource):
    """Accepts commands of tokens with the role ``service`` or ``admin``.

    The body is an object with ``name``, the fields of the command, and perhaps ``command_id``. The response is 202 with
    what ``accepted`` has on a WebSocket. With ``?wait=1`` it comes with the outcome, with status 200; if there is none
    some seconds after the deadline, it is 202 after all. A repeated command that is closed gets 200 at once.
    """

    def __init__(self, authenticator: Authenticator, service: CommandService | None, clock: Clock) -> None:
        super().__init__(post=self._issue)
        self._authenticator = authenticator
        self._service = service
        self._clock = clock
        self.places = Places(
            "too many requests wait for the outcome of a command",
            ResponseLimits(MAX_WAITING, MAX_WAITING_OF_TENANT, MAX_WAITING_OF_USER),
        )

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return the resource of a command; ``path`` is its id, already percent-decoded."""
        return JsonResource(get=partial(self._command, path))

    async def _issue(self, request: Request) -> Response:
        asker = self._asker(request, authorize(self._authenticator, request, PUBLISHER_ROLES))
        service, waits = self._enabled(), _waits(request)
        fields = _body(request)
        if not waits:
            return _response(await service.issue(asker, fields))
        # Before it is issued: what is accepted is also waited for.
        with self.places.take(asker, request):
            accepted = await service.issue(asker, fields)
            record = accepted.record
            if record.state.is_open:
                seconds = record.deadline_ms / 1_000 - self._clock.time() + CLOSING_SECONDS
                accepted = Accepted(await service.outcome(record.key, max(0.0, seconds)))
            return _response(accepted)

    async def _command(self, raw_id: bytes, request: Request) -> Response:
        asker = self._asker(request, authorize(self._authenticator, request, READER_ROLES))
        record = await self._enabled().command(asker, identifier("command_id", raw_id))
        if record is None:
            raise Refusal(ErrorCode.NOT_FOUND, "command_id: this user has issued no such command in the last 24 hours")
        return json_response(_described(record))

    def _asker(self, request: Request, principal: Principal) -> Principal:
        check_parameters([name.decode(errors="replace") for name in request.args or {}], PARAMETERS)
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        return principal.narrow(tenant_id) if principal.every_tenant else principal

    def _enabled(self) -> CommandService:
        if self._service is None or not self._service.policy.enabled:
            raise Refusal(ErrorCode.COMMANDS_OFF)
        return self._service


def _response(accepted: Accepted) -> Response:
    return json_response(accepted.payload(), 202 if accepted.record.state.is_open else 200)


def _described(record: CommandRecord) -> JsonObject:
    return {"name": record.name, **Accepted(record).payload()}


def _waits(request: Request) -> bool:
    values = (request.args or {}).get(b"wait", [])
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, "wait: given more than once")
    return switch("wait", values[0].decode("latin-1") if values else None)


def _body(request: Request) -> JsonObject:
    text = request_body(request)
    if len(text) > MAX_BODY_BYTES:
        raise Refusal(ErrorCode.TOO_LARGE, f"the body is larger than {MAX_BODY_BYTES} bytes")
    body = decode_json(text)
    if not isinstance(body, dict):
        raise Refusal(ErrorCode.INVALID_MESSAGE, "expected an object with name and the fields of a command")
    return body
