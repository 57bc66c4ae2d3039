"""``GET /ws/users/{user_id}/online``: whether a user is connected."""

from __future__ import annotations

from functools import partial

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.responses import (
    STAFF_ROLES,
    JsonNotFound,
    JsonResource,
    Response,
    authorize,
    identifier,
    json_response,
    requested_tenant,
)
from callcenter_ws.interfaces import Authenticator, Directory
from callcenter_ws.runtime.json import rfc3339


class UsersResource(JsonNotFound):
    """The parent of the resources of users, in the tenant of the token.

    A token for all tenants requires ``?tenant_id=``. All roles but ``visitor`` may use it. The user id is
    percent-encoded UTF-8 of 1 to 255 characters. An unknown user is reported as offline: the gateway does not know
    which users exist.
    """

    def __init__(self, authenticator: Authenticator, directory: Directory) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._directory = directory

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """Return the resource of a user; ``path`` is the id, already percent-decoded."""
        user = JsonNotFound()
        user.putChild(b"online", JsonResource(get=partial(self._online, path)))
        return user

    async def _online(self, raw_id: bytes, request: Request) -> Response:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        tenant_id = requested_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        user_id = identifier("user_id", raw_id)
        presence = await self._directory.user_presence(tenant_id, user_id)
        return json_response(
            {
                "user_id": user_id,
                "online": presence.online,
                "connections": presence.connections,
                "since": _instant(presence.since),
                "last_seen": _instant(presence.last_seen),
            }
        )


def _instant(unix_time: float | None) -> str | None:
    return None if unix_time is None else rfc3339(unix_time)
