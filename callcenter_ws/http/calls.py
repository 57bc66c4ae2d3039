"""``GET /ws/calls`` and ``GET /ws/calls/earlier``: the calls of today."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from twisted.web.server import Request

from callcenter_ws.call_log.query import CallFilter, earlier, find
from callcenter_ws.call_log.record import STATES
from callcenter_ws.call_log.service import CallLog
from callcenter_ws.call_log.visible import Viewer
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import STAFF, Principal
from callcenter_ws.events.visibility import AgentCalls
from callcenter_ws.http.places import Places, ResponseLimits
from callcenter_ws.http.responses import (
    JsonResource,
    Response,
    authorize,
    identifier,
    json_response,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.url_parameters import check_parameters
from callcenter_ws.statistics.occurrence import instant_text

_COMMON = ("tenant_id", "access_token", "token")
PARAMETERS = ("search", "caller_id", "agent", "queue", "state", "limit", *_COMMON)
EARLIER_PARAMETERS = ("call_id", *_COMMON)

DEFAULT_LIMIT = 50
MAX_LIMIT = 200
"""Calls in a response."""

MAX_RESPONSES = 64
"""Requests that a process answers at the same time."""

MAX_RESPONSES_PER_TENANT = 32
MAX_RESPONSES_PER_USER = 4


class CallsResource(JsonResource):
    """Responds with the calls of a tenant since the start of its local day (``docs/http.rst``).

    Agents, supervisors, admins and services see of each call what the stream has shown them, or would have.

    Args:
        agent_calls: returns the policy for agents, which a reload changes.
    """

    def __init__(self, authenticator: Authenticator, call_log: CallLog, agent_calls: Callable[[], AgentCalls]) -> None:
        super().__init__(get=self._calls)
        self._authenticator = authenticator
        self._call_log = call_log
        self._agent_calls = agent_calls
        self.places = Places(
            "too many calls are being searched",
            ResponseLimits(MAX_RESPONSES, MAX_RESPONSES_PER_TENANT, MAX_RESPONSES_PER_USER),
        )
        self.putChild(b"earlier", JsonResource(get=self._earlier))

    async def _calls(self, request: Request) -> Response:
        asker = self._asker(request, PARAMETERS)
        wanted = CallFilter(
            search=_text(request, "search"),
            caller_id=_text(request, "caller_id"),
            agent=_text(request, "agent"),
            queue=_text(request, "queue"),
            state=_state(request),
        )
        limit = _limit(request)
        with self.places.take(asker, request):
            day = await self._call_log.day(asker.tenant_id)
            as_of_seq = day.seq
            calls, more = await find(day, self._viewer(asker), wanted, limit, self._call_log.slices)
        return json_response(
            {
                "from": day.label,
                "as_of_seq": as_of_seq,
                "incomplete_since": None if day.incomplete_since is None else instant_text(day.incomplete_since),
                "more": more,
                "calls": calls,
            }
        )

    async def _earlier(self, request: Request) -> Response:
        asker = self._asker(request, EARLIER_PARAMETERS)
        call_id = _text(request, "call_id")
        if call_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "call_id: required")
        with self.places.take(asker, request):
            day = await self._call_log.day(asker.tenant_id)
            call = day.calls.get(call_id)
            seen = None if call is None or not call.is_of(day.start) else self._viewer(asker).record(call)
            if call is None or seen is None:
                # The same for a call that the asker may not see.
                raise Refusal(ErrorCode.NOT_FOUND, "call_id: there is no call of today with this id")
            return json_response(await earlier(day, call, seen, self._call_log.slices))

    def _asker(self, request: Request, parameters: Sequence[str]) -> Principal:
        """Return who asks, as a principal of one tenant.

        Raises:
            Refusal: as for ``/ws/snapshot``; ``forbidden`` for wallboards, which show no callers, and visitors.
        """
        asker = authorize(self._authenticator, request, STAFF)
        check_parameters((name.decode(errors="replace") for name in request.args or {}), parameters)
        tenant_id = requested_tenant(asker, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        return asker.narrow(tenant_id) if asker.every_tenant else asker

    def _viewer(self, asker: Principal) -> Viewer:
        return Viewer(asker, self._agent_calls())


def _text(request: Request, name: str) -> str | None:
    """Return the value of a parameter; None if it is absent or empty, as of an empty field of a page."""
    values = (request.args or {}).get(name.encode(), [])
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: given more than once")
    return identifier(name, values[0]) if values and values[0].strip() else None


def _state(request: Request) -> str | None:
    state = _text(request, "state")
    if state is not None and state not in STATES:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"state: expected one of {', '.join(STATES)}")
    return state


def _limit(request: Request) -> int:
    text = _text(request, "limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(MAX_LIMIT)) and 1 <= int(text) <= MAX_LIMIT):
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"limit: expected 1 to {MAX_LIMIT}")
    return int(text)
