"""Finds out who stands at the door: by a token, wherever it is, or as an anonymous visitor."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.requests.admission import Admission, Endpoint
from callcenter_ws.ws.handshake import Handshake, TokenSource
from callcenter_ws.ws.origin import OriginPolicy

if TYPE_CHECKING:
    from callcenter_ws.ws.handshake import HandshakeResult

OpenVisitorSession = Callable[[str], tuple[Principal, str]]
"""Makes an anonymous visitor of a tenant and the token with which it may come back."""


class HandshakeAuthenticator:
    """Turns a handshake, or a first frame, into an admitted principal."""

    def __init__(
        self,
        authenticator: Authenticator,
        admission: Admission,
        origins: OriginPolicy,
        open_visitor_session: OpenVisitorSession,
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self._origins = origins
        self._open_visitor_session = open_visitor_session

    def check_origin(self, endpoint: Endpoint, origin: str | None) -> None:
        """Let a page pass before anything else is looked at.

        Raises:
            Refusal: ``forbidden``.
        """
        if endpoint is Endpoint.PUBLIC:
            self._origins.check_public(origin)
        else:
            self._origins.check_staff(origin)

    def identify(self, endpoint: Endpoint, handshake: Handshake) -> tuple[Principal | None, str | None]:
        """Return who the handshake speaks for and, for a new anonymous visitor, its session token.

        The principal is None when the first frame is to tell.

        Raises:
            Refusal: the token is missing or refused, or a limit is met.
        """
        if handshake.token is not None:
            source, token = handshake.token
            if source is TokenSource.COOKIE and not self._origins.is_listed(handshake.origin):
                raise Refusal(ErrorCode.FORBIDDEN, "a cookie needs an Origin from the allow-list")
            return self._admit(self._authenticator.verify(token), endpoint, handshake), None
        if endpoint is Endpoint.PUBLIC:
            tenant_id = self._origins.anonymous_tenant(handshake.tenant_id, handshake.origin)
            if tenant_id is not None:
                self._origins.check_visitor(tenant_id, handshake.origin)
                visitor, session_token = self._open_visitor_session(tenant_id)
                return self._admission.admit(visitor, endpoint), session_token
        if handshake.speaks_subprotocol:
            return None, None
        raise Refusal(ErrorCode.UNAUTHORIZED, "a token is required: Authorization: Bearer …")

    def principal_of_frame(self, message: Any, handshake_result: HandshakeResult) -> Principal:
        """Return who the first frame of a connection speaks for.

        Args:
            message: the decoded frame, ``{"type": "auth", "payload": {"token": …}}``.

        Raises:
            Refusal: it is anything else, or its token is refused.
        """
        if not isinstance(message, dict) or message.get("type") != "auth":
            raise Refusal(ErrorCode.UNAUTHORIZED, "the first message must be auth")
        payload = message.get("payload")
        token = payload.get("token") if isinstance(payload, dict) else None
        if not isinstance(token, str):
            raise Refusal(ErrorCode.UNAUTHORIZED, "payload.token: expected a string")
        return self._admit(self._authenticator.verify(token), handshake_result.endpoint, handshake_result)

    def _admit(self, principal: Principal, endpoint: Endpoint, at: Handshake | HandshakeResult) -> Principal:
        principal = self._admission.admit(principal, endpoint, at.tenant_id)
        if principal.role is Role.VISITOR:
            self._origins.check_visitor(principal.tenant_id, at.origin)
        return principal
