"""``GET /ws/users/{user_id}/online``: whether a user is connected."""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.web.iweb import IRequest
from twisted.web.resource import Resource
from twisted.web.server import Request

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.http.answers import (
    STAFF_ROLES,
    Answer,
    JsonNotFound,
    JsonResource,
    asked_tenant,
    authorize,
    identifier,
    json_answer,
)
from callcenter_ws.interfaces import Authenticator, Directory
from callcenter_ws.runtime.json import rfc3339


class UsersResource(JsonNotFound):
    """The users of the token's tenant. A token of every tenant must name one as ``?tenant_id=``.

    Any role but visitor may ask. The user id is percent-decoded UTF-8 of 1 to 255 characters. A user that
    nobody has seen is simply not online: whether an id exists is not the gateway's to tell.
    """

    def __init__(self, authenticator: Authenticator, directory: Directory) -> None:
        super().__init__()
        self._authenticator = authenticator
        self._directory = directory

    def getChild(self, path: bytes, request: IRequest) -> Resource:
        """One user; ``path`` is the id, already percent-decoded."""
        user = JsonNotFound()
        online: Any = JsonResource(get=partial(self._online, path))  # Any: mypy cannot see that it is an IResource
        user.putChild(b"online", online)
        return user

    async def _online(self, raw_id: bytes, request: Request) -> Answer:
        principal = authorize(self._authenticator, request, STAFF_ROLES)
        tenant_id = asked_tenant(principal, request)
        if tenant_id is None:
            raise Refusal(ErrorCode.INVALID_MESSAGE, "tenant_id: required, because the token is for every tenant")
        user_id = identifier("user_id", raw_id)
        presence = await self._directory.user_presence(tenant_id, user_id)
        return json_answer(
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
