"""Sessions of anonymous visitors: the gateway signs their tokens itself."""

from __future__ import annotations

from collections.abc import Callable

from callcenter_ws.auth.jws import CompactToken, parse, unauthorized
from callcenter_ws.auth.keys import KeyRing, hmac_key
from callcenter_ws.auth.signing import sign_token
from callcenter_ws.auth.tokens import TokenRules, TokenVerifier
from callcenter_ws.events.principal import Principal, Role

SESSION_KID = "callcenter-ws-session"
"""The ``kid`` of session tokens. It belongs to the gateway: a token of anybody else with it is refused."""

ISSUER = "callcenter-ws"
LIFETIME = 86_400
"""Seconds for which a session can be taken up again."""

_ALGORITHM = "HS256"


class VisitorSessions:
    """Opens sessions for anonymous visitors, and knows them again by their tokens.

    Args:
        key: signs the session tokens; at least 32 bytes, and of no other use.
        time: Unix time in seconds.
        new_session_id: makes identifiers that were never used before.
        lifetime: seconds.

    Raises:
        UnusableKey: when the key is too short.
    """

    def __init__(
        self,
        key: bytes,
        time: Callable[[], float],
        new_session_id: Callable[[], str],
        lifetime: int = LIFETIME,
    ) -> None:
        ring = KeyRing([hmac_key(key, (_ALGORITHM,), kid=SESSION_KID)])
        self._verifier = TokenVerifier(ring, TokenRules((_ALGORITHM,), issuer=ISSUER), time)
        self._key = key
        self._time = time
        self._new_session_id = new_session_id
        self._lifetime = lifetime

    def open(self, tenant_id: str) -> tuple[Principal, str]:
        """Return a new visitor of a tenant, and the token by which it may take up its session again.

        Raises:
            Refusal: ``unauthorized`` for a ``tenant_id`` that no visitor can have, as ``*``.
        """
        session_id = self._new_session_id()
        now = int(self._time())
        claims = {
            "iss": ISSUER,
            "sub": f"visitor-{session_id}",
            "tenant_id": tenant_id,
            "role": Role.VISITOR.value,
            "session_id": session_id,
            "iat": now,
            "exp": now + self._lifetime,
        }
        token = sign_token(self._key, claims, algorithm=_ALGORITHM, kid=SESSION_KID)
        return self.verify(token), token

    def verify(self, token: str) -> Principal:
        """Return the visitor whose session the token is for.

        Raises:
            Refusal: ``unauthorized``.
        """
        return self.verify_parsed(parse(token))

    def verify_parsed(self, token: CompactToken) -> Principal:
        """Do as ``verify`` for a token that was taken apart already."""
        if token.kid != SESSION_KID:
            raise unauthorized("kid: not a session token of this gateway")
        principal = self._verifier.verify_parsed(token)
        if principal.role is not Role.VISITOR:
            raise unauthorized("role: a session token is for visitors only")
        return principal


class GatewayTokens:
    """Verifies every token that the gateway takes. Implements ``interfaces.Authenticator``.

    The ``kid`` header alone decides who verifies a token: the gateway's own session tokens are for
    ``sessions``, all others for ``tokens``. None is tried twice, so that neither can pass for the other.
    """

    def __init__(self, sessions: VisitorSessions, tokens: TokenVerifier) -> None:
        self._sessions = sessions
        self._tokens = tokens

    def verify(self, token: str) -> Principal:
        """Return who the token speaks for.

        Raises:
            Refusal: ``unauthorized``, or ``unavailable`` while keys have not been fetched yet.
        """
        parsed = parse(token)
        verifier = self._sessions if parsed.kid == SESSION_KID else self._tokens
        return verifier.verify_parsed(parsed)
