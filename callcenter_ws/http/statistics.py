"""``GET /ws/statistics``: the figures of a tenant in a period, read from the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.http.large_body import BodyWriting
from callcenter_ws.http.piecewise import PieceWriter
from callcenter_ws.http.places import Places, ResponseLimits
from callcenter_ws.http.responses import (
    STAFF_ROLES,
    JsonResource,
    PiecewiseResponse,
    Response,
    authorize,
    identifier,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.runtime.clock import Clock
from callcenter_ws.runtime.url_parameters import check_parameters
from callcenter_ws.statistics.checkpoint import RowPair
from callcenter_ws.statistics.period import BadPeriod, Period, period_of
from callcenter_ws.statistics.report import AGENTS, QUEUES, TENANT, Report, csv_pieces, json_pieces, parts_of
from callcenter_ws.statistics.store import FigurePolicy, FigureStore, LiveFigure
from callcenter_ws.statistics.stored import (
    AGENT_KIND,
    DAY_KINDS,
    FOLD_KIND,
    MEMBERS_KIND,
    Question,
    StoredFigures,
)

PARAMETERS = ("queue", "agent", "from", "to", "interval", "tenant_id", "access_token", "token")

MAX_NAMES = 100
"""Queues, or agents, that a request names."""

MAX_DAY_ROWS = 10_000
"""Days of queues or agents that are read for a response; each has at most about 10 KB."""

MAX_INTERVALS = 10_000
"""Intervals of queues and agents in a response."""

MAX_RESPONSES = 8
"""Responses that a process prepares and writes at the same time."""

MAX_RESPONSES_PER_TENANT = 4
MAX_RESPONSES_PER_USER = 2

READ_ATTEMPTS = 3
"""How often the rows are read, if they change meanwhile."""

_OF_ALL_AGENTS = frozenset({Role.SUPERVISOR, Role.ADMIN, Role.SERVICE})


class StatisticsResource(JsonResource):
    """Responds with the figures of a period, as JSON or, by ``Accept``, as CSV (``docs/statistics.rst``).

    All roles but ``visitor`` may read the figures of queues, those with a ``queues`` claim of these only; the figures
    of the tenant only without one. Those of agents: supervisors, admins and services, with a claim those of members
    of these queues; an agent its own.

    Everything is read from the store, so each node gives the same. The response is made and written in slices, and
    what is read, what is sent, and the responses at the same time are bounded.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        policy: FigurePolicy,
        store: FigureStore,
        clock: Clock,
        writing: BodyWriting,
    ) -> None:
        super().__init__(get=self._statistics)
        self._authenticator = authenticator
        self._policy = policy
        self._store = store
        self._clock = clock
        self._writing = writing
        self.places = Places(
            "too many statistics are being sent",
            ResponseLimits(MAX_RESPONSES, MAX_RESPONSES_PER_TENANT, MAX_RESPONSES_PER_USER),
        )

    async def _statistics(self, request: Request) -> Response:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        check_parameters((name.decode(errors="replace") for name in request.args or {}), PARAMETERS)
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        if principal.every_tenant:
            principal = principal.narrow(tenant_id)
        queues, agents = _names(request, "queue"), _names(request, "agent")
        texts = {name: _text(request, name) for name in ("from", "to", "interval")}
        _check_rights(principal, queues, agents)
        if not self._policy.is_enabled(tenant_id):
            raise Refusal(ErrorCode.STATISTICS_OFF)
        with self.places.take(principal, request):
            report = await self._report(principal, queues, agents, texts)
        if _prefers_csv(request):
            pieces, headers = csv_pieces(report), {"Content-Type": "text/csv; charset=utf-8; header=present"}
        else:
            pieces, headers = json_pieces(report), {}
        return PiecewiseResponse(
            headers={**headers, "Vary": "Accept"},
            start=lambda request: PieceWriter(request, pieces, self._writing).start(),
        )

    async def _report(
        self, principal: Principal, queues: list[str] | None, agents: list[str] | None, texts: Mapping[str, str | None]
    ) -> Report:
        tenant_id = principal.tenant_id
        kinds = _head_kinds(principal, parts_of(queues, agents))
        head = await self._store.head(tenant_id, kinds)
        for _ in range(READ_ATTEMPTS):
            now = round(self._clock.time() * 1000)
            stored = StoredFigures(head, now)
            period = _period(stored, now, texts)
            question = _question(principal, stored, queues, agents)
            days = {part: await self._days(tenant_id, part, question, period) for part in question.parts}
            live: Sequence[LiveFigure] = await self._store.live(tenant_id)
            before, head = head, await self._store.head(tenant_id, kinds)
            if head is None or (before is not None and before.position == head.position):
                break
        report = stored.report(
            tenant_id, period, question, days, live, partial(self._policy.takes_producers, tenant_id)
        )
        if period.count(now) * len(report.entities) > MAX_INTERVALS:
            raise Refusal(
                ErrorCode.TOO_LARGE,
                f"more than {MAX_INTERVALS:,} intervals of queues and agents; ask for fewer days or names, or longer "
                "intervals",
            )
        return report

    async def _days(self, tenant_id: str, part: str, question: Question, period: Period) -> Sequence[RowPair]:
        names = {QUEUES: question.queues, AGENTS: question.agents, TENANT: None}[part]
        if names is None:
            names = {QUEUES: question.queues_allowed, AGENTS: question.agents_allowed, TENANT: None}[part]
        return await self._store.days(tenant_id, DAY_KINDS[part], names, *period.days, MAX_DAY_ROWS)


def _check_rights(principal: Principal, queues: list[str] | None, agents: list[str] | None) -> None:
    """Refuse names that the principal may not see.

    Raises:
        Refusal: ``forbidden``.
    """
    hidden = [] if principal.queues is None else [name for name in queues or () if name not in principal.queues]
    if hidden:
        raise Refusal(ErrorCode.FORBIDDEN, f"queue: the token has no queue {hidden[0]!r}")
    if (
        agents
        and principal.role not in _OF_ALL_AGENTS
        and (principal.role is not Role.AGENT or agents != [principal.user_id])
    ):
        raise Refusal(ErrorCode.FORBIDDEN, "agent: only supervisors, admins and services may read figures of others")


def _head_kinds(principal: Principal, parts: Sequence[str]) -> list[str]:
    """Return the kinds of rows without a day that are needed: those of agents may be many."""
    kinds = [FOLD_KIND]
    if AGENTS in parts:
        kinds += [AGENT_KIND] if principal.queues is None else [AGENT_KIND, MEMBERS_KIND]
    return kinds


def _question(
    principal: Principal, stored: StoredFigures, queues: list[str] | None, agents: list[str] | None
) -> Question:
    parts = parts_of(queues, agents)
    agents_allowed: frozenset[str] | None = None
    if principal.role is Role.AGENT:
        agents_allowed = frozenset({principal.user_id})
    elif principal.role not in _OF_ALL_AGENTS:
        parts = tuple(part for part in parts if part != AGENTS)
    elif principal.queues is not None:
        agents_allowed = stored.members_of(principal.queues)
    if principal.queues is not None:
        parts = tuple(part for part in parts if part != TENANT)
    return Question(parts, queues, agents, principal.queues, agents_allowed)


def _period(stored: StoredFigures, now: int, texts: Mapping[str, str | None]) -> Period:
    try:
        return period_of(stored.head.zone, now, start=texts["from"], end=texts["to"], interval=texts["interval"])
    except BadPeriod as problem:
        raise Refusal(ErrorCode.INVALID_MESSAGE, str(problem)) from None


def _names(request: Request, name: str) -> list[str] | None:
    """Return the names of a parameter that may be given several times; None without it."""
    values = (request.args or {}).get(name.encode())
    if values is None:
        return None
    if len(values) > MAX_NAMES:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: at most {MAX_NAMES} names")
    return sorted({identifier(name, value) for value in values})


def _text(request: Request, name: str) -> str | None:
    values = (request.args or {}).get(name.encode())
    if values is None:
        return None
    if len(values) > 1:
        raise Refusal(ErrorCode.INVALID_MESSAGE, f"{name}: given more than once")
    # In a query, the + of an offset means a space.
    return identifier(name, values[0]).replace(" ", "+")


def _prefers_csv(request: Request) -> bool:
    """Return whether ``Accept`` names ``text/csv``, and does not prefer JSON (RFC 9110 section 12.5.1)."""
    qualities = {"text/csv": 0.0, "application/json": 0.0}
    for line in request.requestHeaders.getRawHeaders("Accept") or []:
        for item in line.split(","):
            kind, *parameters = (part.strip().lower() for part in item.split(";"))
            if kind in qualities:
                qualities[kind] = _quality(parameters)
    return qualities["text/csv"] > 0 and qualities["text/csv"] >= qualities["application/json"]


def _quality(parameters: Sequence[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
