"""``GET /ws/wallboards`` and ``/ws/wallboards/NAME``: the wallboards of a tenant, as the settings describe them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import msgspec
from msgspec.structs import replace
from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.config.wallboards import WallboardSettings
from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal
from callcenter_ws.http.page_options import PageOptions
from callcenter_ws.http.responses import (
    STAFF_ROLES,
    JsonResource,
    Response,
    authorize,
    identifier,
    json_response,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator


class WallboardsResource(JsonResource):
    """The wallboards of the token's tenant, for every role except ``visitor``.

    A token for all tenants requires ``?tenant_id=``. With a ``queues`` claim, a wallboard has those of its queues that
    the token may see; one that has no such queue is not in the list, and refused by name.

    Args:
        options: what a reload may change; its present values are used for each response.
    """

    def __init__(self, authenticator: Authenticator, options: PageOptions) -> None:
        super().__init__(get=self._list)
        self._authenticator = authenticator
        self._options = options

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return the resource of one wallboard; that of the list if ``path`` is empty."""
        return JsonResource(get=partial(self._one, path)) if path else self

    async def _list(self, request: Request) -> Response:
        principal, boards = self._of_tenant(request)
        listed = [board for board in boards if _within(principal, board) is not None]
        return json_response({"wallboards": [{"name": board.name, "title": board.title} for board in listed]})

    async def _one(self, raw_name: bytes, request: Request) -> Response:
        principal, boards = self._of_tenant(request)
        name = identifier("wallboard", raw_name)
        board = next((board for board in boards if board.name == name), None)
        if board is None:
            raise Refusal(ErrorCode.NOT_FOUND, f"the tenant has no wallboard {name!r}")
        shown = _within(principal, board)
        if shown is None:
            raise Refusal(ErrorCode.FORBIDDEN, f"the token has none of the queues of the wallboard {name!r}")
        return json_response(msgspec.to_builtins(shown))

    def _of_tenant(self, request: Request) -> tuple[Principal, Sequence[WallboardSettings]]:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        return principal, self._options.wallboards.get(tenant_id, ())


def _within(principal: Principal, board: WallboardSettings) -> WallboardSettings | None:
    """Return a wallboard with the queues that a principal may see; None if it may see none of them."""
    if principal.queues is None or not board.queues:
        return board
    queues = tuple(name for name in board.queues if name in principal.queues)
    return replace(board, queues=queues) if queues else None
