"""HandshakeAuthenticator: authenticates a WebSocket by a token, or as an anonymous visitor."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.errors import ErrorCode, Refusal
from callcenter_ws.events.principal import Principal, Role
from callcenter_ws.interfaces import Authenticator
from callcenter_ws.requests.admission import Admission, EndpointName
from callcenter_ws.ws.handshake import Handshake, HandshakeResult, TokenSource
from callcenter_ws.ws.origin import OriginPolicy

OpenVisitorSession = Callable[[str], tuple[Principal, str]]
"""Creates an anonymous visitor of a tenant; returns it with its session token, by which it may reconnect."""


class PrincipalRefused(Refusal):
    """The connection of a peer with a valid token is refused.

    Attributes:
        principal: the principal of the token, for the log.
    """

    def __init__(self, refusal: Refusal, principal: Principal) -> None:
        super().__init__(refusal.code, refusal.message, retry_after=refusal.retry_after)
        self.principal = principal

    def copy(self) -> PrincipalRefused:
        """Return a copy; see ``Refusal.copy``."""
        return PrincipalRefused(self, self.principal)


class HandshakeAuthenticator:
    """Returns the admitted principal of a handshake or of a first message.

    Attributes:
        origins: which pages may connect; may be replaced.
    """

    def __init__(
        self,
        authenticator: Authenticator,
        admission: Admission,
        origins: OriginPolicy,
        open_visitor_session: OpenVisitorSession,
        count_session: Callable[[str], None],
    ) -> None:
        self._authenticator = authenticator
        self._admission = admission
        self.origins = origins
        self._open_visitor_session = open_visitor_session
        self._count_session = count_session

    def check_origin(
        self, endpoint: EndpointName, origin: str | None, is_own: Callable[[str], bool] = lambda origin: False
    ) -> str | None:
        """Check the ``Origin`` of a handshake, before its token.

        Args:
            is_own: returns whether this gateway serves the pages of an origin.

        Returns:
            The origin; None if there is none, or for a page of the gateway itself that is not listed. Neither is a
            request of another site.

        Raises:
            Refusal: ``forbidden`` if pages of that origin must not connect to the endpoint.
        """
        check = self.origins.check_public if endpoint is EndpointName.PUBLIC else self.origins.check_staff
        try:
            check(origin)
        except Refusal:
            if origin is None or not is_own(origin):
                raise
            return None
        return origin

    def identify(
        self, endpoint: EndpointName, handshake: Handshake, network: str
    ) -> tuple[Principal | None, str | None]:
        """Return the principal of a handshake and, for a new anonymous visitor, its session token.

        The principal is None if the first message must authenticate the peer.

        Raises:
            Refusal: the token is missing or invalid, or the principal is not admitted.
        """
        if handshake.token is not None:
            source, token = handshake.token
            if source is TokenSource.COOKIE and not self.origins.is_listed(handshake.origin):
                raise Refusal(ErrorCode.FORBIDDEN, "a cookie requires an Origin on the allow-list")
            return self._admit(self._authenticator.verify(token), endpoint, handshake), None
        if endpoint is EndpointName.PUBLIC:
            tenant_id = self.origins.anonymous_tenant(handshake.tenant_id, handshake.origin)
            if tenant_id is not None:
                self.origins.check_visitor(tenant_id, handshake.origin)
                self._count_session(network)
                visitor, session_token = self._open_visitor_session(tenant_id)
                return self._admit(visitor, endpoint, handshake), session_token
            if handshake.tenant_id is not None:
                # The same for an unknown tenant. A client whose first message will have a token names no tenant.
                raise Refusal(ErrorCode.UNAUTHORIZED, "this tenant accepts no visitors without a token")
        if handshake.speaks_subprotocol:
            return None, None
        raise Refusal(ErrorCode.UNAUTHORIZED, "a token is required: Authorization: Bearer …")

    def principal_of_frame(self, message: object, handshake_result: HandshakeResult) -> Principal:
        """Return the principal of the first message of a connection.

        Args:
            message: the decoded JSON, ``{"type": "auth", "payload": {"token": …}}``.

        Raises:
            Refusal: the message has another shape, its token is invalid, or the principal is not admitted.
        """
        if not isinstance(message, dict) or message.get("type") != "auth":
            raise Refusal(ErrorCode.UNAUTHORIZED, "the first message must be auth")
        payload = message.get("payload")
        token = payload.get("token") if isinstance(payload, dict) else None
        if not isinstance(token, str):
            raise Refusal(ErrorCode.UNAUTHORIZED, "payload.token: expected a string")
        return self._admit(self._authenticator.verify(token), handshake_result.endpoint, handshake_result)

    def _admit(self, principal: Principal, endpoint: EndpointName, source: Handshake | HandshakeResult) -> Principal:
        # Refused here, because a client that is not subscribed as it asked would take what it is sent for complete.
        source.options.subscription(principal.role)
        try:
            admitted = self._admission.admit(principal, endpoint, source.tenant_id)
            if admitted.role is Role.VISITOR:
                self.origins.check_visitor(admitted.tenant_id, source.origin)
        except Refusal as refusal:
            raise PrincipalRefused(refusal, principal) from None
        return admitted
